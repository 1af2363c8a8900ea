package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"nudge/events"
)

const (
	// maxMessage is how many bytes of events one queue message may carry, a little below what the
	// queue accepts.
	maxMessage = 880_000
	// maxWaiting bounds the events that wait in memory for the queue; beyond it callers are told to
	// come back.
	maxWaiting = 64 << 20
	// appendTimeout is how long the queue may take for one message.
	appendTimeout = 30 * time.Second
	// inFlight is how many messages are on their way to the queue at once. One is fastest where it was
	// measured: more only make smaller messages, and each costs a sync.
	inFlight = 1
)

// errBusy says that too much is waiting for the queue already.
var errBusy = errors.New("too many events are waiting to be written")

// errClosed says that the server is shutting down.
var errClosed = errors.New("the server is shutting down")

// Appender is the durable queue.
type Appender interface {
	// Append writes the events as one message and returns when it is safe on disk. It may be called
	// concurrently. It keeps nothing of evs, nor of the memory that the events refer to, once it
	// returns.
	Append(ctx context.Context, evs []events.Event) (seq uint64, err error)
}

// committer gathers the events of callers that arrive within a moment into shared messages, so that
// they share one sync. It waits for nobody: a message is as large as what arrived while the ones
// before it were written. It may be used concurrently.
type committer struct {
	queue   Appender
	now     func() time.Time
	metrics *metrics

	mu      sync.Mutex
	groups  []*group // waiting; only the last may still grow
	spare   [][]events.Event
	running int // messages on their way
	waiting int // bytes in groups and on their way
	closed  bool
	idle    chan struct{} // closed when closed and nothing runs
}

// group is one message to be.
type group struct {
	evs  []events.Event
	size int
	done chan struct{} // closed when err is final
	err  error
}

func newCommitter(queue Appender, now func() time.Time, m *metrics) *committer {
	return &committer{queue: queue, now: now, metrics: m, idle: make(chan struct{})}
}

// commit returns when the events are durable, or with the reason why they may not be. It does not
// return before the queue is done with them, so the caller may reuse their memory afterwards.
func (c *committer) commit(evs []events.Event) error {
	if len(evs) == 0 {
		return nil
	}
	var one [1]*group
	groups, err := c.enter(evs, one[:0])
	if err != nil {
		return err
	}
	for _, g := range groups {
		<-g.done
		err = errors.Join(err, g.err)
	}
	return err
}

// enter puts the events into groups, in order, and appends those to joined.
func (c *committer) enter(evs []events.Event, joined []*group) ([]*group, error) {
	total := 0
	for i := range evs {
		total += events.EncodedSize(&evs[i])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.waiting+total > maxWaiting {
		return nil, errBusy
	}
	c.waiting += total
	g := c.last()
	if g != nil && g.size+total <= maxMessage && len(g.evs)+len(evs) < events.MaxPerMessage {
		g.evs, g.size = append(g.evs, evs...), g.size+total // all fit, the usual case
		joined = append(joined, g)
	} else {
		for i := range evs {
			size := events.EncodedSize(&evs[i])
			if g == nil || len(g.evs) > 0 && (g.size+size > maxMessage || len(g.evs)+1 >= events.MaxPerMessage) {
				g = c.open()
			}
			g.evs, g.size = append(g.evs, evs[i]), g.size+size
			if !slices.Contains(joined, g) {
				joined = append(joined, g)
			}
		}
	}
	for n := 0; n < len(c.groups) && c.running < inFlight; n++ {
		c.running++
		go c.write()
	}
	return joined, nil
}

func (c *committer) last() *group {
	if len(c.groups) == 0 {
		return nil
	}
	return c.groups[len(c.groups)-1]
}

func (c *committer) open() *group {
	g := &group{done: make(chan struct{})}
	if n := len(c.spare); n > 0 {
		g.evs, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	c.groups = append(c.groups, g)
	return g
}

// write hands waiting groups to the queue, oldest first, until none is left.
func (c *committer) write() {
	for {
		g := c.next()
		if g == nil {
			return
		}
		start := c.now()
		ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
		_, err := c.queue.Append(ctx, g.evs)
		cancel()
		if err != nil {
			g.err = fmt.Errorf("write %d events to the queue: %w", len(g.evs), err)
		}
		c.metrics.committed(len(g.evs), c.now().Sub(start), err)
		c.finish(g)
	}
}

func (c *committer) next() *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.groups) > 0 {
		g := c.groups[0]
		c.groups = slices.Delete(c.groups, 0, 1)
		return g
	}
	c.running--
	if c.closed && c.running == 0 {
		close(c.idle)
	}
	return nil
}

func (c *committer) finish(g *group) {
	evs := g.evs
	g.evs = nil
	clear(evs)
	close(g.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= g.size
	if len(c.spare) < inFlight {
		c.spare = append(c.spare, evs[:0])
	}
}

// close refuses new events and returns when all that entered are answered, or when ctx ends.
func (c *committer) close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.running == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	select {
	case <-c.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for events that are being written: %w", ctx.Err())
	}
}
