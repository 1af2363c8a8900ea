package segments

import "math"

// What a condition compares with now is, nearly always, linear: ages, instants and durations, added,
// subtracted and multiplied by constants. This file brings one side of a comparison to that form, so
// that it is known when the comparison can turn by itself.

// linear is now·t + known + Σ coef·(an occurrence's time) + what is steady. Times and durations are in
// ms; what was divided by a duration is in its own unit.
type linear struct {
	now    float64
	known  float64
	times  []timeTerm
	steady []*node // read for the person, or computed without now: it stays as it is until something arrives
	reads  int     // places that read now
	// wild says that now was multiplied by something that is no small whole number, so that what is
	// computed is rounded: it still grows or falls steadily, if now is read in one place only.
	wild bool
	// scaled says that a factor of now is known for the person only: now has no meaning.
	scaled bool
	// fixed says that a side is missing or longer than any duration whatever the instant.
	fixed bool
	// bad is the part that is not linear, and why a look at everybody is needed for it.
	bad *node
	why string
}

// timeTerm is the time of an occurrence that comes from histories.
type timeTerm struct {
	occ  *node
	coef float64
}

// Bounds below which times and durations are added and multiplied exactly.
const (
	maxFactor = 1 << 10
	maxKnown  = 1 << 50
)

func (l linear) plus(m linear, sign float64) linear {
	out := linear{
		now: l.now + sign*m.now, known: l.known + sign*m.known, reads: l.reads + m.reads,
		wild: l.wild || m.wild, scaled: l.scaled || m.scaled, fixed: l.fixed || m.fixed, bad: l.bad, why: l.why,
	}
	if out.bad == nil {
		out.bad, out.why = m.bad, m.why
	}
	out.times = append(out.times, l.times...)
	for _, t := range m.times {
		out.times = addTerm(out.times, timeTerm{t.occ, sign * t.coef})
	}
	out.steady = append(append(out.steady, l.steady...), m.steady...)
	return out.bounded()
}

// addTerm adds to the same occurrence's term, if there is one.
func addTerm(to []timeTerm, t timeTerm) []timeTerm {
	for i := range to {
		if to[i].occ == t.occ || to[i].occ.String() == t.occ.String() {
			to[i].coef += t.coef
			return to
		}
	}
	return append(to, t)
}

func (l linear) scaledBy(k float64) linear {
	out := l
	out.now, out.known = l.now*k, l.known*k
	out.times = make([]timeTerm, len(l.times))
	for i, t := range l.times {
		out.times[i] = timeTerm{t.occ, t.coef * k}
	}
	if k != math.Trunc(k) {
		out.wild = true
	}
	return out.bounded()
}

// bounded notes where numbers leave the range in which they are exact.
func (l linear) bounded() linear {
	ok := math.Abs(l.now) <= maxFactor && math.Abs(l.known) <= maxKnown
	for _, t := range l.times {
		ok = ok && math.Abs(t.coef) <= maxFactor
	}
	l.wild = l.wild || !ok
	return l
}

// Reasons for a look at everybody at each tick; "this" are the characters they stand under.
const (
	whyClock       = "This follows the clock where each person is, so that everybody's answer may change at any tick. A schedule with `zone: person` asks at an hour and on days of the person's own."
	whyDate        = "This follows the calendar where each person is, so that everybody's answer may change at any tick. Compare now with dates, which are the person's own too: now >= \"2026-12-24\" and now < \"2026-12-25\"."
	whyAnniversary = "This follows the calendar where each person is, so that everybody's answer may change at any tick."
	whyAge         = "This grows with time and is used as a plain value here. Compare an age with a duration, as in x.last.ago >= hours(1), and everybody need not be asked at each tick."
	whyFunction    = "This is computed from something that grows with time, and when it changes is not foreseen. Compare the age or the time itself with a duration or a time."
	whyClosure     = "This is computed for each element of a list from what grows with time, and when it changes is not foreseen. An occurrence filter or .within(…) asks the same of the history."
	whyProduct     = "This multiplies or divides one thing that grows with time by another. Compare them with durations one by one."
	whyRounded     = "This multiplies ages by large numbers or fractions and compares them with other ages, which is rounded. Use whole numbers up to 1024."
	whyTooMany     = "This has too many alternatives that depend on now. Split it into several conditions."
)

func whyLocal(name string) string {
	if name == "date" {
		return whyDate
	}
	return whyClock
}

// forms brings values to their forms. It remembers which nodes move.
type forms struct {
	moves map[*node]bool
	lists []*node // those of the open closures, outermost first
}

// moving reports whether a value changes as time goes by, with nothing happening. Truths do not: where
// they turn is found by looking at their comparisons. Nor do occurrences and lists of them.
func (fs *forms) moving(n *node) bool {
	if m, ok := fs.moves[n]; ok {
		return m
	}
	m := false
	switch {
	case n.op == opNow || n.op == opLocal || n.op == opField && n.name == "ago" || isCalendar(n):
		m = true
	case n.isTruth() || n.op == opAfter || n.op == opLater:
	case n.op == opLoop:
		m = fs.moving(n.kids[0])
		switch n.name {
		case "map", "sum", "sortBy":
			m = m || fs.moving(n.kids[1])
		}
	case n.op == opIf:
		m = fs.moving(n.kids[1]) || fs.moving(n.kids[2])
	default:
		for _, k := range n.kids {
			m = m || fs.moving(k)
		}
	}
	if fs.moves == nil {
		fs.moves = map[*node]bool{}
	}
	fs.moves[n] = m
	return m
}

// isCalendar reports whether a call depends on the date that it is for the person.
func isCalendar(n *node) bool {
	return n.op == opCall && n.fn.zoned != nil && n.fn != fnLocalTime
}

// histories are those that an occurrence, or each of a list, comes from, so that its age is found by
// theirs; false when some come from elsewhere.
func (fs *forms) histories(n *node) (of []*Feature, ok bool) {
	var walk func(n *node) bool
	walk = func(n *node) bool {
		kids := n.kids
		switch n.op {
		case opFeature:
			of = append(of, n.feat)
			return true
		case opTrigger, opElem, opEarlier:
			return false
		case opLoop:
			if n.name == "map" {
				return false
			}
			kids = kids[:1] // an element that was found or kept
		case opIf:
			kids = kids[1:]
		default:
		}
		for _, k := range kids {
			if !walk(k) {
				return false
			}
		}
		return true
	}
	if n.op == opElem {
		if n.typ != typOccurrence || n.depth > len(fs.lists) {
			return nil, false
		}
		n = fs.lists[n.depth-1]
	}
	ok = walk(n) && len(of) > 0
	return of, ok
}

// linear brings a value to its linear form. Choices have been taken apart before.
func (fs *forms) linear(n *node) linear {
	switch n.op {
	case opConst:
		return constantForm(n)
	case opNow:
		return linear{now: 1, reads: 1}
	case opField:
		occ := n.kids[0]
		_, found := fs.histories(occ)
		switch {
		case n.name == "ago" && found:
			return linear{now: 1, times: []timeTerm{{occ, -1}}, reads: 1}
		case n.name == "ago":
			return linear{now: 1, steady: []*node{occ}, reads: 1}
		case n.name == "at" && found:
			return linear{times: []timeTerm{{occ, 1}}}
		}
	case opCall:
		if f, ok := fs.arithmetic(n); ok {
			return f
		}
	default:
	}
	if !fs.moving(n) {
		return linear{steady: []*node{n}}
	}
	f := linear{bad: n, why: whyFunction}
	switch {
	case n.op == opLocal:
		f.why = whyLocal(n.name)
	case isCalendar(n):
		f.why = whyAnniversary
	case n.op == opLoop:
		f.why = whyClosure
	}
	return f
}

func constantForm(n *node) linear {
	switch v := n.val.(type) {
	case instant:
		return linear{known: float64(v)}.bounded()
	case span:
		if v == forever || v == never {
			return linear{fixed: true}
		}
		return linear{known: float64(v)}.bounded()
	case float64, int64:
		f, _ := asFloat(v)
		return linear{known: f}.bounded()
	}
	return linear{fixed: true} // missing, or never comparable
}

// arithmetic is the form of + − × ÷; false: it is none, or it is steady and no form of its parts says more.
func (fs *forms) arithmetic(n *node) (linear, bool) {
	if n.fn == nil || len(n.kids) != 2 {
		return linear{}, false
	}
	a, b := n.kids[0], n.kids[1]
	switch n.fn.name {
	case "+":
		return fs.linear(a).plus(fs.linear(b), 1), true
	case "-":
		return fs.linear(a).plus(fs.linear(b), -1), true
	case "*":
		if a.isConst() || !fs.moving(a) && fs.moving(b) {
			a, b = b, a
		}
	case "/":
	default:
		return linear{}, false
	}
	divides := n.fn.name == "/"
	if k, ok := constantFactor(b, divides); ok && (fs.moving(a) || k == math.Trunc(k)) {
		return fs.linear(a).scaledBy(k), true
	}
	switch {
	case !fs.moving(a) && !fs.moving(b):
		return linear{}, false
	case fs.moving(b):
		return linear{bad: n, why: whyProduct}, true
	}
	f := fs.linear(a)
	f.steady = append(f.steady, b)
	f.scaled, f.wild = true, true
	return f, true
}

// constantFactor is a constant to multiply by.
func constantFactor(n *node, divides bool) (float64, bool) {
	if !n.isConst() {
		return 0, false
	}
	k, ok := asFloat(n.val)
	if s, isSpan := n.val.(span); isSpan && s != forever && s != never {
		k, ok = float64(s), true
	}
	if divides {
		k = 1 / k
	}
	return k, ok && !math.IsInf(k, 0) && !math.IsNaN(k)
}

// turn is how a comparison of two values can turn by itself.
type turn uint8

const (
	turnNever turn = iota
	turnAge        // when an occurrence has a certain age
	turnDue        // at an instant that follows from what is known of the person
	turnFull       // nobody knows when
)

// turns says how a comparison of two linear forms can turn; l is their difference.
func (l *linear) turns() turn {
	switch {
	case l.bad != nil:
		return turnFull
	case l.wild && l.reads > 1:
		l.why = whyRounded
		return turnFull
	case l.fixed, !l.scaled && l.now == 0:
		return turnNever
	case l.scaled || len(l.steady) > 0:
		return turnDue
	}
	var of []timeTerm
	for _, t := range l.times {
		if t.coef != 0 {
			of = append(of, t)
		}
	}
	if len(of) == 1 && of[0].coef == -l.now {
		return turnAge
	}
	return turnDue
}
