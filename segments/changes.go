package segments

import (
	"slices"
	"strings"
)

// Changes says what can change the condition's answer about a person between two looks. The caller
// must not change it.
func (w *Who) Changes() *Changes { return w.changes }

// changeAnalysis walks a condition and notes everything that its answer depends on, and each place
// where time alone can turn it. docs/planning.md has the theory.
type changeAnalysis struct {
	forms
	out     *Changes
	sources map[string]int // by sourceKey
	ages    []map[int64]bool
	dues    []turning
	seen    map[*node]bool
	from    int // the innermost part that has characters of its own
	to      int
	segment bool // from and to are those of a segment(…), whose own text is elsewhere
	silent  int  // what is walked is the inside of something reported already
}

// turning is something whose outcome turns at instants known for a candidate only.
type turning struct {
	l, r *node // two sides that are compared; r nil: whether l is present
	list bool  // l is a list: how many are later than r
}

// changesOf analyses a condition; forEach is the rule's.
func changesOf(when *node, forEach *ForEach) (*Changes, []turning) {
	a := &changeAnalysis{out: &Changes{}, sources: map[string]int{}, seen: map[*node]bool{}}
	a.from, a.to = when.from, when.to
	if forEach != nil {
		a.source(&Feature{Event: forEach.Event, Keyed: true, Filter: forEach.Filter})
	}
	a.walk(when)
	a.ageOnly(when)
	for i := range a.out.Sources {
		ages := make([]int64, 0, len(a.ages[i]))
		for d := range a.ages[i] {
			ages = append(ages, d)
		}
		slices.Sort(ages)
		a.out.Sources[i].Ages = ages
	}
	slices.Sort(a.out.Traits)
	a.out.Dues = len(a.dues) > 0
	a.out.Anybody = forEach == nil && possible(when).isTrue
	return a.out, a.dues
}

// ageOnly finds the histories of which nothing is asked but how old the newest occurrence is, or whether there is one.
func (a *changeAnalysis) ageOnly(when *node) {
	age, more := map[int]bool{}, map[int]bool{}
	last := func(n *node) bool { return n.op == opFeature && n.feat.Agg == AggLast }
	seen := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if n.op == opFeature {
			more[a.source(n.feat)] = true
			return
		}
		for i, k := range n.kids {
			switch {
			case n.op == opCompare && k.op == opField && k.name == "ago" && last(k.kids[0]) && n.kids[1-i].isConst():
				age[a.source(k.kids[0].feat)] = true
			case n.op == opIsNil && last(k):
				age[a.source(k.feat)] = true
			default:
				walk(k)
			}
		}
	}
	walk(when)
	for i := range a.out.Sources {
		s := &a.out.Sources[i]
		s.AgeOnly = age[i] && !more[i] && s.Message == "" && s.Filter == nil && !s.Keyed
	}
}

// source notes a history and returns its index.
func (a *changeAnalysis) source(f *Feature) int {
	s := ChangeSource{Event: f.Event, Message: f.Message, Keyed: f.Keyed, Filter: f.Filter}
	key := strings.Join([]string{f.Event, f.Message, f.Filter.String()}, "\x00")
	if f.Keyed {
		key += "\x00keyed"
	}
	i, ok := a.sources[key]
	if !ok {
		i = len(a.out.Sources)
		a.sources[key] = i
		a.out.Sources = append(a.out.Sources, s)
		a.ages = append(a.ages, map[int64]bool{0: true})
	}
	if f.Within > 0 {
		a.ages[i][f.Within] = true
	}
	return i
}

func (a *changeAnalysis) trait(name string) {
	if !slices.Contains(a.out.Traits, name) {
		a.out.Traits = append(a.out.Traits, name)
	}
}

// full notes that a look at everybody is needed, under the characters of n.
func (a *changeAnalysis) full(n *node, why string) {
	if a.silent > 0 {
		return
	}
	from, to := n.from, n.to
	if a.segment || from >= to {
		from, to = a.from, a.to
	}
	r := FullReason{Part: partWhen, From: from, To: to, Why: why}
	if !slices.Contains(a.out.Full, r) {
		a.out.Full = append(a.out.Full, r)
	}
}

// enter makes n the part that what follows is reported under; the returned func leaves it.
func (a *changeAnalysis) enter(n *node) func() {
	if a.segment || n.from >= n.to {
		return func() {}
	}
	from, to := a.from, a.to
	a.from, a.to, a.segment = n.from, n.to, n.segment
	return func() { a.from, a.to, a.segment = from, to, false }
}

// walk notes what a value or a truth depends on. It must not move but by what is noted.
func (a *changeAnalysis) walk(n *node) {
	if a.seen[n] {
		return
	}
	a.seen[n] = true
	defer a.enter(n)()
	switch n.op {
	case opNow:
		a.full(n, whyAge)
	case opLocal:
		a.out.Zone = true
		a.full(n, whyLocal(n.name))
	case opFeature:
		a.source(n.feat)
	case opTrait:
		a.trait(n.name)
	case opUser:
		switch n.name {
		case "id":
			a.out.UserID = true
		case "created_at":
			a.out.Created = true
		default:
			a.out.Zone = true
		}
	case opPlace:
		a.out.Places = true
	case opField:
		if n.name == "ago" {
			a.full(n, whyAge)
		}
	case opCall:
		if n.fn.zoned != nil {
			a.out.Zone = true
		}
		if isCalendar(n) {
			a.full(n, whyAnniversary)
		}
	case opIsNil:
		a.presence(n.kids[0])
		return
	case opCompare:
		a.compare(n.kids[0], n.kids[1], false)
		return
	case opIn:
		a.in(n)
		return
	case opAfter:
		a.compare(field(n.kids[0], "at", typTime, true), n.kids[1], false)
		return
	case opLater:
		a.compare(n.kids[0], n.kids[1], true)
		return
	case opLoop:
		a.walk(n.kids[0])
		if a.moving(n.kids[1]) {
			a.full(n.kids[1], whyClosure)
			return
		}
		a.lists = append(a.lists, n.kids[0])
		for _, k := range n.kids[1:] {
			a.walk(k)
		}
		a.lists = a.lists[:len(a.lists)-1]
		return
	default:
	}
	for _, k := range n.kids {
		a.walk(k)
	}
}

// in is a comparison with each element that is written out.
func (a *changeAnalysis) in(n *node) {
	v, list := n.kids[0], n.kids[1]
	if list.op != opList || !a.moving(v) && !a.moving(list) {
		a.walk(v)
		a.walk(list)
		return
	}
	for _, k := range list.kids {
		a.compare(v, k, false)
	}
}

// compare notes when the comparison of two values can turn. With list, l is a list whose elements
// are asked whether they are later than r.
func (a *changeAnalysis) compare(l, r *node, list bool) {
	if !a.moving(l) && !a.moving(r) {
		a.walk(l)
		a.walk(r)
		return
	}
	ls, rs := a.choices(l, true), a.choices(r, true)
	if len(ls)*len(rs) > maxChoices { // what does not move can stay as it is
		ls, rs = a.choices(l, false), a.choices(r, false)
	}
	if len(ls)*len(rs) > maxChoices {
		a.full(r, whyTooMany)
		a.inner(l, r)
		return
	}
	for _, x := range ls {
		for _, y := range rs {
			a.turns(x, y, list)
		}
	}
}

const maxChoices = 64

// closure reports what moves inside a closure.
func (a *changeAnalysis) closure(n *node) {
	if a.moving(n) {
		a.full(a.mover(n), whyClosure)
	}
	a.inner(n)
}

// mover is the first part of a value that moves by itself.
func (a *changeAnalysis) mover(n *node) *node {
	if n.op == opNow || n.op == opLocal || n.op == opField || isCalendar(n) {
		return n
	}
	for _, k := range n.kids {
		if a.moving(k) {
			return a.mover(k)
		}
	}
	return n
}

// inner notes what the parts of something that has been reported depend on.
func (a *changeAnalysis) inner(ns ...*node) {
	a.silent++
	for _, n := range ns {
		a.walk(n)
	}
	a.silent--
}

// choices are the values that a value with ?: and ?? can be, each without them: all, or where they move.
func (a *changeAnalysis) choices(n *node, all bool) []*node {
	if !all && !a.moving(n) {
		return []*node{n}
	}
	switch {
	case n.op == opIf:
		a.walk(n.kids[0])
		return append(a.choices(n.kids[1], all), a.choices(n.kids[2], all)...)
	case n.op == opCoalesce:
		a.presence(n.kids[0])
		return append(a.choices(n.kids[0], all), a.choices(n.kids[1], all)...)
	case n.op != opCall || len(n.kids) != 2 || !slices.Contains([]string{"+", "-", "*", "/"}, n.fn.name):
		return []*node{n}
	}
	ls, rs := a.choices(n.kids[0], all), a.choices(n.kids[1], all)
	if len(ls) == 1 && len(rs) == 1 && ls[0] == n.kids[0] && rs[0] == n.kids[1] {
		return []*node{n}
	}
	var out []*node
	for _, l := range ls {
		for _, r := range rs {
			if len(out) > maxChoices { // compare says so
				return out
			}
			c := mk(opCall, n.typ, l, r)
			c.fn, c.maybe = n.fn, true
			out = append(out, c.at(n.from, n.to))
		}
	}
	return out
}

// turns notes when one comparison turns.
func (a *changeAnalysis) turns(l, r *node, list bool) {
	of := a.linear(l)
	if list {
		of = linear{times: []timeTerm{{l, 1}}}
	}
	d := of.plus(a.linear(r), -1)
	kind := d.turns()
	switch {
	case kind == turnDue && max(l.depth, r.depth) > 0: // each element has instants of its own
		a.closure(l)
		a.closure(r)
		return
	case kind == turnFull && d.bad != nil:
		a.full(d.bad, d.why)
	case kind == turnFull:
		a.full(&node{from: min(l.from, r.from), to: max(l.to, r.to)}, d.why)
	}
	if kind == turnFull {
		a.inner(l, r)
		return
	}
	for _, t := range d.times {
		a.walk(t.occ)
	}
	for _, s := range d.steady {
		a.walk(s)
	}
	switch kind {
	case turnAge:
		ages := turningAges(l, r, list)
		for _, t := range d.times {
			if t.coef != 0 {
				a.crossings(t.occ, ages)
			}
		}
	case turnDue:
		a.dues = append(a.dues, turning{l: l, r: r, list: list})
	default:
	}
}

// crossings notes ages of the histories that an occurrence comes from.
func (a *changeAnalysis) crossings(occ *node, ages []int64) {
	of, _ := a.histories(occ)
	for _, f := range of {
		i := a.source(f)
		for _, age := range ages {
			a.ages[i][age] = true
		}
	}
}

// presence notes when a value may become missing, or no longer be.
func (a *changeAnalysis) presence(n *node) {
	if !a.moving(n) {
		a.walk(n)
		return
	}
	if n.depth > 0 {
		a.closure(n)
		return
	}
	for _, c := range a.choices(n, false) {
		d := a.linear(c)
		if d.bad != nil {
			a.full(d.bad, d.why)
			a.inner(c)
			continue
		}
		for _, t := range d.times {
			a.walk(t.occ)
		}
		for _, s := range d.steady {
			a.walk(s)
		}
		if d.wild || d.scaled || len(d.steady) > 0 && c.op == opCall {
			a.dues = append(a.dues, turning{l: c}) // a sum may be too large to be a time
		}
	}
}
