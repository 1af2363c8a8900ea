package app

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"nudge/events"
)

// Clock is a clock that stands still until it is set. It may be read concurrently.
type Clock struct{ ms atomic.Int64 }

// NewClock returns a clock that shows at, Unix ms.
func NewClock(at int64) *Clock {
	c := &Clock{}
	c.ms.Store(at)
	return c
}

// Now is what the clock shows.
func (c *Clock) Now() time.Time { return time.UnixMilli(c.ms.Load()) }

// Set moves the clock, forward only.
func (c *Clock) Set(at int64) {
	if at > c.ms.Load() {
		c.ms.Store(at)
	}
}

// Sim steps an App on a Clock: the clock jumps from one arrival or due time to the next, and at each
// everything runs to its end before it goes on.
type Sim struct {
	app   *App
	clock *Clock
}

// NewSim returns a Sim of an App that was opened with the clock's Now.
func NewSim(a *App, c *Clock) *Sim { return &Sim{app: a, clock: c} }

// Feed makes events arrive now, in order, and returns when the store has them and `on:` rules have
// heard them.
func (s *Sim) Feed(ctx context.Context, evs []events.Event) error {
	const most = 2000
	for len(evs) > 0 {
		n := min(len(evs), most)
		if _, err := s.app.Append(ctx, evs[:n]); err != nil {
			return fmt.Errorf("feed %d events: %w", n, err)
		}
		evs = evs[n:]
	}
	return s.settle(ctx)
}

// settle takes in what has arrived, sends what was decided, and takes in what became of it, until
// nothing is left to do now.
func (s *Sim) settle(ctx context.Context) error {
	a := s.app
	for range maxRounds {
		if err := a.Writer.WaitFor(ctx, a.acked.position()); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		now := s.clock.Now().UnixMilli()
		if err := a.Engine.Arrived(ctx, now); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		if err := a.Engine.Step(ctx, now); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		before := a.acked.position()
		if err := a.Sender.Settle(ctx, now); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		if err := a.Engine.CatchUp(ctx, now); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		if next, ok := s.next(ctx); a.acked.position() == before && (!ok || next > now) {
			return nil
		}
	}
	return fmt.Errorf("the rules kept each other busy for %d rounds at one instant: two rules answer each other's messages", maxRounds)
}

// maxRounds bounds what may happen at one instant.
const maxRounds = 100

func (s *Sim) next(ctx context.Context) (int64, bool) {
	next, ok, err := s.app.Engine.Next(ctx)
	if err != nil {
		return 0, false
	}
	if at, due := s.app.Sender.Next(); due && (!ok || at < next) {
		next, ok = at, true
	}
	return next, ok
}

// Advance moves the clock to at (Unix ms), stopping at every instant at which something is due.
// after is called behind each stop and may be nil.
func (s *Sim) Advance(ctx context.Context, at int64, after func(now int64)) error {
	for {
		next, ok := s.next(ctx)
		if !ok || next > at {
			s.clock.Set(at)
			return nil
		}
		s.clock.Set(next)
		if err := s.settle(ctx); err != nil {
			return err
		}
		if after != nil {
			after(next)
		}
	}
}

// Flush writes what was decided so far to the ledger.
func (s *Sim) Flush(ctx context.Context) error {
	return s.app.Ledger.Flush(ctx) //nolint:wrapcheck // says what it was doing
}
