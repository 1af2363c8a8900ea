package segments

import (
	"regexp"
	"slices"

	"nudge/events"
)

// Eval says whether the predicate holds of an occurrence, as the store's queries say it: PredMaybe
// does not hold, and a leaf with a missing or wrongly typed operand is false. outside holds the
// values of OperandOutside by path; an unbound one is missing. A nil predicate always holds.
func (p *Pred) Eval(o *Occurrence, outside map[string]any) bool {
	return p.eval(&operands{occurrence: o, outside: outside})
}

// operands gives a predicate's operands their values.
type operands struct {
	occurrence *Occurrence
	outside    map[string]any
	// feature, trait and userID are of prefilters.
	feature func(o *Operand) any
	frame   *frame
}

func (p *Pred) eval(v *operands) bool {
	prefilter := v.frame != nil // lets pass what cannot be said
	return p.holds(prefilter, func(leaf *Pred) bool { return leaf.leaf(v) })
}

// holds says whether a predicate does, given what its leaves do, and PredMaybe.
func (p *Pred) holds(maybe bool, leaf func(*Pred) bool) bool {
	if p == nil {
		return true
	}
	switch p.Op {
	case PredTrue:
		return true
	case PredFalse:
		return false
	case PredMaybe:
		return maybe
	case PredAnd:
		return !slices.ContainsFunc(p.Kids, func(k *Pred) bool { return !k.holds(maybe, leaf) })
	case PredOr:
		return slices.ContainsFunc(p.Kids, func(k *Pred) bool { return k.holds(maybe, leaf) })
	default:
	}
	return leaf(p)
}

func (p *Pred) leaf(v *operands) bool {
	l := v.value(p.L)
	switch p.Op {
	case PredHas:
		return l != nil
	case PredHasNot:
		return l == nil
	case PredIsTrue:
		return l == true
	case PredIsFalse:
		return l == false
	case PredIn, PredNotIn:
		return isIn(l, p.List, p.Op == PredIn)
	default:
	}
	r := v.value(p.R)
	switch p.Op {
	case PredEq, PredNe, PredLt, PredLe, PredGt, PredGe:
		if isText(p.L) || isText(p.R) {
			return compareTextual(predOperators[p.Op], l, r)
		}
		return holds(predOperators[p.Op], l, r, true)
	default:
	}
	s, ok1 := l.(string)
	t, ok2 := r.(string)
	if !ok1 || !ok2 {
		return false
	}
	switch p.Op {
	case PredContains, PredNotContains:
		return inText("contains", s, t) == (p.Op == PredContains)
	case PredStartsWith, PredNotStartsWith:
		return inText("startsWith", s, t) == (p.Op == PredStartsWith)
	case PredEndsWith, PredNotEndsWith:
		return inText("endsWith", s, t) == (p.Op == PredEndsWith)
	default:
	}
	re := p.pattern(t)
	return re != nil && re.MatchString(s) == (p.Op == PredMatches)
}

var predOperators = map[PredOp]string{PredEq: "==", PredNe: "!=", PredLt: "<", PredLe: "<=", PredGt: ">", PredGe: ">="}

func (p *Pred) pattern(s string) *regexp.Regexp {
	if p.re != nil {
		return p.re
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil
	}
	return re
}

func isText(o *Operand) bool { return o != nil && o.Type == typeText }

// compareTextual compares where one side is the text of a value of unknown type: with a number or a
// boolean it is compared as what it reads as.
func compareTextual(operator string, a, b any) bool {
	if s, ok := a.(string); ok {
		a = readAs(s, b)
	} else if s, ok := b.(string); ok {
		b = readAs(s, a)
	}
	return holds(operator, a, b, true)
}

func readAs(s string, like any) any {
	switch like.(type) {
	case float64, int64:
		return decodeNumber(s)
	case bool:
		if s == "true" || s == "false" {
			return s == "true"
		}
		return nil
	}
	return s
}

func (v *operands) value(o *Operand) any {
	x := v.raw(o)
	if o.Scale == 0 && o.Offset == 0 {
		return x
	}
	f, ok := asFloat(x)
	if !ok {
		return nil
	}
	scale := o.Scale
	if scale == 0 {
		scale = 1
	}
	scaled := scale * f // a statement of its own, so that it is rounded before the addition
	return number(float64(scaled) + o.Offset)
}

// raw is an operand's value with times and durations as plain milliseconds.
func (v *operands) raw(o *Operand) any {
	switch o.Kind {
	case OperandLit:
		return o.Lit
	case OperandPath:
		if v.occurrence == nil {
			return nil
		}
		if o.Path == "time" {
			return v.occurrence.Time
		}
		t := declaredType(o.Type)
		if t == events.TypeTime { // stored as milliseconds; text is from before it was declared
			t = events.TypeNumber
		}
		return ms(fieldOf(v.occurrence, o.Path, t))
	case OperandOutside:
		return ms(v.outside[o.Path])
	default:
	}
	if v.frame == nil {
		return nil
	}
	switch o.Kind {
	case OperandTrait:
		return ms(v.frame.trait(o.Path, declaredType(o.Type)))
	case OperandUserID:
		return v.frame.user("id")
	case OperandPlace:
		return ms(v.frame.place(o.Place, o.Field))
	case OperandNow:
		return v.frame.at
	default:
	}
	return ms(v.feature(o))
}

func ms(v any) any {
	switch x := v.(type) {
	case instant:
		return int64(x)
	case span:
		return int64(x)
	}
	return v
}

var typeWords = func() map[string]events.Type {
	m := map[string]events.Type{}
	for t := events.Untyped; t <= events.TypeObject; t++ {
		m[typeWord(t)] = t
	}
	return m
}()

func declaredType(word string) events.Type { return typeWords[word] }

// Bind replaces values from outside ("$it.last.properties.x", "entry.value") by literals. A leaf
// over one that is missing is false; the result has no OperandOutside, and p is not changed.
func (p *Pred) Bind(outside map[string]any) *Pred {
	if p == nil {
		return nil
	}
	switch p.Op {
	case PredAnd, PredOr:
		out := &Pred{Op: PredTrue}
		if p.Op == PredOr {
			out.Op = PredFalse
		}
		for _, k := range p.Kids {
			out = combine(p.Op, out, k.Bind(outside))
		}
		return out
	default:
	}
	if !isOutside(p.L) && !isOutside(p.R) {
		return p
	}
	if p.Op == PredHas || p.Op == PredHasNot {
		if (ms(outside[p.L.Path]) != nil) == (p.Op == PredHas) {
			return &Pred{Op: PredTrue}
		}
		return &Pred{Op: PredFalse}
	}
	l, ok1 := bindOperand(p.L, outside)
	r, ok2 := bindOperand(p.R, outside)
	if !ok1 || !ok2 {
		return &Pred{Op: PredFalse}
	}
	q := &Pred{Op: p.Op, L: l, R: r, List: p.List, re: p.re}
	if q.constant() {
		if p.Eval(nil, outside) {
			return &Pred{Op: PredTrue}
		}
		return &Pred{Op: PredFalse}
	}
	if isText(p.L) {
		return textual3(q, l, func(o *Operand) *Pred { return &Pred{Op: q.Op, L: o, R: r} })
	}
	if isText(p.R) {
		return textual3(q, r, func(o *Operand) *Pred { return &Pred{Op: q.Op, L: l, R: o} })
	}
	return q
}

// textual3 compares with the text itself and with the number or boolean that it reads as.
func textual3(q *Pred, o *Operand, with func(*Operand) *Pred) *Pred {
	s, ok := o.Lit.(string)
	if !ok || q.R == nil {
		return q
	}
	out := with(&Operand{Kind: OperandLit, Lit: s})
	switch q.Op {
	case PredEq, PredNe, PredLt, PredLe, PredGt, PredGe:
	default:
		return out
	}
	if n := decodeNumber(s); n != nil {
		out = combine(PredOr, out, with(&Operand{Kind: OperandLit, Lit: n}))
	}
	if s == "true" || s == "false" {
		out = combine(PredOr, out, with(&Operand{Kind: OperandLit, Lit: s == "true"}))
	}
	return out
}

func (p *Pred) constant() bool {
	return p.L.Kind == OperandLit && (p.R == nil || p.R.Kind == OperandLit)
}

func isOutside(o *Operand) bool { return o != nil && o.Kind == OperandOutside }

func bindOperand(o *Operand, outside map[string]any) (*Operand, bool) {
	if !isOutside(o) {
		return o, true
	}
	plain := *o
	plain.Type = ""
	v := (&operands{outside: outside}).value(&plain)
	switch v.(type) {
	case string, float64, int64, bool:
		return &Operand{Kind: OperandLit, Lit: v}, true
	}
	return nil, false
}
