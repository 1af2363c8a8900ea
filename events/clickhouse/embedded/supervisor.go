// Package embedded is ClickHouse without a server to install: the engine as a library (chDB,
// libchdb.so) in a child process that speaks ClickHouse's HTTP interface on a socket in the data
// folder.
//
// It is a process of its own for two reasons. A data folder can be open in one process only, so
// `nudge report` beside a running `nudge serve` talks to the socket of the child that is already
// there. And a crash of the engine, or the kernel's out-of-memory killer, must not take the ingest
// endpoint with it: the child is started again, on the same folder.
//
// The child ends when the pipe on its standard input closes, which the kernel does however its
// parent ends, so that no orphan keeps the folder.
package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Config of Start.
type Config struct {
	Dir       string  // data folder of the store; created where missing
	Lib       string  // path of libchdb.so; "" searches (FindLib)
	Memory    float64 // share of the machine's memory; 0 is DefaultMemory
	Temporary bool    // the child removes Dir when it ends
	Logger    *slog.Logger
}

// Engine is the embedded engine as its users see it: a socket that answers. It is safe for
// concurrent use.
type Engine struct {
	opts   Options
	log    *slog.Logger
	socket string
	done   func()

	closing chan struct{}
	closed  chan struct{} // the supervisor has ended
	poke    chan struct{} // a dial failed: look whether the engine is there
	close   sync.Once

	mu      sync.Mutex
	pid     int           // of our child; 0 when it is another process's
	err     error         // why the last start failed; nil when it did not
	changed chan struct{} // closed at the next change of the above
}

const (
	startTimeout  = 60 * time.Second // a large folder is checked when it is opened
	closeTimeout  = 15 * time.Second
	firstBackoff  = 100 * time.Millisecond
	longBackoff   = 5 * time.Second
	soundAfter    = 20 * time.Second // a child that lived this long did not fail at its start
	joinAgain     = 50 * time.Millisecond
	dialAgain     = 200 * time.Millisecond
	stderrKept    = 4 << 10
	stderrLineMax = 64 << 10
)

// Start joins the engine that has cfg.Dir open, or starts one. It returns when the engine answers;
// from then on it is kept running until Close.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	if os.Getenv(childMark) != "" {
		return nil, errors.New("this program was started as the embedded engine but did not call embedded.MaybeRunChild")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("the store's folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the store's folder: %w", err)
	}
	lib, err := FindLib(cfg.Lib)
	if err != nil {
		return nil, err
	}
	socket, done, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		opts: Options{Lib: lib, Dir: dir, Memory: cfg.Memory, Temporary: cfg.Temporary},
		log:  cfg.Logger, socket: socket, done: done,
		closing: make(chan struct{}), closed: make(chan struct{}), poke: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.log = e.log.With("component", "embedded clickhouse")
	e.mu.Lock()
	first := e.changed
	e.mu.Unlock()
	go e.supervise()
	select {
	case <-first:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), e.Close())
	}
	e.mu.Lock()
	err = e.err
	e.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// PID is the process id of the child, or 0 while there is none or it belongs to another process.
func (e *Engine) PID() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pid
}

// Dial connects to the engine's socket. While the engine is being started again it waits, until ctx
// ends or the start fails. Its signature is that of clickhouse.Options.DialContext.
func (e *Engine) Dial(ctx context.Context, _ string) (net.Conn, error) {
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		conn, err := e.dial(ctx)
		if err == nil {
			return conn, nil
		}
		select {
		case e.poke <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-time.After(dialAgain): //nolint:forbidigo // processes are waited for in real time
			continue
		case <-e.closing:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("the embedded ClickHouse does not answer: %w", ctx.Err())
		}
		e.mu.Lock()
		err = e.err
		e.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
}

func (e *Engine) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", e.socket)
}

// Close ends the child, if it is ours, and waits for it.
func (e *Engine) Close() error {
	e.close.Do(func() { close(e.closing) })
	<-e.closed
	return nil
}

// set publishes a change of state to those who wait in Dial and Start.
func (e *Engine) set(pid int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pid, e.err = pid, err
	close(e.changed)
	e.changed = make(chan struct{})
}

// supervise keeps an engine behind the socket until Close.
func (e *Engine) supervise() {
	defer close(e.closed)
	defer e.done()
	backoff := firstBackoff
	for {
		child, err := e.joinOrStart()
		switch {
		case errors.Is(err, net.ErrClosed):
			e.set(0, err)
			return
		case err != nil:
			e.set(0, err)
			e.log.Error("cannot start", "err", err, "again in", backoff)
		case child == nil: // joined
			e.set(0, nil)
			select {
			case <-e.poke:
				continue
			case <-e.closing:
				return
			}
		default:
			e.set(child.cmd.Process.Pid, nil)
			sound := time.NewTimer(soundAfter)
			select {
			case <-child.ended:
			case <-e.closing:
				sound.Stop()
				child.stop()
				return
			}
			if !sound.Stop() {
				backoff = firstBackoff
			}
			e.mu.Lock()
			e.pid = 0
			e.mu.Unlock()
			e.log.Warn("ended, starting it again", "err", child.err, "stderr", child.stderr.String(), "in", backoff)
		}
		select {
		case <-time.After(backoff): //nolint:forbidigo // processes are waited for in real time
		case <-e.closing:
			return
		}
		backoff = min(2*backoff, longBackoff)
	}
}

// joinOrStart returns a ready child of ours, or nil when another process's engine answers.
func (e *Engine) joinOrStart() (*child, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		if conn, err := e.dial(ctx); err == nil {
			return nil, conn.Close()
		}
		c, err := startChild(e.opts, e.log)
		if err != nil {
			return nil, err
		}
		select {
		case word := <-c.said:
			if word == saidReady {
				return c, nil
			}
		case <-c.ended:
			return nil, fmt.Errorf("the embedded ClickHouse did not start: %w: %s", c.err, c.stderr.String())
		case <-e.closing:
			c.stop()
			return nil, net.ErrClosed
		case <-ctx.Done():
			c.stop()
			return nil, fmt.Errorf("the embedded ClickHouse did not open %s within %s", e.opts.Dir, startTimeout)
		}
		// Locked: another process opens the folder at this moment, or its engine is about to end.
		c.stop()
		select {
		case <-time.After(joinAgain): //nolint:forbidigo // processes are waited for in real time
		case <-e.closing:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w, and its engine does not answer", e.opts.Dir, ErrLocked)
		}
	}
}

// child is the engine's process.
type child struct {
	cmd    *exec.Cmd
	pipe   io.Closer   // its standard input: closed, it ends
	said   chan string // the first word on its standard output
	ended  chan struct{}
	err    error // how it ended; after ended
	stderr tail
}

func startChild(o Options, log *slog.Logger) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to start the engine: %w", err)
	}
	args, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("options of the engine: %w", err)
	}
	//nolint:noctx // it outlives the call that starts it; Close ends it
	cmd := exec.Command(program, ChildArg, string(args))
	// libchdb takes its server time zone from here.
	cmd.Env = append(os.Environ(), childMark+"=1", "TZ=UTC")
	c := &child{cmd: cmd, said: make(chan string, 1), ended: make(chan struct{})}
	if c.pipe, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("pipe to the engine: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("pipe from the engine: %w", err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("pipe from the engine: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(stdout)
		if lines.Scan() {
			c.said <- lines.Text()
		}
		_, _ = io.Copy(io.Discard, stdout)
	})
	reading.Go(func() {
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, stderrLineMax)
		for lines.Scan() {
			c.stderr.add(lines.Text())
			log.Info("engine", "line", lines.Text())
		}
		_, _ = io.Copy(io.Discard, stderr)
	})
	go func() {
		reading.Wait()
		c.err = cmd.Wait()
		if c.err == nil {
			c.err = errors.New("it ended by itself")
		}
		close(c.ended)
	}()
	return c, nil
}

// stop ends the child and waits for it: gently, then not.
func (c *child) stop() {
	_ = c.pipe.Close()
	select {
	case <-c.ended:
		return
	case <-time.After(closeTimeout): //nolint:forbidigo // processes are waited for in real time
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// tail keeps the last of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(append(t.text, line...), '\n')
	if extra := len(t.text) - stderrKept; extra > 0 {
		t.text = t.text[extra:]
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
