package shout

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// startTime is how long a child may take for its first step, stepTime for any other: a step computes, and waits
	// for nobody.
	startTime = 20 * time.Second
	stepTime  = 5 * time.Second
	// closeTime is how long it may take to end.
	closeTime = 5 * time.Second
	// maxStep bounds a line from the child, in bytes: a body, in base64.
	maxStep = 2 * maxBody
	// memory is what the child's garbage collector keeps below, in bytes.
	memory = "64MiB"
)

// Process is the child as its users see it. It is started when it is first asked, once more after it has broken down,
// and ends with its last user. It is safe for concurrent use.
type Process struct {
	turn  chan struct{} // holds a token while nobody talks to the child
	child *child        // nil for none; whoever has the token's

	pid atomic.Int64

	mu    sync.Mutex
	users int
}

// NewProcess returns one that is not started, and has no user.
func NewProcess() *Process {
	p := &Process{turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// PID is the child's process id, 0 while there is none.
func (p *Process) PID() int { return int(p.pid.Load()) }

// Use adds a user, who calls Release at the end.
func (p *Process) Use() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
}

// Release takes a user away. With the last the child ends; Release waits for it.
func (p *Process) Release() {
	p.mu.Lock()
	p.users--
	last := p.users == 0
	p.mu.Unlock()
	if !last {
		return
	}
	<-p.turn
	defer func() { p.turn <- struct{}{} }()
	p.end()
}

// Step asks what comes next of a post whose requests so far got these answers. An error says that there was no word of
// the child, or is that of ctx; it quotes nothing.
func (p *Process) Step(ctx context.Context, post Post, answers []Answer) (Step, error) {
	line, err := json.Marshal(question{Post: post, Answers: answers})
	if err != nil {
		return Step{}, errors.New("the message cannot be written down")
	}
	select {
	case <-p.turn:
	case <-ctx.Done():
		return Step{}, fmt.Errorf("waiting for the process of shoutrrr: %w", ctx.Err())
	}
	type said struct {
		step Step
		err  error
	}
	done := make(chan said, 1)
	go func() { // to its end even if the caller goes away: else the next would read this answer
		step, err := p.exchange(append(line, '\n'))
		p.turn <- struct{}{}
		done <- said{step, err}
	}()
	select {
	case s := <-done:
		return s.step, s.err
	case <-ctx.Done():
		return Step{}, fmt.Errorf("waiting for the process of shoutrrr: %w", ctx.Err())
	}
}

// exchange asks one question. After an error there is no child.
func (p *Process) exchange(line []byte) (Step, error) {
	patience := stepTime
	if p.child != nil && p.child.dead() {
		p.end()
	}
	if p.child == nil {
		var err error
		if p.child, err = start(); err != nil {
			return Step{}, err
		}
		p.pid.Store(int64(p.child.cmd.Process.Pid))
		patience = startTime
	}
	c := p.child
	late := time.AfterFunc(patience, c.kill)
	step, err := c.ask(line)
	if !late.Stop() || err != nil {
		p.end()
		return Step{}, errors.New("the process of shoutrrr broke down; it is started again for the next message")
	}
	return step, nil
}

// end ends the child, if there is one, and waits for it.
func (p *Process) end() {
	if p.child != nil {
		p.pid.Store(0)
		p.child.stop()
		p.child = nil
	}
}

// child is the running process.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	pipe  io.Closer // what out reads from
	out   *bufio.Reader
	ended chan struct{}
}

// start starts this same program as a child.
func start() (*child, error) {
	if os.Getenv(childMark) != "" {
		return nil, errors.New("this program was started as the process of shoutrrr but did not call shout.MaybeRunChild")
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program to start the process of shoutrrr: %w", err)
	}
	//nolint:noctx // it outlives the call that starts it; Release ends it
	cmd := exec.Command(program, ChildArg)
	// Nothing of our environment: secrets stand in it, and the child has no use for any of it.
	cmd.Env = []string{childMark + "=1", "GOMEMLIMIT=" + memory, "GOMAXPROCS=1"}
	c := &child{cmd: cmd, ended: make(chan struct{})}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting the process of shoutrrr: %w", err)
	}
	// A pipe of our own: Wait would close exec's while we still read from it.
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the process of shoutrrr: %w", err)
	}
	cmd.Stdout = theirs
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("starting the process of shoutrrr: %w", err)
	}
	c.pipe, c.out = ours, bufio.NewReaderSize(ours, 64<<10)
	go func() {
		_ = cmd.Wait() // how it ended is told by its answers, which stop
		close(c.ended)
	}()
	return c, nil
}

// ask writes a question and reads the answer.
func (c *child) ask(line []byte) (Step, error) {
	if _, err := c.in.Write(line); err != nil {
		return Step{}, fmt.Errorf("asking: %w", err)
	}
	var said []byte
	for {
		part, err := c.out.ReadSlice('\n')
		said = append(said, part...)
		if len(said) > maxStep {
			return Step{}, errors.New("the answer is too long")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return Step{}, fmt.Errorf("reading the answer: %w", err)
		}
		break
	}
	var step Step
	if err := json.Unmarshal(said, &step); err != nil {
		return Step{}, errors.New("the answer is not JSON")
	}
	return step, nil
}

// dead says whether it has ended.
func (c *child) dead() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// kill ends it at once.
func (c *child) kill() { _ = c.cmd.Process.Kill() }

// stop ends it and waits for it: gently, then not.
func (c *child) stop() {
	_ = c.in.Close()
	late := time.AfterFunc(closeTime, c.kill)
	<-c.ended
	late.Stop()
	_ = c.pipe.Close()
}
