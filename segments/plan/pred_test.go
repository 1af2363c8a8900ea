package plan

import (
	"context"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/segments"
)

// awkward texts: what might mislead a parser, a pattern or a comparison.
var awkward = []string{
	"", "a", "A", "ab", "shoes", "it's", `back\slash`, `\x27`, "nul\x00byte", "new\nline", "tab\t", "ünï", "日本語", "😀", `"quoted"`, "?", "{p:String}",
	"' OR 1=1 --", "null", "42", "true", "a.b", "%", "\u2028", "FORMAT Native", "\r\n;",
}

var numbers = []any{
	0.0, 1.0, -1.0, 1.5, 42.0, 0.1, 1e-9, 19.99, 1e15, 1e300, -1e300, float64(1 << 53), int64(1<<53 + 1), int64(-(1<<53 + 1)), int64(math.MaxInt64), int64(math.MinInt64),
}

func drawScalar(t *rapid.T) any {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0, 1:
		return rapid.SampledFrom(awkward).Draw(t, "text")
	case 2, 3:
		return rapid.SampledFrom(numbers).Draw(t, "number")
	case 4:
		return rapid.Bool().Draw(t, "bool")
	}
	return nil
}

// drawObject draws an object without colliding paths: nested under n, dotted under "d.e".
func drawObject(t *rapid.T) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"a", "b", "c"} {
		switch rapid.IntRange(0, 9).Draw(t, key) {
		case 0, 1:
		case 2:
			out[key] = []any{1.0, "x"}
		case 3:
			out[key] = map[string]any{"x": 1.0}
		default:
			out[key] = drawScalar(t)
		}
	}
	switch rapid.IntRange(0, 3).Draw(t, "nested") {
	case 0:
		out["n"] = map[string]any{"m": drawScalar(t), "k": map[string]any{"l": drawScalar(t)}}
	case 1:
		out["n.m"] = drawScalar(t)
	case 2:
		out["n"] = map[string]any{"k.l": drawScalar(t), "it's": drawScalar(t)}
	}
	return out
}

var paths = []string{"a", "b", "c", "n", "n.m", "n.k.l", "n.it's", "missing", "c.x"}

func drawOperand(t *rapid.T, lit bool) *segments.Operand {
	o := &segments.Operand{}
	if lit {
		o.Kind = segments.OperandLit
		for o.Lit == nil {
			o.Lit = drawScalar(t)
		}
	} else {
		o.Kind = segments.OperandPath
		switch rapid.IntRange(0, 4).Draw(t, "where") {
		case 0:
			o.Path = "context." + rapid.SampledFrom(paths).Draw(t, "path")
		case 1:
			if rapid.Bool().Draw(t, "time") {
				o.Path = "time"
				break
			}
			fallthrough
		default:
			o.Path = "properties." + rapid.SampledFrom(paths).Draw(t, "path")
			o.Type = rapid.SampledFrom([]string{"", "", "", "string", "number", "integer", "decimal", "boolean"}).Draw(t, "type")
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "scaled") == 0 {
		o.Scale = rapid.SampledFrom([]float64{0, 1, -1, 2, 0.5}).Draw(t, "scale")
		o.Offset = rapid.SampledFrom([]float64{0, 1, -86400000, 0.5}).Draw(t, "offset")
	}
	return o
}

func drawPred(t *rapid.T, depth int) *segments.Pred {
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "deeper") > 0 {
		p := &segments.Pred{Op: rapid.SampledFrom([]segments.PredOp{segments.PredAnd, segments.PredOr}).Draw(t, "join")}
		for range rapid.IntRange(2, 3).Draw(t, "kids") {
			p.Kids = append(p.Kids, drawPred(t, depth-1))
		}
		return p
	}
	p := &segments.Pred{Op: segments.PredOp(rapid.IntRange(int(segments.PredTrue), int(segments.PredIsFalse)).Draw(t, "op"))}
	switch p.Op {
	case segments.PredTrue, segments.PredFalse, segments.PredMaybe:
		return p
	case segments.PredAnd, segments.PredOr:
		p.Kids = []*segments.Pred{drawPred(t, 0), drawPred(t, 0)}
		return p
	default:
	}
	p.L = drawOperand(t, rapid.IntRange(0, 9).Draw(t, "literal left") == 0)
	switch p.Op {
	case segments.PredIn, segments.PredNotIn:
		kind := rapid.IntRange(0, 2).Draw(t, "list of")
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			switch kind {
			case 0:
				p.List = append(p.List, rapid.SampledFrom(awkward).Draw(t, "element"))
			case 1:
				p.List = append(p.List, rapid.SampledFrom(numbers).Draw(t, "element"))
			default:
				p.List = append(p.List, rapid.Bool().Draw(t, "element"))
			}
		}
	case segments.PredHas, segments.PredHasNot, segments.PredIsTrue, segments.PredIsFalse:
	case segments.PredMatches, segments.PredNotMatches:
		p.R = &segments.Operand{Kind: segments.OperandLit, Lit: rapid.SampledFrom([]string{
			"", "a", "^a", "b$", "a.b", "^.$", "[ÜÏüï]", "(?i)SHOES", "sh|ab", "^new.line$", "nul.byte", `\\`, `'`, `\d+`, `^\s*$`, `\bit\b`, `(?s)new.line`, `\x00`, `\p{Han}`, `(?m)^line`, "x{2,3}", "a??",
		}).Draw(t, "pattern")}
	default:
		p.R = drawOperand(t, rapid.IntRange(0, 3).Draw(t, "literal right") > 0)
	}
	return p
}

// What a filter says of a row in SQL is what it says of the occurrence in Go.
func TestFilterLikeGo(t *testing.T) {
	w := newWorld(t)
	drawn := rapid.Custom(func(t *rapid.T) happening {
		return happening{
			person: 1, event: "E", time: t0 - rapid.Int64Range(0, 5).Draw(t, "ago")*day,
			props: drawObject(t), context: drawObject(t),
		}
	})
	var rows []happening
	for i := range 400 {
		h := drawn.Example(i)
		h.pos = uint64(i + 1)
		rows = append(rows, h)
	}
	w.events(rows...)
	a := &tables{p: w.planner(Options{})}
	m := a.p.moment(t0, 1000, 0, &mapping{})

	check(t, 25, func(t *rapid.T) {
		preds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *segments.Pred { return drawPred(t, 2) }), 10, 10).Draw(t, "preds")
		sql := make([]string, len(preds))
		for i, p := range preds {
			sql[i] = "toUInt8(" + render(p, occurrence{}) + ")"
		}
		seen := 0
		err := a.query(context.Background(), "SELECT pos, ["+strings.Join(sql, ", ")+"] FROM ("+m.eventRows([]source{{event: "E"}}, nil, words(append(sql, "pos")...), &conditions{})+")", func(scan func(...any) error) error {
			var pos uint64
			var holds []uint8
			if err := scan(&pos, &holds); err != nil {
				return err
			}
			seen++
			row := rows[pos-1]
			for i, p := range preds {
				if want := p.Eval(row.occurrence(), nil); want != (holds[i] == 1) {
					return fmt.Errorf("%s is %v in Go and %v in SQL of %s and %s at %d\n%s", p, want, holds[i], toJSON(row.props), toJSON(row.context), row.time, sql[i])
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, len(rows), seen)
	})
}

// A value that is grouped by is the same text whether the store writes it or Go.
func TestTextLikeGo(t *testing.T) {
	w := newWorld(t)
	var rows []happening
	add := func(v any) {
		rows = append(rows, happening{
			person: 1, event: "E", time: t0, pos: uint64(len(rows) + 1), props: map[string]any{"v": v, "n": map[string]any{"m": v}}, context: map[string]any{"n": map[string]any{"m": v}},
		})
	}
	for _, v := range numbers {
		add(v)
	}
	for _, v := range awkward {
		add(v)
	}
	for e := -30; e < 30; e++ {
		add(math.Pow10(e))
		add(-1.25 * math.Pow10(e))
		add(math.Nextafter(math.Pow10(e), 0))
	}
	drawn := rapid.OneOf(rapid.Map(rapid.Float64(), func(f float64) any { return f }), rapid.Map(rapid.Float64Range(-1e6, 1e6), func(f float64) any { return f }),
		rapid.Map(rapid.Int64(), func(i int64) any { return i }), rapid.Map(rapid.Bool(), func(b bool) any { return b }))
	for i := range 400 {
		if v := drawn.Example(i); v != math.Inf(1) && v != math.Inf(-1) {
			add(v)
		}
	}
	w.events(rows...)
	a := &tables{p: w.planner(Options{})}
	paths := []string{"properties.v", "properties.n.m", "properties.missing", "context.n.m"}
	texts := make([]string, 0, 2*len(paths))
	for _, p := range paths {
		texts = append(texts, textOf(p))
	}
	texts = append(texts, keyOf(paths[0]), keyOf(paths[1]))
	m := a.p.moment(t0, 100_000, 0, &mapping{})
	seen := 0
	err := a.query(context.Background(), "SELECT pos, ["+strings.Join(texts, ", ")+"] FROM ("+m.eventRows([]source{{event: "E"}}, nil, words(append(texts, "pos")...), &conditions{})+")", func(scan func(...any) error) error {
		var pos uint64
		var stored []string
		if err := scan(&pos, &stored); err != nil {
			return err
		}
		seen++
		o := rows[pos-1].occurrence()
		here := make([]string, 0, len(stored))
		for _, p := range paths {
			here = append(here, textOfLeaf(o.Leaf(p)))
		}
		here = append(here, keyOfLeaf(o.Leaf(paths[0])), keyOfLeaf(o.Leaf(paths[1])))
		if math.Abs(o.Leaf(paths[3]).Num) > math.MaxInt64 { // an integer of 20 digits in a context is nothing to the store
			here[3] = stored[3]
		}
		require.Equal(t, stored, here, "%v", rows[pos-1].props["v"])
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, len(rows), seen)
}

// Whatever a literal holds, the store reads it back, and nothing else is run.
func FuzzLiteral(f *testing.F) {
	for _, s := range awkward {
		f.Add(s)
	}
	f.Add("\xff\xfe")
	w := newWorld(f)
	a := &tables{p: w.planner(Options{})}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		var length uint64
		err := a.query(context.Background(), "SELECT "+Literal(s)+", length("+Literal(s)+")", func(scan func(...any) error) error { return scan(&got, &length) })
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.Equal(t, uint64(len(s)), length)
	})
}

// check is rapid.Check with so many cases unless -rapid.checks says otherwise: each asks the store
// much.
func check(t *testing.T, cases int, prop func(*rapid.T)) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() == f.DefValue {
		require.NoError(t, f.Value.Set(strconv.Itoa(cases)))
		defer func() { require.NoError(t, f.Value.Set(f.DefValue)) }()
	}
	rapid.Check(t, prop)
}
