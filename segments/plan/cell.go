package plan

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"nudge/events"
	"nudge/segments"
)

// cell folds one feature of one holder.
type cell struct {
	n          int64 // rows, or numbers
	sum        decimalSum
	edge       float64
	occurrence *segments.Occurrence
	list       []*segments.Occurrence
	keys       map[string]tally
}

// tally is how often a value occurred, and when last.
type tally struct {
	n    int64
	last stamp
}

func (c *cell) count(x *foldedFeature, r *row) {
	switch x.Agg {
	case segments.AggCount:
		c.n++
	case segments.AggSum, segments.AggAvg, segments.AggMin, segments.AggMax:
		leaf := r.of.Leaf(x.Path)
		if leaf.Kind != events.LeafFloat && leaf.Kind != events.LeafInt {
			return
		}
		v := leaf.Num
		if c.n == 0 || x.Agg == segments.AggMin && v < c.edge || x.Agg == segments.AggMax && v > c.edge {
			c.edge = v
		}
		c.n++
		if x.Agg == segments.AggSum || x.Agg == segments.AggAvg {
			c.sum.add(v)
		}
	case segments.AggUniq, segments.AggTop:
		key := keyOfLeaf(r.of.Leaf(x.Path))
		if key == "" {
			return
		}
		if c.keys == nil {
			c.keys = map[string]tally{}
		}
		t, s := c.keys[key], stamp{r.of.Time, r.pos}
		if t.n++; t.n == 1 || s.after(t.last) {
			t.last = s
		}
		c.keys[key] = t
	case segments.AggFirst, segments.AggLast:
		s := stamp{r.of.Time, r.pos}
		if o := c.occurrence; o == nil || s.after(stamp{o.Time, uint64(o.Pos)}) == (x.Agg == segments.AggLast) {
			c.occurrence = x.occurrence(r)
		}
	case segments.AggList:
		c.list = append(c.list, x.occurrence(r))
		if n := x.listed(); len(c.list) >= 2*n {
			c.list = lastOf(c.list, n)
		}
	}
}

func (x *foldedFeature) occurrence(r *row) *segments.Occurrence {
	o := r.of
	if x.reads&segments.ReadsProperties == 0 {
		o.Properties = nil
	}
	if x.reads&segments.ReadsContext == 0 {
		o.Context = nil
	}
	return &o
}

// listed is how many occurrences a list has at most.
func (x *foldedFeature) listed() int {
	if x.N <= 0 {
		return segments.MaxOccurrences
	}
	return x.N
}

// lastOf are the n newest of a list, in order.
func lastOf(list []*segments.Occurrence, n int) []*segments.Occurrence {
	slices.SortFunc(list, func(a, b *segments.Occurrence) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.Pos, a.Pos))
	})
	return list[:min(n, len(list))]
}

// value is what the cell holds, typed as the feature's aggregate says.
func (c *cell) value(x *foldedFeature) any {
	switch x.Agg {
	case segments.AggCount:
		return c.n
	case segments.AggUniq:
		return int64(len(c.keys))
	case segments.AggSum:
		return c.sum.total()
	case segments.AggAvg, segments.AggMin, segments.AggMax:
		if c.n == 0 {
			return nil
		}
		if x.Agg == segments.AggAvg {
			return c.sum.total() / float64(c.n)
		}
		return c.edge
	case segments.AggTop:
		top := ""
		for key, t := range c.keys {
			best := c.keys[top]
			if order := cmp.Or(cmp.Compare(t.n, best.n), cmp.Compare(t.last.time, best.last.time), cmp.Compare(t.last.pos, best.last.pos)); order > 0 {
				top = key
			}
		}
		return topValue(top)
	case segments.AggFirst, segments.AggLast:
		if c.occurrence == nil {
			return nil
		}
		return c.occurrence
	default:
	}
	return lastOf(c.list, x.listed())
}

// textOfLeaf is what textOf is of a row: the value as plain text, "" when there is none.
func textOfLeaf(v events.Leaf) string {
	switch v.Kind {
	case events.LeafString:
		return v.Str
	case events.LeafInt:
		if v.Int > exactFloat || v.Int < -exactFloat {
			return strconv.FormatInt(v.Int, 10)
		}
		return floatText(v.Num)
	case events.LeafFloat:
		return floatText(v.Num)
	case events.LeafBool:
		return strconv.FormatBool(v.Bool)
	default:
	}
	return ""
}

// keyOfLeaf is what keyOf is of a row: the value as text that tells its type, "" when there is none.
func keyOfLeaf(v events.Leaf) string {
	switch v.Kind {
	case events.LeafString:
		return "s" + v.Str
	case events.LeafInt, events.LeafFloat:
		return "n" + textOfLeaf(v)
	case events.LeafBool:
		if v.Bool {
			return "b1"
		}
		return "b0"
	default:
	}
	return ""
}

// floatText writes a number as the store does: the shortest digits that read as it, with an exponent from 1e21 on and
// below 1e-6 (as ECMAScript does, but for the sign of a positive exponent). There is no negative zero.
func floatText(x float64) string {
	abs := math.Abs(x)
	switch {
	case abs == 0:
		return "0"
	case abs >= 1e-6 && abs < 1e21:
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(x, 'e', -1, 64), "e")
	if digits, negative := strings.CutPrefix(exponent, "-"); negative {
		return mantissa + "e-" + strings.TrimLeft(digits, "0")
	}
	return mantissa + "e" + strings.TrimLeft(exponent, "+0")
}

// topValue is a value by its keyOf.
func topValue(key string) any {
	if key == "" {
		return nil
	}
	switch text := key[1:]; key[0] {
	case 's':
		return text
	case 'b':
		return text == "1"
	default:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil
		}
		if f >= exactFloat || f <= -exactFloat {
			if i, err := strconv.ParseInt(text, 10, 64); err == nil {
				return i
			}
		}
		return f
	}
}

// nothing is the feature's value for a history without one matching occurrence.
func nothing(agg segments.Agg) any {
	switch agg {
	case segments.AggCount, segments.AggUniq:
		return int64(0)
	case segments.AggSum:
		return 0.0
	case segments.AggList:
		return []*segments.Occurrence(nil)
	default:
	}
	return nil
}
