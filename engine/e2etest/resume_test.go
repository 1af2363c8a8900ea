package e2etest_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var pausedInReport = regexp.MustCompile(`(?s)Paused, until .*nudge resume.*hello .*cannot compile re2`)

// TestResumeBesideServe has the store refuse a rule's condition, and runs `nudge resume` beside a running
// `nudge serve`.
func TestResumeBesideServe(t *testing.T) {
	t.Parallel()
	p := settle(t, map[string]string{
		"nudge.yaml": "data: data\nchannels: {out: {adapter: file, config: {path: out.ndjson}}}\n",
		"rules/hello.yaml": "rule: hello\non: Hello\nagain: each_time\nwith:\n" +
			`  others: everyone.event("Hello", 'properties.name matches "\\\\p{L}{1000}"').within(days(1)).people` + "\nmessage: {out: {title: Hello}}\n",
	})
	b := serve(t, p)
	nudge := func(args ...string) (string, error) { return command(t, p, b, args...) }
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

// command runs a command of nudge beside a running serve.
func command(t *testing.T, p *place, b *binary, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.cmd.Path, append(args, "--dir", p.dir)...)
	cmd.Env = append(os.Environ(), b.cmd.Env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestPauseBesideServe runs `nudge pause` beside a running `nudge serve`, and lets the rule go on again.
func TestPauseBesideServe(t *testing.T) {
	t.Parallel()
	p := settle(t, map[string]string{
		"nudge.yaml":       "data: data\nchannels: {out: {adapter: file, config: {path: out.ndjson}}}\n",
		"rules/hello.yaml": "rule: hello\non: Hello\nagain: each_time\nmessage: {out: {title: Hello}}\n",
		"rules/other.yaml": "rule: other\non: Hello\nagain: each_time\nmessage: {out: {title: Other}}\n",
	})
	b := serve(t, p)
	nudge := func(args ...string) string {
		out, err := command(t, p, b, args...)
		require.NoError(t, err, out)
		return out
	}
	decided := func(rule, want string) bool {
		return strings.HasSuffix(nudge("sql", "--format", "tsv", "SELECT count() AS n FROM decisions WHERE rule = '"+rule+"'"), "\n"+want+"\n")
	}
	require.Equal(t, "hello is paused: a running serve takes it up within seconds, else the next one does\n", nudge("pause", "hello", "--reason", "a typo", "--by", "ann"))
	p.eventually(func() bool { return b.logged("a rule is paused, as it was asked") }, "it is paused")
	p.track("ann", "Hello", nil)
	p.eventually(func() bool { return decided("other", "1") }, "the other rule goes on")
	require.True(t, decided("hello", "0"))
	said := regexp.MustCompile(`hello +\S+ \S+ +ann +a typo`)
	p.eventually(func() bool { return said.MatchString(nudge("report")) }, "the report says who, and why")
	require.Regexp(t, `^hello is paused already, since \S+ \S+ by ann\n$`, nudge("pause", "hello"))

	nudge("resume", "hello")
	p.eventually(func() bool { return b.logged("a rule that was paused goes on") }, "it goes on")
	p.track("bob", "Hello", nil)
	p.eventually(func() bool { return decided("hello", "1") }, "what comes from then on")
}
