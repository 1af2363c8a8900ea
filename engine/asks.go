package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

// mostAsks is for how many slots a rule asks one by one; beyond it everybody is looked at.
const mostAsks = 100_000

// asks are those whom the tick asks for whatever has changed: whose open entry is due, and those of
// whom the state says that something besides a change of the answer may let them in (docs/planning.md,
// "From answers to decisions").
func (k *ticking) asks(from []segments.Baseline) []segments.Ask {
	var out []segments.Ask
	at := map[string]int{}
	for i, r := range k.rules {
		at[r.Name] = i
	}
	for _, d := range k.open {
		if i, ok := at[d.rule]; ok && !d.paused {
			out = append(out, segments.Ask{Who: i, Person: d.person, Value: d.value})
		}
	}
	for i, r := range k.rules {
		if k.whole[i] || len(r.Who.Changes().Full) > 0 { // everybody is judged
			continue
		}
		before := len(out)
		for _, s := range k.e.shards {
			s.mu.Lock()
			for _, w := range k.unsettled(s.state, r, from[i].At) {
				out = append(out, segments.Ask{Who: i, Person: w.Person, Value: w.Value})
			}
			s.mu.Unlock()
		}
		if len(out)-before > mostAsks {
			out, from[i] = out[:before], segments.Baseline{}
		}
	}
	return out
}

// unsettled are the slots of a shard that a rule asks for. Why these are all is written at decide.Asks.
func (k *ticking) unsettled(st *ledger.State, r *workspace.Rule, t0 int64) []ledger.Watch {
	var out []ledger.Watch
	for _, w := range st.Asked(r.Name) {
		if decide.Asks(r.Rule, st.Person(w.Person).Slot(r.Name, w.Value), k.t.T1) {
			out = append(out, w)
		} else {
			st.Answer(r.Name, w)
		}
	}
	var used []ledger.Watch
	switch r.Again.Mode {
	case rules.AgainAfter: // of whom it becomes that old
		after := r.Again.After.Milliseconds()
		used = st.UsedIn(r.Name, t0-after, k.t.T1-after, r.Shadow)
	case rules.AgainEveryTick: // who entered at the look before
		used = st.UsedIn(r.Name, t0-1, k.t.T1, r.Shadow)
	case rules.AgainNever, rules.AgainEachTime:
	}
	for _, w := range used {
		// Who has moved to another zone since they entered is judged for that, once; but `after` may take longer.
		if r.Again.Mode == rules.AgainAfter || inZones(k.t.Zones[r.Name], k.l, st.Person(w.Person).Slot(r.Name, w.Value)) {
			out = append(out, w)
		}
	}
	return out
}

// dueOpen names an open entry that is due.
type dueOpen struct {
	person  events.PersonID
	rule    string
	value   string
	entry   string
	trigger events.Position
	kept    bool // its condition is not asked again
	follows bool // as ledger.Open has it
	paused  bool // its rule is
}

func newDueOpen(o *ledger.Open) dueOpen {
	return dueOpen{person: o.Person(), rule: o.Slot().Rule, value: o.Slot().Value, entry: o.Entry, trigger: o.Trigger, follows: o.Follows()}
}

// keeps says whether an open entry is released without its condition being asked again. One whose message a channel
// took is: the message itself may have made it false. What is collected stays until an exit or `expire` ends it: conditions
// often hold for a day only, and digests may go out once a week.
func keeps(r *workspace.Rule, o *ledger.Open) bool {
	return o.Follows() || o.Collected() || o.Reason == ledger.Held && r.WhileHeld == rules.Keep
}

// addDue adds the open entries of a part's people. The conditions of rules that are looked at have been
// asked already.
func (k *ticking) addDue(ctx context.Context, p *segments.Part, open []dueOpen, f *found) error {
	if len(open) == 0 {
		return nil
	}
	answers := map[slotKey]segments.Answer{}
	for _, a := range p.Answers {
		answers[slotKey{k.rules[a.Who].Name, a.Person, a.Value}] = a
	}
	var kept, triggered, others []dueOpen
	for _, d := range open {
		r := k.l.byName[d.rule]
		d.paused = d.paused || k.refused[d.rule] != nil
		switch {
		case d.kept || d.paused:
			kept = append(kept, d)
		case r.On != nil:
			triggered = append(triggered, d)
		case slices.Contains(k.rules, r):
			// No answer at all means that the value's history is gone: that is not true either.
			a, ok := answers[slotKey{d.rule, d.person, d.value}]
			if !ok {
				a = segments.Answer{Person: d.person, Value: d.value}
			}
			f.addDue(r, d, a)
		default:
			others = append(others, d)
		}
	}
	refused, err := k.askOthers(ctx, others, f)
	if err != nil {
		return err
	}
	kept = append(kept, refused...)
	if refused, err = k.askTriggered(ctx, triggered, f); err != nil {
		return err
	}
	return k.addKept(ctx, append(kept, refused...), f)
}

// answered adds an open entry with its answer, unless it is the store that cannot compute the rule's condition:
// then the entry ends as those of a paused rule do.
func (k *ticking) answered(r *workspace.Rule, d dueOpen, a segments.Answer, f *found) (refused []dueOpen) {
	if a.Truth == segments.Failed && errors.Is(a.Err, segments.ErrRefused) {
		k.refuse(r.Name, a.Err)
		d.paused = true
		return []dueOpen{d}
	}
	f.addDue(r, d, a)
	return nil
}

func (k *ticking) addKept(ctx context.Context, due []dueOpen, f *found) error {
	if len(due) == 0 {
		return nil
	}
	people := make([]events.PersonID, 0, len(due))
	for _, d := range due {
		people = append(people, d.person)
	}
	profiles, err := k.e.planner.Profiles(ctx, people, k.t.T1, k.t.P1)
	if err != nil {
		return fmt.Errorf("read the profiles of held entries: %w", err)
	}
	for _, d := range due {
		f.addDue(k.l.byName[d.rule], d, segments.Answer{Person: d.person, Value: d.value, Truth: segments.True, Profile: profiles[d.person]})
	}
	return nil
}

// askOthers judges the conditions of open entries whose rules are not looked at now, for these people alone. Those
// whose conditions the store refuses come back.
func (k *ticking) askOthers(ctx context.Context, due []dueOpen, f *found) (refused []dueOpen, err error) {
	if len(due) == 0 {
		return nil, nil
	}
	look := k.l.look(k.t)
	look.Values = map[events.PersonID][]string{}
	var asked []*workspace.Rule
	open := map[slotKey]dueOpen{}
	people := map[events.PersonID]struct{}{}
	for _, d := range due {
		r := k.l.byName[d.rule]
		if !slices.Contains(asked, r) {
			asked = append(asked, r)
			look.Who = append(look.Who, r.Who)
		}
		people[d.person] = struct{}{}
		if d.value != "" {
			look.Values[d.person] = append(look.Values[d.person], d.value)
		}
		open[slotKey{d.rule, d.person, d.value}] = d
	}
	look.People = slices.Sorted(maps.Keys(people))
	err = k.e.planner.Look(ctx, look, func(answers []segments.Answer) error {
		for _, a := range answers {
			r := asked[a.Who]
			key := slotKey{r.Name, a.Person, a.Value}
			if d, ok := open[key]; ok {
				delete(open, key)
				refused = append(refused, k.answered(r, d, a, f)...)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask again about %d open entries: %w", len(due), err)
	}
	for _, d := range open { // whose history is gone
		f.addDue(k.l.byName[d.rule], d, segments.Answer{Person: d.person, Value: d.value})
	}
	return refused, nil
}

// askTriggered judges open entries of `on:` rules again, each with its own occurrence. Those whose conditions the
// store refuses come back.
func (k *ticking) askTriggered(ctx context.Context, due []dueOpen, f *found) (refused []dueOpen, err error) {
	byRule := map[string][]dueOpen{}
	for _, d := range due {
		byRule[d.rule] = append(byRule[d.rule], d)
	}
	for name, open := range byRule {
		r := k.l.byName[name]
		look := k.l.look(k.t)
		look.Who = []*segments.Who{r.Who}
		byTrigger := map[events.Position]dueOpen{}
		for _, d := range open {
			look.Triggers = append(look.Triggers, d.trigger)
			byTrigger[d.trigger] = d
		}
		err := k.e.planner.Look(ctx, look, func(answers []segments.Answer) error {
			for _, a := range answers {
				if a.Person == 0 { // the occurrences could not be found
					k.refuse(name, a.Err)
				}
				if a.Trigger == nil {
					continue
				}
				if d, ok := byTrigger[a.Trigger.Pos]; ok {
					delete(byTrigger, a.Trigger.Pos)
					refused = append(refused, k.answered(r, d, a, f)...)
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("ask again about %d open entries of %s: %w", len(open), name, err)
		}
		for _, d := range byTrigger {
			a := segments.Answer{Person: d.person, Value: d.value}
			if err := k.refused[name]; err != nil {
				a.Truth, a.Err = segments.Failed, err
			}
			refused = append(refused, k.answered(r, d, a, f)...)
		}
	}
	return refused, nil
}
