package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"nudge/channels/all"
	"nudge/engine/app"
	"nudge/engine/workspace"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/embedded"
	"nudge/rules"
)

// writeKey is the key of the load.
const writeKey = "wk_bench"

// ingestWorkspace is the workspace of the node under test, with a tracking plan and a rule with an exit,
// so that every event passes the exit index too.
var ingestWorkspace = map[string]string{
	"nudge.yaml": `zone: UTC
salt: bench
data: data
keys: [{name: web, write_key: ` + writeKey + `}]
channels:
  push: {adapter: file, kind: push, config: {path: data/push.ndjson}}
`,
	"events.yaml": plan,
	"rules/cart.yaml": `rule: cart
category: promotional
schedule: "*/5 * * * *"
when: event("Product Added").last.ago >= hours(1) and event("Product Added").last.ago < days(2)
again: {after: 7d}
exit: {event: Order Completed, since: 'event("Product Added").last.at'}
message:
  push: {title: Your cart is waiting, body: Come back}
`,
}

func writeWorkspace(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write the workspace: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the workspace: %w", err)
		}
	}
	return nil
}

func loadWorkspace(dir string) (*workspace.Workspace, error) {
	set, err := all.Set()
	if err != nil {
		return nil, err
	}
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: set})
	if ws == nil {
		var text strings.Builder
		if err := rules.Render(&text, findings, rules.Text); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the workspace is wrong:\n%s", text.String())
	}
	return ws, nil
}

// nodeReady is what the node says once it serves.
type nodeReady struct {
	Addr  string `json:"addr"`
	Debug string `json:"debug"` // of pprof
}

// nodeCommand is `nudge serve`, with pprof beside it, as a child of this program.
func nodeCommand(in io.Reader, out, errOut io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "node DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := untilEOF(cmd.Context(), in)
			defer cancel()
			log := slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelWarn}))
			if err := runNode(ctx, args[0], out, log); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}

func runNode(ctx context.Context, dir string, out io.Writer, log *slog.Logger) (err error) {
	ws, err := loadWorkspace(dir)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer l.Close() //nolint:errcheck // it is closed by serving, too
	debug, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for pprof: %w", err)
	}
	reg := prometheus.NewRegistry()
	a, err := app.Open(ctx, app.Options{Workspace: ws, Now: time.Now, Logger: log, Registerer: reg, Stdout: io.Discard, Owner: "bench/" + strconv.Itoa(os.Getpid()), Runnable: app.RunnableGoroutines()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go srv.Serve(debug) //nolint:errcheck // it ends with Close
	defer srv.Close()   //nolint:errcheck // nobody asks any more
	if err := json.NewEncoder(out).Encode(nodeReady{Addr: l.Addr().String(), Debug: debug.Addr().String()}); err != nil {
		return fmt.Errorf("say that the node is ready: %w", err)
	}
	return a.Run(ctx, l, reg)
}

// node is a running `nudge serve`, with a look into its store.
type node struct {
	*child
	ready  nodeReady
	engine process // the embedded ClickHouse, a child of the node
	store  *clickhouse.Store
}

// startNode starts a node on a workspace in a new folder.
func startNode(ctx context.Context, s *session, name string, files map[string]string) (_ *node, err error) {
	if _, err := embedded.FindLib(""); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, name)
	if err := writeWorkspace(dir, files); err != nil {
		return nil, err
	}
	n := &node{}
	if n.child, err = startChild(ctx, "nudge", []string{"node", dir}, s.progress, &n.ready); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	pids, err := children(n.process().pid)
	if err != nil {
		return nil, err
	}
	if len(pids) != 1 {
		return nil, fmt.Errorf("the node has %d children; one, its embedded ClickHouse, was expected", len(pids))
	}
	n.engine = process{"clickhouse", pids[0]}
	ws, err := loadWorkspace(dir)
	if err != nil {
		return nil, err
	}
	n.store, err = app.OpenStore(ctx, ws, nil) // joins the engine that runs already
	return n, err
}

func (n *node) close() error {
	var err error
	if n.store != nil {
		err = n.store.Close()
	}
	return errors.Join(err, n.stop())
}

// number asks the store for one number.
func number(ctx context.Context, store *clickhouse.Store, query string) (int64, error) {
	var v uint64
	if err := store.Conn().QueryRow(ctx, query).Scan(&v); err != nil {
		return 0, fmt.Errorf("ask the store (%s): %w", query, err)
	}
	return int64(v), nil
}

// metric reads one counter of the node's /metrics.
func (n *node) metric(ctx context.Context, name string) (float64, error) {
	text, err := get(ctx, "http://"+n.ready.Addr+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%w %s", errNoMetric, name)
}

var errNoMetric = errors.New("the node has no metric")

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return text, err
}

// profileFor takes a CPU profile of the node while something runs; the function it returns waits for
// it to be written.
func (n *node) profileFor(ctx context.Context, s *session, name string, seconds int) (wait func() error) {
	if s.profile == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		text, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", n.ready.Debug, max(seconds, 1)))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.profile, name+".pprof"), text, 0o644)
		}
		done <- err
	}()
	return func() error {
		if err := <-done; err != nil {
			return fmt.Errorf("take a CPU profile: %w", err)
		}
		return nil
	}
}

const (
	settleWithin = 10 * time.Minute
	lookEvery    = 500 * time.Millisecond
	// ClickHouse merges a part that is older than ten seconds more readily, so that a pause between two
	// merges is not yet their end.
	longQuiet, shortQuiet = 12 * time.Second, time.Second
)

// quietAfter is how long no merge may run after a load of some length until it counts as settled.
func quietAfter(load time.Duration) time.Duration { return min(max(load/2, shortQuiet), longQuiet) }

// settle waits until the store has merged nothing for a while.
func settle(ctx context.Context, store *clickhouse.Store, quiet time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for since := time.Now(); time.Since(since) < quiet; {
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the store's merges to settle: %w", context.Cause(ctx))
		}
		n, err := number(ctx, store, "SELECT count() FROM system.merges")
		if err != nil {
			return err
		}
		if n > 0 {
			since = time.Now()
		}
	}
	return nil
}
