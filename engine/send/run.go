package send

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"nudge/events/queue"
)

// saveSettled is after how many calls of Settle that did something the positions are saved: a
// simulated day has thousands, and every save is 16 synced messages.
const saveSettled = 256

// Run delivers until ctx ends or Drain is called. When ctx ends, calls under way are cancelled;
// what they may have sent is treated as after a crash. It returns ctx's error, nil after Drain, or
// what made it stop: queue.ErrFenced when another sender is on a shard.
func (s *Sender) Run(ctx context.Context) error {
	if s.opts.Now == nil {
		return errors.New("run the sender: Options.Now is missing; pass the process's clock")
	}
	defer close(s.ended)
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	release := s.begin(run, clockOf(s.opts.Now), stop)
	defer release()
	if err := s.recover(run); err != nil {
		return err
	}
	// feed ends first: nothing new is taken on, what is under way goes to its end.
	feed, full := context.WithCancel(run)
	defer full()
	var loops, calls sync.WaitGroup
	loops.Go(func() { s.follow(feed, stop) })
	loops.Go(func() { s.refillLoop(feed, stop) })
	loops.Go(func() { s.saveLoop(feed) })
	for _, p := range s.all {
		loops.Go(func() { s.pump(feed, run, p, &calls, stop) })
	}
	select {
	case <-run.Done():
	case <-s.drain:
	}
	full()
	loops.Wait()
	calls.Wait()
	if err := s.Save(s.life()); err != nil {
		s.log.Warn("the next start reads more again", "error", err)
	}
	if run.Err() != nil {
		return context.Cause(run)
	}
	return nil
}

// begin sets what differs between a run and a settling; the function it returns ends it.
func (s *Sender) begin(run context.Context, clock func() int64, stop context.CancelCauseFunc) (release func()) {
	life, end := context.WithCancel(context.WithoutCancel(run))
	s.lifetime.Store(&life)
	s.mu.Lock()
	s.clock = clock
	s.fatal = func(err error) { stop(err) }
	s.mu.Unlock()
	unwatch := context.AfterFunc(run, func() {
		if sleep(life, s.opts.Grace) == nil {
			end()
		}
	})
	return func() {
		unwatch()
		end()
	}
}

// follow reads the decision stream as it grows.
func (s *Sender) follow(ctx context.Context, stop context.CancelCauseFunc) {
	err := s.opts.Decisions.Read(ctx, queue.AllShards, s.pos, func(rec queue.Record) error { return s.take(ctx, rec) })
	if ctx.Err() == nil {
		stop(fmt.Errorf("the sender cannot read decisions: %w", err))
	}
}

func (s *Sender) refillLoop(ctx context.Context, stop context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.refilled:
		}
		if _, err := s.refill(ctx); err != nil && ctx.Err() == nil {
			stop(fmt.Errorf("the sender cannot read decisions again: %w", err))
		}
	}
}

func (s *Sender) saveLoop(ctx context.Context) {
	t := time.NewTicker(s.opts.SaveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := s.Save(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("the sender's position cannot be saved; trying again", "error", err)
			}
		}
	}
}

// pump dispatches what a provider may send, whenever there is something.
func (s *Sender) pump(feed, run context.Context, p *provider, calls *sync.WaitGroup, stop context.CancelCauseFunc) {
	for feed.Err() == nil {
		now := s.clock()
		did, err := s.dispatch(run, feed, p, now, calls)
		if err != nil {
			stop(err)
			return
		}
		if did {
			continue
		}
		s.mu.Lock()
		at := p.nextAt(now)
		s.mu.Unlock()
		if !p.idle(feed, at, now) {
			return
		}
	}
}

// idle waits until the provider is signalled or the instant `at` (0: none) has come.
func (p *provider) idle(ctx context.Context, at, now int64) bool {
	var due <-chan time.Time
	if at != 0 {
		t := time.NewTimer(time.Duration(max(at-now, 1)) * time.Millisecond)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-p.wake:
	case <-due:
	case <-ctx.Done():
		return false
	}
	return true
}

// Drain stops taking on work, waits until what is in flight has its outcome, and ends Run. When ctx
// ends first, Run goes on ending by itself.
func (s *Sender) Drain(ctx context.Context) error {
	s.drained.Do(func() { close(s.drain) })
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain the sender: %w", context.Cause(ctx))
	}
}

// Settle takes in everything decided so far and does everything that is due at now (Unix ms),
// which stands still meanwhile: sends, retries, expiries. It returns when nothing more can be done
// before Next, with all outcomes written and told. It is the sender on a simulated clock; never
// call it while Run runs. It saves its position only now and then: call Save at the end.
func (s *Sender) Settle(ctx context.Context, now int64) error {
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	release := s.begin(run, func() int64 { return now }, stop)
	defer release()
	s.stepped = true
	defer func() { s.stepped = false }()
	if err := s.recover(run); err != nil {
		return err
	}
	worked := false
	for {
		if err := s.opts.Decisions.Replay(run, queue.AllShards, s.pos, s.takeIn(run)); err != nil {
			return fmt.Errorf("the sender cannot read decisions: %w", err)
		}
		took, err := s.refill(run)
		if err != nil {
			return err
		}
		did, err := s.round(run, now)
		if err != nil {
			return err
		}
		if run.Err() != nil {
			return context.Cause(run)
		}
		worked = worked || did
		if !did && !took {
			break
		}
	}
	if !worked {
		return nil
	}
	if s.settled++; s.settled%saveSettled == 0 {
		return s.Save(ctx)
	}
	return nil
}

func (s *Sender) takeIn(ctx context.Context) func(queue.Record) error {
	return func(rec queue.Record) error { return s.take(ctx, rec) }
}

// round lets every provider send once and waits for the outcomes.
func (s *Sender) round(ctx context.Context, now int64) (did bool, err error) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for _, p := range s.all {
		d, err := s.dispatch(ctx, ctx, p, now, &calls)
		if err != nil {
			return true, err
		}
		did = did || d
	}
	return did, nil
}
