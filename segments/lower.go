package segments

import (
	"fmt"
	"sort"
	"strings"

	"github.com/expr-lang/expr/ast"

	"nudge/internal/suggest"
)

// place in a rule decides which names exist.
type scope uint8

const (
	scopeWhen    scope = iota // it, trigger, user, local, now, segment …
	scopeWith                 // the same, everyone, and earlier names
	scopeSince                // the same as scopeWhen, but nothing that depends on now
	scopeSegment              // the same as scopeWhen without it and trigger
	scopeFilter               // properties, context, at of one occurrence
)

// lowerer turns expr's tree into ours: it resolves names, rewrites each history form into a typed
// node, checks types, and reports every problem under the characters that cause it.
type lowerer struct {
	schema   *Schema
	src      *source
	part     string
	scope    scope
	problems *[]Problem

	forEach *ForEach // for `it`; nil: there is none
	trigger string   // event of `on:`, or ""
	broken  bool     // for_each or on has problems of its own: `it` and trigger get none on top
	earlier map[string]*node
	// outside reads a value from outside in a filter: "$it.last.properties.x", "entry.value"; nil: there are none.
	outside func(path string, from, to int) *node

	occurrence *props // filter: the event whose occurrences are filtered

	lets     []let
	elems    []*node // # of the open closures, outermost first
	segments []string
	refs     *everyoneRefs
}

type let struct {
	name string
	node *node
}

func (lw *lowerer) problem(from, to int, id, summary, detail string) *node {
	return lw.report(Problem{From: from, To: to, ID: id, Summary: summary, Detail: detail})
}

func (lw *lowerer) report(p Problem) *node {
	p.Part = lw.part
	*lw.problems = append(*lw.problems, p)
	return (&node{op: opBad}).at(p.From, p.To)
}

// lower translates a node. Problems come back as a bad node, so that one cause is one problem.
func (lw *lowerer) lower(n ast.Node) *node {
	from, to := lw.src.extent(n)
	out := lw.lowerAt(n, from, to)
	if out.size > maxEmitted {
		return lw.problem(from, to, idTooLarge, "This becomes too large when its names and segments are written out.", "Use fewer names inside names.")
	}
	if out.op != opSpace && out.op != opHistory && out.op != opElem {
		return fold(out).at(from, to)
	}
	copied := *out
	return copied.at(from, to)
}

func (lw *lowerer) lowerAt(n ast.Node, from, to int) *node {
	switch n := n.(type) {
	case *ast.NilNode:
		return constant(typNil, nil)
	case *ast.BoolNode:
		return constant(typBool, n.Value)
	case *ast.StringNode:
		return constant(typString, n.Value)
	case *ast.IntegerNode:
		if n.Value > 1<<53 || n.Value < -(1<<53) {
			return constant(typNumber, int64(n.Value))
		}
		return constant(typNumber, float64(n.Value))
	case *ast.FloatNode:
		return constant(typNumber, n.Value)
	case *ast.IdentifierNode:
		return lw.identifier(n.Value, from, to)
	case *ast.UnaryNode:
		return lw.unary(n)
	case *ast.BinaryNode:
		return lw.binary(n)
	case *ast.ChainNode:
		return lw.lower(n.Node) // what is missing has missing fields: `?.` is `.`
	case *ast.MemberNode:
		return lw.member(n)
	case *ast.SliceNode:
		return lw.slice(n)
	case *ast.CallNode:
		return lw.call(n)
	case *ast.BuiltinNode:
		return lw.builtin(n)
	case *ast.PointerNode:
		return lw.pointer(n, from, to)
	case *ast.ConditionalNode:
		return lw.conditional(n)
	case *ast.VariableDeclaratorNode:
		return lw.let(n)
	case *ast.ArrayNode:
		return lw.list(n)
	case *ast.SequenceNode:
		return lw.problem(from, to, idSyntax, "Only the last of several expressions would count.", "Join conditions with `and`; use `let name = …;` to name a part.")
	case *ast.MapNode:
		return lw.problem(from, to, idSyntax, "Objects cannot be written here.", "Give each value its own name under with:.")
	}
	return lw.problem(from, to, idSyntax, "This form is not part of the language.", "See docs/language.md.")
}

// value translates a node that must be a value: not a history and not a group of fields.
func (lw *lowerer) value(n ast.Node) *node { return lw.settle(lw.lower(n)) }

func (lw *lowerer) settle(v *node) *node {
	switch v.op {
	case opHistory:
		if v.hist.did {
			return lw.did(v).at(v.from, v.to)
		}
		if v.hist.everyone {
			return lw.problem(v.from, v.to, idHistoryCall, "Say what you ask of everyone's history.", "End it with .people: everyone.event(\"Product Viewed\").within(days(1)).people.")
		}
		return lw.problem(v.from, v.to, idHistoryCall, "A history is not a value.", "Ask something of it: .count, .last.at, .last.ago, .sum(\"price\"); or write did(\"…\") for whether it happened.")
	case opSpace:
		if strings.HasPrefix(v.name, "$") {
			return lw.outside(v.name, v.from, v.to)
		}
		return lw.problem(v.from, v.to, idField, v.name+" has fields and is no value itself.", "Name one of its fields after a dot.")
	case opSinceCount:
		return lw.sinceList(v)
	default:
	}
	return v
}

// truth translates a node that must be a condition.
func (lw *lowerer) truth(n ast.Node) *node {
	v := lw.lower(n)
	if v.op == opHistory && !v.hist.did {
		return lw.problem(v.from, v.to, idHistoryCall, "A history is not a condition.", "Write did(\"…\") for whether it happened, or compare .count.")
	}
	return lw.asTruth(lw.settle(v))
}

// asTruth makes a condition of a value: a boolean, an undeclared value that may be one, a place.
func (lw *lowerer) asTruth(v *node) *node {
	switch v.typ {
	case typBad, typBool, typNil:
		return v
	case typAny: // unknown when it turns out to be no boolean
		copied := *v
		copied.maybe = true
		return &copied
	case typPlace:
		return lw.placeField(v, "now")
	default:
	}
	return lw.problem(v.from, v.to, idNotBoolean, fmt.Sprintf("This is %s, where a condition is expected.", v.typ), "Compare it with something, as in `x > 3`, or write has(x).")
}

func (lw *lowerer) identifier(name string, from, to int) *node {
	for i := len(lw.lets) - 1; i >= 0; i-- {
		if l := &lw.lets[i]; l.name == name {
			if l.node.depth > 0 && l.node.depth != len(lw.elems) {
				return lw.problem(from, to, idClosure, fmt.Sprintf("%q belongs to an outer closure and cannot be read in an inner one.", name), "Write the condition without the inner closure, or as an occurrence filter.")
			}
			return l.node
		}
	}
	if lw.scope == scopeFilter {
		return lw.filterName(name, from, to)
	}
	switch name {
	case "now":
		if lw.scope == scopeSince {
			return lw.problem(from, to, idScope, "exit.since cannot depend on now: it is fixed when the entry begins.", "Name an occurrence: it.last.at, trigger.at, event(\"…\").last.at.")
		}
		return &node{op: opNow, typ: typTime}
	case "user", "local":
		return &node{op: opSpace, typ: typSpace, name: name}
	case "it":
		return lw.it(from, to)
	case "trigger":
		if lw.trigger == "" && lw.broken {
			return (&node{op: opBad}).at(from, to)
		}
		if lw.trigger == "" {
			return lw.problem(from, to, idScope, "There is no trigger here.", "A rule has one under `on: {event: …}`.")
		}
		return &node{op: opTrigger, typ: typOccurrence, props: lw.propsOf(lw.trigger)}
	case "everyone":
		if lw.scope != scopeWith {
			return lw.problem(from, to, idScope, "everyone is for values under with: only.", "It tells how many others did something; a condition is about one person.")
		}
		return &node{op: opSpace, typ: typSpace, name: "everyone"}
	case "properties", "context":
		return lw.problem(from, to, idScope, name+" of what?", fmt.Sprintf("Write event(\"…\").last.%s.x, trigger.%s.x, or put the comparison into an occurrence filter: event(\"…\", '%s.x == 1').", name, name, name))
	case "entry":
		return lw.problem(from, to, idScope, "entry exists in exit.where and goal.where only.", "")
	case "event", "did", "message", "segment", "near", "inside", "anniversary", "has", "minutes", "hours", "days", "weeks", "meters":
		return lw.problem(from, to, idHistoryCall, fmt.Sprintf("%s is written with its brackets, as in %s.", name, examples[name]), "It cannot be given another name; `let cart = event(\"Product Added\");` names a history.")
	}
	if v, ok := lw.earlier[name]; ok {
		return v
	}
	names := []string{"now", "user", "local", "it", "trigger", "true", "false", "nil"}
	for _, l := range lw.lets {
		names = append(names, l.name)
	}
	for e := range lw.earlier {
		names = append(names, e)
	}
	return lw.report(Problem{
		From: from, To: to, ID: idName, Summary: fmt.Sprintf("There is no %q.", name), Suggest: suggest.Nearest(name, names),
		Detail: "Known are now, user, local, segment(…), event(…), did(…), message(…), near(…), inside(…), and it or trigger where the rule has for_each or on.",
	})
}

var examples = map[string]string{
	"event": `event("Product Added")`, "did": `did("Order Completed")`, "message": `message("cart-abandoned")`,
	"segment": `segment("vip")`, "near": `near("stores/*", meters(500))`, "inside": `inside("mall")`,
	"anniversary": `anniversary(user.traits.birthday)`, "has": `has(user.traits.plan)`,
	"minutes": "minutes(30)", "hours": "hours(1)", "days": "days(7)", "weeks": "weeks(2)", "meters": "meters(500)",
}

func (lw *lowerer) let(n *ast.VariableDeclaratorNode) *node {
	if _, isName := reserved[n.Name]; isName {
		from, to := lw.src.span(n.Location())
		lw.problem(from, to, idName, fmt.Sprintf("%q already means something.", n.Name), "Choose another name.")
	}
	v := lw.lower(n.Value)
	if v.op == opSinceCount {
		v = lw.sinceList(v)
	}
	lw.lets = append(lw.lets, let{name: n.Name, node: v})
	defer func() { lw.lets = lw.lets[:len(lw.lets)-1] }()
	return lw.lower(n.Expr)
}

var reserved = func() map[string]struct{} {
	m := map[string]struct{}{}
	for _, n := range []string{"now", "user", "local", "it", "trigger", "everyone", "entry", "properties", "context", "at"} {
		m[n] = struct{}{}
	}
	for n := range examples {
		m[n] = struct{}{}
	}
	return m
}()

func (lw *lowerer) list(n *ast.ArrayNode) *node {
	var elem Type
	kids := make([]*node, 0, len(n.Nodes))
	for i, e := range n.Nodes {
		v := lw.value(e)
		if v.bad() {
			return v
		}
		if i == 0 {
			elem = v.typ
		} else if elem != v.typ {
			elem = typAny
		}
		kids = append(kids, v)
	}
	l := mk(opList, typList, kids...)
	l.elem = elem
	if len(kids) == 0 {
		l.elem = typAny
	}
	return l
}

func (lw *lowerer) conditional(n *ast.ConditionalNode) *node {
	c, a, b := lw.truth(n.Cond), lw.value(n.Exp1), lw.value(n.Exp2)
	if c.bad() || a.bad() || b.bad() {
		return &node{op: opBad}
	}
	t, ok := join(a, b)
	if !ok {
		return lw.problem(b.from, b.to, idType, fmt.Sprintf("One branch is %s and the other %s.", a.typ, b.typ), "Give both branches one type.")
	}
	out := mk(opIf, t, c, a, b)
	out.elem, out.maybe, out.props = a.elem, true, a.props
	return out
}

// join is the type of a choice between two values.
func join(a, b *node) (Type, bool) {
	switch {
	case a.typ == b.typ:
		return a.typ, true
	case a.typ == typNil:
		return b.typ, true
	case b.typ == typNil:
		return a.typ, true
	case (a.typ == typAny && isPlain(b.typ)) || (b.typ == typAny && isPlain(a.typ)):
		return typAny, true
	}
	return typBad, false
}

// isPlain reports whether a type is one that JSON has.
func isPlain(t Type) bool {
	switch t {
	case typAny, typNil, typNumber, typString, typBool, typList, typObject:
		return true
	default:
	}
	return false
}

func (lw *lowerer) pointer(n *ast.PointerNode, from, to int) *node {
	if len(lw.elems) == 0 {
		return lw.problem(from, to, idClosure, "# is the element of a closure's list; there is no closure here.", "")
	}
	switch n.Name {
	case "":
		return lw.elems[len(lw.elems)-1]
	case "index":
		i := mk(opIndex, typNumber)
		i.depth = len(lw.elems)
		return i
	}
	return lw.problem(from, to, idClosure, fmt.Sprintf("There is no #%s.", n.Name), "Known are # (the element) and #index.")
}

// stringLiteral reads an argument that must be a string literal.
func (lw *lowerer) stringLiteral(n ast.Node, what string) (string, bool) {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value, true
	}
	from, to := lw.src.extent(n)
	lw.problem(from, to, idLiteral, what+" must be written out in quotes.", "What is read from the history is decided before anyone is judged.")
	return "", false
}

// constantSpan reads an argument that must be a constant duration longer than 0.
func (lw *lowerer) constantSpan(n ast.Node, example string) (span, bool) {
	v := lw.value(n)
	switch {
	case v.bad():
		return 0, false
	case v.typ == typNumber:
		lw.problem(v.from, v.to, idType, "A duration needs its unit.", fmt.Sprintf("Write %s.", example))
	case v.typ != typDuration:
		lw.problem(v.from, v.to, idType, fmt.Sprintf("This is %s, where a duration is expected.", v.typ), fmt.Sprintf("Write %s.", example))
	case !v.isConst():
		lw.problem(v.from, v.to, idConstant, "This duration must be a constant.", "For a window that depends on the person use .since(time).")
	case v.val.(span) <= 0 || v.val.(span) == forever:
		lw.problem(v.from, v.to, idConstant, "This duration must be longer than 0.", fmt.Sprintf("Write %s.", example))
	default:
		return v.val.(span), true
	}
	return 0, false
}

// expand compiles a segment into the condition that uses it.
func (lw *lowerer) segment(n *ast.CallNode, from, to int) *node {
	if !lw.arity(n.Arguments, 1, 1, from, to, examples["segment"]) {
		return &node{op: opBad}
	}
	name, ok := lw.stringLiteral(n.Arguments[0], "A segment's name")
	if !ok {
		return &node{op: opBad}
	}
	nameFrom, nameTo := lw.src.extent(n.Arguments[0])
	text, ok := lw.schema.segments[name]
	if !ok {
		var known []string
		for s := range lw.schema.segments {
			known = append(known, s)
		}
		sort.Strings(known)
		return lw.report(Problem{From: nameFrom, To: nameTo, ID: idSegment, Summary: fmt.Sprintf("There is no segment %q.", name), Suggest: suggest.Nearest(name, known), Detail: "Segments are the files under segments/."})
	}
	for i, open := range lw.segments {
		if open == name {
			circle := strings.Join(append(append([]string{}, lw.segments[i:]...), name), " → ")
			return lw.problem(nameFrom, nameTo, idCircle, "Segments use each other in a circle: "+circle+".", "Take the common part into a segment of its own.")
		}
	}
	var inner []Problem
	body := lowerSegment(lw.schema, name, text, append(append([]string{}, lw.segments...), name), &inner)
	if HasErrors(inner) {
		for _, p := range inner {
			if p.ID == idCircle {
				p.From, p.To = nameFrom, nameTo
				return lw.report(p)
			}
		}
		return lw.problem(nameFrom, nameTo, idBroken, fmt.Sprintf("Segment %q has problems of its own.", name), "They are reported in its file.")
	}
	body.segment = true
	if body.op == opNot { // `not segment(…)` is what stands under the `not`
		body.kids[0].segment = true
	}
	return body
}

// lowerSegment compiles a segment's text; problems get its positions and the Part "when".
func lowerSegment(schema *Schema, name, text string, open []string, problems *[]Problem) *node {
	src, tree, p := parse(text)
	if p != nil {
		p.Part = partWhen
		*problems = append(*problems, *p)
		return &node{op: opBad}
	}
	lw := &lowerer{schema: schema, src: src, part: partWhen, scope: scopeSegment, problems: problems, segments: open}
	return lw.truth(tree)
}
