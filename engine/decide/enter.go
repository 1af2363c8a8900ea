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

// watch says whether a later false answer matters to the slot after an entry that used up `again`.
func watch(r *rules.Rule) bool { return r.On == nil && r.Again.Mode == rules.AgainEachTime }
