package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
)

// TestWatchedTests breaks a rule, and mends it, while its tests are watched.
func TestWatchedTests(t *testing.T) {
	if _, err := embedded.FindLib(""); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	rule := func(hours string) string {
		return "rule: cart\nschedule: \"*/5 * * * *\"\nwhen: did(\"Product Added\") and event(\"Product Added\").last.ago >= hours(" + hours + ")\nagain: never\nmessage: {push: {body: Hello}}\n"
	}
	write("nudge.yaml", "zone: UTC\nchannels: {push: {adapter: stdout, kind: push}}\n")
	write("rules/cart.yaml", rule("1"))
	write("tests/cart_test.yaml", `- name: an hour later
  people:
    ann: {devices: [ios]}
  events:
    - 10m ann Product Added
  expect:
    - 1h10m ann cart: {channel: push}
  until: 2h
`)

	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	cmd := root(streams{in: strings.NewReader(""), out: w, err: w})
	cmd.SetArgs([]string{"test", "--watch", dir})
	done := make(chan error, 1)
	go func() {
		done <- cmd.ExecuteContext(ctx)
		_ = w.Close()
	}()
	lines := bufio.NewScanner(r)
	until := func(text string) {
		t.Helper()
		var seen []string
		for lines.Scan() {
			if seen = append(seen, lines.Text()); strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("%q does not come:\n%s", text, strings.Join(seen, "\n"))
	}
	until("1 test, 1 ok, 0 failed")
	until("waiting for a file to change")
	write("rules/cart.yaml", rule("one"))
	until("error")
	until("waiting for a file to change")
	write("rules/cart.yaml", rule("3"))
	until("1 test, 0 ok, 1 failed")
	until("waiting for a file to change")
	write("rules/cart.yaml", rule("1"))
	until("1 test, 1 ok, 0 failed")
	stop()
	go func() {
		for lines.Scan() {
		}
	}()
	require.NoError(t, <-done)
}
