package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// tailKeep is how long the exit tail remembers an event after it arrived, in ms: as long as a
// message may wait for its turn.
const tailKeep = int64(48 * 3600 * 1000)

// exitTail holds the events that end entries of any rule, as they arrive and before the store has
// them, so that an exit stops a message that is already on its way.
type exitTail struct {
	mu     sync.RWMutex
	names  map[string]bool
	people map[events.PersonID][]segments.Occurrence
	order  []arrival // oldest first, for forgetting
	upTo   events.Position
	moved  chan struct{} // closed and replaced when upTo grows
}

type arrival struct {
	person events.PersonID
	at     int64
	pos    events.Position
}

func newExitTail() *exitTail {
	return &exitTail{people: map[events.PersonID][]segments.Occurrence{}, moved: make(chan struct{})}
}

func (t *exitTail) watch(names map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names = names
}

// add notes a batch in stream order; upTo is the position after it.
func (t *exitTail) add(batch []events.Resolved, upTo events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch {
		ev := &batch[i]
		name := ev.StoredName()
		if !t.names[name] || ev.Flags&events.Imported != 0 {
			continue
		}
		t.put(ev.Person, segments.Occurrence{
			Time: ev.Time, Pos: ev.Pos, Event: name, Properties: slices.Clone(ev.Properties), Context: slices.Clone(ev.Context),
		}, ev.ReceivedAt)
	}
	if upTo > t.upTo {
		t.upTo = upTo
		close(t.moved)
		t.moved = make(chan struct{})
	}
}

func (t *exitTail) put(p events.PersonID, o segments.Occurrence, at int64) {
	t.people[p] = append(t.people[p], o)
	t.order = append(t.order, arrival{person: p, at: at, pos: o.Pos})
	for len(t.order) > 0 && t.order[0].at < at-tailKeep {
		old := t.order[0]
		t.order = t.order[1:]
		left := slices.DeleteFunc(t.people[old.person], func(o segments.Occurrence) bool { return o.Pos == old.pos })
		if len(left) == 0 {
			delete(t.people, old.person)
		} else {
			t.people[old.person] = left
		}
	}
}

// remember takes in what the store has up to a position, as if it had arrived at the given instant.
func (t *exitTail) remember(list map[events.PersonID][]segments.Occurrence, at int64, upTo events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, os := range list {
		for _, o := range os {
			t.put(p, o, at)
		}
	}
	t.upTo = max(t.upTo, upTo)
}

func (t *exitTail) of(p events.PersonID) []segments.Occurrence {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clone(t.people[p])
}

func (t *exitTail) move(from, to events.PersonID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if list := t.people[from]; list != nil {
		delete(t.people, from)
		t.people[to] = append(t.people[to], list...)
		for i := range t.order {
			if t.order[i].person == from {
				t.order[i].person = to
			}
		}
	}
}

func (t *exitTail) forget(p events.PersonID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.people, p)
}

// wait returns when the tail has everything up to pos.
func (t *exitTail) wait(ctx context.Context, pos events.Position) error {
	for {
		t.mu.RLock()
		ok, moved := t.upTo >= pos, t.moved
		t.mu.RUnlock()
		if ok {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for exits up to %s: %w", pos, context.Cause(ctx))
		}
	}
}

// Resolved takes what the identity writer resolved, in stream order and before it is stored. upTo
// is the position after the batch.
func (e *Engine) Resolved(batch []events.Resolved, upTo events.Position) {
	e.exits.add(batch, upTo)
	e.wakes.add(batch, e.live.Load().policy.UnknownZone == "hold")
}

// rememberExits brings back what the tail knew before the last stop: the exits in the store that may
// end a send which has no outcome yet. What the store did not have by then is resolved again.
func (e *Engine) rememberExits(ctx context.Context) error {
	l := e.live.Load()
	upTo := events.EndOf(e.people.Position().Seq())
	people := map[events.PersonID]struct{}{}
	oldest := e.since
	for _, s := range e.shards {
		s.state.Each(func(id events.PersonID, p *ledger.PersonState) {
			for _, sent := range p.Sent {
				if r := l.byName[sent.Decision.Rule]; r != nil && len(r.Exits) > 0 && len(sent.Left) > 0 {
					people[e.people.Canonical(id)] = struct{}{}
					oldest = min(oldest, sent.Decision.Since)
				}
			}
		})
	}
	var list map[events.PersonID][]segments.Occurrence
	if len(people) > 0 {
		var err error
		list, err = e.planner.Occurrences(ctx, slices.Sorted(maps.Keys(people)), slices.Sorted(maps.Keys(l.exits)), oldest, e.since+tailKeep, upTo)
		if err != nil {
			return fmt.Errorf("read the exits of %d queued sends: %w", len(people), err)
		}
	}
	e.exits.remember(list, e.since, upTo)
	return nil
}

// Exited says whether an exit of a send that is still queued has arrived by now. It first waits until
// everything up to pos (what was acknowledged when the send came up) has been resolved.
func (e *Engine) Exited(ctx context.Context, d *ledger.Decision, now int64, pos events.Position) (bool, error) {
	r := e.live.Load().byName[d.Rule]
	if r == nil || len(r.Exits) == 0 {
		return false, nil
	}
	if err := e.exits.wait(ctx, pos); err != nil {
		return false, err
	}
	person := e.people.Canonical(d.Person)
	entry := exitEntry{value: d.Value, at: d.Entered, since: d.Since}
	list := e.exits.of(person)
	if person != d.Person {
		list = append(list, e.exits.of(d.Person)...)
	}
	return exitOf(r, entry, list, now) != 0, nil
}

// exitEntry is what an exit's filter may use as `entry`.
type exitEntry struct {
	value     string
	at, since int64
}

// exitOf is when the first exit of the entry happened among the occurrences, 0 when none did.
func exitOf(r *workspace.Rule, entry exitEntry, list []segments.Occurrence, now int64) int64 {
	var first int64
	for i := range r.Exits {
		x := &r.Exits[i]
		for j := range list {
			o := &list[j]
			if o.Event != x.Event || o.Time <= entry.since || o.Time > now || (first != 0 && o.Time >= first) {
				continue
			}
			if x.Where == nil || x.Where.Eval(o, map[string]any{"entry.value": entry.value, "entry.at": entry.at, "entry.since": entry.since}) {
				first = o.Time
			}
		}
	}
	return first
}

// findExits notes for every contender whether its exit has happened: in the store up to the tick's
// position, and in the tail after it.
func (e *Engine) findExits(ctx context.Context, l *live, t ledger.Tick, f *found) error {
	var people []events.PersonID
	after := t.T1
	for p, cs := range f.people {
		for _, c := range cs {
			if len(c.rule.Exits) > 0 {
				people = append(people, p)
				after = min(after, e.exitEntry(c, t.T1).since)
			}
		}
	}
	if len(people) == 0 {
		return nil
	}
	slices.Sort(people)
	names := make([]string, 0, len(l.exits))
	for name := range l.exits {
		names = append(names, name)
	}
	slices.Sort(names)
	stored, err := e.planner.Occurrences(ctx, slices.Compact(people), names, after, t.T1, t.P1)
	if err != nil {
		return fmt.Errorf("look for exits: %w", err)
	}
	for p, cs := range f.people {
		var list []segments.Occurrence
		for _, c := range cs {
			if len(c.rule.Exits) == 0 {
				continue
			}
			if list == nil {
				list = slices.Concat(stored[p], e.exits.of(p))
				if known := e.people.Canonical(p); known != p { // merged since, and their events come under that name
					list = append(list, e.exits.of(known)...)
				}
			}
			c.exited = exitOf(c.rule, e.exitEntry(c, t.T1), list, t.T1)
		}
	}
	return nil
}

// exitEntry is the entry of a contender as its exits see it. They count from what its rule says, else
// from its occurrence, else from the entry.
func (e *Engine) exitEntry(c *contender, t1 int64) exitEntry {
	entry := exitEntry{value: c.answer.Value, at: t1, since: t1}
	switch {
	case c.open != nil:
		entry.value = c.open.value
		s := e.shardOf(c.open.person)
		s.mu.Lock()
		defer s.mu.Unlock()
		if o := findOpen(s.state, *c.open); o != nil {
			entry.at, entry.since = o.Entered, o.Since
		}
	case c.answer.Since != 0:
		entry.since = c.answer.Since
	case c.answer.Trigger != nil:
		entry.since = c.answer.Trigger.Time
	}
	return entry
}
