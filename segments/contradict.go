package segments

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// What the parts of a condition say of the same value (an age, a count, a trait) is held together: parts
// that rule each other out make a condition that nobody ever meets, though each of them is right.

// contradictions are the problems of a condition (of the rule, or of a segment) of that kind; source is its text.
// Of `or` each side is looked at by itself.
func contradictions(when *node, source string) []Problem {
	var out []Problem
	var walk func(p part)
	walk = func(p part) {
		h := held{source: source, ranges: map[string]*limits{}, texts: map[string]fact{}, counts: map[string][]window{}}
		for _, q := range p.parts(nil) {
			if q.node.op == opOr && !q.denied {
				walk(part{q.node.kids[0], false, q.place})
				walk(part{q.node.kids[1], false, q.place})
				continue
			}
			if q.place == nil && q.node.isNever(q.denied) {
				out = append(out, q.problem(idNeverTrue, "This is never true.", "Compare with something that differs between people, or leave it out."))
				return
			}
			if found, ok := h.take(q); ok {
				out = append(out, found)
				return
			}
		}
	}
	walk(part{node: when})
	return out
}

// isNever says of a truth without anything of a person in it that it is never so, or of one that is denied that it always is.
func (n *node) isNever(denied bool) bool {
	if n.op == opCompare && n.kids[0].isConst() && n.kids[1].isConst() {
		return holds(n.name, n.kids[0].val, n.kids[1].val, denied)
	}
	return n.isConst() && n.val == denied
}

// part is one of the parts of a condition that must all hold; denied: its opposite must.
type part struct {
	node   *node
	denied bool
	place  *node // the segment(…) that it comes from: its characters are in the segment's text
}

// parts are those that must all hold for p to.
func (p part) parts(out []part) []part {
	n := p.node
	if n.segment && p.place == nil {
		p.place = n
	}
	switch {
	case n.op == opNot:
		return part{n.kids[0], !p.denied, p.place}.parts(out)
	case n.op == opAnd && !p.denied, n.op == opOr && p.denied:
		return part{n.kids[1], p.denied, p.place}.parts(part{n.kids[0], p.denied, p.place}.parts(out))
	}
	return append(out, p)
}

// problem is one at the part.
func (p part) problem(id, summary, detail string) Problem {
	at := p.node
	if p.place != nil {
		at = p.place
	}
	return Problem{Part: partWhen, From: at.from, To: at.to, ID: id, Summary: summary, Detail: detail, Warning: true}
}

// fact is what a part says of a value: that it is less than a number, or a certain text.
type fact struct {
	of    string // the value, printed
	op    string
	value float64
	texts []string   // it is one of them
	whole bool       // it is a whole number
	least bool       // it is never less than 0
	clock [2]float64 // of a part of local: its least and its most
	count *Feature   // of a count: of what
	known bool       // it is never unknown
	by    part
}

// limits are what has been said of a number.
type limits struct {
	low, high             float64
	lowStrict, highStrict bool
	lowBy, highBy         *fact // nil: the kind of value says so
}

func (l *limits) empty() bool {
	return l.low > l.high || l.low == l.high && (l.lowStrict || l.highStrict)
}

// written is the part as the author wrote it, of one of a segment the segment(…) that it comes from.
func (p part) written(source string) string {
	n := p.node
	if p.place != nil {
		n = p.place
	}
	said := n.String()
	if n.from < n.to && n.to <= len(source) {
		said = strings.Join(strings.Fields(source[n.from:n.to]), " ")
	}
	if p.denied && p.place == nil {
		said = "not (" + said + ")"
	}
	return said
}

// held is what the parts looked at so far say.
type held struct {
	source string
	ranges map[string]*limits
	texts  map[string]fact
	counts map[string][]window // by the history
}

// take adds what a part says, and tells when that cannot be.
func (h *held) take(p part) (Problem, bool) {
	for i, f := range facts(p) {
		if f.texts != nil {
			other, said := h.texts[f.of]
			if said {
				f.texts = slices.DeleteFunc(slices.Clone(f.texts), func(s string) bool { return !slices.Contains(other.texts, s) })
			}
			if len(f.texts) == 0 {
				return f.against(&other, h.source)
			}
			h.texts[f.of] = f
			continue
		}
		l := h.ranges[f.of]
		if l == nil {
			l = &limits{low: math.Inf(-1), high: math.Inf(1)}
			if f.least {
				l.low = 0
			}
			if f.clock[1] > 0 {
				l.low, l.high = f.clock[0], f.clock[1]
			}
			h.ranges[f.of] = l
		}
		if i == 0 && f.known && f.always() && p.place == nil {
			return p.problem(idAlwaysTrue, "This is always true: "+f.bounds()+".", "Leave it out, or compare with another number."), true
		}
		if other := l.narrow(&f); l.empty() {
			return f.against(other, h.source)
		}
		if other := h.counted(&f, l); other != nil {
			return f.against(other, h.source)
		}
	}
	return Problem{}, false
}

// counted holds the counts of one history in several windows together: there is never more in a shorter one than in one that
// is longer. It returns the fact that rules f out, nil for none.
func (h *held) counted(f *fact, l *limits) *fact {
	if f.count == nil {
		return nil
	}
	ever := *f.count
	ever.Within = 0
	key := ever.Key()
	h.counts[key] = append(h.counts[key], window{f.count.Within, l})
	for _, shorter := range h.counts[key] {
		for _, longer := range h.counts[key] {
			if shorter.limits.low <= longer.limits.high || shorter.within == 0 || longer.within != 0 && longer.within < shorter.within {
				continue
			}
			if other := longer.limits.highBy; shorter.limits == l {
				return other
			}
			return shorter.limits.lowBy
		}
	}
	return nil
}

// window is what has been said of a count within a time, 0 for ever.
type window struct {
	within int64
	limits *limits
}

// always says whether no value that is never less than 0 fails it.
func (f *fact) always() bool {
	if least, most := f.clock[0], f.clock[1]; most > 0 {
		switch f.op {
		case ">=":
			return f.value <= least
		case ">":
			return f.value < least
		case "<=":
			return f.value >= most
		case "<":
			return f.value > most
		}
	}
	return f.least && (f.op == ">=" && f.value <= 0 || f.op == ">" && f.value < 0)
}

// against is the problem of two facts, the second nil for what the kind of value says. What is within one
// segment is that segment's.
func (f *fact) against(other *fact, source string) (Problem, bool) {
	if f.by.place != nil && (other == nil || other.by.place == f.by.place) {
		return Problem{}, false
	}
	if other == nil {
		return f.by.problem(idNeverTrue, "This is never true: "+f.bounds()+".", "Compare with another number."), true
	}
	return f.by.problem(idNeverTrue, fmt.Sprintf("This and `%s` rule each other out.", other.by.written(source)), "Nobody can meet both. Join them with `or`, or change one of the two."), true
}

// bounds words what the kind of value says.
func (f *fact) bounds() string {
	if f.clock[1] > 0 {
		return fmt.Sprintf("it is %g to %g", f.clock[0], f.clock[1])
	}
	return "it is never less than 0"
}

// narrow adds a fact, and returns the one at the other end.
func (l *limits) narrow(f *fact) (other *fact) {
	up := func() {
		if f.value < l.high || f.value == l.high && f.op == "<" {
			l.high, l.highStrict, l.highBy = f.value, f.op == "<", f
		}
		other = l.lowBy
	}
	down := func() {
		if f.value > l.low || f.value == l.low && f.op == ">" {
			l.low, l.lowStrict, l.lowBy = f.value, f.op == ">", f
		}
		other = l.highBy
	}
	switch f.op {
	case "<", "<=":
		up()
	case ">", ">=":
		down()
	case "==":
		before := *l
		down()
		up()
		if other = before.highBy; f.value < before.low || f.value == before.low && before.lowStrict {
			other = before.lowBy
		}
	}
	return other
}

// facts are what a part says if it holds, what it says itself first.
func facts(p part) []fact {
	n := p.node
	switch n.op {
	case opIsNil:
		if k := n.kids[0]; k.op == opFeature && k.feat.Agg == AggLast {
			op := "=="
			if p.denied {
				op = ">"
			}
			return occurred(k, op, p)
		}
	case opIn:
		if texts := constantTexts(n.kids[1]); texts != nil && !p.denied && !n.kids[0].isConst() {
			return []fact{{of: n.kids[0].String(), op: "==", texts: texts, by: p}}
		}
	case opCompare:
		l, r, op := n.kids[0], n.kids[1], n.name
		if l.isConst() {
			l, r, op = r, l, flipped[op]
		}
		if p.denied {
			op = opposite[op]
		}
		if l.isConst() || !r.isConst() {
			return nil
		}
		if s, ok := r.val.(string); ok {
			if op == "==" {
				return []fact{{of: l.String(), op: op, texts: []string{s}, by: p}}
			}
			return nil
		}
		v, ok := constantNumber(r)
		if t, is := r.val.(instant); is {
			v, ok = float64(t), true
		}
		if !ok || op == "!=" {
			return nil
		}
		return compared(l, op, v, p)
	default:
	}
	return nil
}

// constantTexts are the texts of a list of nothing else, nil of any other list.
func constantTexts(list *node) []string {
	items, _ := list.val.([]any)
	if list.op == opList {
		for _, k := range list.kids {
			items = append(items, k.val)
		}
	}
	out := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// compared are what a comparison of a value with a number says.
func compared(n *node, op string, v float64, p part) []fact {
	f := fact{of: n.String(), op: op, value: v, by: p}
	switch {
	case n.op == opFeature && n.feat.Agg == AggCount:
		f.whole, f.least, f.known, f.count = true, true, true, n.feat
		f.op, f.value = wholly(op, v)
		switch {
		case f.op == ">=" && f.value >= 1 || f.op == "==" && f.value >= 1:
			return append([]fact{f}, happenedIn(n.feat, p)...)
		case f.op == "<=" && f.value <= 0 || f.op == "==" && f.value == 0:
			return append([]fact{f}, happenedNot(n.feat, p)...)
		}
	case n.op == opLocal && clocks[n.name][1] > 0:
		f.clock, f.known = clocks[n.name], true
	case n.op == opField && n.name == "ago" && n.kids[0].op == opFeature && n.kids[0].feat.Agg == AggLast:
		f.least = true
		if op == ">" || op == ">=" {
			break // of who never did it the age is longer than any other
		}
		return append([]fact{f}, happenedIn(n.kids[0].feat, p)...)
	}
	return []fact{f}
}

// clocks are the least and the most of the parts of local that are numbers.
var clocks = map[string][2]float64{"hour": {0, 23}, "day": {1, 31}, "month": {1, 12}}

// wholly says a comparison of a whole number without `<` and `>`.
func wholly(op string, v float64) (string, float64) {
	switch op {
	case ">":
		return ">=", math.Floor(v) + 1
	case ">=":
		return ">=", math.Ceil(v)
	case "<":
		return "<=", math.Ceil(v) - 1
	case "<=":
		return "<=", math.Floor(v)
	}
	return op, v
}

// occurred is what a last occurrence says that is missing (==) or not (>).
func occurred(last *node, op string, p part) []fact {
	f := countOf(last.feat, last.feat.Within, p)
	if op == ">" {
		f.op, f.value = ">=", 1
		return append([]fact{f}, happenedIn(last.feat, p)...)
	}
	f.op, f.value = "<=", 0
	return append([]fact{f}, happenedNot(last.feat, p)...)
}

// happenedIn is what else holds when a history has an occurrence: one ever, and one as young as the window.
func happenedIn(f *Feature, p part) []fact {
	ever := countOf(f, 0, p)
	ever.op, ever.value = ">=", 1
	out := []fact{ever}
	if f.Within > 0 {
		age := ageOf(f, p)
		age.op, age.value = "<", float64(f.Within)
		out = append(out, age)
	}
	return out
}

// happenedNot is what else holds when it has none: the last one is as old as the window, or older than anything.
func happenedNot(f *Feature, p part) []fact {
	age := ageOf(f, p)
	age.op, age.value = ">=", math.Inf(1)
	if f.Within > 0 {
		age.value = float64(f.Within)
	}
	return []fact{age}
}

func countOf(f *Feature, within int64, p part) fact {
	g := *f
	g.Agg, g.Path, g.N, g.Within = AggCount, "", 0, within
	return fact{of: feature(g, typNumber).String(), whole: true, least: true, by: p}
}

func ageOf(f *Feature, p part) fact {
	g := *f
	g.Agg, g.Path, g.N, g.Within = AggLast, "", 0, 0
	return fact{of: field(feature(g, typOccurrence), "ago", typDuration, true).String(), least: true, by: p}
}
