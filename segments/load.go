package segments

import (
	"regexp"
	"strings"
)

// loader computes a value from a frame, and from the closure's element where there is one.
type loader func(f *frame, el any) any

// tester says whether something is definitely so.
type tester func(f *frame, el any) bool

// load builds the loader of a value that needs no loops, choices or truths.
func (e *emitter) load(n *node) loader {
	switch n.op {
	case opConst:
		v := n.val
		return func(*frame, any) any { return v }
	case opNow:
		return func(f *frame, _ any) any { return instant(f.at) }
	case opFeature:
		return e.loadFeature(n)
	case opField:
		return e.loadField(n)
	case opTrigger:
		return func(f *frame, _ any) any { return orNil(f.c.Trigger) }
	case opElem:
		return func(_ *frame, el any) any { return el }
	case opUser:
		name := n.name
		return func(f *frame, _ any) any { return f.user(name) }
	case opTrait:
		name, t := n.name, n.declared
		return func(f *frame, _ any) any { return f.trait(name, t) }
	case opLocal:
		name := n.name
		return func(f *frame, _ any) any { return f.local(name) }
	case opPlace:
		name, i := n.name, e.placeIndex(n.place)
		return func(f *frame, _ any) any { return f.place(i, name) }
	case opItValue:
		t := n.declared
		return func(f *frame, _ any) any { return f.itValue(t) }
	case opEarlier:
		name := n.name
		return func(f *frame, _ any) any { return f.earlier[name] }
	case opEveryone:
		i := n.index
		return func(f *frame, _ any) any {
			if f.everyone == nil {
				return nil
			}
			if people, ok := f.everyone(i); ok {
				return float64(people)
			}
			return nil
		}
	case opList:
		if l, ok := constantList(n); ok {
			return func(*frame, any) any { return l }
		}
	case opMember:
		of, name := e.load(n.kids[0]), n.name
		return func(f *frame, el any) any {
			m, _ := of(f, el).(map[string]any)
			return m[name]
		}
	default:
	}
	kids := make([]loader, len(n.kids))
	for i, k := range n.kids {
		kids[i] = e.load(k)
	}
	apply := e.apply(n)
	switch len(kids) {
	case 1:
		a := kids[0]
		return func(f *frame, el any) any { return apply(f, []any{a(f, el)}) }
	case 2:
		a, b := kids[0], kids[1]
		return func(f *frame, el any) any { return apply(f, []any{a(f, el), b(f, el)}) }
	}
	return func(f *frame, el any) any {
		args := make([]any, len(kids))
		for i, k := range kids {
			args[i] = k(f, el)
		}
		return apply(f, args)
	}
}

// constantList is a list of constants, made once: nothing changes lists in place.
func constantList(n *node) ([]any, bool) {
	l := make([]any, len(n.kids))
	for i, k := range n.kids {
		if !k.isConst() {
			return nil, false
		}
		l[i] = k.val
	}
	return l, true
}

func orNil(o *Occurrence) any {
	if o == nil {
		return nil
	}
	return o
}

// apply is what a node does with the values of its kids.
func (e *emitter) apply(n *node) func(f *frame, args []any) any {
	switch n.op {
	case opCall:
		return n.fn.apply
	case opList:
		return func(_ *frame, args []any) any { return append([]any(nil), args...) }
	case opMember:
		name := n.name
		return func(_ *frame, args []any) any {
			m, _ := args[0].(map[string]any)
			return m[name]
		}
	case opField:
		name, t := n.name, n.declared
		return func(f *frame, args []any) any {
			o, _ := args[0].(*Occurrence)
			if name == "ago" {
				if o == nil {
					return nil
				}
				return span(f.at - o.Time)
			}
			return fieldOf(o, name, t)
		}
	case opAfter:
		return func(_ *frame, args []any) any {
			o, _ := args[0].(*Occurrence)
			t, ok := args[1].(instant)
			if o == nil || !ok || instant(o.Time) <= t {
				return nil
			}
			return o
		}
	case opLater:
		return func(_ *frame, args []any) any {
			l, ok1 := args[0].([]any)
			t, ok2 := args[1].(instant)
			if !ok1 || !ok2 {
				return nil
			}
			return later(l, t)
		}
	case opConverted:
		within := n.val.(int64)
		return func(_ *frame, args []any) any { return converted(args[0].([]any), args[1].([]any), within) }
	case opListAgg:
		agg, path, t := Agg(n.index), n.name, n.declared
		isTime := n.typ == typTime
		return func(_ *frame, args []any) any {
			l, ok := args[0].([]any)
			if !ok {
				return nil
			}
			v := aggregate(l, agg, path, t)
			if ms, ok := v.(float64); ok && isTime {
				return instant(ms)
			}
			return v
		}
	default:
	}
	panic("segments: no value of " + typeNames[n.typ])
}

func (e *emitter) loadFeature(n *node) loader {
	i := e.featureIndex(n.feat)
	isTime := n.typ == typTime
	switch n.feat.Agg {
	case AggCount, AggUniq:
		return func(f *frame, _ any) any { return float64(f.whole(i)) }
	case AggFirst, AggLast:
		return func(f *frame, _ any) any { return orNil(f.occurrence(i)) }
	case AggList:
		return func(f *frame, _ any) any { return f.list(i) }
	default:
	}
	return func(f *frame, _ any) any {
		v := f.value(i)
		switch x := v.(type) {
		case float64:
			if isTime {
				return instant(x)
			}
			return number(x)
		case int64:
			return decodeInt(x)
		}
		return v
	}
}

func decodeInt(i int64) any {
	if i > 1<<53 || i < -(1<<53) {
		return i
	}
	return float64(i)
}

func (e *emitter) loadField(n *node) loader {
	of := e.load(n.kids[0])
	name, t := n.name, n.declared
	if name != "ago" {
		return func(f *frame, el any) any {
			o, _ := of(f, el).(*Occurrence)
			return fieldOf(o, name, t)
		}
	}
	known := e.known(n.kids[0])
	return func(f *frame, el any) any {
		if o, _ := of(f, el).(*Occurrence); o != nil {
			return span(f.at - o.Time)
		}
		if known(f, el) {
			return forever
		}
		return nil
	}
}

// known says whether the history of an occurrence is known, so that its absence means that the
// event never happened.
func (e *emitter) known(n *node) tester {
	switch n.op {
	case opFeature:
		return func(*frame, any) bool { return true }
	case opAfter:
		of, t := e.known(n.kids[0]), e.load(n.kids[1])
		return func(f *frame, el any) bool { return of(f, el) && t(f, el) != nil }
	case opListAgg:
		list := e.load(n.kids[0])
		return func(f *frame, el any) bool { return list(f, el) != nil }
	default:
	}
	return func(*frame, any) bool { return false }
}

// later keeps what is later than t; lists are newest first.
func later(l []any, t instant) []any {
	for i, o := range l {
		if instant(o.(*Occurrence).Time) <= t {
			return l[:i]
		}
	}
	return l
}

// converted keeps the messages that were followed by the goal in time. Both lists are newest first.
func converted(sent, goals []any, within int64) []any {
	out := []any{}
	for _, m := range sent {
		at := m.(*Occurrence).Time
		for _, g := range goals {
			if t := g.(*Occurrence).Time; t > at && (within == 0 || t <= at+within) {
				out = append(out, m)
				break
			}
		}
	}
	return out
}

// truthOf applies a truth to values: of a comparison, a search in a list, or text.
func (e *emitter) truthOf(n *node, want bool) func(args []any) bool {
	switch n.op {
	case opCompare:
		name := n.name
		return func(a []any) bool { return holds(name, a[0], a[1], want) }
	case opIn:
		return func(a []any) bool { return isIn(a[0], a[1], want) }
	case opText:
		name := n.name
		return func(a []any) bool {
			s, ok1 := a[0].(string)
			u, ok2 := a[1].(string)
			return ok1 && ok2 && inText(name, s, u) == want
		}
	case opMatches:
		re := n.val.(*regexp.Regexp)
		return func(a []any) bool {
			s, ok := a[0].(string)
			return ok && re.MatchString(s) == want
		}
	case opIsNil:
		return func(a []any) bool { return (a[0] == nil) == want }
	default:
	}
	return func(a []any) bool { return a[0] == want }
}

func inText(name, s, u string) bool {
	switch name {
	case "contains":
		return strings.Contains(s, u)
	case "startsWith":
		return strings.HasPrefix(s, u)
	}
	return strings.HasSuffix(s, u)
}

// isIn is Kleene's "equals one of": false only when every element can be compared and differs.
func isIn(v, list any, want bool) bool {
	if v == nil {
		return false
	}
	switch l := list.(type) {
	case []any:
		comparable := true
		for _, x := range l {
			eq, ok := equal(v, x)
			if ok && eq {
				return want
			}
			comparable = comparable && ok
		}
		return comparable && !want
	case map[string]any:
		k, ok := v.(string)
		if !ok {
			return false
		}
		_, has := l[k]
		return has == want
	case *List:
		has, known := l.has(v)
		return known && has == want
	}
	return false
}

// test builds the tester of a leaf that needs no loops.
func (e *emitter) test(n *node, want bool) tester {
	if n.op == opCompare {
		if t := e.compareFast(n, want); t != nil {
			return t
		}
		name, a, b := n.name, e.load(n.kids[0]), e.load(n.kids[1])
		return func(f *frame, el any) bool { return holds(name, a(f, el), b(f, el), want) }
	}
	if !n.isTruth() {
		v := e.load(n)
		return func(f *frame, el any) bool { return v(f, el) == want }
	}
	if n.op == opIsNil {
		return e.testNil(n.kids[0], want)
	}
	kids := make([]loader, len(n.kids))
	for i, k := range n.kids {
		kids[i] = e.load(k)
	}
	truth := e.truthOf(n, want)
	if len(kids) == 1 {
		a := kids[0]
		return func(f *frame, el any) bool { return truth([]any{a(f, el)}) }
	}
	a, b := kids[0], kids[1]
	return func(f *frame, el any) bool { return truth([]any{a(f, el), b(f, el)}) }
}

func (e *emitter) testNil(n *node, want bool) tester {
	if n.op == opFeature && n.typ == typOccurrence {
		i := e.featureIndex(n.feat)
		return func(f *frame, _ any) bool { return (f.occurrence(i) == nil) == want }
	}
	v := e.load(n)
	return func(f *frame, el any) bool { return (v(f, el) == nil) == want }
}
