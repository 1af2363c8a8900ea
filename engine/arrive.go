package engine

import (
	"context"
	"fmt"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/segments"
)

// Stored tells the engine that the store has events of these names, and perhaps new zones of people,
// up to a position that People now answers. It only notes whether an `on:` rule waits for one of them,
// and that schedules on people's own clocks have zones to ask for.
func (e *Engine) Stored(names map[string]int, zones bool) {
	if zones {
		e.zones.forget()
	}
	l := e.live.Load()
	for name := range names {
		if l.triggers[name] {
			e.heard.Store(true)
			return
		}
	}
}

// Arrived judges the `on:` rules for what the store has got since the last call, at now (Unix ms).
// It never waits for a tick: the two take turns on a shard between chunks.
func (e *Engine) Arrived(ctx context.Context, now int64) error {
	e.arriving.Lock()
	defer e.arriving.Unlock()
	p1 := events.EndOf(e.people.Position().Seq())
	if p1 <= e.arrived {
		return nil
	}
	if !e.heard.Swap(false) {
		e.arrived = p1
		return nil
	}
	t := e.newTick(ledger.TickArrival, now, nil)
	t.P0, t.P1 = e.arrived, p1
	if err := e.judgeArrivals(ctx, t); err != nil {
		e.heard.Store(true)
		return err
	}
	e.arrived = p1
	return nil
}

// judgeArrivals is one arrival tick.
func (e *Engine) judgeArrivals(ctx context.Context, t ledger.Tick) error {
	l := e.live.Load()
	look := l.look(t)
	var asked []string
	for _, r := range l.rules {
		if r.On != nil && t.T1 >= r.Start && (r.End == 0 || t.T1 < r.End) {
			look.Who = append(look.Who, r.Who)
			asked = append(asked, r.Name)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if err := e.applyChanges(ctx, t.P1); err != nil {
		return err
	}
	f := newFound()
	err := e.planner.Look(ctx, look, func(answers []segments.Answer) error {
		for _, a := range answers {
			f.add(l.byName[asked[a.Who]], a)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("arrivals %s to %s: %w", t.P0, t.P1, err)
	}
	if len(f.people) == 0 {
		return nil
	}
	if err := e.begin(ctx, t); err != nil {
		return err
	}
	if err := e.findExits(ctx, l, t, f); err != nil {
		return fmt.Errorf("arrivals %s to %s: %w", t.P0, t.P1, err)
	}
	return e.each(func(s *shard) error { return e.decidePeople(ctx, l, t, s, f, nil) })
}
