package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
)

// While a serve has the workspace open, an import goes through it, and reading goes on beside it.
func TestImportThroughServe(t *testing.T) {
	if _, err := embedded.FindLib(""); err != nil {
		t.Skip(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"nudge.yaml": "zone: UTC\nlisten: " + address + "\nchannels: {push: {adapter: stdout, kind: push}}\n" +
			"keys: [{name: web, write_key: wk_web}]\n",
		"map.yaml": "source: till\ntime: {column: at, format: unix}\nuser_id: {column: customer}\nevents: [{event: Order Completed}]\n",
		"rows.csv": "customer,at\nann,1767225600\nbob,1767225601\nann,1767225602\n",
		"rules/hello.yaml": "rule: hello\non: {event: Order Completed}\nagain: each_time\n" +
			"message: {push: {body: nobody is to read this}}\n",
	})

	ctx, stop := context.WithCancel(t.Context())
	logs, logged := io.Pipe()
	served := make(chan error, 1)
	var sent bytes.Buffer
	go func() {
		err := serve(ctx, streams{out: &sent, err: io.Discard}, dir, "", slog.New(slog.NewTextHandler(logged, nil)))
		_ = logged.Close()
		served <- err
	}()
	up := make(chan string, 1)
	go func() { // a pipe that nobody reads would stop serve
		var all strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := logs.Read(buf)
			all.Write(buf[:n])
			if strings.Contains(all.String(), "nudge is up") || err != nil {
				select {
				case up <- all.String():
				default:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	require.Contains(t, <-up, "nudge is up")

	command := func(args ...string) (string, string) {
		var out, errOut bytes.Buffer
		require.Equal(t, exitFine, run(args, strings.NewReader(""), &out, &errOut), "%s\n%s", &out, &errOut)
		return out.String(), errOut.String()
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	out, said := command("import", in("rows.csv"), "--map", in("map.yaml"), "--dir", dir)
	require.Equal(t, "3 rows read, 3 events stored\n", out)
	require.Contains(t, said, fmt.Sprintf("through the serve at http://%s, with the key web", address))
	out, _ = command("import", in("rows.csv"), "--map", in("map.yaml"), "--dir", dir)
	require.Equal(t, "0 rows read, 0 events stored, 3 rows done before\n", out)
	require.Eventually(t, func() bool {
		out, _ = command("sql", "--dir", dir, "--format", "tsv", "SELECT user_id, count() FROM events GROUP BY user_id ORDER BY user_id")
		return out == "user_id\tcount()\nann\t2\nbob\t1\n"
	}, 30*time.Second, 50*time.Millisecond, "what is acknowledged is stored")
	stop()
	require.NoError(t, <-served)
	require.Empty(t, sent.String(), "imported history triggers nothing")
}

// stopper ends what is under way at the first line of progress.
type stopper struct {
	stop  context.CancelFunc
	lines bytes.Buffer
}

// Write implements io.Writer.
func (s *stopper) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("rows/s")) {
		s.stop()
	}
	return s.lines.Write(b)
}

// After an import that was stopped the same command stores the rest, and nothing twice. (Where it goes
// on is tested in events/history.)
func TestImportAfterAStop(t *testing.T) {
	if _, err := embedded.FindLib(""); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	const rows = 30_000
	var csv bytes.Buffer
	csv.WriteString("customer,at\n")
	for i := range rows {
		fmt.Fprintf(&csv, "c%d,%d\n", i%100, 1767225600+i)
	}
	write(t, dir, map[string]string{
		"nudge.yaml": "zone: UTC\nlisten: 127.0.0.1:1\nchannels: {push: {adapter: stdout, kind: push}}\n",
		"map.yaml":   "source: till\ntime: {column: at, format: unix}\nuser_id: {column: customer}\nevents: [{event: Order Completed}]\n",
		"rows.csv":   csv.String(),
	})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	said := &stopper{stop: stop}
	flags := importFlags{mapping: filepath.Join(dir, "map.yaml"), dir: dir, format: "text"}
	var out bytes.Buffer
	err := runImport(ctx, streams{out: &out, err: said}, filepath.Join(dir, "rows.csv"), flags)
	var exit *exitError
	require.ErrorAs(t, err, &exit, "%s", &said.lines)
	require.Equal(t, exitFailed, exit.Code)
	require.ErrorContains(t, err, "goes on from here")

	require.NoError(t, runImport(t.Context(), streams{out: &out, err: io.Discard}, filepath.Join(dir, "rows.csv"), flags))
	out.Reset()
	require.NoError(t, runSQL(t.Context(), streams{out: &out, err: io.Discard}, dir, "SELECT count(), uniqExact(message_id) FROM events", "tsv"))
	require.Equal(t, fmt.Sprintf("count()\tuniqExact(message_id)\n%d\t%d\n", rows, rows), out.String())
}

// write makes files in a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}
