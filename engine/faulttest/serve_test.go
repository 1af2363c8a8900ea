package faulttest_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/workspace"
)

// installation is one workspace with its data, and the process that serves it from time to time.
type installation struct {
	t    *testing.T
	dir  string // of the workspace
	data string // of queue and store
	bin  string
	env  []string
	logs *os.File // standard error of every process, one after the other

	addr atomic.Pointer[string] // where the running process listens, nil while none does

	mu  sync.Mutex
	run *process
	// tail are the last lines of the log.
	tail []string
}

// process is one run of `nudge serve`.
type process struct {
	cmd   *exec.Cmd
	addr  string        // where it listens; after up
	up    chan struct{} // it listens and everything is open
	ended chan struct{}
	err   error // how it ended; after ended
}

const startWithin = 90 * time.Second

// install writes a workspace. data is the folder of queue and store.
func install(t *testing.T, data string, files map[string]string) *installation {
	t.Helper()
	needLibrary(t)
	in := &installation{t: t, dir: t.TempDir(), bin: binary(t), env: os.Environ()}
	if data == "" {
		data = filepath.Join(in.dir, "data")
	}
	in.data = data
	files["nudge.yaml"] += fmt.Sprintf("data: %s\n", data)
	for name, text := range files {
		path := filepath.Join(in.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	var err error
	in.logs, err = os.Create(filepath.Join(in.dir, "serve.log"))
	require.NoError(t, err)
	t.Cleanup(func() {
		engine := in.engine()
		in.kill()
		in.gone(engine) // it ends when it sees the end of its parent, and writes until then
		if t.Failed() {
			in.mu.Lock()
			t.Logf("end of the log of serve:\n%s", strings.Join(in.tail, "\n"))
			in.mu.Unlock()
			if keep := os.Getenv("NUDGE_KEEP"); keep != "" {
				_ = os.MkdirAll(keep, 0o755)
				_ = exec.Command("cp", "-a", in.dir, in.data, keep).Run()
			}
		}
		_ = in.logs.Close()
	})
	return in
}

// workspace is the workspace as nudge reads it.
func (in *installation) workspace() *workspace.Workspace {
	in.t.Helper()
	set, err := all.Set()
	require.NoError(in.t, err)
	ws, findings := workspace.Load(in.dir, workspace.Options{Adapters: set})
	require.NotNil(in.t, ws, "%+v", findings)
	return ws
}

// begin starts a process and does not wait for it.
func (in *installation) begin() *process {
	in.t.Helper()
	cmd := exec.Command(in.bin, "serve", "--listen", "127.0.0.1:0", in.dir)
	cmd.Env = in.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // none outlives the test, whatever ends it
	stderr, err := cmd.StderrPipe()
	require.NoError(in.t, err)
	require.NoError(in.t, cmd.Start())
	p := &process{cmd: cmd, up: make(chan struct{}), ended: make(chan struct{})}
	in.mu.Lock()
	in.run = p
	in.mu.Unlock()
	read := make(chan struct{})
	go func() {
		defer close(read)
		in.follow(p, stderr)
	}()
	go func() {
		<-read
		p.err = cmd.Wait()
		in.addr.Store(nil)
		close(p.ended)
	}()
	return p
}

var listening = regexp.MustCompile(`msg="nudge is up" listen=(\S+)`)

// follow keeps the log and learns the address from it.
func (in *installation) follow(p *process, stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		in.mu.Lock()
		if in.tail = append(in.tail, line); len(in.tail) > 60 {
			in.tail = in.tail[1:]
		}
		_, _ = fmt.Fprintf(in.logs, "[%d] %s\n", p.cmd.Process.Pid, line)
		in.mu.Unlock()
		if m := listening.FindStringSubmatch(line); m != nil {
			p.addr = m[1]
			in.addr.Store(&p.addr)
			close(p.up)
		}
	}
}

// start starts a process and waits until it is up.
func (in *installation) start() {
	in.t.Helper()
	in.waitUp(in.begin())
}

func (in *installation) waitUp(p *process) {
	in.t.Helper()
	late := time.NewTimer(startWithin)
	defer late.Stop()
	select {
	case <-p.up:
	case <-p.ended:
		require.FailNow(in.t, "nudge did not start", "%v", p.err)
	case <-late.C:
		require.FailNow(in.t, "nudge did not start", "after %s", startWithin)
	}
}

// kill ends the process with SIGKILL, if there is one, and waits for its end.
func (in *installation) kill() {
	in.mu.Lock()
	p := in.run
	in.run = nil
	in.mu.Unlock()
	if p == nil {
		return
	}
	in.addr.Store(nil)
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends the process in order.
func (in *installation) stop() {
	in.t.Helper()
	in.mu.Lock()
	p := in.run
	in.run = nil
	in.mu.Unlock()
	require.NotNil(in.t, p)
	require.NoError(in.t, p.cmd.Process.Signal(syscall.SIGTERM))
	late := time.NewTimer(startWithin)
	defer late.Stop()
	select {
	case <-p.ended:
		require.NoError(in.t, p.err, "a stop is no failure")
	case <-late.C:
		require.FailNow(in.t, "nudge did not stop")
	}
}

// engine is the process id of the embedded ClickHouse, 0 while there is none.
func (in *installation) engine() int {
	in.mu.Lock()
	p := in.run
	in.mu.Unlock()
	if p == nil {
		return 0
	}
	for _, pid := range children(p.cmd.Process.Pid) {
		if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(cmdline), "engine-child") {
			return pid
		}
	}
	return 0
}

// children lists the processes that a process has started.
func children(pid int) []int {
	var out []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// signalEngine sends the embedded ClickHouse a signal, as soon as there is one.
func (in *installation) signalEngine(sig syscall.Signal) (pid int) {
	in.t.Helper()
	eventually(in.t, startWithin, func() bool {
		if in.ended() {
			in.begin()
		}
		pid = in.engine()
		return pid != 0 && syscall.Kill(pid, sig) == nil
	}, func() string { return "no embedded ClickHouse to be signalled" })
	return pid
}

// ended says whether no process runs, or it has ended by itself.
func (in *installation) ended() bool {
	in.mu.Lock()
	p := in.run
	in.mu.Unlock()
	if p == nil {
		return true
	}
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
