package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// Stored is what came into the store.
type Stored struct {
	UpTo     events.Position // everything up to it is there, synced
	Received int64           // when the newest of it was received, Unix ms; 0 where nobody knows
	Names    map[string]int  // of its events, and how many there were of each
	Zones    bool            // there may be new zones of people
}

// news is what the store has got: up to where, received when, and whether an `on:` rule waits for
// something in it.
type news struct {
	mu       sync.Mutex
	upTo     events.Position
	received int64
	heard    bool
	moved    chan struct{} // closed when upTo grows, nil while nobody waits
}

func (n *news) add(upTo events.Position, received int64, heard bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.upTo, n.received, n.heard = max(n.upTo, upTo), max(n.received, received), n.heard || heard
	if n.moved != nil {
		close(n.moved)
		n.moved = nil
	}
}

// wait returns when the store has everything up to pos.
func (n *news) wait(ctx context.Context, pos events.Position) error {
	for {
		n.mu.Lock()
		if n.upTo >= pos {
			n.mu.Unlock()
			return nil
		}
		if n.moved == nil {
			n.moved = make(chan struct{})
		}
		moved := n.moved
		n.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for the store to have everything up to %s: %w", pos, context.Cause(ctx))
		}
	}
}

func (n *news) take() (upTo events.Position, received int64, heard bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	upTo, received, heard, n.heard = n.upTo, n.received, n.heard, false
	return upTo, received, heard
}

// Stored tells the engine what came into the store. It only notes whether an `on:` rule waits for
// something in it, and that schedules on people's own clocks have zones to ask for.
func (e *Engine) Stored(s Stored) {
	if s.Zones {
		e.zones.forget()
	}
	l, heard := e.live.Load(), false
	for name := range s.Names {
		heard = heard || l.triggers[name]
	}
	e.news.add(s.UpTo, s.Received, heard)
}

// Arrived judges the `on:` rules for what the store has got since the last call, at now (Unix ms).
// It never waits for a tick: the two take turns on a shard between chunks. While the clock stands before
// where it was, they are judged as of there.
func (e *Engine) Arrived(ctx context.Context, now int64) error {
	e.arriving.Lock()
	defer e.arriving.Unlock()
	now = max(now, e.lastNow.Load(), e.heardAt)
	e.heardAt = now
	e.enter(&e.inArrival, &e.inTick)
	defer func() { e.inArrival.Store(e.cutArrival != nil) }()
	if err := e.guard(ctx, now); err != nil {
		return err
	}
	if e.cutArrival != nil {
		if err := e.hear(ctx, e.live.Load(), *e.cutArrival); err != nil {
			return err
		}
	}
	if err := e.beginNew(ctx, now); err != nil {
		return err
	}
	now, err := e.hearNews(ctx, now)
	if err != nil {
		return err
	}
	return e.goOn(ctx, e.live.Load(), now, true)
}

// hearNews judges what has come since, and says as of when.
func (e *Engine) hearNews(ctx context.Context, now int64) (int64, error) {
	p1, received, heard := e.news.take()
	if p1 <= e.arrived {
		return now, nil
	}
	if !heard {
		e.arrived = p1
		return now, nil
	}
	// The caller's clock was read before these came: as of that instant they would be in the future.
	now = max(now, received)
	e.heardAt = now
	l := e.live.Load()
	t := e.newTick(l, ledger.TickArrival, now, nil)
	t.P0, t.P1, t.Rules = e.arrived, p1, e.hearing(l, now)
	return now, e.hear(ctx, l, t)
}

// hear judges one arrival tick. One that fails is repeated as it is before any other, since some
// shards may have decided: as of another instant its occurrences would enter once more.
func (e *Engine) hear(ctx context.Context, l *live, t ledger.Tick) error {
	e.cutArrival = &t
	began := e.now()
	if err := e.judgeArrivals(ctx, l, t); err != nil {
		return err
	}
	e.metrics.took.WithLabelValues(t.Kind).Observe(e.now().Sub(began).Seconds())
	e.cutArrival = nil
	e.arrived = t.P1
	return nil
}

// hearing lists the `on:` rules that run at now. One that is paused does not, also when its file has changed:
// goOn lets it go on.
func (e *Engine) hearing(l *live, now int64) []string {
	names := []string{}
	for _, r := range l.rules {
		if r.On != nil && now >= r.Start && (r.End == 0 || now < r.End) && !e.paused.has(r.Name) {
			names = append(names, r.Name)
		}
	}
	return names
}

// resumeArrivals repeats the last arrivals, whose answers may have been cut short, and goes on from
// there: what the store got since has been heard by nobody, however far it has come (from). At the
// very first start nothing before from is heard.
func (e *Engine) resumeArrivals(ctx context.Context, last *ledger.Tick, from events.Position) error {
	l := e.live.Load()
	if last == nil {
		e.arrived = from
		t := e.newTick(l, ledger.TickArrival, e.since, nil)
		t.P0, t.P1, t.Rules = from, from, e.hearing(l, e.since)
		return e.note(ctx, t)
	}
	if !e.replays {
		if err := e.judgeArrivals(ctx, l, *last); err != nil {
			return fmt.Errorf("resume the arrivals of %s: %w", last.ID, err)
		}
	}
	e.arrived = last.P1
	e.news.add(from, 0, from > e.arrived)
	if slices.ContainsFunc(e.hearing(l, e.since), func(name string) bool { return !slices.Contains(last.Rules, name) }) {
		e.start = &start{from: from, rules: last.Rules}
	}
	return nil
}

// start is where `on:` rules that came with this start begin to hear, and which others there were.
type start struct {
	from  events.Position
	rules []string
}

// beginNew lets the rules that were there before this start hear what came before it, and notes from
// where all do.
func (e *Engine) beginNew(ctx context.Context, now int64) error {
	if e.start == nil {
		return nil
	}
	l := e.live.Load()
	t := e.newTick(l, ledger.TickArrival, now, nil)
	t.P0, t.P1, t.Rules = e.arrived, e.start.from, e.start.rules
	if t.P1 > t.P0 {
		if err := e.hear(ctx, l, t); err != nil {
			return err
		}
	}
	t.ID += "-start"
	t.P0, t.P1, t.Rules = e.arrived, e.arrived, e.hearing(l, now)
	if err := e.note(ctx, t); err != nil {
		return err
	}
	e.start = nil
	return nil
}

// hearFromHere notes that an `on:` rule hears what comes from now on, and no more.
func (e *Engine) hearFromHere(ctx context.Context, l *live, now int64, rule string) error {
	t := e.newTick(l, ledger.TickArrival, now, nil)
	t.ID += "-on"
	t.P0, t.P1, t.Rules = e.arrived, e.arrived, append(e.hearing(l, now), rule)
	return e.note(ctx, t)
}

// note writes a tick that nobody was found for to one shard: what it heard is not heard again.
func (e *Engine) note(ctx context.Context, t ledger.Tick) error {
	return e.beginOn(ctx, e.shards[0], t)
}

// judgeArrivals is one arrival tick. A rule whose condition the store cannot compute decides nothing in it, and is
// paused behind it.
func (e *Engine) judgeArrivals(ctx context.Context, l *live, t ledger.Tick) error {
	look := l.look(t)
	var asked []*workspace.Rule
	for _, name := range t.Rules {
		if r := l.byName[name]; r != nil && r.On != nil && !e.paused.has(name) {
			look.Who = append(look.Who, r.Who)
			asked = append(asked, r)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if err := e.applyChanges(ctx, t.P1); err != nil {
		return err
	}
	refused := map[string]error{}
	var told []segments.Answer
	err := e.planner.Look(ctx, look, func(answers []segments.Answer) error {
		for _, a := range answers {
			switch name := asked[a.Who].Name; {
			case a.Person != 0 && (a.Truth != segments.Failed || !errors.Is(a.Err, segments.ErrRefused)):
				told = append(told, a)
			case refused[name] == nil:
				refused[name] = a.Err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("arrivals %s to %s: %w", t.P0, t.P1, err)
	}
	f := newFound()
	for _, a := range told {
		if r := asked[a.Who]; refused[r.Name] == nil {
			f.add(r, a, false)
		}
	}
	if err := e.decideArrivals(ctx, l, t, f); err != nil {
		return err
	}
	return e.refusedAll(ctx, l, t, refused)
}

// decideArrivals decides about whoever was found. The record of the tick is in the same message as the first decisions of
// each shard: nothing was decided before it, and a message of its own on each would cost as much time as all else.
func (e *Engine) decideArrivals(ctx context.Context, l *live, t ledger.Tick, f *found) error {
	if err := e.findExits(ctx, l, t, f); err != nil {
		return fmt.Errorf("arrivals %s to %s: %w", t.P0, t.P1, err)
	}
	if err := e.decideFound(ctx, l, t, f, make([]map[string]bool, len(e.shards))); err != nil {
		return err
	}
	for _, s := range e.shards {
		s.mu.Lock()
		noted := has(s.state, &t)
		s.mu.Unlock()
		if noted {
			return nil
		}
	}
	return e.note(ctx, t)
}
