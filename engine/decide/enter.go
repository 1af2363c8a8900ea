package decide

import (
	"slices"

	"nudge/engine/ledger"
	"nudge/rules"
)

// enters says whether a person for whom the condition has been found true at t may enter the rule,
// as the given entry, going by what the slot remembers. A nil slot has never been entered.
func enters(r *rules.Rule, slot *ledger.Slot, entry string, t int64) bool {
	if slot == nil {
		return true
	}
	if slices.Contains(slot.Recent, entry) {
		return false
	}
	if r.On == nil {
		if len(slot.Open) > 0 || slot.Entered >= t {
			return false
		}
		switch slot.Block {
		case ledger.UntilFalse:
			return false
		case ledger.UntilMessage:
			if slot.Message == r.Hash {
				return false
			}
		case ledger.NotBlocked, ledger.UntilEvaluated:
		}
	}
	if r.On != nil && r.Again.Mode != rules.AgainEachTime {
		// Entries of `on:` stand side by side, but one that is still open has entered.
		for _, o := range slot.Open {
			if r.Again.Mode == rules.AgainNever || t < o.Entered+r.Again.After.Milliseconds() {
				return false
			}
		}
	}
	u := slot.Live
	if r.Shadow {
		u = slot.Shadowed
	}
	if !u.Used {
		return true
	}
	switch r.Again.Mode {
	case rules.AgainNever:
		return false
	case rules.AgainAfter:
		return t >= u.At+r.Again.After.Milliseconds()
	case rules.AgainEachTime:
		return r.On != nil || u.Flipped
	case rules.AgainEveryTick:
		return true
	default:
		return false
	}
}

// Asks says of a slot whose condition nobody has asked since its entry ended, or whose condition failed, whether
// a look at t must ask for it although nothing that the condition reads has changed.
//
// A look that asks only those whose answer can have changed must let in whom a look at everybody lets in.
// Take somebody who is not among them, and for whom the condition is true; so it was at the look before,
// which took them to enters and, where that let them in, to an answer. Case by case of what the slot says now:
//
//   - none: then the look before let them in, and there is one. On people's own clocks it did not if it was not
//     theirs; but then their zone has changed, which is a change.
//   - an open entry: they do not enter. It is asked for when it is due, and when it ends as below. One that escalates is
//     not asked about when it is due; it is at the next look, State.Asked, as it has ended unasked.
//   - UntilFalse: they wait for a false answer. From when the block began: if the condition was true then, turning
//     false is a change. If nobody asked then (the entry was kept, had expired, its send was stopped in the
//     queue, so it is not the entry's first answer) it is asked for at the next look: State.Asked.
//   - UntilMessage: the same; and another message is another file, which begins with a look at everybody. But
//     the answer may come behind that look, for a message that was decided before: State.Asked as well.
//   - UntilEvaluated: what failed may be the message's values or the size of what is known, which
//     change by themselves: asked for at every look, State.Asked.
//   - again used up. `never`: for ever. `each_time`: until a false answer, as UntilFalse. `after`: when its time has
//     come, State.UsedIn; where the usage is given back it is the end of an entry, as above. `every_tick`: they
//     have entered at the look before, State.UsedIn, or were open then.
//   - not used up, not blocked: the condition was false when that began (a false answer at a look, or of an open
//     entry that was asked for), and turning true is a change.
//
// Merges are changes; after an erasure there is no slot.
func Asks(r *rules.Rule, slot *ledger.Slot, t int64) bool {
	if slot == nil || len(slot.Open) > 0 {
		return false
	}
	if slot.Block != ledger.NotBlocked || watch(r) {
		return true
	}
	u := slot.Live
	if r.Shadow {
		u = slot.Shadowed
	}
	switch r.Again.Mode {
	case rules.AgainNever:
		return !u.Used
	case rules.AgainAfter:
		return !u.Used || t >= u.At+r.Again.After.Milliseconds()
	case rules.AgainEachTime, rules.AgainEveryTick:
		return true
	default:
		return true
	}
}

// Stands says of somebody for whom a look at t finds the condition true that nothing comes of it: they are in the rule.
// What Asks says follows from it.
func Stands(r *rules.Rule, slot *ledger.Slot, t int64) bool {
	return slot != nil && len(slot.Open) == 0 && !enters(r, slot, "", t)
}

// newlyTrue says of somebody whom a first look would let in that the condition was not true for them
// at the looks before: they have never been in the rule (live or in shadow, as it is now), or it has
// been false since. Of one who waits for `after` nobody knows; they go on as before.
func newlyTrue(r *rules.Rule, slot *ledger.Slot) bool {
	if slot == nil {
		return true
	}
	u := slot.Live
	if r.Shadow {
		u = slot.Shadowed
	}
	return !u.Used || (r.Again.Mode == rules.AgainEachTime && u.Flipped)
}

// OnlyNotes says of somebody whom a first look finds in a slot that all it does is to note them, whatever
// other rules do: they contend for nothing. Of who has no slot it is enough that the rule has no backfill.
func OnlyNotes(r *rules.Rule, slot *ledger.Slot) bool {
	return !r.Backfill && len(slot.Open) == 0 && newlyTrue(r, slot)
}

// watch says whether a later false answer matters to the slot after an entry that used up `again`.
func watch(r *rules.Rule) bool { return r.On == nil && r.Again.Mode == rules.AgainEachTime }
