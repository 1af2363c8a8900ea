package segments

import (
	"math"
	"slices"
	"strings"
	"time"
)

// function is a pure function over values. Its arguments are present when it is called: of
// missing arguments the result is missing, and so it is of arguments of the wrong type.
type function struct {
	name        string
	least, most int
	args        []Type // the last one stands for all that follow
	typ         Type
	maybe       bool // may be missing though its arguments are present and typed
	example     string
	call        func(args []any) any
	// zoned is called instead of call for what depends on the instant and the person's zone.
	zoned func(f *frame, args []any) any
	nils  bool // takes missing arguments
	// shape refines the type of a call's result.
	shape func(n *node)
}

func (fn *function) apply(f *frame, args []any) any {
	if !fn.nils {
		for _, a := range args {
			if a == nil {
				return nil
			}
		}
	}
	if fn.zoned != nil {
		return fn.zoned(f, args)
	}
	return fn.call(args)
}

const manyArgs = 32

// functions are the allow-list: no clock, nothing that multiplies what it is given without bound.
var functions = func() map[string]*function {
	m := map[string]*function{}
	add := func(fns ...*function) {
		for _, f := range fns {
			m[f.name] = f
		}
	}
	unit := func(name string, ms float64, example string) *function {
		return &function{name: name, least: 1, most: 1, args: []Type{typNumber}, typ: typDuration, example: example, call: func(a []any) any {
			n, ok := asFloat(a[0])
			if !ok {
				return nil
			}
			return saturate(n * ms)
		}}
	}
	num := func(name string, do func(float64) float64) *function {
		return &function{name: name, least: 1, most: 1, args: []Type{typNumber}, typ: typNumber, example: name + "(x)", call: func(a []any) any {
			n, ok := asFloat(a[0])
			if !ok {
				return nil
			}
			return number(do(n))
		}}
	}
	str := func(name string, do func(string) string) *function {
		return &function{name: name, least: 1, most: 1, args: []Type{typString}, typ: typString, example: name + "(text)", call: func(a []any) any {
			s, ok := a[0].(string)
			if !ok {
				return nil
			}
			return do(s)
		}}
	}
	str2 := func(name string, t Type, do func(a, b string) any) *function {
		return &function{name: name, least: 2, most: 2, args: []Type{typString}, typ: t, example: name + `(text, "x")`, call: func(a []any) any {
			s, ok1 := a[0].(string)
			u, ok2 := a[1].(string)
			if !ok1 || !ok2 {
				return nil
			}
			return do(s, u)
		}}
	}
	list := func(name string, t Type, maybe bool, do func([]any) any, shape func(*node)) *function {
		return &function{name: name, least: 1, most: 1, args: []Type{typList}, typ: t, maybe: maybe, example: name + "(list)", shape: shape, call: func(a []any) any {
			l, ok := a[0].([]any)
			if !ok {
				return nil
			}
			return do(l)
		}}
	}
	numbers := func(name string, do func([]float64) any) *function {
		return &function{name: name, least: 1, most: manyArgs, args: []Type{typAny}, typ: typNumber, maybe: true, example: name + "(a, b)", call: func(a []any) any {
			fs, ok := floats(a)
			if !ok || len(fs) == 0 {
				return nil
			}
			return do(fs)
		}}
	}
	add(
		unit("minutes", msMinute, "minutes(30)"), unit("hours", msHour, "hours(1)"), unit("days", msDay, "days(7)"), unit("weeks", msWeek, "weeks(2)"),
		&function{name: "meters", least: 1, most: 1, args: []Type{typNumber}, typ: typMeters, example: "meters(500)", call: func(a []any) any { return a[0] }},
		&function{
			name: "anniversary", least: 1, most: 1, args: []Type{typTime}, typ: typTime, maybe: true, example: "anniversary(user.traits.birthday)",
			zoned: func(f *frame, a []any) any {
				d, ok := dateOf(a[0], f.zone())
				if !ok {
					return nil
				}
				return anniversary(d, f.at, f.zone())
			},
		},
		num("abs", math.Abs), num("ceil", math.Ceil), num("floor", math.Floor), num("round", math.Round),
		str("upper", strings.ToUpper), str("lower", strings.ToLower),
		&function{name: "trim", least: 1, most: 2, args: []Type{typString}, typ: typString, example: "trim(text)", call: trim},
		str2("trimPrefix", typString, func(a, b string) any { return strings.TrimPrefix(a, b) }),
		str2("trimSuffix", typString, func(a, b string) any { return strings.TrimSuffix(a, b) }),
		str2("hasPrefix", typBool, func(a, b string) any { return strings.HasPrefix(a, b) }),
		str2("hasSuffix", typBool, func(a, b string) any { return strings.HasSuffix(a, b) }),
		str2("indexOf", typNumber, func(a, b string) any { return float64(strings.Index(a, b)) }),
		str2("lastIndexOf", typNumber, func(a, b string) any { return float64(strings.LastIndex(a, b)) }),
		&function{name: "split", least: 2, most: 2, args: []Type{typString}, typ: typList, example: `split(text, ",")`, call: split, shape: func(n *node) { n.elem = typString }},
		&function{name: "replace", least: 3, most: 3, args: []Type{typString}, typ: typString, maybe: true, example: `replace(text, "a", "b")`, call: replace},
		&function{name: "join", least: 1, most: 2, args: []Type{typList, typString}, typ: typString, maybe: true, example: `join(list, ", ")`, call: join1},
		&function{name: "string", least: 1, most: 1, args: []Type{typAny}, typ: typString, maybe: true, example: "string(x)", call: func(a []any) any { return text(a[0]) }},
		&function{name: "float", least: 1, most: 1, args: []Type{typAny}, typ: typNumber, maybe: true, example: "float(x)", call: func(a []any) any { return toNumber(a[0]) }},
		&function{name: "int", least: 1, most: 1, args: []Type{typAny}, typ: typNumber, maybe: true, example: "int(x)", call: func(a []any) any {
			n := toNumber(a[0])
			if f, ok := n.(float64); ok {
				return math.Trunc(f)
			}
			return n
		}},
		&function{name: "len", least: 1, most: 1, args: []Type{typAny}, typ: typNumber, maybe: true, example: "len(list)", call: length},
		numbers("max", func(f []float64) any { return slices.Max(f) }),
		numbers("min", func(f []float64) any { return slices.Min(f) }),
		numbers("mean", func(f []float64) any { return number(sumOf(f) / float64(len(f))) }),
		numbers("median", median),
		list("sum", typNumber, true, sumList, nil),
		list("first", typAny, true, func(l []any) any { return element(l, 0) }, elementShape),
		list("last", typAny, true, func(l []any) any { return element(l, -1) }, elementShape),
		list("reverse", typList, false, func(l []any) any { l = slices.Clone(l); slices.Reverse(l); return l }, listShape),
		list("uniq", typList, false, uniq, listShape),
		list("sort", typList, true, func(l []any) any { return sortBy(l, l, "asc") }, listShape),
		list("flatten", typList, false, flatten, nil),
		list("count", typNumber, false, func(l []any) any {
			n := 0.0
			for _, e := range l {
				if e == true {
					n++
				}
			}
			return n
		}, nil),
		&function{name: "take", least: 2, most: 2, args: []Type{typList, typNumber}, typ: typList, example: "take(list, 3)", shape: listShape, call: func(a []any) any {
			l, ok := a[0].([]any)
			n, isNumber := asFloat(a[1])
			if !ok || !isNumber {
				return nil
			}
			return l[:int(math.Max(0, math.Min(n, float64(len(l)))))]
		}},
		&function{name: "concat", least: 1, most: manyArgs, args: []Type{typList}, typ: typList, example: "concat(a, b)", shape: listShape, call: concat},
		&function{name: "get", least: 2, most: 2, args: []Type{typAny, typAny}, typ: typAny, maybe: true, example: `get(object, "key")`, call: get},
		&function{name: "keys", least: 1, most: 1, args: []Type{typObject}, typ: typList, example: "keys(object)", call: keys, shape: func(n *node) { n.elem = typString }},
		&function{name: "values", least: 1, most: 1, args: []Type{typObject}, typ: typList, example: "values(object)", call: valuesOf},
	)
	return m
}()

func elementShape(n *node) { n.typ, n.props = elemType(n.kids[0]), n.kids[0].props }
func listShape(n *node)    { n.elem, n.props = elemType(n.kids[0]), n.kids[0].props }

// operators are the arithmetic operators; their types are checked by arithmeticTypes.
var operators = map[string]*function{
	"+":  {name: "+", call: func(a []any) any { return plus(a[0], a[1]) }},
	"-":  fnSub,
	"*":  {name: "*", call: func(a []any) any { return times(a[0], a[1]) }},
	"/":  {name: "/", call: func(a []any) any { return divided(a[0], a[1]) }},
	"%":  {name: "%", call: func(a []any) any { return floatOp(a[0], a[1], math.Mod) }},
	"**": {name: "**", call: func(a []any) any { return floatOp(a[0], a[1], math.Pow) }},
}

var (
	fnSub   = &function{name: "-", call: func(a []any) any { return minus(a[0], a[1]) }}
	fnSlice = &function{name: "slice", nils: true, call: slice}
	// fnLocalTime is a date or time without an offset, read in the person's zone.
	fnLocalTime = &function{name: "local time", zoned: func(f *frame, a []any) any {
		_, d, clock, _, ok := parseTime(a[0].(string))
		if !ok {
			return nil
		}
		if clock == 0 {
			return d.midnight(f.zone())
		}
		t := time.Date(d.year, d.month, d.day, 0, 0, 0, int(clock), f.zone())
		return instant(t.UnixMilli())
	}}
)

func floatOp(a, b any, do func(a, b float64) float64) any {
	x, ok1 := asFloat(a)
	y, ok2 := asFloat(b)
	if !ok1 || !ok2 {
		return nil
	}
	return number(do(x, y))
}

func plus(a, b any) any {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return x + y
		}
	case instant:
		if y, ok := b.(span); ok {
			return shift(x, y)
		}
	case span:
		switch y := b.(type) {
		case span:
			return addSpan(x, y)
		case instant:
			return shift(y, x)
		}
	default:
		return floatOp(a, b, func(x, y float64) float64 { return x + y })
	}
	return nil
}

func minus(a, b any) any {
	switch x := a.(type) {
	case instant:
		switch y := b.(type) {
		case span:
			return shift(x, -y)
		case instant:
			return span(x - y)
		}
	case span:
		if y, ok := b.(span); ok {
			if x == forever && y == forever {
				return nil // how much longer one never is than another is not known
			}
			return addSpan(x, -y)
		}
	default:
		return floatOp(a, b, func(x, y float64) float64 { return x - y })
	}
	return nil
}

// shift moves an instant; by forever there is no such instant.
func shift(t instant, d span) any {
	if d == forever || d == never {
		return nil
	}
	moved := t + instant(d)
	if d > 0 && moved < t || d < 0 && moved > t {
		return nil
	}
	return moved
}

func times(a, b any) any {
	if s, ok := b.(span); ok {
		a, b = s, a
	}
	if s, ok := a.(span); ok {
		n, ok := asFloat(b)
		switch {
		case !ok:
			return nil
		case n == 0:
			return span(0)
		case s == forever && n > 0 || s == never && n < 0:
			return forever
		case s == forever || s == never:
			return never
		}
		return saturate(float64(s) * n)
	}
	return floatOp(a, b, func(x, y float64) float64 { return x * y })
}

func divided(a, b any) any {
	if s, ok := a.(span); ok {
		switch d := b.(type) {
		case span:
			if d == 0 || s == forever || d == forever || s == never || d == never {
				return nil
			}
			return number(float64(s) / float64(d))
		default:
			n, ok := asFloat(b)
			if !ok || n == 0 {
				return nil
			}
			return times(s, 1/n)
		}
	}
	return floatOp(a, b, func(x, y float64) float64 { return x / y })
}

// dateOf is the date of an occasion. A date without a time ("1990-02-28"), and an instant at
// midnight UTC, which is what such a date becomes when it is declared as time, is that date
// everywhere; another instant is the date it has in the zone.
func dateOf(v any, loc *time.Location) (civil, bool) {
	switch x := v.(type) {
	case instant:
		if x%msDay == 0 {
			loc = time.UTC
		}
		return civilOf(int64(x), loc), true
	case string:
		at, d, clock, bare, ok := parseTime(x)
		switch {
		case !ok:
			return civil{}, false
		case bare:
			_ = clock // a local time of day does not change the date
			return d, true
		}
		return dateOf(at, loc)
	}
	return civil{}, false
}

// utc is a date and time of day read in UTC.
func utc(d civil, clock time.Duration) instant {
	return instant(time.Date(d.year, d.month, d.day, 0, 0, 0, int(clock), time.UTC).UnixMilli())
}
