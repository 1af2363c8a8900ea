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
	for name, text := range map[string]string{
		"nudge.yaml": "zone: UTC\nlisten: " + address + "\nchannels: {push: {adapter: stdout, kind: push}}\n" +
			"keys: [{name: web, write_key: wk_web}]\n",
		"map.yaml": "source: till\ntime: {column: at, format: unix}\nuser_id: {column: customer}\nevents: [{event: Order Completed}]\n",
		"rows.csv": "customer,at\nann,1767225600\nbob,1767225601\nann,1767225602\n",
		"hello.yaml": "rule: hello\non: {event: Order Completed}\nagain: each_time\n" +
			"message: {push: {body: nobody is to read this}}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "rules"), 0o700))
	require.NoError(t, os.Rename(filepath.Join(dir, "hello.yaml"), filepath.Join(dir, "rules/hello.yaml")))

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
	require.Equal(t, "0 rows read, 0 events stored, 3 rows were done before\n", out)
	require.Eventually(t, func() bool {
		out, _ = command("sql", "--dir", dir, "--format", "tsv", "SELECT user_id, count() FROM events GROUP BY user_id ORDER BY user_id")
		return out == "user_id\tcount()\nann\t2\nbob\t1\n"
	}, 30*time.Second, 50*time.Millisecond, "what is acknowledged is stored")
	stop()
	require.NoError(t, <-served)
	require.Empty(t, sent.String(), "imported history triggers nothing")
}
