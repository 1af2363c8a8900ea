package segments

import "math"

// operand says a value as one side of a leaf: a literal, a path, a field of a feature, each maybe
// multiplied by and added to a constant.
func (b *predBuilder) operand(n *node) (*Operand, bool) {
	switch n.op {
	case opConst:
		return literal(n.val)
	case opPath:
		return &Operand{Kind: OperandPath, Path: n.name, Type: typeWord(n.declared)}, true
	case opOutside:
		o := &Operand{Kind: OperandOutside, Path: n.name, Type: typeWord(n.declared)}
		if n.name == "entry.value" || n.index == textual {
			o.Type = typeText
		}
		return o, true
	case opCall:
		return b.linear(n)
	default:
	}
	if b.exact {
		return nil, false
	}
	return b.featureOperand(n)
}

// typeText marks a value from outside that is the text of a property's value, of whatever type
// that has: for_each's value. It equals the string, and the number or boolean that it reads as.
const typeText = "text"

const textual = 1 // node.index of such an outside value

func literal(v any) (*Operand, bool) {
	switch x := v.(type) {
	case string, float64, int64, bool:
		return &Operand{Kind: OperandLit, Lit: x}, true
	case instant:
		return &Operand{Kind: OperandLit, Lit: int64(x), Type: "time"}, true
	case span:
		if x != forever && x != never {
			return &Operand{Kind: OperandLit, Lit: int64(x)}, true
		}
	}
	return nil, false
}

func (b *predBuilder) featureOperand(n *node) (*Operand, bool) {
	switch n.op {
	case opFeature:
		switch n.feat.Agg {
		case AggList:
			return nil, false
		case AggFirst, AggLast:
			// Whether there is one: its time is missing when there is none.
			return &Operand{Kind: OperandFeature, Feature: b.features(n.feat), Field: "at", Type: "time"}, true
		default:
		}
		return &Operand{Kind: OperandFeature, Feature: b.features(n.feat), Type: typeWord(n.declared)}, true
	case opField:
		k := n.kids[0]
		if k.op != opFeature || n.name == "event" || n.name == "properties" || n.name == "context" {
			return nil, false
		}
		o := &Operand{Kind: OperandFeature, Feature: b.features(k.feat), Field: n.name, Type: typeWord(n.declared)}
		if n.name == "at" {
			o.Type = "time"
		}
		return o, true
	case opTrait:
		return &Operand{Kind: OperandTrait, Path: n.name, Type: typeWord(n.declared)}, true
	case opUser:
		if n.name == "id" {
			return &Operand{Kind: OperandUserID, Type: "string"}, true
		}
	case opPlace:
		if n.name == "" {
			return nil, false
		}
		return &Operand{Kind: OperandPlace, Place: b.places(n.place), Field: n.name, Type: typeWord(n.declared)}, true
	case opNow:
		return &Operand{Kind: OperandNow, Type: "time"}, true
	default:
	}
	return nil, false
}

// linear says x·c, x+c, x−c, c−x and, in a filter, x/c and combinations of them. A prefilter takes
// only what rounds as the VM rounds: one multiplication, then one addition.
func (b *predBuilder) linear(n *node) (*Operand, bool) {
	if n.fn == nil || len(n.kids) != 2 {
		return nil, false
	}
	x, c, left := n.kids[0], n.kids[1], true
	if x.isConst() {
		x, c, left = c, x, false
	}
	k, ok := constantNumber(c)
	if !ok || x.isConst() {
		return nil, false
	}
	if n.typ != typNumber && (b.exact || !b.wholeMs(x)) {
		return nil, false
	}
	o, ok := b.operand(x)
	if !ok {
		return nil, false
	}
	if o.Field == "ago" || o.Kind == OperandFeature && o.Field == "at" && x.typ == typOccurrence {
		return nil, false // saturates, which a multiplication here would not
	}
	out := *o
	if out.Scale == 0 {
		out.Scale = 1
	}
	fresh, plain := out.Offset == 0, out.Offset == 0 && out.Scale == 1
	switch n.fn.name {
	case "+":
		out.Offset += k
		ok = fresh
	case "-":
		if left {
			out.Offset -= k
		} else {
			out.Scale, out.Offset = -out.Scale, k-out.Offset
		}
		ok = fresh
	case "*":
		out.Scale, out.Offset = out.Scale*k, out.Offset*k
		ok = plain
	case "/":
		if !left || k == 0 {
			return nil, false
		}
		out.Scale, out.Offset = out.Scale/k, out.Offset/k
		frac, _ := math.Frexp(math.Abs(k))
		ok = plain && frac == 0.5 // dividing by a power of two is multiplying by another
	default:
		return nil, false
	}
	if out.Scale == 0 || math.IsInf(out.Scale, 0) || math.IsInf(out.Offset, 0) || math.IsNaN(out.Offset) {
		return nil, false
	}
	return &out, ok || b.exact
}

func constantNumber(n *node) (float64, bool) {
	switch v := n.val.(type) {
	case float64:
		return v, n.isConst()
	case span:
		if v != forever && v != never && v > -1<<52 && v < 1<<52 {
			return float64(v), n.isConst()
		}
	}
	return 0, false
}

// wholeMs reports whether a time is whole milliseconds that float64 adds exactly.
func (b *predBuilder) wholeMs(n *node) bool { return n.typ == typTime }

// ages says comparisons of times and durations that hold now on one side: now − x.at against a
// constant is x.at against now.
func (b *predBuilder) ages(operator string, a, c *node) *Pred {
	if a.typ != typDuration || c.typ != typDuration {
		return nil
	}
	if a.isConst() {
		a, c, operator = c, a, flipped[operator]
	}
	d, ok := c.val.(span)
	if !c.isConst() || !ok || a.op != opCall || a.fn != fnSub || d <= -1<<52 || d >= 1<<52 {
		return nil
	}
	// x − y op d, for times x and y, is x op y + d.
	x, ok1 := b.operand(a.kids[0])
	y, ok2 := b.operand(a.kids[1])
	if a.kids[0].typ != typTime || a.kids[1].typ != typTime || !ok1 || !ok2 {
		return nil
	}
	y2 := *y
	if y2.Kind == OperandLit {
		y2.Lit = y2.Lit.(int64) + int64(d)
	} else {
		if y2.Scale == 0 {
			y2.Scale = 1
		}
		y2.Offset += float64(d)
	}
	return &Pred{Op: compareOps[operator], L: x, R: &y2}
}
