package segments

import (
	"fmt"
	"regexp"
	"strings"

	"nudge/events"
	"nudge/internal/suggest"

	"github.com/expr-lang/expr/ast"
)

// FilterScope says which values from outside an occurrence filter may use.
type FilterScope uint8

const (
	// FilterPlain sees the occurrence only: on.where.
	FilterPlain FilterScope = iota
	// FilterEntry also sees entry.value, entry.at and entry.since: exit.where and goal.where.
	FilterEntry
)

const filterCan = "A filter can compare properties.x, context.x and at with constants and with each other (== != < <= > >=, in [...], contains, startsWith, endsWith, matches, has, == nil, x ?? default), multiply and add constants, and use and, or, not."

// CompileFilter compiles an occurrence filter of an event, such as exit.where. Problems have the
// Part "filter"; the Pred is nil when one is an error.
func CompileFilter(src string, schema *Schema, event string, scope FilterScope) (*Pred, []Problem) {
	var problems []Problem
	lw := &lowerer{schema: schema, part: "filter", problems: &problems}
	inner := &lowerer{schema: schema, part: "filter", scope: scopeFilter, problems: &problems, occurrence: lw.propsOf(event)}
	if scope == FilterEntry {
		inner.outside = inner.entry
	}
	p := inner.compileFilter(src)
	problems = sortProblems(problems)
	if HasErrors(problems) {
		return nil, problems
	}
	return p, problems
}

// compileFilter parses and compiles the text of a filter; problems are in its positions.
func (lw *lowerer) compileFilter(text string) *Pred {
	src, tree, p := parse(text)
	lw.src = src
	if p != nil {
		lw.report(*p)
		return nil
	}
	n := lw.truth(tree)
	if n.bad() {
		return nil
	}
	b := &predBuilder{exact: true, cannot: func(n *node, why string) {
		lw.problem(n.from, n.to, idFilter, why, filterCan)
	}}
	return b.truth(n, true)
}

// nestedFilter compiles the filter in a string literal of a condition and moves its problems to
// where they are in the condition.
func (lw *lowerer) nestedFilter(text string, arg ast.Node, of *props, everyone bool) (*Pred, bool) {
	from, to := lw.src.extent(arg)
	var problems []Problem
	inner := &lowerer{schema: lw.schema, part: lw.part, scope: scopeFilter, problems: &problems, occurrence: of}
	if everyone {
		inner.outside = func(path string, f, t int) *node { return lw.outsideValue(inner, path, f, t) }
	}
	pred := inner.compileFilter(text)
	verbatim := to-from == len(text)+2 && lw.src.text[from+1:to-1] == text
	for _, p := range problems {
		if verbatim {
			p.From, p.To = p.From+from+1, p.To+from+1
		} else {
			p.From, p.To = from, to
		}
		lw.report(p)
	}
	return pred, !HasErrors(problems)
}

func (lw *lowerer) filterName(name string, from, to int) *node {
	switch name {
	case "properties", "context":
		return &node{op: opSpace, typ: typSpace, name: name}
	case "at":
		return &node{op: opPath, typ: typTime, name: "time", declared: events.TypeTime}
	case "entry":
		if lw.outside != nil && !lw.dollars() {
			return &node{op: opSpace, typ: typSpace, name: name}
		}
		return lw.problem(from, to, idScope, "entry exists in exit.where and goal.where only.", "")
	case "now":
		return lw.problem(from, to, idFilter, "A filter cannot ask for now.", "Narrow the history instead: event(\"…\", '…').within(days(7)).")
	}
	if strings.HasPrefix(name, "$") {
		if lw.outside == nil || !lw.dollars() {
			return lw.problem(from, to, idScope, name+" is a value from outside, and only filters of everyone.event(…) have those.", "")
		}
		return &node{op: opSpace, typ: typSpace, name: name}
	}
	suggest := suggest.Nearest(name, []string{"properties", "context", "at"})
	if suggest == "" && lw.occurrence != nil {
		if _, ok := lw.occurrence.declared[name]; ok {
			suggest = "properties." + name
		}
	}
	detail := "A filter sees properties.…, context.… and at of one occurrence."
	if name == "user" || name == "it" || name == "trigger" || name == "local" {
		detail += " In filters of everyone.event(…) a value from outside is written $" + name + "…."
	}
	return lw.report(Problem{From: from, To: to, ID: idName, Summary: fmt.Sprintf("A filter has no %q.", name), Suggest: suggest, Detail: detail})
}

// dollars reports whether the filter's values from outside are $names (and not entry).
func (lw *lowerer) dollars() bool { return lw.part != "filter" }

func (lw *lowerer) filterField(v *node, links []link) (*node, int) {
	last := links[len(links)-1]
	switch v.name {
	case "properties":
		p, used, bad := lw.declaredPath(lw.occurrence, links)
		if bad != nil {
			return bad, used
		}
		if used < len(links) { // a member of a declared object
			p = events.Property{Path: joinNames(links)}
			used = len(links)
		}
		n := &node{op: opPath, typ: typeOf(p.Type), name: "properties." + p.Path, declared: p.Type, maybe: true}
		return n, used
	case "context":
		return &node{op: opPath, typ: typAny, name: "context." + joinNames(links), maybe: true}, len(links)
	}
	return lw.outside("entry."+joinNames(links), links[0].from, last.to), len(links)
}

// entry is what exit.where and goal.where know of the entry.
func (lw *lowerer) entry(path string, from, to int) *node {
	n := &node{op: opOutside, name: path, maybe: true}
	switch path {
	case "entry.value":
		n.typ = typAny
	case "entry.at", "entry.since":
		n.typ = typTime
	default:
		name := strings.TrimPrefix(path, "entry.")
		return lw.report(Problem{From: from, To: to, ID: idField, Summary: fmt.Sprintf("entry has no %q.", name), Suggest: suggest.Nearest(name, []string{"value", "at", "since"}), Detail: "It has value, at and since."})
	}
	return n
}

// predBuilder says a truth in a Pred: exactly, for occurrence filters, or letting too many pass, for
// prefilters over features.
type predBuilder struct {
	exact    bool
	cannot   func(n *node, why string) // exact: reports what cannot be said
	features func(f *Feature) int      // prefilter
	places   func(p *PlaceRef) int     // prefilter
	awaits   bool                      // prefilter: who can become true by time alone passes
	forms    forms
	count    int
}

func (b *predBuilder) give(n *node, why string) *Pred {
	if b.exact {
		b.cannot(n, why)
		return &Pred{Op: PredFalse}
	}
	return &Pred{Op: PredMaybe}
}

// truth says what makes n definitely true (want) or definitely false.
func (b *predBuilder) truth(n *node, want bool) *Pred {
	if b.count++; b.count > maxEmitted {
		return b.give(n, "This becomes too large when it is written out.")
	}
	switch n.op {
	case opConst:
		if n.val == want {
			return &Pred{Op: PredTrue}
		}
		return &Pred{Op: PredFalse}
	case opAnd, opOr:
		o := PredAnd
		if (n.op == opOr) == want {
			o = PredOr
		}
		return combine(o, b.truth(n.kids[0], want), b.truth(n.kids[1], want))
	case opNot:
		return b.truth(n.kids[0], !want)
	case opIf:
		c := n.kids[0]
		return combine(PredOr,
			combine(PredAnd, b.truth(c, true), b.truth(n.kids[1], want)),
			combine(PredAnd, b.truth(c, false), b.truth(n.kids[2], want)))
	case opCompare:
		return b.compare(n, want)
	case opIn:
		return b.in(n, want)
	case opText, opMatches:
		return b.text(n, want)
	case opIsNil:
		x, ok := b.operand(n.kids[0])
		if !ok || x.Scale != 0 || x.Offset != 0 {
			return b.give(n, "Whether this is missing cannot be said in a filter.")
		}
		if want {
			return &Pred{Op: PredHasNot, L: x}
		}
		return &Pred{Op: PredHas, L: x}
	case opCoalesce:
		return b.coalesce(n, func(v *node) *Pred { return b.truth(v, want) })
	default:
	}
	if x, ok := b.operand(n); ok {
		if want {
			return &Pred{Op: PredIsTrue, L: x}
		}
		return &Pred{Op: PredIsFalse, L: x}
	}
	return b.give(n, "This cannot be said in a filter.")
}

// combine joins two predicates and leaves out what decides nothing.
func combine(o PredOp, a, b *Pred) *Pred {
	zero, one := PredFalse, PredTrue
	if o == PredOr {
		zero, one = PredTrue, PredFalse
	}
	switch {
	case a.Op == zero || b.Op == one:
		return a
	case b.Op == zero || a.Op == one:
		return b
	}
	var kids []*Pred
	for _, k := range []*Pred{a, b} {
		if k.Op == o {
			kids = append(kids, k.Kids...)
		} else {
			kids = append(kids, k)
		}
	}
	return &Pred{Op: o, Kids: kids}
}

// coalesce says something of x ?? d: of x where it is present, else of d.
func (b *predBuilder) coalesce(n *node, say func(v *node) *Pred) *Pred {
	x, ok := b.operand(n.kids[0])
	if !ok || x.Scale != 0 || x.Offset != 0 {
		return b.give(n, "A default is for a property.")
	}
	return combine(PredOr,
		combine(PredAnd, &Pred{Op: PredHas, L: x}, say(n.kids[0])),
		combine(PredAnd, &Pred{Op: PredHasNot, L: x}, say(n.kids[1])))
}

var compareOps = map[string]PredOp{"==": PredEq, "!=": PredNe, "<": PredLt, "<=": PredLe, ">": PredGt, ">=": PredGe}

var opposite = map[string]string{"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}

func (b *predBuilder) compare(n *node, want bool) *Pred {
	for i := range n.kids {
		if n.kids[i].op == opCoalesce {
			return b.coalesce(n.kids[i], func(v *node) *Pred {
				kids := []*node{n.kids[0], n.kids[1]}
				kids[i] = v
				return b.compare(compareNode(n.name, kids[0], kids[1]).at(n.from, n.to), want)
			})
		}
	}
	operator := n.name
	if !want {
		operator = opposite[operator]
	}
	a, c := n.kids[0], n.kids[1]
	if a.isConst() && c.isConst() {
		if holds(n.name, a.val, c.val, want) {
			return &Pred{Op: PredTrue}
		}
		return &Pred{Op: PredFalse}
	}
	if b.exact {
		for _, k := range n.kids {
			if k.op == opCall && k.fn == fnLocalTime {
				return b.give(k, "A date without an offset depends on the person's zone, which a filter does not know. Write \"2026-11-27T00:00:00Z\".")
			}
		}
	} else if p := b.await(operator, a, c); p != nil {
		return p
	} else if p := b.ages(operator, a, c); p != nil {
		return p
	}
	l, ok1 := b.operand(a)
	r, ok2 := b.operand(c)
	if !ok1 {
		return b.give(a, "This side of the comparison cannot be said in a filter.")
	}
	if !ok2 {
		return b.give(c, "This side of the comparison cannot be said in a filter.")
	}
	if l.Kind == OperandLit {
		l, r, operator = r, l, flipped[operator]
	}
	return &Pred{Op: compareOps[operator], L: l, R: r}
}

func (b *predBuilder) in(n *node, want bool) *Pred {
	v, list := n.kids[0], n.kids[1]
	if v.op == opCoalesce {
		return b.coalesce(v, func(v *node) *Pred {
			m := mk(opIn, typBool, v, list)
			return b.in(m.at(n.from, n.to), want)
		})
	}
	if l, ok := list.val.(*List); ok && !b.exact {
		if x, ok := b.operand(v); ok {
			return l.pred(x, want)
		}
	}
	if list.op != opList {
		return b.give(list, "In a filter a list is written out: x in [\"a\", \"b\"].")
	}
	if v.isConst() {
		vals := make([]any, len(list.kids))
		for i, k := range list.kids {
			if !k.isConst() {
				return b.give(k, "In a filter a list holds constants.")
			}
			vals[i] = k.val
		}
		if isIn(v.val, vals, want) {
			return &Pred{Op: PredTrue}
		}
		return &Pred{Op: PredFalse}
	}
	if b.awaits && b.forms.moving(v) {
		return &Pred{Op: PredMaybe}
	}
	x, ok := b.operand(v)
	if !ok {
		return b.give(v, "This value cannot be looked for in a filter.")
	}
	p := &Pred{Op: PredIn, L: x}
	if !want {
		p.Op = PredNotIn
	}
	for _, k := range list.kids {
		y, ok := b.operand(k)
		if !ok || y.Kind != OperandLit {
			return b.give(k, "In a filter a list holds constants.")
		}
		p.List = append(p.List, y.Lit)
	}
	if !alikeList(p.List) {
		return b.give(list, "In a filter the list's values are all strings, all numbers or all booleans.")
	}
	return p
}

func alikeList(l []any) bool {
	for _, v := range l[1:] {
		if litType(v) != litType(l[0]) {
			return false
		}
	}
	return true
}

func litType(v any) Type {
	switch v.(type) {
	case string:
		return typString
	case bool:
		return typBool
	}
	return typNumber
}

var textOps = map[string][2]PredOp{
	"contains":   {PredNotContains, PredContains},
	"startsWith": {PredNotStartsWith, PredStartsWith},
	"endsWith":   {PredNotEndsWith, PredEndsWith},
}

func (b *predBuilder) text(n *node, want bool) *Pred {
	for i, k := range n.kids {
		if k.op == opCoalesce {
			return b.coalesce(k, func(v *node) *Pred {
				m := *n
				m.kids = append([]*node{}, n.kids...)
				m.kids[i] = v
				return b.text(&m, want)
			})
		}
	}
	l, ok := b.operand(n.kids[0])
	if !ok {
		return b.give(n.kids[0], "This text cannot be said in a filter.")
	}
	ops := [2]PredOp{PredNotMatches, PredMatches}
	r := &Operand{Kind: OperandLit, Lit: n.name}
	if n.op == opText {
		ops = textOps[n.name]
		if r, ok = b.operand(n.kids[1]); !ok {
			return b.give(n.kids[1], "This text cannot be said in a filter.")
		}
	}
	p := &Pred{Op: ops[0], L: l, R: r}
	if want {
		p.Op = ops[1]
	}
	p.re, _ = n.val.(*regexp.Regexp)
	if l.Kind == OperandLit && r.Kind == OperandLit {
		if p.Eval(nil, nil) {
			return &Pred{Op: PredTrue}
		}
		return &Pred{Op: PredFalse}
	}
	return p
}
