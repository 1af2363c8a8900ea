package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// generator sends calls over HTTP from a number of connections, each waiting for its answer before it sends
// the next request. It speaks HTTP/1.1 by hand, because what it costs is taken from the node that is
// measured on the same cores.
type generator struct {
	addr        string
	key         string // write key
	connections int
	batch       int // events a request; 1 is /v1/track
	people      int
	lane        uint64
	rate        float64 // events a second over all connections; 0 is as fast as they are answered
	trigger     bool    // every tenth call is a trigger, and no other
	// gate, when set, is called before each request and waits while the load must pause.
	gate func(ctx context.Context) error

	acks   latencies    // one for each request
	acked  atomic.Int64 // events that were answered with 200
	fresh  atomic.Int64 // of them new, not sent before
	flawed atomic.Int64 // of them against the plan
	// triggers are those that are trigger, of the new ones.
	triggers atomic.Int64
	full     atomic.Int64 // requests that were answered with 503
}

// run sends until ctx ends or something is wrong. Requests on their way at the end are waited for.
func (g *generator) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	for i := range g.connections {
		group.Go(func() {
			if err := g.connection(ctx, i); err != nil {
				stop(err)
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// answerWithin bounds the wait for an answer.
const answerWithin = time.Minute

func (g *generator) connection(ctx context.Context, n int) error {
	// Each connection sends a request at least, however slow the machine and short the run.
	conn, err := (&net.Dialer{Timeout: answerWithin}).DialContext(context.WithoutCancel(ctx), "tcp", g.addr)
	if err != nil {
		return fmt.Errorf("connect to the node: %w", err)
	}
	defer conn.Close()
	source := newCalls(g.lane<<12|uint64(n), g.people)
	if g.trigger {
		source.triggering()
	}
	r := bufio.NewReaderSize(conn, 4096)
	var request, body []byte
	every := time.Duration(0)
	if g.rate > 0 {
		every = time.Duration(float64(g.connections*g.batch) / g.rate * float64(time.Second))
	}
	due := time.Now().Add(every * time.Duration(n) / time.Duration(g.connections))
	for first := true; first || ctx.Err() == nil; first = false {
		if g.gate != nil && g.gate(ctx) != nil {
			return nil
		}
		if every > 0 {
			if !waitUntil(ctx, due) {
				return nil
			}
			due = due.Add(every)
		}
		now := time.Now()
		source.setTime(now)
		var fresh, flawed int64
		body, fresh, flawed = g.body(body[:0], source)
		request = g.request(request[:0], body)
		for {
			if err := conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
				return fmt.Errorf("send to the node: %w", err)
			}
			start := time.Now()
			if _, err := conn.Write(request); err != nil {
				return fmt.Errorf("send to the node: %w", err)
			}
			status, answer, err := readAnswer(r)
			if err != nil {
				return fmt.Errorf("read the node's answer: %w", err)
			}
			if status == 200 && !bytes.Contains(answer, []byte("refused")) {
				g.acks.add(time.Since(start))
				break
			}
			if status != 503 {
				return fmt.Errorf("the node answered %d: %s", status, answer)
			}
			g.full.Add(1)
			if !waitUntil(ctx, time.Now().Add(100*time.Millisecond)) {
				return nil
			}
		}
		g.acked.Add(int64(g.batch))
		g.fresh.Add(fresh)
		g.flawed.Add(flawed)
		g.triggers.Add(source.takeTriggers())
	}
	return nil
}

// waitUntil waits for an instant; false when ctx ends first.
func waitUntil(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// body writes the next request's body and says how many of its events are new and how many of those
// are flawed.
func (g *generator) body(dst []byte, source *calls) (_ []byte, fresh, flawed int64) {
	add := func() {
		var isFresh, isFlawed bool
		dst, isFresh, isFlawed = source.append(dst)
		if isFresh {
			fresh++
		}
		if isFlawed {
			flawed++
		}
	}
	if g.batch == 1 {
		add()
		dst = append(append(dst[:len(dst)-1], `,"sentAt":"`...), source.stamp...)
		return append(dst, `"}`...), fresh, flawed
	}
	dst = append(dst, `{"batch":[`...)
	for i := range g.batch {
		if i > 0 {
			dst = append(dst, ',')
		}
		add()
	}
	dst = append(append(dst, `],"sentAt":"`...), source.stamp...)
	return append(dst, `"}`...), fresh, flawed
}

func (g *generator) request(dst, body []byte) []byte {
	path := "/v1/batch"
	if g.batch == 1 {
		path = "/v1/track"
	}
	dst = fmt.Appendf(dst, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		path, g.addr, g.key, len(body))
	return append(dst, body...)
}

// readAnswer reads one answer, which must have a Content-Length.
func readAnswer(r *bufio.Reader) (status int, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("%q is no status line", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("%q is no status line", line)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, nil, fmt.Errorf("%q is no length", value)
			}
		}
	}
	if length < 0 {
		return 0, nil, errors.New("the answer has no Content-Length")
	}
	body = make([]byte, length)
	_, err = io.ReadFull(r, body)
	return status, body, err
}
