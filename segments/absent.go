package segments

import (
	"maps"
	"slices"
)

// Absent are the events of the app, by name, that the condition wants not to have happened and asks for
// in no other way: of `event("A").last.ago > hours(1) and not did("B").since(event("A").last.at)` it is B.
func (w *Who) Absent() []string { return slices.Clone(w.absent) }

// absentEvents looks at the parts that must all hold: those that deny something, and those that do not.
func absentEvents(when *node) []string {
	denied, wanted := map[string]bool{}, map[string]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n.op == opAnd {
			walk(n.kids[0])
			walk(n.kids[1])
			return
		}
		if what, no := denies(n); no {
			eventsBelow(what, denied)
			return
		}
		eventsBelow(n, wanted)
	}
	walk(when)
	maps.DeleteFunc(denied, func(name string, _ bool) bool { return wanted[name] })
	return slices.Sorted(maps.Keys(denied))
}

// denies says whether a part of a condition asks that something is not so, and of what.
func denies(n *node) (*node, bool) {
	switch n.op {
	case opNot, opIsNil:
		return n.kids[0], true
	case opCompare:
		zero := func(n *node) bool { return n.isConst() && n.val == 0.0 }
		switch {
		case (n.name == "==" || n.name == "<=") && zero(n.kids[1]):
			return n.kids[0], true
		case (n.name == "==" || n.name == ">=") && zero(n.kids[0]):
			return n.kids[1], true
		}
	default:
	}
	return nil, false
}

func eventsBelow(n *node, into map[string]bool) {
	if n.feat != nil && n.feat.Message == "" && n.feat.Event != "*" {
		into[n.feat.Event] = true
	}
	for _, k := range n.kids {
		eventsBelow(k, into)
	}
}
