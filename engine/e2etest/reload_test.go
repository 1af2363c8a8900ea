package e2etest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// binary is `nudge serve` as a process of its own.
type binary struct {
	*place
	mu    sync.Mutex
	lines []string
	cmd   *exec.Cmd
}

func (b *binary) logged(what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if strings.Contains(l, what) {
			return true
		}
	}
	return false
}

func (b *binary) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = nil
}

// serve builds nudge and serves the place with it.
func serve(t *testing.T, p *place) *binary {
	t.Helper()
	lib := library(t)
	path := filepath.Join(t.TempDir(), "nudge")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "nudge/cmd/nudge").CombinedOutput()
	require.NoError(t, err, "%s", out)
	b := &binary{place: p}
	b.cmd = exec.Command(path, "serve", "--listen", p.addr, p.dir)
	b.cmd.Env = append(os.Environ(), "SERVER_KEY="+secretKey, "NUDGE_LIBCHDB="+lib)
	stderr, err := b.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.listen.TCPListener.Close()) // the process takes the address
	require.NoError(t, b.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			b.mu.Lock()
			b.lines = append(b.lines, lines.Text())
			b.mu.Unlock()
			_, _ = p.logs.Write(append(lines.Bytes(), '\n'))
		}
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Signal(syscall.SIGTERM)
		<-read
		require.NoError(t, b.cmd.Wait(), "a stop is no failure")
	})
	p.eventually(func() bool { return b.logged("nudge is up") }, "nudge serves")
	return b
}

func greeting(title, when string) string {
	return "rule: hello\non: {event: Hello}\nwhen: " + when + "\nagain: each_time\nmessage: {out: {title: \"" + title + "\"}}\n"
}

// TestReload saves files beside a running `nudge serve`.
func TestReload(t *testing.T) {
	t.Parallel()
	p := settle(t, map[string]string{
		"nudge.yaml": "data: data\nchannels: {out: {adapter: file, config: {path: out.ndjson}}}\n", "rules/hello.yaml": greeting("One", "true"),
	})
	b := serve(t, p)
	titles := func() string {
		raw, err := os.ReadFile(filepath.Join(p.dir, "out.ndjson"))
		if err != nil {
			return ""
		}
		var out []string
		for line := range bytes.Lines(raw) {
			out = append(out, string(regexp.MustCompile(`"title":"(\w+)"`).FindSubmatch(line)[1]))
			require.True(t, json.Valid(line))
		}
		return strings.Join(out, " ")
	}
	says := func(want string) {
		t.Helper()
		p.track("ann", "Hello", nil)
		p.eventually(func() bool { return titles() == want }, "%s (%s)", want, titles())
	}
	says("One")

	p.write(map[string]string{"rules/hello.yaml": greeting("Two", "true")})
	p.eventually(func() bool { return b.logged("the rules were read again") }, "a saved file is read")
	says("One Two")

	b.forget()
	p.write(map[string]string{"rules/hello.yaml": greeting("Three", "evnt(1) > 2"), "rules/other.yaml": strings.Replace(greeting("Other", "true"), "hello", "other", 1)})
	p.eventually(func() bool { return b.logged("the running rules stay") }, "a wrong file is said")
	require.True(t, b.logged("rules/hello.yaml:3:"), "where")
	says("One Two Two")

	b.forget()
	// The wrong file last: if they are read in between, they are not in use.
	require.NoError(t, os.Remove(filepath.Join(p.dir, "rules", "other.yaml")))
	p.write(map[string]string{"rules/hello.yaml": greeting("Four", "event(\"Hello\").count > 0")})
	require.NoError(t, b.cmd.Process.Signal(syscall.SIGHUP))
	p.eventually(func() bool { return b.logged("the rules were read again") }, "SIGHUP reads the files")
	says("One Two Two Four")

	// A new folder is watched as well.
	b.forget()
	p.write(map[string]string{"rules/more/other.yaml": strings.Replace(greeting("Five", "true"), "hello", "zz", 1)})
	p.eventually(func() bool { return b.logged("the rules were read again") }, "a file in a new folder is read")
	b.forget()
	p.write(map[string]string{"rules/more/other.yaml": strings.Replace(greeting("Six", "false"), "hello", "zz", 1)})
	p.eventually(func() bool { return b.logged("the rules were read again") }, "and read again when it changes")

	// A new key counts at once; a channel that is not open does not.
	raw, err := os.ReadFile(filepath.Join(p.dir, "nudge.yaml"))
	require.NoError(t, err)
	b.forget()
	p.write(map[string]string{"nudge.yaml": string(raw) + "  - {name: second, write_key: another-key}\n"})
	p.eventually(func() bool { return b.logged("the rules were read again") }, "nudge.yaml is read")
	p.ok("POST", "/v1/track", "another-key", `{"userId": "ann", "event": "Other"}`)
	b.forget()
	p.write(map[string]string{
		"nudge.yaml":       strings.Replace(string(raw), "channels: {", "channels: {fresh: {adapter: stdout}, ", 1),
		"rules/fresh.yaml": "rule: fresh\non: {event: Hello}\nagain: each_time\nmessage: {fresh: {title: Fresh}}\n",
	})
	p.eventually(func() bool { return b.logged("restart nudge to open it") }, "a new channel needs a restart")
	says("One Two Two Four Four")
}
