package segments

// await says of a comparison whose turning is not found by a history's ages who must pass a prefilter
// though it is not true of them yet: whoever has what it reads, for time alone may make it true, and
// only who is judged gets the instant written down. nil: nobody, the comparison is said as it is.
func (b *predBuilder) await(operator string, l, r *node) *Pred {
	if !b.awaits || !b.forms.moving(l) && !b.forms.moving(r) {
		return nil
	}
	d := b.forms.linear(l).plus(b.forms.linear(r), -1)
	switch d.turns() {
	case turnDue:
	case turnFull: // a choice inside: its parts were looked at one by one
		return &Pred{Op: PredMaybe}
	default:
		return nil
	}
	if !d.scaled {
		switch operator {
		case "<", "<=":
			if d.now > 0 {
				return nil // it grows, and what is not smaller now will never be
			}
		case ">", ">=":
			if d.now < 0 {
				return nil
			}
		}
	}
	out := &Pred{Op: PredTrue}
	for _, n := range d.steady {
		out = combine(PredAnd, out, b.needs(n))
	}
	return out
}

// needs is what must be there for a value to be.
func (b *predBuilder) needs(n *node) *Pred {
	switch n.op {
	case opCall:
		out := &Pred{Op: PredTrue}
		if !n.fn.nils {
			for _, k := range n.kids {
				out = combine(PredAnd, out, b.needs(k))
			}
		}
		return out
	case opFeature, opField, opTrait, opPlace, opUser:
		if n.op == opField && n.name == "ago" {
			break
		}
		if o, ok := b.operand(n); ok {
			return &Pred{Op: PredHas, L: o}
		}
	default:
	}
	return &Pred{Op: PredTrue}
}
