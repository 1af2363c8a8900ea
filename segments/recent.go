package segments

import "math"

// CanPass says whether somebody can pass the prefilter of whom only what happened after since (Unix ms) has been
// read: c.Values are of those occurrences alone, for conditions about values of for_each with the ones that
// c.Value had since then. What is older may be anything, and so may the profile and places, which are not looked
// at. Whoever cannot pass cannot be judged True.
func (w *Who) CanPass(at, since int64, c *Candidate) bool {
	m := w.machine(at, c)
	defer w.release(m)
	r := &recent{w: w, since: since, frame: &m.frame}
	r.exact = operands{frame: r.frame, feature: r.frame.edge}
	return w.prefilter.holds(true, r.leaf)
}

// recent evaluates a prefilter over ranges of what its operands can be.
type recent struct {
	w     *Who
	since int64
	frame *frame
	exact operands
}

// extent is what an operand can be: the very value that is known, or a number in [low, high]. there says that
// it is not missing.
type extent struct {
	known, ranged, there bool
	low, high            float64
}

func (r *recent) leaf(p *Pred) bool {
	left, right := r.extent(p.L), extent{known: true}
	if p.R != nil {
		right = r.extent(p.R)
	}
	if left.known && right.known {
		return p.leaf(&r.exact)
	}
	if p.Op == PredHasNot {
		return !left.there
	}
	l, lok := r.bounds(p.L, left)
	o, rok := r.bounds(p.R, right)
	if !lok || !rok {
		return true
	}
	switch p.Op {
	case PredEq:
		return l.low <= o.high && o.low <= l.high
	case PredLt:
		return l.low < o.high
	case PredLe:
		return l.low <= o.high
	case PredGt:
		return l.high > o.low
	case PredGe:
		return l.high >= o.low
	default:
	}
	return true
}

// bounds are those of the operand's number; false where it may be something else.
func (r *recent) bounds(o *Operand, x extent) (extent, bool) {
	switch {
	case o == nil || isText(o):
		return x, false
	case x.known:
		f, ok := asFloat(r.exact.value(o))
		return extent{low: f, high: f}, ok
	case !x.ranged:
		return x, false
	}
	scale := o.Scale
	if scale == 0 {
		scale = 1
	}
	low, high := scale*x.low+o.Offset, scale*x.high+o.Offset
	if scale < 0 {
		low, high = high, low
	}
	return extent{low: low, high: high}, true
}

func (r *recent) extent(o *Operand) extent {
	switch o.Kind {
	case OperandLit, OperandNow:
		return extent{known: true}
	case OperandFeature:
		return r.feature(&r.w.features[o.Feature], o)
	default:
	}
	return extent{}
}

func (r *recent) feature(f *Feature, o *Operand) extent {
	x := r.frame.value(o.Feature)
	if f.Within > 0 && r.frame.at-f.Within >= r.since {
		return extent{known: true}
	}
	number, _ := asFloat(x)
	switch f.Agg {
	case AggCount, AggUniq:
		if n, ok := x.(int64); ok {
			number = float64(n)
		}
		return extent{ranged: true, there: true, low: number, high: math.Inf(1)}
	case AggMin:
		if x != nil {
			return extent{ranged: true, there: true, low: math.Inf(-1), high: number}
		}
	case AggMax:
		if x != nil {
			return extent{ranged: true, there: true, low: number, high: math.Inf(1)}
		}
	case AggFirst, AggLast:
		seen, _ := x.(*Occurrence)
		if seen != nil && f.Agg == AggLast {
			return extent{known: true}
		}
		newest := r.since // of what may be the first, or the last
		if seen != nil {
			newest = seen.Time
		}
		switch o.Field {
		case "at":
			return extent{ranged: true, there: seen != nil, low: math.Inf(-1), high: float64(newest)}
		case "ago":
			return extent{ranged: true, there: true, low: float64(r.frame.at - newest), high: math.Inf(1)}
		}
	default:
	}
	return extent{}
}
