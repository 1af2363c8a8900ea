package send

import (
	"context"
	"sync"
)

// group commits items of many callers together: while one write is under way, what arrives waits
// and goes with the next.
type group[T any] struct {
	write func(items []T) error

	mu   sync.Mutex
	next *commit[T]
	busy bool
}

type commit[T any] struct {
	items []T
	done  chan struct{}
	err   error
}

// add returns when the items are written, or with the error of the write. When ctx ends first the
// items may still be written.
func (g *group[T]) add(ctx context.Context, items []T) error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &commit[T]{done: make(chan struct{})}
	}
	c := g.next
	c.items = append(c.items, items...)
	if !g.busy {
		g.busy = true
		go g.run()
	}
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *group[T]) run() {
	for {
		g.mu.Lock()
		c := g.next
		g.next = nil
		if c == nil {
			g.busy = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		c.err = g.write(c.items)
		close(c.done)
	}
}
