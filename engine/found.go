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
	exited int64
	// elsewhere: the tick is on the clock of a zone that is not the person's.
	elsewhere bool
}

// found is what the looks of one tick brought, by person. It is filled by one goroutine and then
// read by all shards.
type found struct {
	people  map[events.PersonID][]*contender
	byShard [][]events.PersonID
	once    sync.Once
	// true answers of rules that everybody was looked at for
	everyone map[string]map[slotKey]struct{}
	orphans  []dueOpen // open entries whose rule is gone
	refused  []refusal
	strays   merged // people of this tick who have been merged since
}

// refusal is a rule whose condition the store could not answer.
type refusal struct {
	rule string
	err  error
}

func newFound() *found {
	return &found{people: map[events.PersonID][]*contender{}, everyone: map[string]map[slotKey]struct{}{}}
}

// looked notes that everybody is looked at for the rule: whoever does not come is a false answer.
func (f *found) looked(rule string) { f.everyone[rule] = map[slotKey]struct{}{} }

// add takes an answer. One about nobody says that the whole condition could not be asked: then who does
// not come is no false answer.
func (f *found) add(r *workspace.Rule, a segments.Answer, elsewhere bool) {
	if a.Person == 0 {
		delete(f.everyone, r.Name)
		f.refused = append(f.refused, refusal{r.Name, a.Err})
		return
	}
	if set := f.everyone[r.Name]; set != nil && a.Truth != segments.False && a.Truth != segments.Unknown {
		set[slotKey{r.Name, a.Person, a.Value}] = struct{}{}
	}
	f.people[a.Person] = append(f.people[a.Person], &contender{rule: r, answer: a, elsewhere: elsewhere})
}

func (f *found) addDue(r *workspace.Rule, d dueOpen, a segments.Answer, kept bool) {
	f.people[d.person] = append(f.people[d.person], &contender{rule: r, answer: a, open: &d, kept: kept})
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
// that is no longer due at t, drops out.
func (c *contender) decidable(state *ledger.State, t int64) (decide.Contender, bool) {
	out := decide.Contender{Rule: c.rule.Rule, Answer: c.answer, Kept: c.kept, Exited: c.exited}
	if c.open == nil {
		return out, true
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
