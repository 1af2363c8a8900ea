package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/app"
	"nudge/engine/workspace"
	"nudge/events/history"
	"nudge/events/queue"
	"nudge/internal/counted"
	"nudge/rules"
)

// importFlags are the flags of import.
type importFlags struct {
	mapping, dir, rejects, url, format string
	dryRun, restart                    bool
	limit                              int64
}

func importCommand(s streams) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import FILE --map MAPPING",
		Short: "Loads history from a CSV, NDJSON or Parquet file; it triggers nothing",
		Long: `Reads the rows of a file (.csv, .ndjson, .parquet; the first two also with .gz), makes events of
them as the mapping says, and stores them. Rules see imported history, but no on: rule is triggered by it.

While a serve runs on the workspace the events go to its address, otherwise they are written here.
The progress is kept in the data folder: after Ctrl-C or a crash the same command goes on where it
stopped, and once the file is done it does nothing. The same row has the same message id every
time, so what was stored in the last seven days is not stored again even with --restart.

A row that does not fit the mapping is left out, counted and printed (or written to --rejects), and the
command exits with 1. docs/import.md describes mappings; --dry-run shows what one makes.`,
		Example: `  nudge import purchases.csv.gz --map purchases.yaml --dry-run
  nudge import purchases.csv.gz --map purchases.yaml --dir examples/shop
  nudge import events.ndjson --map events-map.yaml --limit 1000 --rejects bad.ndjson`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("the argument is one file, not %d; the workspace is --dir", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.mapping == "":
				return errors.New("--map is missing: the YAML file that says what the columns are")
			case f.limit < 0:
				return fmt.Errorf("--limit is a number of rows, not %d", f.limit)
			case f.format != "text" && f.format != "json":
				return fmt.Errorf("--format is text or json, not %q", f.format)
			}
			return runImport(cmd.Context(), s.as(f.format), args[0], f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.mapping, "map", "", "the mapping, a YAML file")
	fs.StringVar(&f.dir, "dir", ".", "the workspace")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print the first events (5, or --limit) and store nothing")
	fs.Int64Var(&f.limit, "limit", 0, "read this many rows; 0 is all")
	fs.StringVar(&f.rejects, "rejects", "", "file for the rows that do not fit, one JSON line each")
	fs.BoolVar(&f.restart, "restart", false, "begin at the first row again")
	fs.StringVar(&f.url, "url", "", "address of the running serve, if it is not nudge.yaml's: http://127.0.0.1:8080")
	fs.StringVar(&f.format, "format", "text", "how the result is printed: text or json; of a dry run one line of JSON for each event")
	return cmd
}

func runImport(ctx context.Context, s streams, file string, f importFlags) (err error) {
	ws, err := loadWorkspace(s, f.dir, workspace.Options{WithoutSecrets: f.dryRun, WithoutSending: true})
	if err != nil {
		return err
	}
	m, err := history.LoadMapping(f.mapping)
	if wrong, ok := errors.AsType[*history.MappingError](err); ok {
		return printMistakes(s, wrong)
	}
	if err != nil {
		return failed(err)
	}
	o := history.Options{File: file, Mapping: m, Now: time.Now, Plan: ws.Plan, Limit: f.limit, Progress: s.err}
	rejects := &firstLines{out: s.err, left: 5}
	o.Rejects = rejects
	if f.rejects != "" {
		w, err := os.Create(f.rejects)
		if err != nil {
			return failed(fmt.Errorf("the file for rejects: %w", err))
		}
		defer func() { err = errors.Join(err, failed(w.Close())) }()
		o.Rejects = w
	}
	if f.dryRun {
		o.DryRun, o.Progress = func(m history.Made) error { return printMade(s, m) }, nil
		r, err := history.Import(ctx, o)
		if err != nil {
			return failed(err)
		}
		return rejected(r)
	}
	if _, err := os.Stat(file); err != nil { // before anything is made
		return failed(fmt.Errorf("import: %w", err))
	}
	if o.State, err = stateFile(ws, file, f.mapping); err != nil {
		return failed(err)
	}
	if f.restart {
		if err := os.Remove(o.State); err != nil && !errors.Is(err, os.ErrNotExist) {
			return failed(fmt.Errorf("begin again: %w", err))
		}
	}
	to, err := destination(ctx, s, ws, f.url)
	if err != nil {
		return failed(err)
	}
	defer func() { err = errors.Join(err, failed(to.Close())) }()
	o.Appender = to
	result, err := history.Import(ctx, o)
	if ctx.Err() != nil {
		return failed(errors.New("stopped; the same command goes on from here"))
	}
	if err == nil {
		err = to.Wait(ctx)
	}
	if err != nil {
		return failed(err)
	}
	if err := printImport(s, result); err != nil {
		return failed(err)
	}
	return rejected(result)
}

// rejected is the error of an import that left rows out.
func rejected(r history.Result) error {
	if r.Rejected > 0 {
		return &exitError{Code: exitFindings}
	}
	return nil
}

// printMistakes prints what is wrong with a mapping.
func printMistakes(s streams, wrong *history.MappingError) error {
	if !s.json {
		fmt.Fprintln(s.out, wrong)
		return &exitError{Code: exitFindings}
	}
	var findings []rules.Finding
	for _, p := range wrong.Problems {
		findings = append(findings, rules.Finding{
			Check: "import/mapping", Severity: rules.Error, File: wrong.File, Line: p.Line, Col: p.Column, EndCol: p.Column + 1, Summary: p.Text,
		})
	}
	return printFindings(s, findings)
}

// printMade prints an event of a dry run.
func printMade(s streams, m history.Made) error {
	if s.json {
		return json.NewEncoder(s.out).Encode(m) //nolint:wrapcheck // the writer's own error
	}
	where := fmt.Sprintf("row %d", m.Row)
	if m.Line > 0 {
		where += fmt.Sprintf(" (line %d)", m.Line)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, m.Event, "", "  "); err != nil {
		return fmt.Errorf("print the event: %w", err)
	}
	_, err := fmt.Fprintf(s.out, "# %s, %s\n%s\n", where, m.Time.Format(time.RFC3339), pretty.Bytes())
	return err //nolint:wrapcheck // the writer's own error
}

func printImport(s streams, r history.Result) error {
	out := s.out
	if s.json {
		return writeJSON(out, r)
	}
	fmt.Fprintf(out, "%s read, %s stored", counted.Of(r.Rows, "row"), counted.Of(r.Events, "event"))
	for _, part := range []struct {
		n    int64
		what string
	}{
		{r.Resumed, "done before"}, {r.Skipped, "left out by the mapping"}, {r.Rejected, "rejected"},
	} {
		if part.n > 0 {
			fmt.Fprintf(out, ", %s %s", counted.Of(part.n, "row"), part.what)
		}
	}
	if r.CutShort {
		fmt.Fprint(out, "; the file ends in the middle, what came before is in")
	}
	_, err := fmt.Fprintln(out)
	return err //nolint:wrapcheck // the writer's own error
}

// stateFile is where the progress of one file by one mapping is kept.
func stateFile(ws *workspace.Workspace, file, mapping string) (string, error) {
	h := fnv.New64a()
	for _, path := range []string{file, mapping} {
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", fmt.Errorf("find the file: %w", err)
		}
		fmt.Fprintf(h, "%s\n", abs)
	}
	dir := filepath.Join(ws.Data, "imports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for the progress: %w", err)
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%016x.json", filepath.Base(file), h.Sum64())), nil
}

// importTarget takes an import's events. Wait returns when they are stored, or safe with those who
// will store them.
type importTarget interface {
	history.Appender
	Wait(ctx context.Context) error
	Close() error
}

// destination is the queue and the store themselves, or a serve that has them open.
func destination(ctx context.Context, s streams, ws *workspace.Workspace, url string) (importTarget, error) {
	if url != "" {
		return throughServe(ctx, s, ws, url)
	}
	url = "http://" + reachable(ws.Listen)
	if ws.Queue.URL != "" && healthy(ctx, url) {
		return throughServe(ctx, s, ws, url)
	}
	host, _ := os.Hostname() // only a name for others to read
	direct, err := app.OpenImporter(ctx, app.Options{
		Workspace: ws, Now: time.Now, Owner: fmt.Sprintf("%s/%d import", host, os.Getpid()),
		Logger: slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if errors.Is(err, queue.ErrInUse) || errors.Is(err, queue.ErrHeld) {
		if !healthy(ctx, url) {
			return nil, fmt.Errorf("%w; if it is a serve, it is not at %s: say where with --url", err, url)
		}
		return throughServe(ctx, s, ws, url)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	return direct, nil
}

// server is an import's target that is another process.
type server struct{ *history.Client }

// Wait returns at once: what the server has acknowledged is durable.
func (server) Wait(context.Context) error { return nil }

// Close has nothing to close.
func (server) Close() error { return nil }

func throughServe(ctx context.Context, s streams, ws *workspace.Workspace, url string) (importTarget, error) {
	if !healthy(ctx, url) {
		return nil, fmt.Errorf("no nudge serve answers at %s", url)
	}
	// A secret key may also merge known people, which a file of history may want to.
	key, found := workspace.Key{}, false
	for _, k := range ws.Keys {
		if !found || k.Secret && !key.Secret {
			key, found = k, true
		}
	}
	if !found {
		return nil, errors.New("nudge.yaml has no key whose secret is there, and without one the running serve takes nothing: set the variable that it names, or add a write_key under `keys`")
	}
	fmt.Fprintf(s.err, "through the serve at %s, with the key %s\n", url, key.Name)
	return server{&history.Client{URL: url, Key: key.Value, HTTP: &http.Client{Timeout: time.Minute}}}, nil
}

// reachable is an address to dial for one that is listened on.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// healthy says whether a nudge answers at url.
func healthy(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/healthz", http.NoBody)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode == http.StatusOK
}

// firstLines writes the first lines, and says once that there are more.
type firstLines struct {
	out  io.Writer
	left int
}

// Write implements io.Writer; every call is a line.
func (f *firstLines) Write(line []byte) (int, error) {
	f.left--
	switch {
	case f.left >= 0:
		return f.out.Write(line) //nolint:wrapcheck // the writer's own error
	case f.left == -1:
		fmt.Fprintln(f.out, "… more rows do not fit; --rejects FILE keeps them all")
	}
	return len(line), nil
}

var _ importTarget = (*app.Importer)(nil)
