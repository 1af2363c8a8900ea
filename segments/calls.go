package segments

import (
	"fmt"
	"slices"
	"sort"

	"github.com/expr-lang/expr/ast"

	"nudge/internal/suggest"
)

func (lw *lowerer) arity(args []ast.Node, least, most, from, to int, example string) bool {
	if len(args) >= least && len(args) <= most {
		return true
	}
	lw.problem(from, to, idArguments, fmt.Sprintf("%d arguments do not fit here.", len(args)), fmt.Sprintf("Write %s.", example))
	return false
}

func (lw *lowerer) call(n *ast.CallNode) *node {
	from, to := lw.src.extent(n)
	switch callee := n.Callee.(type) {
	case *ast.IdentifierNode:
		return lw.named(n, callee.Value, from, to)
	case *ast.MemberNode:
		if name, ok := callee.Property.(*ast.StringNode); ok {
			return lw.method(n, callee, name, from, to)
		}
	}
	return lw.problem(from, to, idHistoryCall, "Only names can be called.", "")
}

func (lw *lowerer) method(n *ast.CallNode, callee *ast.MemberNode, name *ast.StringNode, from, to int) *node {
	nameFrom, nameTo := lw.src.span(name.Location())
	recv := lw.lower(callee.Node)
	switch {
	case recv.bad():
		return recv
	case recv.op == opHistory:
		return lw.historyMethod(recv, name.Value, nameFrom, nameTo, n.Arguments, from, to)
	case recv.op == opSpace && recv.name == "everyone" && name.Value == "event":
		return lw.eventCall("everyone.event", n.Arguments, from, to, true)
	case recv.op == opSpace && recv.name == "everyone":
		return lw.report(Problem{From: nameFrom, To: nameTo, ID: idField, Summary: fmt.Sprintf("everyone has no %q.", name.Value), Suggest: suggest.Nearest(name.Value, []string{"event"})})
	}
	return lw.problem(nameFrom, nameTo, idFunction, fmt.Sprintf("There is no method %q here.", name.Value), "Functions are written before what they act on: lower(x), len(list).")
}

func (lw *lowerer) named(n *ast.CallNode, name string, from, to int) *node {
	if lw.scope == scopeFilter {
		switch name {
		case "did", "message", "segment", "near", "inside":
			return lw.problem(from, to, idFilter, fmt.Sprintf("An occurrence filter cannot ask for %s(…).", name), "It sees properties, context and at of one occurrence.")
		}
	}
	for _, l := range slices.Backward(lw.lets) {
		if l.name == name {
			if l.node.bad() {
				return l.node
			}
			return lw.problem(from, from+len(name), idFunction, fmt.Sprintf("%q is a value and cannot be called.", name), "")
		}
	}
	switch name {
	case "event":
		return lw.eventCall(name, n.Arguments, from, to, false)
	case "did":
		h := lw.eventCall(name, n.Arguments, from, to, false)
		if !h.bad() {
			h.hist.did = true
		}
		return h
	case "message":
		return lw.message(n, from, to)
	case "segment":
		return lw.segment(n, from, to)
	case "near", "inside":
		return lw.near(n, name, from, to)
	case "has":
		if !lw.arity(n.Arguments, 1, 1, from, to, examples["has"]) {
			return &node{op: opBad}
		}
		v := lw.value(n.Arguments[0])
		if v.bad() {
			return v
		}
		return not(isNil(v))
	}
	if _, ok := lw.isListCall(n); ok {
		return lw.problem(from, to, idList, "A list of a file stands only after `in`.", "Write "+listExample+".")
	}
	return lw.function(name, n.Arguments, from, to)
}

func (lw *lowerer) near(n *ast.CallNode, name string, from, to int) *node {
	want := 1
	if name == "near" {
		want = 2
	}
	if !lw.arity(n.Arguments, want, want, from, to, examples[name]) {
		return &node{op: opBad}
	}
	if len(lw.elems) > 0 {
		return lw.problem(from, to, idClosure, "A place cannot be asked for inside a closure.", "Name it before: `let shop = near(\"stores/*\", meters(500));`.")
	}
	pattern, ok := lw.stringLiteral(n.Arguments[0], "A fence")
	if !ok {
		return &node{op: opBad}
	}
	pFrom, pTo := lw.src.extent(n.Arguments[0])
	switch found, err := lw.schema.matchesFence(pattern); {
	case err != nil:
		return lw.problem(pFrom, pTo, idFence, fmt.Sprintf("%q is not a pattern: %v.", pattern, err), "Write a fence's id, with * for any part: \"stores/*\".")
	case !found:
		return lw.report(Problem{From: pFrom, To: pTo, ID: idFence, Summary: fmt.Sprintf("No fence matches %q.", pattern), Suggest: suggest.Nearest(pattern, lw.schema.fences), Detail: "Fences are the files under fences/; their ids are file and feature: stores/berlin."})
	}
	ref := &PlaceRef{Pattern: pattern, Inside: name == "inside"}
	if name == "near" {
		m := lw.value(n.Arguments[1])
		switch {
		case m.bad():
			return m
		case m.typ != typMeters || !m.isConst():
			return lw.problem(m.from, m.to, idConstant, "How near must be a constant distance.", "Write near(\"stores/*\", meters(500)).")
		case !(metersOf(m) > 0):
			return lw.problem(m.from, m.to, idConstant, "The distance must be more than 0.", "Write inside(\"…\") for being in the fence itself.")
		}
		ref.Meters = metersOf(m)
	}
	return &node{op: opPlace, typ: typPlace, place: ref, maybe: true}
}

func metersOf(n *node) float64 {
	m, _ := asFloat(n.val)
	return m
}

// unavailable says what to write instead of expr's builtins that are not in the language.
var unavailable = map[string]string{
	"now":       "now is written without brackets.",
	"date":      "Write a date in quotes where a time is expected: now > \"2026-11-27\".",
	"duration":  "Write minutes(30), hours(1), days(7) or weeks(2).",
	"timezone":  "local.hour, local.date and the others are in the person's zone already.",
	"repeat":    "Text is not multiplied here.",
	"reduce":    "Write sum(list, #.x), count(list, …) or another function.",
	"groupBy":   "Ask with .uniq or .top, or filter by each value.",
	"toJSON":    "Values reach templates as they are.",
	"fromJSON":  "Send nested properties instead of JSON in a string.",
	"type":      "Types are known: declare the property in events.yaml.",
	"seconds":   "The shortest unit is minutes(n); fractions are allowed.",
	"second":    "The shortest unit is minutes(n); fractions are allowed.",
	"minute":    "Write minutes(1).",
	"hour":      "Write hours(1).",
	"day":       "Write days(1).",
	"week":      "Write weeks(1).",
	"month":     "Write days(30).",
	"months":    "Write days(30).",
	"never":     "Write not did(\"…\").",
	"exists":    "Write has(x).",
	"everyone":  "Write everyone.event(\"…\").within(days(1)).people under with:.",
	"toPairs":   "Write keys(x) or values(x).",
	"fromPairs": "Objects are not built here.",
}

func (lw *lowerer) function(name string, args []ast.Node, from, to int) *node {
	fn, ok := functions[name]
	if !ok {
		known := make([]string, 0, len(functions)+len(examples))
		for f := range functions {
			known = append(known, f)
		}
		for f := range examples {
			known = append(known, f)
		}
		sort.Strings(known)
		detail := unavailable[name]
		meant := ""
		if detail == "" {
			detail = "docs/language.md lists the functions."
			meant = suggest.Nearest(name, known)
		}
		nameTo := min(from+len(name), to)
		return lw.report(Problem{From: from, To: nameTo, ID: idFunction, Summary: fmt.Sprintf("There is no function %s(…).", name), Suggest: meant, Detail: detail})
	}
	if !lw.arity(args, fn.least, fn.most, from, to, fn.example) {
		return &node{op: opBad}
	}
	if fn.name == "anniversary" && lw.scope == scopeSince {
		return lw.problem(from, to, idScope, "exit.since cannot depend on now: it is fixed when the entry begins.", "")
	}
	kids := make([]*node, len(args))
	maybe := fn.maybe
	for i, a := range args {
		k := lw.value(a)
		if k.bad() {
			return k
		}
		want := fn.args[min(i, len(fn.args)-1)]
		if !accepts(want, k.typ) {
			return lw.problem(k.from, k.to, idType, fmt.Sprintf("%s needs %s and this is %s.", name, want, k.typ), fmt.Sprintf("Write %s.", fn.example))
		}
		maybe = maybe || k.maybe || k.typ == typAny
		kids[i] = k
	}
	out := mk(opCall, fn.typ, kids...)
	out.fn, out.maybe = fn, maybe
	if fn.shape != nil {
		fn.shape(out)
	}
	return out
}

// accepts reports whether a parameter takes a value; what is undeclared is looked at when judging.
func accepts(want, got Type) bool {
	switch {
	case want == got, got == typAny && isPlain(want), got == typNil && isPlain(want):
		return true
	case want == typAny:
		return isPlain(got)
	case want == typTime:
		return got == typAny || got == typString
	}
	return false
}

// builtin reads the calls that expr's parser knows: closures over lists, and plain functions.
func (lw *lowerer) builtin(n *ast.BuiltinNode) *node {
	from, to := lw.src.extent(n)
	nameFrom, nameTo := lw.src.span(n.Location())
	if hint := unavailable[n.Name]; hint != "" {
		return lw.problem(nameFrom, nameTo, idFunction, fmt.Sprintf("There is no function %s(…).", n.Name), hint)
	}
	if len(n.Arguments) < 2 {
		return lw.function(n.Name, n.Arguments, nameFrom, to)
	}
	predicate, ok := n.Arguments[1].(*ast.PredicateNode)
	if !ok {
		return lw.function(n.Name, n.Arguments, nameFrom, to)
	}
	if lw.scope == scopeFilter {
		return lw.problem(from, to, idFilter, "An occurrence filter cannot look into lists.", filterCan)
	}
	list := lw.value(n.Arguments[0])
	if list.bad() {
		return list
	}
	if list.typ != typList && list.typ != typAny {
		return lw.problem(list.from, list.to, idType, fmt.Sprintf("%s goes over a list and this is %s.", n.Name, list.typ), "Histories are listed by .list(n): any(event(\"…\").list(10), …).")
	}
	if len(lw.elems) > 0 && readsHistory(list) {
		return lw.problem(list.from, list.to, idClosure, "A history's list cannot be gone over inside another closure.", "Use an occurrence filter.")
	}
	elem := &node{op: opElem, typ: elemType(list), depth: len(lw.elems) + 1, props: list.props, maybe: elemType(list) != typOccurrence}
	lw.elems = append(lw.elems, elem)
	var body *node
	switch n.Name {
	case "map", "sum", "sortBy":
		body = lw.value(predicate.Node)
	default:
		body = lw.truth(predicate.Node)
	}
	lw.elems = lw.elems[:len(lw.elems)-1]
	if body.bad() {
		return body
	}
	return lw.loop(n, list, body, nameFrom, nameTo)
}

func (lw *lowerer) loop(n *ast.BuiltinNode, list, body *node, nameFrom, nameTo int) *node {
	kids := []*node{list, body}
	t := typBool
	switch n.Name {
	case "all", "any", "none", "one":
	case "filter", "map":
		t = typList
	case "count", "findIndex", "findLastIndex":
		t = typNumber
	case "sum":
		t = typNumber
		if body.typ != typNumber && body.typ != typAny {
			return lw.problem(body.from, body.to, idType, fmt.Sprintf("sum adds numbers and this is %s.", body.typ), "")
		}
	case "find", "findLast":
		t = elemType(list)
	case "sortBy":
		t = typList
		if len(n.Arguments) == 3 {
			o, ok := lw.stringLiteral(n.Arguments[2], "The order")
			if !ok {
				return &node{op: opBad}
			}
			if o != "asc" && o != "desc" {
				f, e := lw.src.extent(n.Arguments[2])
				return lw.problem(f, e, idArguments, fmt.Sprintf("The order is \"asc\" or \"desc\", not %q.", o), "")
			}
			kids = append(kids, constant(typString, o))
		}
	default:
		return lw.problem(nameFrom, nameTo, idFunction, fmt.Sprintf("There is no function %s(…).", n.Name), "docs/language.md lists the functions.")
	}
	out := mk(opLoop, t, kids...)
	out.name, out.elem, out.props = n.Name, elemType(list), list.props
	out.maybe = list.maybe || list.typ == typAny || t == typBool && body.maybe
	switch n.Name {
	case "map":
		out.elem, out.props = body.typ, body.props
	case "find", "findLast", "findIndex", "findLastIndex":
		out.maybe = true
	}
	return out
}

// readsHistory reports whether a value is made of occurrences that the store delivers.
func readsHistory(n *node) bool {
	if n.op == opFeature {
		return n.typ == typList
	}
	return slices.ContainsFunc(n.kids, readsHistory)
}
