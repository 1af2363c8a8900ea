package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// child is a process of this same program that plays a part. It ends when its standard input does,
// which the kernel sees to however this process ends.
type child struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan error
}

const (
	startWithin = 2 * time.Minute
	stopWithin  = 40 * time.Second
)

// startChild starts a hidden command and decodes the line of JSON with which it says that it is ready.
func startChild(ctx context.Context, name string, args []string, logs io.Writer, ready any) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to start %s: %w", name, err)
	}
	c := &child{name: name, cmd: exec.Command(program, args...), ended: make(chan error, 1)} //nolint:noctx // it is ended by its standard input, and waited for
	c.cmd.Env = append(os.Environ(), childEnv+"=1")
	c.cmd.Stderr = logs
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	said := make(chan error, 1)
	go func() {
		dec := json.NewDecoder(stdout)
		said <- dec.Decode(ready)
		_, _ = io.Copy(io.Discard, stdout)
		c.ended <- c.cmd.Wait()
	}()
	t := time.NewTimer(startWithin)
	defer t.Stop()
	select {
	case err = <-said:
	case <-t.C:
		err = fmt.Errorf("it was not ready after %s", startWithin)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), c.stop())
	}
	return c, nil
}

// childEnv marks a process as a child of this program: under it the hidden commands run, and a test
// binary becomes the program.
const childEnv = "NUDGE_BENCH_CHILD"

// process is the child as something whose CPU is counted.
func (c *child) process() process { return process{c.name, c.cmd.Process.Pid} }

// stop ends the child in order, and by force when that takes too long.
func (c *child) stop() error {
	err := c.stdin.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil // it has ended by itself
	}
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case e := <-c.ended:
		return errors.Join(err, e)
	case <-t.C:
		err = errors.Join(err, fmt.Errorf("%s did not end within %s and was killed", c.name, stopWithin), c.cmd.Process.Kill())
		return errors.Join(err, <-c.ended)
	}
}

// untilEOF is a context that ends when the parent closes its end of standard input.
func untilEOF(ctx context.Context, in io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return ctx, cancel
}
