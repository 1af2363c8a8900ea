package segments

import (
	"math"
	"slices"
	"sort"

	"github.com/expr-lang/expr/vm"
)

// Outcomes of what turns: of a comparison −1, 0 and 1; of a list how many; of a value whether it is
// there. absent is that it is not.
const absent = math.MinInt

const (
	// horizon is how far ahead instants are foreseen: what is later is not awaited by anybody.
	horizon = 100 * 365 * msDay
	// oldest is more than the age of anything that the store can hold, which begins in 1900.
	oldest = 400 * 365 * msDay
)

// due is a turning with the programs for its sides.
type due struct {
	l, r side
	list bool
	only bool // whether l is present
}

// side computes one side of a turning at the frame's instant.
type side struct {
	load    loader
	program *vm.Program // for what only the VM evaluates
	steady  bool        // it is the same at every instant
}

func (e *emitter) side(n *node) (side, error) {
	s := side{steady: !(&forms{}).moving(n)}
	if !n.vm && !n.isTruth() {
		s.load = e.load(n)
		return s, nil
	}
	var err error
	s.program, err = e.program(e.value(n))
	return s, err
}

func (e *emitter) dues(turnings []turning) ([]due, error) {
	out := make([]due, len(turnings))
	for i, t := range turnings {
		d := due{list: t.list, only: t.r == nil}
		var err error
		if d.l, err = e.side(t.l); err != nil {
			return nil, err
		}
		if t.r != nil {
			if d.r, err = e.side(t.r); err != nil {
				return nil, err
			}
		}
		out[i] = d
	}
	return out, nil
}

func (s *side) value(m *machine) any {
	if s.program == nil {
		return s.load(&m.frame, nil)
	}
	v, err := m.run(s.program)
	if err != nil {
		return nil // Judge fails as well, at every instant
	}
	return v
}

// Due is the earliest instant after `at` (Unix ms) at which one of the comparisons whose turning
// follows from the candidate's own values can turn by itself, whatever the rest of the condition
// says; false when there is none within a hundred years.
func (w *Who) Due(at int64, c *Candidate) (int64, bool) {
	if len(w.dues) == 0 {
		return 0, false
	}
	m := w.machine(at, c)
	defer w.release(m)
	first := int64(math.MaxInt64)
	for i := range w.dues {
		if t, ok := w.dues[i].next(m, at); ok && t < first {
			first = t
		}
	}
	return first, first != math.MaxInt64
}

// next is when the outcome changes for the first time after at. It changes in one direction only.
func (d *due) next(m *machine, at int64) (t int64, ok bool) {
	defer func() {
		if recover() != nil { // Judge fails as well, at every instant
			t, ok = 0, false
		}
	}()
	var l, r any
	outcomeAt := func(t int64) (int, float64) {
		m.frame.at, m.frame.steps = t, 0
		if t == at || !d.l.steady {
			l = d.l.value(m)
		}
		switch {
		case d.only && l == nil:
			return absent, 0
		case d.only:
			return 1, 0
		case t == at || !d.r.steady:
			r = d.r.value(m)
		}
		return outcome(l, r, d.list)
	}
	last := at + horizon
	now, gap := outcomeAt(at)
	then, gapThen := outcomeAt(last)
	if now == then {
		return 0, false
	}
	changed := func(t int64) bool {
		o, _ := outcomeAt(t)
		return o != now
	}
	// Where the difference of the two sides crosses zero on a straight line, or nearly there.
	lo, hi := at+1, last
	if gap != gapThen && gap-gapThen == gap-gapThen && !math.IsInf(gap-gapThen, 0) {
		guess := at + int64(float64(horizon)*(gap/(gap-gapThen)))
		if near := guess + 3; near >= lo && near < hi && changed(near) {
			hi = near
		}
		if near := guess - 3; near >= lo && near < hi && !changed(near) {
			lo = near + 1
		}
	}
	return lo + int64(sort.Search(int(hi-lo), func(i int) bool { return changed(lo + int64(i)) })), true
}

// outcome compares two values, or says how many of a list are later than a time.
func outcome(l, r any, list bool) (int, float64) {
	if list {
		all, isList := l.([]any)
		t, isTime := r.(instant)
		if !isList || !isTime {
			return absent, 0
		}
		return len(later(all, t)), 0
	}
	c, ok := compare(l, r)
	if !ok {
		return absent, 0
	}
	x, _ := asFloat(ms(l))
	y, _ := asFloat(ms(r))
	return c, x - y
}

// turningAges are the ages of an occurrence at which a comparison of two values turns that depend on
// its age only. They are searched with the very arithmetic that judges, so that rounding is its.
// Of two neighbours the first stands for both: ranges of ages are closed.
func turningAges(l, r *node, list bool) []int64 {
	at := func(age int64) int {
		x := any([]any{&Occurrence{}})
		if !list {
			x = valueAt(l, age)
		}
		o, _ := outcome(x, valueAt(r, age), list)
		return o
	}
	var out []int64
	age, now, last := int64(0), at(0), at(oldest)
	for now != last {
		from := age + 1
		age = from + int64(sort.Search(int(oldest-from), func(i int) bool { return at(from+int64(i)) != now }))
		now = at(age)
		if len(out) == 0 || age > out[len(out)-1]+1 {
			out = append(out, age)
		}
	}
	return slices.Clip(out)
}

// valueAt computes a value in which one occurrence happened at 0 and it is now that age.
func valueAt(n *node, age int64) any {
	switch n.op {
	case opConst:
		return n.val
	case opNow:
		return instant(age)
	case opField:
		if n.name == "ago" {
			return span(age)
		}
		return instant(0)
	case opCall:
		args := make([]any, len(n.kids))
		for i, k := range n.kids {
			args[i] = valueAt(k, age)
		}
		return n.fn.apply(nil, args)
	default:
	}
	panic("segments: an age of " + n.String())
}
