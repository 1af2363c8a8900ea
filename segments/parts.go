package segments

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"

	"nudge/events"
)

// readForEach reads event("X", 'filter').by("p").
func (c *compilation) readForEach(text string) {
	if text == "" {
		return
	}
	const example = `Write for_each: event("Product Added").by("cart_id").`
	lw := c.lowerer(partForEach, scopeWhen)
	src, tree, p := parse(text)
	lw.src = src
	if p != nil {
		lw.report(*p)
		return
	}
	from, to := src.extent(tree)
	call, ok := tree.(*ast.CallNode)
	var callee *ast.MemberNode
	if ok {
		callee, ok = call.Callee.(*ast.MemberNode)
	}
	if name, is := propertyName(callee); !ok || !is || name != "by" {
		lw.problem(from, to, idHistoryCall, "for_each names an event and the property that tells its items apart.", example)
		return
	}
	h := lw.lower(callee.Node)
	if h.bad() {
		return
	}
	if h.op != opHistory || h.hist.did || h.hist.feat.Within != 0 || len(h.hist.since) > 0 || h.hist.feat.Message != "" {
		lw.problem(h.from, h.to, idHistoryCall, "for_each takes an event, with or without a filter, and nothing else before .by.", example)
		return
	}
	path, ok := lw.by(call.Arguments, h.hist.props, from, to, `.by("cart_id")`)
	if ok {
		c.who.forEach = &ForEach{Event: h.hist.feat.Event, Filter: h.hist.feat.Filter, Path: path}
	}
}

func propertyName(m *ast.MemberNode) (string, bool) {
	if m == nil {
		return "", false
	}
	s, ok := m.Property.(*ast.StringNode)
	if !ok {
		return "", false
	}
	return s.Value, true
}

func (lw *lowerer) by(args []ast.Node, of *props, from, to int, example string) (string, bool) {
	if !lw.arity(args, 1, 1, from, to, example) {
		return "", false
	}
	name, ok := lw.stringLiteral(args[0], "A property's name")
	if !ok {
		return "", false
	}
	f, t := lw.src.extent(args[0])
	return lw.byProperty(name, of, f, t)
}

func (lw *lowerer) byProperty(name string, of *props, from, to int) (string, bool) {
	name = strings.TrimPrefix(name, "properties.")
	p, bad := lw.property(of, name, from, to)
	if bad != nil {
		return "", false
	}
	switch p.Type {
	case events.TypeArray, events.TypeObject, events.TypeTime:
		lw.problem(from, to, idType, fmt.Sprintf("%q is declared as %s; items are told apart by a string, a number or a boolean.", name, typeWord(p.Type)), "")
		return "", false
	default:
	}
	return "properties." + name, true
}

func (c *compilation) readOn(spec *WhoSpec) {
	if spec.OnEvent == "" {
		return
	}
	on := &On{Event: spec.OnEvent, MaxAge: spec.OnMaxAge}
	if on.MaxAge == 0 {
		on.MaxAge = DefaultMaxAge
	}
	lw := c.lowerer(partOn, scopeWhen)
	if !lw.eventName(spec.OnEvent, 0, len(spec.OnEvent)) {
		return
	}
	of := lw.propsOf(spec.OnEvent)
	if spec.OnWhere != "" {
		f := &lowerer{schema: c.schema, part: partOnWhere, scope: scopeFilter, problems: &c.problems, occurrence: of}
		on.Filter = f.compileFilter(spec.OnWhere)
	}
	if spec.OnBy != "" {
		lw.part = partOnBy
		if path, ok := lw.byProperty(spec.OnBy, of, 0, len(spec.OnBy)); ok {
			on.By = path
		}
	}
	c.who.on = on
}
