package writer

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff waits longer after each failure, and says when an error is worth a log line: when it is
// another one than the last.
type backoff struct {
	failures int
	last     string
}

const (
	shortestWait = 50 * time.Millisecond
	longestWait  = 5 * time.Second
)

// changed counts a failure.
func (b *backoff) changed(err error) bool {
	b.failures++
	was := b.last
	b.last = err.Error()
	return b.last != was
}

// wait returns ctx's error if it ends first.
func (b *backoff) wait(ctx context.Context) error {
	d := min(shortestWait<<min(b.failures, 16), longestWait)
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
