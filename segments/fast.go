package segments

// Comparisons of times, durations and numbers that come straight from the planner are most of what
// rules ask. They are compared as machine integers and floats: putting each into an interface for
// the VM's own operators costs an allocation a value.

type ints func(f *frame) (int64, bool)

type reals func(f *frame) (float64, bool)

func (e *emitter) compareFast(n *node, want bool) tester {
	a, b := n.kids[0], n.kids[1]
	if a.typ != b.typ {
		return nil
	}
	accept := acceptOrder(n.name, want)
	switch a.typ {
	case typTime, typDuration:
		return compareTyped(e.ints(a), e.ints(b), accept)
	case typNumber:
		return compareTyped(e.reals(a), e.reals(b), accept)
	default:
	}
	return nil
}

// acceptOrder says which of less, equal, greater make the comparison definitely true (or false).
func acceptOrder(operator string, want bool) [3]bool {
	var accept [3]bool
	for i, c := range []int{-1, 0, 1} {
		var is bool
		switch operator {
		case "==":
			is = c == 0
		case "!=":
			is = c != 0
		default:
			is = ordered(operator, c)
		}
		accept[i] = is == want
	}
	return accept
}

func compareTyped[T int64 | float64, F ~func(*frame) (T, bool)](a, b F, accept [3]bool) tester {
	if a == nil || b == nil {
		return nil
	}
	return func(f *frame, _ any) bool {
		x, ok1 := a(f)
		y, ok2 := b(f)
		if !ok1 || !ok2 {
			return false
		}
		switch {
		case x < y:
			return accept[0]
		case x > y:
			return accept[2]
		}
		return accept[1]
	}
}

// ints reads a time or duration without an interface; nil where there is no such way.
func (e *emitter) ints(n *node) ints {
	switch n.op {
	case opConst:
		switch v := n.val.(type) {
		case instant:
			return func(*frame) (int64, bool) { return int64(v), true }
		case span:
			return func(*frame) (int64, bool) { return int64(v), true }
		}
	case opNow:
		return func(f *frame) (int64, bool) { return f.at, true }
	case opField:
		return e.occurrenceInts(n)
	default:
	}
	return nil
}

func (e *emitter) occurrenceInts(n *node) ints {
	var occ func(f *frame) *Occurrence
	known := false
	switch k := n.kids[0]; k.op {
	case opFeature:
		i := e.featureIndex(k.feat)
		occ, known = func(f *frame) *Occurrence { return f.occurrence(i) }, true
	case opTrigger:
		occ = func(f *frame) *Occurrence { return f.c.Trigger }
	default:
		return nil
	}
	switch n.name {
	case "at":
		return func(f *frame) (int64, bool) {
			if o := occ(f); o != nil {
				return o.Time, true
			}
			return 0, false
		}
	case "ago":
		return func(f *frame) (int64, bool) {
			if o := occ(f); o != nil {
				return f.at - o.Time, true
			}
			return int64(forever), known
		}
	}
	return nil
}

func (e *emitter) reals(n *node) reals {
	switch n.op {
	case opConst:
		if v, ok := n.val.(float64); ok {
			return func(*frame) (float64, bool) { return v, true }
		}
	case opFeature:
		i := e.featureIndex(n.feat)
		switch n.feat.Agg {
		case AggCount, AggUniq:
			return func(f *frame) (float64, bool) { return float64(f.whole(i)), true }
		case AggSum, AggAvg, AggMin, AggMax:
			return func(f *frame) (float64, bool) {
				v, ok := f.value(i).(float64)
				return v, ok && v-v == 0 // not infinite, not NaN
			}
		default:
		}
	case opLocal:
		if n.name == "hour" {
			return func(f *frame) (float64, bool) { return f.local("hour").(float64), true }
		}
	default:
	}
	return nil
}
