package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/internal/counted"
	"nudge/rules"
	"nudge/segments"
)

// tailKeep is how long the exit tail remembers an event after it arrived, in ms: as long as a
// message may wait for its turn.
const tailKeep = int64(48 * 3600 * 1000)

// exitTail holds the events that end entries of any rule, as they arrive and before the store has
// them, so that an exit stops a message that is already on its way.
type exitTail struct {
	mu     sync.RWMutex
	names  map[string]exitName
	people map[events.PersonID][]segments.Occurrence
	order  []arrival // oldest first, for forgetting
	upTo   events.Position
	moved  chan struct{}   // closed and replaced when upTo grows
	none   json.RawMessage // notKept
}

// exitName is an event that the tail takes in. Many are remembered for long: what nobody reads of them is
// not kept, and their name is this one and not a part of the message that they came in.
type exitName struct {
	name string
	read bool // some rule's `where` reads its properties or context
}

// notKept stands for the properties, which are an object, of an occurrence of which nothing was kept: no
// filter can say anything about it.
const notKept = `"not kept"`

func contentKept(o *segments.Occurrence) bool { return string(o.Properties) != notKept }

type arrival struct {
	person events.PersonID
	at     int64
	pos    events.Position
}

func newExitTail() *exitTail {
	return &exitTail{people: map[events.PersonID][]segments.Occurrence{}, moved: make(chan struct{}), none: json.RawMessage(notKept)}
}

// watch sets the names of events that the tail takes in, and which of them are read, of what comes after
// the position that it returns.
func (t *exitTail) watch(names map[string]bool) events.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names = make(map[string]exitName, len(names))
	for name, read := range names {
		t.names[name] = exitName{name, read}
	}
	return t.upTo
}

// add notes a batch in stream order; upTo is the position after it.
func (t *exitTail) add(batch []events.Resolved, upTo events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch {
		ev := &batch[i]
		watched, ok := t.names[ev.StoredName()]
		if !ok || ev.Flags&(events.Imported|events.MachineOpen) != 0 {
			continue
		}
		o := segments.Occurrence{Time: ev.Time, Pos: ev.Pos, Event: watched.name, Properties: t.none}
		if watched.read {
			o.Properties, o.Context = slices.Clone(ev.Properties), slices.Clone(ev.Context)
		}
		t.put(ev.Person, o, ev.ReceivedAt)
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

// remember takes in what the store has, as if it had arrived at the given instant; of what is here it
// brings what had not been kept.
func (t *exitTail) remember(list map[events.PersonID][]segments.Occurrence, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, os := range list {
		for _, o := range os {
			i := slices.IndexFunc(t.people[p], func(have segments.Occurrence) bool { return have.Pos == o.Pos })
			if i < 0 {
				t.put(p, o, at)
			} else {
				t.people[p][i] = o
			}
		}
	}
}

// reached says that the tail has everything up to a position.
func (t *exitTail) reached(upTo events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
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
	l := e.live.Load()
	e.exits.add(batch, upTo)
	e.wakes.add(batch, l.policy.UnknownZone == "hold")
	if len(l.guarded) > 0 {
		e.guards.add(batch)
	}
}

// rememberExits brings back what the tail knew before the last stop: the exits in the store that may
// end a send which has no outcome yet. What the store did not have by then is resolved again.
func (e *Engine) rememberExits(ctx context.Context) error {
	l := e.live.Load()
	upTo := events.EndOf(e.people.Position().Seq())
	if err := e.readExits(ctx, l, upTo, func(string) bool { return true }); err != nil {
		return err
	}
	e.exits.reached(upTo)
	return nil
}

// learnExits makes the tail watch the exits of another rule set beside those of the one that runs, and
// brings in those that came before, for rules that have got some.
func (e *Engine) learnExits(ctx context.Context, before, l *live) error {
	changed := map[string]bool{}
	for name, r := range l.byName {
		for _, x := range r.Exits {
			had := before.byName[name]
			if had == nil || !slices.ContainsFunc(had.Exits, func(y workspace.Exit) bool { return y.Event == x.Event }) ||
				x.Where != nil && !before.exits[x.Event] {
				changed[name] = true
			}
		}
	}
	if len(changed) == 0 {
		return nil
	}
	both := maps.Clone(before.exits)
	for name, read := range l.exits {
		both[name] = both[name] || read
	}
	upTo := e.exits.watch(both)
	if e.people.Position() < upTo {
		if err := e.news.wait(ctx, upTo); err != nil {
			return err
		}
	}
	return e.readExits(ctx, l, upTo, func(rule string) bool { return changed[rule] })
}

// readExits takes into the tail what the store has up to a position, of exits of sends of some rules that
// have no outcome yet.
func (e *Engine) readExits(ctx context.Context, l *live, upTo events.Position, of func(rule string) bool) error {
	now := max(e.since, e.lastNow.Load())
	people := map[events.PersonID]struct{}{}
	oldest := now
	for _, s := range e.shards {
		s.mu.Lock()
		s.state.Each(func(id events.PersonID, p *ledger.PersonState) {
			for _, sent := range p.Sent {
				if r := l.byName[sent.Decision.Rule]; r != nil && of(r.Name) && len(sent.Left) > 0 && (len(r.Exits) > 0 || sent.Decision.Follows()) {
					people[e.people.Canonical(id)] = struct{}{}
					oldest = min(oldest, sent.Decision.Since-1)
				}
			}
		})
		s.mu.Unlock()
	}
	if len(people) == 0 {
		return nil
	}
	list, err := e.planner.Occurrences(ctx, slices.Sorted(maps.Keys(people)), slices.Sorted(maps.Keys(l.exits)), oldest, now+tailKeep, upTo)
	if err != nil {
		return fmt.Errorf("read the exits of sends of %s: %w", counted.Of(len(people), "person"), err)
	}
	e.exits.remember(list, now)
	return nil
}

// Exited says whether an exit of a send that is still queued has arrived by now, or, of an escalation, that the
// message was opened meanwhile. It first waits until everything up to pos (what was acknowledged when the send came
// up) has been resolved.
func (e *Engine) Exited(ctx context.Context, d *ledger.Decision, now int64, pos events.Position) (bool, error) {
	r := e.live.Load().byName[d.Rule]
	if r == nil || len(r.Exits) == 0 && !d.Follows() {
		return false, nil
	}
	if err := e.exits.wait(ctx, pos); err != nil {
		return false, err
	}
	person := e.people.Canonical(d.Person)
	entry := exitEntry{value: d.Value, at: d.Entered, since: d.Since, pos: d.SincePos}
	list := e.exits.of(person)
	if person != d.Person {
		list = append(list, e.exits.of(d.Person)...)
	}
	return exitOf(r, entry, list, now) != 0 || d.Follows() && answerTo(r, d.Entry, entry, list, now) != "", nil
}

// exitEntry is what an exit's filter may use as `entry`.
type exitEntry struct {
	value     string
	at, since int64
	pos       events.Position // of the occurrence whose time `since` is; 0: it is not that of one
}

// before says whether an occurrence is later than what the entry's exits count from: apps send what happens together
// with one time, and of these what arrived later happened later.
func (x *exitEntry) before(o *segments.Occurrence) bool {
	return o.Time > x.since || x.pos != 0 && o.Time == x.since && o.Pos > x.pos
}

// exitOf is when the first exit of the entry happened among the occurrences, 0 when none did.
func exitOf(r *workspace.Rule, entry exitEntry, list []segments.Occurrence, now int64) int64 {
	var first int64
	for i := range r.Exits {
		x := &r.Exits[i]
		for j := range list {
			o := &list[j]
			if o.Event != x.Event || !entry.before(o) || o.Time > now || (first != 0 && o.Time >= first) {
				continue
			}
			if x.Where == nil || contentKept(o) && x.Where.Eval(o, entry.vars()) {
				first = o.Time
			}
		}
	}
	return first
}

// answers are the events by which people answer a message of a rule that escalates, and whether what is in them is read.
func answers(r *workspace.Rule) map[string]bool {
	if r.Deliver != rules.DeliverEscalate {
		return nil
	}
	out := map[string]bool{events.MessageOpened: true, events.MessageClicked: true}
	if r.Goal != nil {
		out[r.Goal.Event] = out[r.Goal.Event] || r.Goal.Where != nil
	}
	return out
}

// answerTo is how the person first answered the messages of an entry: "opened", "clicked", "goal"; "" when they did not.
func answerTo(r *workspace.Rule, id string, entry exitEntry, list []segments.Occurrence, now int64) (how string) {
	first := now + 1
	for i := range list {
		o := &list[i]
		if o.Time >= first {
			continue
		}
		switch g := r.Goal; {
		case g != nil && o.Event == g.Event:
			if o.Time > entry.at && (g.Where == nil || contentKept(o) && g.Where.Eval(o, entry.vars())) {
				first, how = o.Time, "goal"
			}
		case o.Event == events.MessageOpened, o.Event == events.MessageClicked:
			var of struct{ Entry string }
			if json.Unmarshal(o.Properties, &of) == nil && of.Entry == id {
				first, how = o.Time, strings.ToLower(strings.TrimPrefix(o.Event, "Message "))
			}
		}
	}
	return how
}

// vars are what filters may use of the entry.
func (x exitEntry) vars() map[string]any {
	return map[string]any{"entry.value": x.value, "entry.at": x.at, "entry.since": x.since}
}

// mayEnd says whether something that happened may end the contender's entry.
func (c *contender) mayEnd() bool {
	return !c.answer.Stands && (len(c.rule.Exits) > 0 || c.open != nil && c.open.follows)
}

// findExits notes for every contender whether its exit has happened, or that its message was answered: in the store up
// to the tick's position, and in the tail after it.
func (e *Engine) findExits(ctx context.Context, l *live, t ledger.Tick, f *found) error {
	var people []events.PersonID
	after := t.T1
	for p, cs := range f.people {
		for _, c := range cs {
			if c.mayEnd() {
				people = append(people, p)
				entry := e.exitEntry(c, t.T1)
				after = min(after, entry.since-1, entry.at) // what has the time of `since` may count too
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
			if !c.mayEnd() {
				continue
			}
			if list == nil {
				list = slices.Concat(stored[p], e.exits.of(p))
				if known := e.people.Canonical(p); known != p { // merged since, and their events come under that name
					list = append(list, e.exits.of(known)...)
				}
			}
			entry := e.exitEntry(c, t.T1)
			c.exited = exitOf(c.rule, entry, list, t.T1)
			if c.open != nil && c.open.follows {
				c.answered = answerTo(c.rule, c.open.entry, entry, list, t.T1)
			}
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
			entry.at, entry.since, entry.pos = o.Entered, o.Since, o.SincePos
		}
	case c.answer.Since != 0:
		entry.since, entry.pos = c.answer.Since, c.answer.SincePos
	case c.answer.Trigger != nil:
		entry.since, entry.pos = c.answer.Trigger.Time, c.answer.Trigger.Pos
	}
	return entry
}
