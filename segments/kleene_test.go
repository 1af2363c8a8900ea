package segments

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What follows is a second, naive evaluator: it walks the condition as it was generated and answers
// three-valued truths directly, without the transform into definitely true and definitely false.

type sample struct {
	fields  map[string]any // x, y, z: nil is missing
	count   int64
	a, b    *Occurrence // last of two events
	element any
}

type expression struct {
	text  string
	value func(s *sample) any   // of a value; nil is missing
	truth func(s *sample) Truth // of a condition
}

func truthOf(b bool) Truth {
	if b {
		return True
	}
	return False
}

func negate(t Truth) Truth {
	switch t {
	case True:
		return False
	case False:
		return True
	default:
	}
	return t
}

func naiveCompare(operator string, a, b any) Truth {
	switch x := a.(type) {
	case float64:
		y, ok := b.(float64)
		if !ok {
			return Unknown
		}
		switch operator {
		case "==":
			return truthOf(x == y)
		case "!=":
			return truthOf(x != y)
		case "<":
			return truthOf(x < y)
		case "<=":
			return truthOf(x <= y)
		case ">":
			return truthOf(x > y)
		}
		return truthOf(x >= y)
	case string:
		y, ok := b.(string)
		if !ok {
			return Unknown
		}
		c := float64(strings.Compare(x, y))
		return naiveCompare(operator, c, 0.0)
	case bool:
		y, ok := b.(bool)
		if !ok {
			return Unknown
		}
		switch operator {
		case "==":
			return truthOf(x == y)
		case "!=":
			return truthOf(x != y)
		}
	}
	return Unknown
}

func literals() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.SampledFrom([]any{0.0, 1.0, 2.0, -1.0, 2.5}),
		rapid.SampledFrom([]any{"a", "b", "ab", "1", ""}),
		rapid.SampledFrom([]any{true, false}),
	)
}

func literalText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// undeclared is a value whose type is only known when judging.
func undeclared(depth int, closure bool) *rapid.Generator[expression] {
	field := rapid.Custom(func(t *rapid.T) expression {
		name := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "field")
		return expression{text: `event("*").last.properties.` + name, value: func(s *sample) any { return s.fields[name] }}
	})
	if closure { // histories are named outside
		field = rapid.Custom(func(t *rapid.T) expression {
			if rapid.Bool().Draw(t, "element") {
				return expression{text: "#", value: func(s *sample) any { return s.element }}
			}
			name := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "field")
			return expression{text: name, value: func(s *sample) any { return s.fields[name] }}
		})
	}
	if depth <= 0 {
		return field
	}
	return rapid.OneOf(field, field, rapid.Custom(func(t *rapid.T) expression {
		a := undeclared(depth-1, closure).Draw(t, "a")
		if rapid.Bool().Draw(t, "default") {
			d := literals().Draw(t, "default")
			return expression{text: "(" + a.text + " ?? " + literalText(d) + ")", value: func(s *sample) any {
				if v := a.value(s); v != nil {
					return v
				}
				return d
			}}
		}
		c, b := condition(depth-1, closure).Draw(t, "c"), undeclared(depth-1, closure).Draw(t, "b")
		return expression{text: "(" + c.text + " ? " + a.text + " : " + b.text + ")", value: func(s *sample) any {
			switch c.truth(s) {
			case True:
				return a.value(s)
			case False:
				return b.value(s)
			default:
			}
			return nil
		}}
	}))
}

func numeric(a expression, operator string, by int, do func(float64) float64) expression {
	return expression{text: fmt.Sprintf("(%s %s %d)", a.text, operator, by), value: func(s *sample) any {
		if f, ok := a.value(s).(float64); ok {
			return do(f)
		}
		return nil
	}}
}

func condition(depth int, closure bool) *rapid.Generator[expression] {
	leaf := rapid.Custom(func(t *rapid.T) expression { return drawLeaf(t, depth, closure) })
	if depth <= 0 {
		return leaf
	}
	return rapid.OneOf(leaf, rapid.Custom(func(t *rapid.T) expression {
		a := condition(depth-1, closure).Draw(t, "a")
		switch rapid.SampledFrom([]string{"not", "and", "or", "?:", "??", "=="}).Draw(t, "how") {
		case "not":
			return expression{text: "not (" + a.text + ")", truth: func(s *sample) Truth { return negate(a.truth(s)) }}
		case "and":
			b := condition(depth-1, closure).Draw(t, "b")
			return expression{text: "(" + a.text + " and " + b.text + ")", truth: func(s *sample) Truth { return both(a.truth(s), b.truth(s)) }}
		case "or":
			b := condition(depth-1, closure).Draw(t, "b")
			return expression{text: "(" + a.text + " or " + b.text + ")", truth: func(s *sample) Truth { return negate(both(negate(a.truth(s)), negate(b.truth(s)))) }}
		case "??":
			// `not` makes a truth of it: a bare value has a default only where it is missing.
			return expression{text: "((not (" + a.text + ")) ?? true)", truth: func(s *sample) Truth {
				if v := a.truth(s); v != Unknown {
					return negate(v)
				}
				return True
			}}
		case "==":
			return expression{text: "((" + a.text + ") == false)", truth: func(s *sample) Truth { return negate(a.truth(s)) }}
		}
		b, c := condition(depth-1, closure).Draw(t, "b"), condition(depth-1, closure).Draw(t, "c")
		return expression{text: "(" + a.text + " ? " + b.text + " : " + c.text + ")", truth: func(s *sample) Truth {
			switch a.truth(s) {
			case True:
				return b.truth(s)
			case False:
				return c.truth(s)
			default:
			}
			return Unknown
		}}
	}))
}

func both(a, b Truth) Truth {
	switch {
	case a == False || b == False:
		return False
	case a == True && b == True:
		return True
	}
	return Unknown
}

func drawLeaf(t *rapid.T, depth int, closure bool) expression {
	kinds := []string{"compare", "compare2", "arithmetic", "in", "contains", "nil", "itself", "literal"}
	if !closure {
		kinds = append(kinds, "count", "ago", "since", "loop", "loop")
	}
	a := undeclared(depth-1, closure).Draw(t, "a")
	operator := rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="}).Draw(t, "operator")
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "compare":
		l := literals().Draw(t, "literal")
		if _, isBool := l.(bool); isBool && operator != "==" {
			operator = "!="
		}
		return expression{text: a.text + " " + operator + " " + literalText(l), truth: func(s *sample) Truth { return naiveCompare(operator, a.value(s), l) }}
	case "arithmetic":
		v := rapid.SampledFrom([]expression{
			numeric(a, "+", 1, func(f float64) float64 { return f + 1 }),
			numeric(a, "*", 2, func(f float64) float64 { return f * 2 }),
			numeric(a, "-", 1, func(f float64) float64 { return f - 1 }),
		}).Draw(t, "arithmetic")
		return expression{text: v.text + " " + operator + " 2", truth: func(s *sample) Truth { return naiveCompare(operator, v.value(s), 2.0) }}
	case "compare2":
		b := undeclared(depth-1, closure).Draw(t, "b")
		return expression{text: a.text + " " + operator + " " + b.text, truth: func(s *sample) Truth { return naiveCompare(operator, a.value(s), b.value(s)) }}
	case "in":
		l := rapid.SliceOfN(literals(), 1, 3).Draw(t, "list")
		return expression{text: a.text + " in " + literalText(l), truth: func(s *sample) Truth {
			out := False
			for _, e := range l {
				out = negate(both(negate(out), negate(naiveCompare("==", a.value(s), e))))
			}
			return out
		}}
	case "contains":
		return expression{text: a.text + ` contains "a"`, truth: func(s *sample) Truth {
			if v, ok := a.value(s).(string); ok {
				return truthOf(strings.Contains(v, "a"))
			}
			return Unknown
		}}
	case "nil":
		return expression{text: a.text + " == nil", truth: func(s *sample) Truth { return truthOf(a.value(s) == nil) }}
	case "literal":
		b := rapid.Bool().Draw(t, "b")
		return expression{text: literalText(b), truth: func(*sample) Truth { return truthOf(b) }}
	case "count":
		return expression{text: fmt.Sprintf(`event("A").count %s 2`, operator), truth: func(s *sample) Truth { return naiveCompare(operator, float64(s.count), 2.0) }}
	case "ago":
		return expression{text: fmt.Sprintf(`event("A").last.ago %s hours(2)`, operator), truth: func(s *sample) Truth {
			if s.a == nil {
				return naiveCompare(operator, math.Inf(1), 1.0)
			}
			return naiveCompare(operator, float64(now-s.a.Time), 2.0*msHour)
		}}
	case "since":
		return expression{text: `did("B").since(event("A").last.at)`, truth: func(s *sample) Truth {
			switch {
			case s.a == nil:
				return Unknown
			case s.b == nil:
				return False
			}
			return truthOf(s.b.Time > s.a.Time)
		}}
	case "loop":
		return drawLoop(t, depth)
	}
	return expression{text: a.text, truth: func(s *sample) Truth {
		if v, ok := a.value(s).(bool); ok {
			return truthOf(v)
		}
		return Unknown
	}}
}

func drawLoop(t *rapid.T, depth int) expression {
	how := rapid.SampledFrom([]string{"any", "all", "none", "one", "filter", "count"}).Draw(t, "loop")
	list := rapid.SampledFrom([]string{"x", "l"}).Draw(t, "list")
	body := condition(min(depth-1, 1), true).Draw(t, "body")
	names := `let x = event("*").last.properties.x; let y = event("*").last.properties.y; let z = event("*").last.properties.z; let l = event("*").last.properties.l; `
	text := fmt.Sprintf("%s(%s, %s)", how, list, body.text)
	switch how {
	case "filter":
		text = "len(" + text + ") == 1"
	case "count":
		text += " == 1"
	}
	return expression{text: "(" + names + text + ")", truth: func(s *sample) Truth {
		l, ok := s.fields[list].([]any)
		if !ok {
			return Unknown
		}
		counts := map[Truth]int{}
		for _, e := range l {
			inner := *s
			inner.element = e
			counts[body.truth(&inner)]++
		}
		switch how {
		case "any", "none":
			out := False
			if counts[True] > 0 {
				out = True
			} else if counts[Unknown] > 0 {
				out = Unknown
			}
			if how == "none" {
				return negate(out)
			}
			return out
		case "all":
			if counts[False] > 0 {
				return False
			} else if counts[Unknown] > 0 {
				return Unknown
			}
			return True
		case "one":
			switch {
			case counts[True] > 1:
				return False
			case counts[Unknown] > 0:
				return Unknown
			}
			return truthOf(counts[True] == 1)
		}
		return truthOf(counts[True] == 1)
	}}
}

func drawSample(t *rapid.T) *sample {
	s := &sample{fields: map[string]any{}, count: rapid.Int64Range(0, 4).Draw(t, "count")}
	for _, f := range []string{"x", "y", "z"} {
		if v := rapid.OneOf(literals(), literals(), rapid.Just[any](nil), list()).Draw(t, f); v != nil {
			s.fields[f] = v
		}
	}
	s.fields["l"] = list().Draw(t, "l")
	last := func(name string) *Occurrence {
		if h := rapid.Int64Range(0, 4).Draw(t, name); h > 0 {
			return occ(h*msHour, `{}`)
		}
		return nil
	}
	s.a, s.b = last("last a"), last("last b")
	return s
}

func list() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		return append([]any{}, rapid.SliceOfN(rapid.OneOf(literals(), rapid.Just[any](nil)), 0, 3).Draw(t, "list")...)
	})
}

func (s *sample) candidate(w *Who) *Candidate {
	props, _ := json.Marshal(s.fields)
	c := &Candidate{}
	for _, f := range w.Features() {
		var v any
		switch {
		case f.Agg == AggCount:
			v = s.count
		case f.Event == "*":
			v = occ(0, string(props))
		case f.Event == "A":
			v = s.a
		default:
			v = s.b
		}
		c.Values = append(c.Values, v)
	}
	return c
}

func TestConditionsAnswerAsKleeneDoes(t *testing.T) {
	schema := NewSchema(SchemaOptions{})
	seen := map[Truth]int{}
	rapid.Check(t, func(t *rapid.T) {
		e := condition(4, false).Draw(t, "condition")
		w, problems := Compile(WhoSpec{When: e.text}, schema)
		if HasErrors(problems) {
			t.Fatalf("%s: %v", e.text, problems)
		}
		for range 5 {
			s := drawSample(t)
			c := s.candidate(w)
			want := e.truth(s)
			got, err := w.Judge(now, c)
			if err != nil || got != want {
				t.Fatalf("%s\nof %v: %v, %v, want %v", e.text, s.fields, got, err, want)
			}
			if got == True && !w.Passes(now, c) {
				t.Fatalf("%s\nof %v is true and does not pass %v", e.text, s.fields, w.Prefilter())
			}
			seen[got]++
		}
	})
	for _, truth := range []Truth{True, False, Unknown} {
		require.Greater(t, seen[truth], 20, "the generator is one-sided: %v", seen)
	}
}
