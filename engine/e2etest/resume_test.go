package e2etest_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

var pausedInReport = regexp.MustCompile(`(?s)Paused, until .*nudge resume.*hello .*cannot compile re2`)

// TestResumeBesideServe has the store refuse a rule's condition, and runs `nudge resume` beside a running
// `nudge serve`.
func TestResumeBesideServe(t *testing.T) {
	t.Parallel()
	p := settle(t, map[string]string{
		"nudge.yaml":       "data: data\nchannels: {out: {adapter: file, config: {path: out.ndjson}}}\n",
		"rules/hello.yaml": "rule: hello\non: {event: Hello, where: 'properties.name matches \"\\\\p{L}{1000}\"'}\nagain: each_time\nmessage: {out: {title: Hello}}\n",
	})
	b := serve(t, p)
	nudge := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), b.cmd.Path, append(args, "--dir", p.dir)...)
		cmd.Env = append(os.Environ(), b.cmd.Env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	p.track("ann", "Hello", map[string]any{"name": "x"})
	p.eventually(func() bool { return b.logged("a rule is paused") }, "the rule is paused")
	p.eventually(func() bool {
		out, err := nudge("resume", "hello")
		if err != nil { // the ledger has not heard of it yet
			require.Contains(t, out, "hello is not paused")
			return false
		}
		require.Equal(t, "hello goes on: a running serve takes it up within seconds, else the next one does\n", out)
		return true
	}, "it is asked for")
	p.eventually(func() bool { return b.logged("a rule that was paused goes on") }, "it goes on")

	b.forget()
	p.track("ann", "Hello", map[string]any{"name": "x"})
	p.eventually(func() bool { return b.logged("a rule is paused") }, "the store refuses it still")
	p.eventually(func() bool {
		out, err := nudge("report")
		require.NoError(t, err, out)
		return pausedInReport.MatchString(out)
	}, "the report says so, and why")
}
