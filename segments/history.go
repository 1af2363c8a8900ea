package segments

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"nudge/events"
	"nudge/internal/suggest"

	"github.com/expr-lang/expr/ast"
)

func (lw *lowerer) propsOf(event string) *props {
	if event == "*" {
		return &props{event: event}
	}
	d, known := lw.schema.declared(event)
	if builtin := builtinEvents[event]; known && lw.schema.plan != nil && len(builtin) > 0 {
		d = merged(builtin, d)
	}
	return &props{event: event, declared: d, known: known && d != nil && lw.schema.plan != nil}
}

func merged(a, b map[string]events.Property) map[string]events.Property {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// eventName checks the name of an event and returns whether to go on.
func (lw *lowerer) eventName(name string, from, to int) bool {
	if name == "" {
		lw.problem(from, to, idEvent, "The event's name is empty.", "Write \"*\" for any track, page and screen call.")
		return false
	}
	if name == "*" || !lw.schema.closed() {
		return true
	}
	if _, ok := lw.schema.declared(name); ok {
		return true
	}
	p := Problem{From: from, To: to, ID: idEvent, Summary: fmt.Sprintf("The tracking plan has no event %q.", name), Suggest: suggest.Nearest(name, lw.schema.eventNames()), Warning: true}
	p.Detail = "Declare it in events.yaml if apps send it."
	const few = 8 // that can be read in a line
	if p.Suggest != "" {
		p.Warning = false
	} else if names := lw.schema.declaredNames(); len(names) <= few {
		p.Detail = "Declare it in events.yaml if apps send it; it has: " + strings.Join(names, ", ") + "."
	}
	lw.report(p)
	return p.Warning
}

// eventCall reads event("X"), event("X", 'filter'), did(…) and everyone.event(…).
func (lw *lowerer) eventCall(name string, args []ast.Node, from, to int, everyone bool) *node {
	if len(lw.elems) > 0 {
		return lw.problem(from, to, idClosure, "A history cannot be asked for inside a closure.", "Name it before: `let orders = event(\"Order Completed\");`, or use an occurrence filter.")
	}
	if lw.scope == scopeFilter {
		return lw.problem(from, to, idFilter, "An occurrence filter cannot ask for a history.", "It sees properties, context and at of one occurrence.")
	}
	if !lw.arity(args, 1, 2, from, to, name+`("Product Added", 'properties.price > 10')`) {
		return &node{op: opBad}
	}
	event, ok := lw.stringLiteral(args[0], "An event's name")
	if !ok {
		return &node{op: opBad}
	}
	evFrom, evTo := lw.src.extent(args[0])
	if !lw.eventName(event, evFrom, evTo) {
		return &node{op: opBad}
	}
	h := &history{feat: Feature{Event: event}, everyone: everyone, props: lw.propsOf(event)}
	if isMessage(event) {
		h.feat.Message = "*"
	}
	out := &node{op: opHistory, typ: typHistory, hist: h}
	if len(args) == 2 {
		text, ok := lw.stringLiteral(args[1], "An occurrence filter")
		if !ok {
			return &node{op: opBad}
		}
		pred, ok := lw.nestedFilter(text, args[1], h.props, everyone)
		if !ok {
			return &node{op: opBad}
		}
		if pred.Op != PredTrue {
			h.feat.Filter = pred
		}
	}
	return out
}

func (lw *lowerer) it(from, to int) *node {
	if lw.forEach == nil && lw.broken {
		return (&node{op: opBad}).at(from, to)
	}
	if lw.forEach == nil {
		return lw.problem(from, to, idScope, "There is no `it` here.", "A rule has one under `for_each: event(\"Product Added\").by(\"cart_id\")`.")
	}
	h := &history{feat: Feature{Event: lw.forEach.Event, Keyed: true, Filter: lw.forEach.Filter}, it: true, props: lw.propsOf(lw.forEach.Event)}
	return &node{op: opHistory, typ: typHistory, hist: h}
}

func (lw *lowerer) message(n *ast.CallNode, from, to int) *node {
	if len(lw.elems) > 0 {
		return lw.problem(from, to, idClosure, "A history cannot be asked for inside a closure.", "Name it before: `let sent = message(\"cart-abandoned\");`.")
	}
	if !lw.arity(n.Arguments, 1, 1, from, to, examples["message"]) {
		return &node{op: opBad}
	}
	rule, ok := lw.stringLiteral(n.Arguments[0], "A rule's name")
	if !ok {
		return &node{op: opBad}
	}
	if lw.schema.rules != nil && rule != "*" && !lw.schema.rules[rule] {
		f, t := lw.src.extent(n.Arguments[0])
		var known []string
		for r := range lw.schema.rules {
			known = append(known, r)
		}
		return lw.report(Problem{From: f, To: t, ID: idRule, Summary: fmt.Sprintf("There is no rule %q.", rule), Suggest: suggest.Nearest(rule, known), Detail: "message(\"…\") names a rule; message(\"*\") is any of ours."})
	}
	h := &history{feat: Feature{Event: events.MessageSent, Message: rule}, props: lw.propsOf(events.MessageSent)}
	return &node{op: opHistory, typ: typHistory, hist: h}
}

// historyFields are what may follow a history's dot, for suggestions.
var historyFields = []string{"count", "first", "last", "sum", "avg", "min", "max", "uniq", "top", "list", "within", "since"}

// historyField reads h.count, h.first, h.last and the narrowings of messages.
func (lw *lowerer) historyField(h *node, name string, from, to int) *node {
	hs := h.hist
	if hs.did {
		if !slices.Contains(historyFields, name) {
			near := suggest.Nearest(name, []string{"within", "since"})
			return lw.report(Problem{From: from, To: to, ID: idField, Summary: fmt.Sprintf("did(…) has no %q.", name), Suggest: near, Detail: "It has within(…) and since(…). For longer ago than a time compare the age: event(…).last.ago > days(3)."})
		}
		return lw.problem(from, to, idField, "did(…) is a yes or no.", fmt.Sprintf("Write event(…).%s to ask for more.", name))
	}
	if hs.everyone {
		if name == "people" {
			return lw.people(h)
		}
		return lw.report(Problem{From: from, To: to, ID: idField, Summary: fmt.Sprintf("Of everyone's history there is no %q.", name), Suggest: suggest.Nearest(name, []string{"people", "within"}), Detail: "Only .people is told: how many did it."})
	}
	switch name {
	case "count":
		if len(hs.since) > 0 && hs.converted == nil {
			n := mk(opSinceCount, typNumber, hs.since...)
			n.hist, n.maybe = hs, anyMaybe(hs.since)
			return n
		}
		return lw.aggregate(h, AggCount, "", typNumber)
	case "first":
		return lw.edge(h, AggFirst)
	case "last":
		return lw.edge(h, AggLast)
	case "list":
		return lw.occurrences(h, 0)
	case "value":
		if hs.it {
			return lw.itValue()
		}
	case "opened", "clicked", "converted":
		if hs.feat.Message != "" && hs.feat.Event == events.MessageSent && hs.converted == nil {
			return lw.narrowMessage(h, name, from, to)
		}
	case "at", "ago", "properties", "context":
		return lw.problem(from, to, idField, fmt.Sprintf("A history has no .%s; one occurrence has.", name), fmt.Sprintf("Write .last.%s or .first.%s.", name, name))
	case "sum", "avg", "min", "max", "uniq", "top", "within", "since":
		return lw.problem(from, to, idArguments, fmt.Sprintf(".%s needs its argument.", name), fmt.Sprintf("Write %s.", methodExamples[name]))
	case "people":
		return lw.problem(from, to, idField, ".people is of everyone's history only.", "Write everyone.event(\"…\").within(days(1)).people under with:.")
	}
	known := historyFields
	if hs.feat.Message != "" {
		known = append([]string{"opened", "clicked", "converted"}, known...)
	}
	if hs.it {
		known = append([]string{"value"}, known...)
	}
	return lw.report(Problem{From: from, To: to, ID: idField, Summary: fmt.Sprintf("A history has no %q.", name), Suggest: suggest.Nearest(name, known), Detail: "It has " + strings.Join(known, ", ") + "."})
}

var methodExamples = map[string]string{
	"sum": `.sum("price")`, "avg": `.avg("price")`, "min": `.min("price")`, "max": `.max("price")`, "uniq": `.uniq("product_id")`,
	"top": `.top("category")`, "within": ".within(days(7))", "since": `.since(event("Order Completed").last.at)`, "list": ".list(10)",
}

// historyMethod reads h.within(…), h.since(…), h.sum("p") and their like.
func (lw *lowerer) historyMethod(h *node, name string, nameFrom, nameTo int, args []ast.Node, from, to int) *node {
	hs := h.hist
	example, known := methodExamples[name]
	if !known || hs.everyone && name != "within" || hs.did && name != "within" && name != "since" {
		bad := lw.historyField(h, name, nameFrom, nameTo)
		if bad.bad() {
			return bad
		}
		return lw.problem(nameFrom, to, idArguments, fmt.Sprintf(".%s is written without brackets.", name), "")
	}
	least := 1
	if name == "list" {
		least = 0
	}
	if !lw.arity(args, least, 1, from, to, example) {
		return &node{op: opBad}
	}
	switch name {
	case "within":
		d, ok := lw.constantSpan(args[0], "days(7)")
		if !ok {
			return &node{op: opBad}
		}
		narrowed := *hs
		if narrowed.feat.Within == 0 || int64(d) < narrowed.feat.Within {
			narrowed.feat.Within = int64(d)
		}
		return &node{op: opHistory, typ: typHistory, hist: &narrowed}
	case "since":
		return lw.since(h, args[0])
	case "list":
		if len(args) == 0 {
			return lw.occurrences(h, 0)
		}
		v := lw.value(args[0])
		n, isNumber := v.val.(float64)
		if v.bad() {
			return v
		}
		if !v.isConst() || !isNumber || n != float64(int(n)) || n < 1 || n > MaxOccurrences {
			return lw.problem(v.from, v.to, idConstant, fmt.Sprintf("How many must be a whole number from 1 to %d.", MaxOccurrences), "Write .list(10).")
		}
		return lw.occurrences(h, int(n))
	}
	return lw.propertyAggregate(h, name, args[0])
}

func (lw *lowerer) since(h *node, arg ast.Node) *node {
	t := lw.timeLiteral(lw.value(arg))
	if t.bad() {
		return t
	}
	narrowed := *h.hist
	if t.typ == typDuration {
		return lw.problem(t.from, t.to, idType, ".since needs a time and this is a duration.", "Write .within(…) for the last days or hours.")
	}
	if t.typ != typTime {
		return lw.problem(t.from, t.to, idType, fmt.Sprintf(".since needs a time and this is %s.", t.typ), "Write a time such as event(\"…\").last.at; declare a property as time in events.yaml to use it.")
	}
	if t.op == opCall && t.fn == fnSub && t.kids[0].op == opNow && t.kids[1].isConst() { // since(now − d) is within(d)
		d := t.kids[1].val.(span)
		if d > 0 && d != forever {
			if narrowed.feat.Within == 0 || int64(d) < narrowed.feat.Within {
				narrowed.feat.Within = int64(d)
			}
			return &node{op: opHistory, typ: typHistory, hist: &narrowed}
		}
	}
	narrowed.since = append(append([]*node{}, h.hist.since...), t)
	return &node{op: opHistory, typ: typHistory, hist: &narrowed}
}

func (lw *lowerer) narrowMessage(h *node, name string, from, to int) *node {
	narrowed := *h.hist
	switch name {
	case "opened":
		narrowed.feat.Event = events.MessageOpened
	case "clicked":
		narrowed.feat.Event = events.MessageClicked
	default:
		goal, ok := lw.schema.goals[narrowed.feat.Message]
		if !ok {
			return lw.problem(from, to, idGoal, fmt.Sprintf("Rule %q has no goal, so nothing converts.", narrowed.feat.Message), "Give the rule a `goal:`, or ask for what people did: did(\"Order Completed\").")
		}
		c := &conversion{goal: Feature{Event: goal.Event, Agg: AggList}, within: goal.Within}
		if goal.Where != "" {
			pred, problems := CompileFilter(goal.Where, lw.schema, goal.Event, FilterPlain)
			if HasErrors(problems) {
				return lw.problem(from, to, idGoal, fmt.Sprintf("The goal of rule %q has a filter that cannot be used here.", narrowed.feat.Message), "A goal that is asked for by .converted cannot use entry.* in where:.")
			}
			c.goal.Filter = pred
		}
		narrowed.converted = c
	}
	return &node{op: opHistory, typ: typHistory, hist: &narrowed}
}

func (lw *lowerer) itValue() *node {
	n := &node{op: opItValue, typ: typString}
	d, _ := lw.schema.declared(lw.forEach.Event)
	p, ok := d[strings.TrimPrefix(lw.forEach.Path, "properties.")]
	if !ok {
		return n
	}
	switch n.declared = p.Type; p.Type {
	case events.TypeNumber, events.TypeInteger, events.TypeDecimal:
		n.typ, n.maybe = typNumber, true
	case events.TypeBoolean:
		n.typ, n.maybe = typBool, true
	default:
	}
	return n
}

// feature is a node for a value that the planner delivers.
func feature(f Feature, t Type) *node {
	return &node{op: opFeature, typ: t, feat: &f}
}

// aggregate asks one value of a history; narrowed by since or conversion it is computed from the occurrences.
func (lw *lowerer) aggregate(h *node, agg Agg, path string, t Type) *node {
	hs := h.hist
	var n *node
	if len(hs.since) == 0 && hs.converted == nil {
		f := hs.feat
		f.Agg, f.Path = agg, path
		n = feature(f, t)
	} else {
		list := lw.listOf(hs, 0)
		n = mk(opListAgg, t, list)
		n.index, n.name = int(agg), path
		n.maybe = list.maybe
	}
	n.hist = hs
	switch agg {
	case AggAvg, AggMin, AggMax, AggTop:
		n.maybe = true
	default:
	}
	return n
}

func (lw *lowerer) propertyAggregate(h *node, name string, arg ast.Node) *node {
	prop, ok := lw.stringLiteral(arg, "A property's name")
	if !ok {
		return &node{op: opBad}
	}
	from, to := lw.src.extent(arg)
	prop = strings.TrimPrefix(prop, "properties.")
	p, bad := lw.property(h.hist.props, prop, from, to)
	if bad != nil {
		return bad
	}
	agg := map[string]Agg{"sum": AggSum, "avg": AggAvg, "min": AggMin, "max": AggMax, "uniq": AggUniq, "top": AggTop}[name]
	t := typNumber
	numeric := p.Type == events.Untyped || isNumeric(p.Type)
	switch name {
	case "sum", "avg":
		if !numeric {
			return lw.problem(from, to, idType, fmt.Sprintf("%q is declared as %s; .%s needs a number.", prop, typeWord(p.Type), name), "")
		}
	case "min", "max":
		if p.Type == events.TypeTime {
			t = typTime
		} else if !numeric {
			return lw.problem(from, to, idType, fmt.Sprintf("%q is declared as %s; .%s needs a number or a time.", prop, typeWord(p.Type), name), "")
		}
	case "top":
		t = typeOf(p.Type)
		fallthrough
	case "uniq":
		if p.Type == events.TypeArray || p.Type == events.TypeObject {
			return lw.problem(from, to, idType, fmt.Sprintf("%q is declared as %s; .%s needs one value.", prop, typeWord(p.Type), name), "")
		}
	}
	n := lw.aggregate(h, agg, "properties."+prop, t)
	n.declared = p.Type
	return n
}

// edge is the first or last occurrence of a history.
func (lw *lowerer) edge(h *node, agg Agg) *node {
	hs := h.hist
	var n *node
	switch {
	case len(hs.since) == 0 && hs.converted == nil:
		f := hs.feat
		f.Agg = agg
		n = feature(f, typOccurrence)
	case agg == AggLast && hs.converted == nil: // the last after t is the last, if that is after t
		f := hs.feat
		f.Agg = AggLast
		n = feature(f, typOccurrence)
		for _, t := range hs.since {
			n = mk(opAfter, typOccurrence, n, t)
		}
	default:
		list := lw.listOf(hs, 0)
		n = mk(opListAgg, typOccurrence, list)
		n.index = int(agg)
	}
	n.maybe, n.props, n.hist = true, hs.props, hs
	return n
}

// occurrences is h.list(n), newest first.
func (lw *lowerer) occurrences(h *node, n int) *node {
	hs := h.hist
	list := lw.listOf(hs, n)
	if n > 0 && (len(hs.since) > 0 || hs.converted != nil) {
		list = mk(opCall, typList, list, constant(typNumber, float64(n)))
		list.fn = functions["take"]
		list.maybe = list.kids[0].maybe
	}
	list.elem, list.props = typOccurrence, hs.props
	return list
}

// listOf is every occurrence of a history, newest first; n bounds it where nothing narrows it later.
func (lw *lowerer) listOf(hs *history, n int) *node {
	f := hs.feat
	f.Agg = AggList
	if len(hs.since) == 0 && hs.converted == nil {
		f.N = n
	}
	list := feature(f, typList)
	list.elem, list.props = typOccurrence, hs.props
	if hs.converted != nil {
		list = mk(opConverted, typList, list, feature(hs.converted.goal, typList))
		list.val = hs.converted.within
	}
	for _, t := range hs.since {
		list = mk(opLater, typList, list, t)
		list.maybe = list.maybe || list.kids[0].maybe || t.maybe
	}
	list.elem, list.props, list.hist = typOccurrence, hs.props, hs
	return list
}

// sinceList turns a count since some time into one over the list of occurrences.
func (lw *lowerer) sinceList(n *node) *node {
	h := &node{op: opHistory, hist: n.hist}
	return lw.aggregate(h, AggCount, "", typNumber).at(n.from, n.to)
}

// happenedSince is count since t > 0, from the last occurrence alone: unknown when t is missing,
// else whether there is a last one and it is later than t.
func happenedSince(hs *history) *node {
	f := hs.feat
	f.Agg = AggLast
	last := feature(f, typOccurrence)
	last.maybe, last.props, last.hist = true, hs.props, hs
	at := field(last, "at", typTime, true)
	out := not(isNil(last))
	for _, t := range hs.since {
		out = mk(opAnd, typBool, out, compareNode(">", at, t))
	}
	for _, t := range hs.since {
		if t.maybe {
			none := constant(typNil, nil)
			out = mk(opIf, typBool, not(isNil(t)), out, none)
			out.maybe = true
		}
	}
	return out
}

// did reads did("X"), which is count > 0.
func (lw *lowerer) did(h *node) *node {
	if len(h.hist.since) > 0 && h.hist.converted == nil {
		return happenedSince(h.hist)
	}
	return compareNode(">", lw.aggregate(h, AggCount, "", typNumber), constant(typNumber, 0.0))
}

func anyMaybe(ns []*node) bool {
	for _, n := range ns {
		if n.maybe {
			return true
		}
	}
	return false
}
