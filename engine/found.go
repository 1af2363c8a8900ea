package engine

import (
	"slices"
	"sync"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// slotKey names a slot.
type slotKey struct {
	rule   string
	person events.PersonID
	value  string
}

// contender is a decide.Contender on its way, with the id of the open entry that it is about.
type contender struct {
	rule   *workspace.Rule
	answer segments.Answer
	open   *dueOpen // nil: a new entry
	kept   bool
	paused bool // the rule is
	exited int64
	// answered is what the person did with the message of an entry that follows.
	answered string
	// elsewhere: the tick is on the clock of a zone that is not the person's.
	elsewhere bool
}

// found is what was found about the people of a part of a tick, by person. It is filled by one goroutine
// and then read by all shards.
type found struct {
	people  map[events.PersonID][]*contender
	byShard [][]events.PersonID
	once    sync.Once
	// stands has the slots whose condition was true, or failed.
	stands map[slotKey]struct{}
	strays merged // people of this tick who have been merged since
}

func newFound() *found {
	return &found{people: map[events.PersonID][]*contender{}, stands: map[slotKey]struct{}{}}
}

// add takes an answer. What is not true is a contender for nothing.
func (f *found) add(r *workspace.Rule, a segments.Answer, elsewhere bool) {
	if a.Truth != segments.True && a.Truth != segments.Failed {
		return
	}
	f.stands[slotKey{r.Name, a.Person, a.Value}] = struct{}{}
	// A first look notes everybody, on whatever clock; but what is sent is sent on the person's own.
	if !elsewhere || !r.Backfill {
		f.people[a.Person] = append(f.people[a.Person], &contender{rule: r, answer: a, elsewhere: elsewhere})
	}
}

func (f *found) addDue(r *workspace.Rule, d dueOpen, a segments.Answer) {
	f.people[d.person] = append(f.people[d.person], &contender{rule: r, answer: a, open: &d, kept: d.kept || d.paused, paused: d.paused})
}

// of lists the people of a shard, in order.
func (f *found) of(shard, n int) []events.PersonID {
	f.once.Do(func() {
		f.byShard = make([][]events.PersonID, n)
		for p := range f.people {
			i := ShardOf(p, n)
			f.byShard[i] = append(f.byShard[i], p)
		}
		for _, people := range f.byShard {
			slices.Sort(people)
		}
	})
	return f.byShard[shard]
}

// decidable is what decide takes of a contender. An open entry that the state no longer holds, or
// that is no longer due at t, drops out, and so do new entries of a rule that was paused meanwhile.
func (c *contender) decidable(state *ledger.State, t int64) (decide.Contender, bool) {
	halted := state.Halted(c.rule.Name)
	out := decide.Contender{Rule: c.rule.Rule, Answer: c.answer, Kept: c.kept || halted, Paused: c.paused || halted, Exited: c.exited, Answered: c.answered}
	if c.open == nil {
		return out, !halted
	}
	out.Open = findOpen(state, *c.open)
	return out, out.Open != nil && out.Open.Due != 0 && out.Open.Due <= t
}

func findOpen(state *ledger.State, d dueOpen) *ledger.Open {
	slot := state.Person(d.person).Slot(d.rule, d.value)
	if slot == nil {
		return nil
	}
	for _, o := range slot.Open {
		if o.Entry == d.entry {
			return o
		}
	}
	return nil
}
