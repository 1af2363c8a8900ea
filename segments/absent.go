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
	for _, p := range (part{node: when}).parts(nil) {
		into := wanted
		if p.denied != isNone(p.node) {
			into = denied
		}
		eventsBelow(p.node, into)
	}
	maps.DeleteFunc(denied, func(name string, _ bool) bool { return wanted[name] })
	return slices.Sorted(maps.Keys(denied))
}

// isNone says whether a part of a condition asks that there is nothing.
func isNone(n *node) bool {
	zero := func(n *node) bool { return n.isConst() && n.val == 0.0 }
	switch n.op {
	case opIsNil:
		return true
	case opCompare:
		return (n.name == "==" || n.name == "<=") && zero(n.kids[1]) || (n.name == "==" || n.name == ">=") && zero(n.kids[0])
	default:
		return false
	}
}

func eventsBelow(n *node, into map[string]bool) {
	if n.feat != nil && n.feat.Message == "" && n.feat.Event != "*" {
		into[n.feat.Event] = true
	}
	for _, k := range n.kids {
		eventsBelow(k, into)
	}
}

// Never are the events of the app of which the condition asks that the last was longer ago than a time, and
// not that there was one: it is true of those who never did it, too.
func (w *Who) Never() []string { return slices.Clone(w.never) }

// neverDone finds them among the parts that must all hold.
func neverDone(when *node) []string {
	done := map[string]bool{}
	var asked []*node
	for _, p := range (part{node: when}).parts(nil) {
		for _, f := range facts(p) {
			if f.whole && f.op == ">=" && f.value >= 1 {
				done[f.of] = true
			}
		}
		if n := longAgo(p); n != nil {
			asked = append(asked, n)
		}
	}
	out := map[string]bool{}
	for _, n := range asked {
		if f := n.feat; f.Message == "" && f.Event != "*" && !f.Keyed && !done[countOf(f, 0, part{}).of] {
			out[f.Event] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// longAgo is the last occurrence of which a part asks that it is at least as old as a time; nil of others.
func longAgo(p part) *node {
	if p.node.op != opCompare || p.denied {
		return nil
	}
	l, r, op := p.node.kids[0], p.node.kids[1], p.node.name
	if l.isConst() {
		l, r, op = r, l, flipped[op]
	}
	age, ok := r.val.(span)
	if !ok || age <= 0 || op != ">" && op != ">=" || l.op != opField || l.name != "ago" || l.kids[0].op != opFeature || l.kids[0].feat.Agg != AggLast {
		return nil
	}
	return l.kids[0]
}

// Implies says that the other condition is true of everybody (and every value) of whom this one is: it asks for all
// that the other asks for. False says nothing.
func (w *Who) Implies(other *Who) bool {
	if w.on != nil || other.on != nil || !w.forEach.equal(other.forEach) {
		return false
	}
	return !slices.ContainsFunc(other.asked, func(asked string) bool {
		_, is := slices.BinarySearch(w.asked, asked)
		return !is
	})
}

// askedFor are the parts that must all hold, in a normal form and in order.
func askedFor(when *node) []string {
	var out []string
	for _, p := range (part{node: when}).parts(nil) {
		out = append(out, p.String())
	}
	slices.Sort(out)
	return out
}

// String is the part in a normal form.
func (p part) String() string {
	if p.denied {
		return "not " + p.node.String()
	}
	return p.node.String()
}

func (f *ForEach) equal(g *ForEach) bool {
	if f == nil || g == nil {
		return f == g
	}
	return f.Event == g.Event && f.Path == g.Path && f.Filter.String() == g.Filter.String()
}
