package ledger

import (
	"cmp"
	"slices"

	"nudge/events"
)

// asked is what a state knows of slots whose condition a look must ask for although nothing that it reads may
// have changed since the look before (docs/planning.md, "From answers to decisions").
type asked struct {
	// once, by rule: the entry ended without its condition being asked at a look of the rule. It was kept, it
	// expired, its send was stopped in the queue: nobody knows whether the condition is still true, and when
	// it is not, no change will say so.
	once map[string]map[Watch]struct{}
	// failing, by rule: the condition failed. What made it fail may be beyond what it reads of the person:
	// the values of the message, the size of what is known of them.
	failing map[string]map[Watch]struct{}
	// used, by rule, of those for which UsedIn was asked: when slots used up `again`.
	used map[string]*usedAt
	// answered are slots with an open entry that was answered in the newest schedule tick: one that is
	// repeated lets them in no more than it did at first.
	answered map[answeredSlot]struct{}
}

type answeredSlot struct {
	rule string
	Watch
}

func newAsked() asked {
	return asked{
		once: map[string]map[Watch]struct{}{}, failing: map[string]map[Watch]struct{}{}, used: map[string]*usedAt{},
		answered: map[answeredSlot]struct{}{},
	}
}

func put(sets map[string]map[Watch]struct{}, rule string, w Watch, in bool) {
	if !in {
		delete(sets[rule], w)
		return
	}
	if sets[rule] == nil {
		sets[rule] = map[Watch]struct{}{}
	}
	sets[rule][w] = struct{}{}
}

// decided takes in an answer, which the slot has already.
func (a *asked) decided(d *Decision, slot *Slot, tick string) {
	if d.Trigger != 0 { // of an `on:` rule, which looks at nobody
		return
	}
	w := Watch{d.Person, slot.Value}
	put(a.failing, slot.Rule, w, slot.Block == UntilEvaluated)
	if d.Attempt == 0 { // a new entry: found true at a look of the rule
		put(a.once, slot.Rule, w, false)
		return
	}
	if d.Tick == tick {
		a.answered[answeredSlot{slot.Rule, w}] = struct{}{}
	}
	put(a.once, slot.Rule, w, len(slot.Open) == 0 && d.Reason != NoLongerTrue)
}

// seen takes in that the condition was false at a look.
func (a *asked) seen(id events.PersonID, slot *Slot) {
	w := Watch{id, slot.Value}
	put(a.once, slot.Rule, w, false)
	put(a.failing, slot.Rule, w, false)
}

func (a *asked) merged(id events.PersonID, slot *Slot) {
	w := Watch{id, slot.Value}
	put(a.failing, slot.Rule, w, slot.Block == UntilEvaluated)
	put(a.once, slot.Rule, w, len(slot.Open) == 0)
	a.moved(id, slot, 0, 0)
}

func (a *asked) drop(id events.PersonID, slot *Slot) {
	a.seen(id, slot)
}

// moved takes in that a slot's usages have changed from what they were.
func (a *asked) moved(id events.PersonID, slot *Slot, live, shadowed int64) {
	used := a.used[slot.Rule]
	if used == nil {
		return
	}
	if slot.Live.Used && slot.Live.At != live {
		used.add(slot.Live.At, Watch{id, slot.Value})
	}
	if slot.Shadowed.Used && slot.Shadowed.At != shadowed {
		used.add(slot.Shadowed.At, Watch{id, slot.Value})
	}
}

// usedAt lists slots by when they used up `again`. What has changed since stands there still, until it is
// as much as what counts.
type usedAt struct {
	sorted, added []useOf
	counts        int // of sorted, when it was last swept
}

type useOf struct {
	at int64
	Watch
}

func (u useOf) compare(v useOf) int {
	return cmp.Or(cmp.Compare(u.at, v.at), cmp.Compare(u.Person, v.Person), cmp.Compare(u.Value, v.Value))
}

func (u *usedAt) add(at int64, w Watch) { u.added = append(u.added, useOf{at, w}) }

// settle brings what was added into the order. Most of it is newer than all before.
func (u *usedAt) settle(stands func(useOf) bool) {
	if len(u.added) == 0 {
		return
	}
	slices.SortFunc(u.added, useOf.compare)
	if n := len(u.sorted); n == 0 || u.sorted[n-1].compare(u.added[0]) < 0 {
		u.sorted = append(u.sorted, u.added...)
	} else {
		u.sorted = append(u.sorted, u.added...)
		slices.SortFunc(u.sorted, useOf.compare)
	}
	u.added = nil
	const few = 1024
	if len(u.sorted) > few+2*u.counts {
		u.sorted = slices.DeleteFunc(slices.Compact(u.sorted), func(x useOf) bool { return !stands(x) })
		u.counts = len(u.sorted)
	}
}

// UsedIn lists the slots of a rule whose newest usage, live or in shadow, is of an instant in (after, upTo].
// The first call for a rule looks through everybody; another costs what it lists.
func (s *State) UsedIn(rule string, after, upTo int64, shadow bool) []Watch {
	used := s.asked.used[rule]
	if used == nil {
		used = &usedAt{}
		s.asked.used[rule] = used
		for id, p := range s.people {
			for _, slot := range p.Slots {
				if slot.Rule == rule {
					s.asked.moved(id, slot, 0, 0)
				}
			}
		}
	}
	used.settle(func(x useOf) bool {
		slot := s.people[x.Person].Slot(rule, x.Value)
		return slot != nil && (slot.Live.Used && slot.Live.At == x.at || slot.Shadowed.Used && slot.Shadowed.At == x.at)
	})
	from, _ := slices.BinarySearchFunc(used.sorted, after, func(x useOf, at int64) int { return cmp.Compare(x.at, at+1) })
	var out []Watch
	for _, x := range used.sorted[from:] {
		if x.at > upTo {
			break
		}
		slot := s.people[x.Person].Slot(rule, x.Value)
		if slot == nil {
			continue
		}
		usage := slot.Live
		if shadow {
			usage = slot.Shadowed
		}
		if usage.Used && usage.At == x.at && (len(out) == 0 || out[len(out)-1] != x.Watch) {
			out = append(out, x.Watch)
		}
	}
	return out
}

// Asked lists the slots of a rule that a look asks for whatever has changed: those whose entry ended without
// the condition being asked, and those whose condition failed.
func (s *State) Asked(rule string) []Watch {
	var out []Watch
	for w := range s.asked.once[rule] {
		out = append(out, w)
	}
	for w := range s.asked.failing[rule] {
		if _, ok := s.asked.once[rule][w]; !ok {
			out = append(out, w)
		}
	}
	return out
}

// Answer notes that a look has asked for a slot of Asked that had ended unasked, and what the slot says has been
// considered: the next need not. It is no record: behind a start it is asked once more.
func (s *State) Answer(rule string, w Watch) { put(s.asked.once, rule, w, false) }

// Answered says whether an open entry of the slot was answered in the newest schedule tick.
func (s *State) Answered(rule string, w Watch) bool {
	_, ok := s.asked.answered[answeredSlot{rule, w}]
	return ok
}
