package segments

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/expr-lang/expr/ast"

	"nudge/internal/suggest"
)

func not(n *node) *node {
	if n.op == opNot && n.kids[0].typ == typBool {
		return n.kids[0]
	}
	out := mk(opNot, typBool, n)
	out.vm, out.maybe = n.vm, n.maybe
	return out
}

// isNil asks whether a value is missing. An occurrence's time is missing exactly when it is.
func isNil(n *node) *node {
	if n.op == opField && n.name == "at" {
		n = n.kids[0]
	}
	return mk(opIsNil, typBool, n)
}

func compareNode(operator string, a, b *node) *node {
	n := mk(opCompare, typBool, a, b)
	n.name, n.maybe = operator, unsure(a) || unsure(b)
	return n
}

// unsure reports whether a value may be missing or of another type than it stands for.
func unsure(n *node) bool { return n.maybe || n.typ == typAny }

func (lw *lowerer) unary(n *ast.UnaryNode) *node {
	switch n.Operator {
	case "not", "!":
		v := lw.truth(n.Node)
		if v.bad() {
			return v
		}
		return not(v)
	}
	v := lw.value(n.Node)
	switch {
	case v.bad():
		return v
	case v.typ == typNumber || v.typ == typAny || v.typ == typDuration:
		if n.Operator == "+" {
			return v
		}
		if v.isConst() {
			if i, ok := v.val.(int64); ok {
				return constant(typNumber, -i)
			}
		}
		return lw.arithmetic("*", v, constant(typNumber, -1.0), v.from, v.to)
	}
	return lw.problem(v.from, v.to, idType, capital(v.typ.String())+" has no sign.", "")
}

func (lw *lowerer) binary(n *ast.BinaryNode) *node {
	opFrom, opTo := lw.src.span(n.Location())
	switch n.Operator {
	case "and", "&&", "or", "||":
		o := opAnd
		if n.Operator == "or" || n.Operator == "||" {
			o = opOr
		}
		a, b := lw.truth(n.Left), lw.truth(n.Right)
		if a.bad() || b.bad() {
			return &node{op: opBad}
		}
		out := mk(o, typBool, a, b)
		out.maybe = a.maybe || b.maybe
		return out
	case "==", "!=", "<", "<=", ">", ">=":
		a, b := lw.lower(n.Left), lw.lower(n.Right)
		return lw.compare(n.Operator, a, b, opFrom, opTo)
	case "in":
		return lw.in(n)
	case "contains", "startsWith", "endsWith":
		return lw.text(n)
	case "matches":
		return lw.matches(n)
	case "??":
		return lw.coalesce(n)
	case "+", "-", "*", "/", "%", "**", "^":
		a, b := lw.value(n.Left), lw.value(n.Right)
		if a.bad() || b.bad() {
			return &node{op: opBad}
		}
		return lw.arithmetic(n.Operator, a, b, opFrom, opTo)
	case "..":
		return lw.problem(opFrom, opTo, idSyntax, "A range stands only after `in`.", "Write local.hour in 9..17.")
	}
	return lw.problem(opFrom, opTo, idSyntax, n.Operator+" is not part of the language.", "See docs/language.md.")
}

var flipped = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

func (lw *lowerer) compare(operator string, a, b *node, from, to int) *node {
	if out := sinceCount(operator, a, b); out != nil {
		return out
	}
	if out := sinceCount(flipped[operator], b, a); out != nil {
		return out
	}
	a, b = lw.settle(a), lw.settle(b)
	if a.bad() || b.bad() {
		return &node{op: opBad}
	}
	if a.typ == typNil || b.typ == typNil {
		return lw.compareNil(operator, a, b, from, to)
	}
	a, b, ok := lw.alike(a, b, from, to)
	if !ok {
		return &node{op: opBad}
	}
	if (a.typ == typBool || b.typ == typBool) && operator != "==" && operator != "!=" {
		return lw.problem(from, to, idType, "Booleans are not ordered.", "Compare them with == or !=, or just write the condition.")
	}
	return compareNode(operator, a, b)
}

func (lw *lowerer) compareNil(operator string, a, b *node, from, to int) *node {
	if operator != "==" && operator != "!=" {
		return lw.problem(from, to, idNeverTrue, "Nothing is smaller or larger than nil.", "Ask about what is missing with == nil, has(x) or x ?? default.")
	}
	v := a
	if a.typ == typNil {
		v = b
	}
	out := isNil(v)
	if operator == "!=" {
		out = not(out)
	}
	return out
}

// alike makes two sides comparable, or reports why they never are.
func (lw *lowerer) alike(a, b *node, from, to int) (x, y *node, ok bool) {
	if a.typ == typPlace {
		a = lw.placeField(a, "now")
	}
	if b.typ == typPlace {
		b = lw.placeField(b, "now")
	}
	if a.typ == typTime {
		b = lw.timeLiteral(b)
	}
	if b.typ == typTime {
		a = lw.timeLiteral(a)
	}
	if a.bad() || b.bad() {
		return a, b, false
	}
	if !lw.weekdays(a, b) || !lw.weekdays(b, a) || !lw.enumerated(a, b) || !lw.enumerated(b, a) {
		return a, b, false
	}
	for _, s := range []*node{a, b} {
		switch s.typ {
		case typList, typObject, typOccurrence:
			lw.problem(s.from, s.to, idType, fmt.Sprintf("This is %s, which cannot be compared.", s.typ), "Ask for one of its values; x == nil and has(x) are legal.")
			return a, b, false
		default:
		}
	}
	switch {
	case a.typ == b.typ, a.typ == typAny && isPlain(b.typ), b.typ == typAny && isPlain(a.typ):
		return a, b, true
	}
	detail := ""
	t := [2]Type{a.typ, b.typ}
	has := func(u, v Type) bool { return t == [2]Type{u, v} || t == [2]Type{v, u} }
	switch {
	case has(typDuration, typNumber), has(typDuration, typAny):
		detail = "A duration has a unit: hours(1), days(7)."
	case has(typMeters, typNumber):
		detail = "A distance has a unit: meters(500)."
	case has(typTime, typDuration):
		detail = "Compare .ago with a duration, or .at with a time such as now - hours(1)."
	case has(typTime, typAny):
		detail = "Declare it as time in events.yaml; only then is its text read as one."
	case has(typTime, typNumber):
		detail = "Write a date in quotes: \"2026-11-27\"."
	case has(typNumber, typString):
		detail = "A string never equals or exceeds a number, also when it looks like one."
		for _, s := range []*node{a, b} {
			text, _ := s.val.(string)
			if _, err := strconv.ParseFloat(text, 64); err == nil && s.isConst() {
				detail = fmt.Sprintf("Write %s, without quotes.", text)
			}
		}
	}
	lw.problem(from, to, idType, fmt.Sprintf("This compares %s with %s, which is never true.", a.typ, b.typ), detail)
	return a, b, false
}

// timeLiteral reads a string literal that stands where a time is expected: a date means its first
// moment in the person's zone, a time with an offset that instant.
func (lw *lowerer) timeLiteral(n *node) *node {
	s, isString := n.val.(string)
	if n.op != opConst || !isString {
		return n
	}
	at, _, _, bare, ok := parseTime(s)
	switch {
	case !ok:
		return lw.problem(n.from, n.to, idType, fmt.Sprintf("%q is not a date or a time.", s), "Write \"2026-11-27\" or \"2026-11-27T18:00\" (in the person's zone), or \"2026-11-27T18:00:00Z\".")
	case bare:
		out := mk(opCall, typTime, n)
		out.fn = fnLocalTime
		return out
	}
	return constant(typTime, at).at(n.from, n.to)
}

var weekdayNames = []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}

func (lw *lowerer) weekdays(a, b *node) bool {
	if a.op != opLocal || a.name != "weekday" || !b.isConst() {
		return true
	}
	s, ok := b.val.(string)
	if !ok || slices.Contains(weekdayNames, s) {
		return true
	}
	lw.report(Problem{From: b.from, To: b.to, ID: idNeverTrue, Summary: fmt.Sprintf("%q is no weekday.", s), Suggest: suggest.Nearest(s, weekdayNames), Detail: "They are monday, tuesday, wednesday, thursday, friday, saturday, sunday."})
	return false
}

// enumerated checks a literal against the values that the tracking plan allows.
func (lw *lowerer) enumerated(a, b *node) bool {
	s, ok := b.val.(string)
	if !b.isConst() || !ok {
		return true
	}
	allowed := lw.enumOf(a)
	if len(allowed) == 0 || slices.Contains(allowed, s) {
		return true
	}
	p := Problem{From: b.from, To: b.to, ID: idNeverTrue, Summary: fmt.Sprintf("The tracking plan does not allow the value %q.", s), Suggest: suggest.Nearest(s, allowed), Warning: true}
	p.Warning = p.Suggest == ""
	lw.report(p)
	return p.Warning
}

func (lw *lowerer) enumOf(n *node) []string {
	const prefix = "properties."
	switch {
	case n.op == opTrait && lw.schema.plan != nil:
		return lw.schema.plan.Traits[n.name].Enum
	case n.op == opField && n.kids[0].props != nil && len(n.name) > len(prefix):
		return n.kids[0].props.declared[n.name[len(prefix):]].Enum
	case n.op == opPath && lw.occurrence != nil && len(n.name) > len(prefix):
		return lw.occurrence.declared[n.name[len(prefix):]].Enum
	}
	return nil
}

// sinceCount compares a count since some time with a constant: whether it happened at all is known
// from the last occurrence, and needs no list.
func sinceCount(operator string, a, b *node) *node {
	n, isNumber := b.val.(float64)
	if a.op != opSinceCount || !b.isConst() || !isNumber {
		return nil
	}
	switch {
	case operator == ">" && n >= 0 && n < 1, operator == ">=" && n > 0 && n <= 1, operator == "!=" && n == 0:
		return happenedSince(a.hist)
	case operator == "<" && n > 0 && n <= 1, operator == "<=" && n >= 0 && n < 1, operator == "==" && n == 0:
		return not(happenedSince(a.hist))
	}
	return nil
}

func (lw *lowerer) in(n *ast.BinaryNode) *node {
	from, to := lw.src.span(n.Location())
	var list *node
	if r, ok := n.Right.(*ast.BinaryNode); ok && r.Operator == ".." {
		list = lw.rangeList(r)
	} else if call, ok := lw.isListCall(n.Right); ok {
		list = lw.listCall(call)
	} else {
		list = lw.value(n.Right)
	}
	v := lw.value(n.Left)
	if v.bad() || list.bad() {
		return &node{op: opBad}
	}
	switch {
	case list.op == opList:
		if len(list.kids) == 0 {
			return lw.problem(list.from, list.to, idNeverTrue, "Nothing is in an empty list.", "")
		}
		kids := make([]*node, len(list.kids))
		for i, k := range list.kids {
			if k.typ == typNil {
				return lw.problem(k.from, k.to, idNeverTrue, "Nothing equals nil in a list.", "Write `or x == nil`.")
			}
			var ok bool
			if _, kids[i], ok = lw.alike(v, k, k.from, k.to); !ok {
				return &node{op: opBad}
			}
		}
		l := mk(opList, typList, kids...).at(list.from, list.to)
		l.elem = list.elem
		list = l
	case list.typ == typList, list.typ == typAny, list.typ == typObject:
		if !isPlain(v.typ) {
			return lw.problem(v.from, v.to, idType, capital(v.typ.String())+" is in no such list.", "")
		}
	case list.typ == typString:
		return lw.problem(from, to, idType, "A string is in a list, not in a string.", "Write text contains \"part\".")
	default:
		return lw.problem(list.from, list.to, idType, fmt.Sprintf("This is %s, where a list is expected.", list.typ), "Write x in [\"a\", \"b\"].")
	}
	out := mk(opIn, typBool, v, list)
	out.maybe = true
	return out
}

// rangeList reads 9..17 as the list of its numbers.
func (lw *lowerer) rangeList(r *ast.BinaryNode) *node {
	from, to := lw.src.extent(r)
	lo, ok1 := r.Left.(*ast.IntegerNode)
	hi, ok2 := r.Right.(*ast.IntegerNode)
	if !ok1 || !ok2 || hi.Value < lo.Value || hi.Value-lo.Value >= 1000 {
		return lw.problem(from, to, idConstant, "A range is between two whole numbers, at most 1000 of them.", "Write local.hour in 9..17, or compare with >= and <=.")
	}
	var kids []*node
	for i := lo.Value; i <= hi.Value; i++ {
		kids = append(kids, constant(typNumber, float64(i)).at(from, to))
	}
	l := mk(opList, typList, kids...)
	l.elem = typNumber
	return l.at(from, to)
}

func (lw *lowerer) text(n *ast.BinaryNode) *node {
	a, b := lw.value(n.Left), lw.value(n.Right)
	for _, s := range []*node{a, b} {
		switch s.typ {
		case typString, typAny:
		case typBad:
			return s
		case typList:
			return lw.problem(s.from, s.to, idType, n.Operator+" looks into text and this is a list.", "Write \"x\" in list, or any(list, # contains \"x\").")
		default:
			return lw.problem(s.from, s.to, idType, fmt.Sprintf("%s looks into text and this is %s.", n.Operator, s.typ), "")
		}
	}
	out := mk(opText, typBool, a, b)
	out.name, out.maybe = n.Operator, true
	return out
}

func (lw *lowerer) matches(n *ast.BinaryNode) *node {
	a := lw.value(n.Left)
	pattern, ok := lw.stringLiteral(n.Right, "A pattern")
	if a.bad() || !ok {
		return &node{op: opBad}
	}
	if a.typ != typString && a.typ != typAny {
		return lw.problem(a.from, a.to, idType, fmt.Sprintf("matches looks at text and this is %s.", a.typ), "")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		from, to := lw.src.extent(n.Right)
		return lw.problem(from, to, idRegexp, fmt.Sprintf("The pattern is not a regular expression: %v.", err), "Its syntax is RE2's; write a backslash twice inside double quotes.")
	}
	out := mk(opMatches, typBool, a)
	out.val, out.name, out.maybe = re, pattern, true
	return out
}

func (lw *lowerer) coalesce(n *ast.BinaryNode) *node {
	a, b := lw.value(n.Left), lw.value(n.Right)
	if a.bad() || b.bad() {
		return &node{op: opBad}
	}
	if a.typ == typTime {
		b = lw.timeLiteral(b)
	}
	if a.typ == typPlace {
		a = lw.placeField(a, "now")
	}
	t, ok := join(a, b)
	if !ok {
		return lw.problem(b.from, b.to, idType, fmt.Sprintf("The default is %s and the value %s.", b.typ, a.typ), "Give a default of the same type.")
	}
	out := mk(opCoalesce, t, a, b)
	out.maybe, out.elem, out.props = b.maybe, a.elem, a.props
	return out
}

var arithmeticTypes = map[string]map[[2]Type]Type{
	"+": {
		{typNumber, typNumber}: typNumber, {typString, typString}: typString,
		{typTime, typDuration}: typTime, {typDuration, typTime}: typTime, {typDuration, typDuration}: typDuration,
		{typAny, typNumber}: typNumber, {typNumber, typAny}: typNumber, {typAny, typString}: typString, {typString, typAny}: typString, {typAny, typAny}: typAny,
	},
	"-": {
		{typNumber, typNumber}: typNumber, {typTime, typTime}: typDuration, {typTime, typDuration}: typTime, {typDuration, typDuration}: typDuration,
		{typAny, typNumber}: typNumber, {typNumber, typAny}: typNumber, {typAny, typAny}: typNumber,
	},
	"*": {
		{typNumber, typNumber}: typNumber, {typDuration, typNumber}: typDuration, {typNumber, typDuration}: typDuration,
		{typAny, typNumber}: typNumber, {typNumber, typAny}: typNumber, {typAny, typAny}: typNumber,
		{typAny, typDuration}: typDuration, {typDuration, typAny}: typDuration,
	},
	"/": {
		{typNumber, typNumber}: typNumber, {typDuration, typNumber}: typDuration, {typDuration, typDuration}: typNumber,
		{typAny, typNumber}: typNumber, {typNumber, typAny}: typNumber, {typAny, typAny}: typNumber, {typDuration, typAny}: typDuration,
	},
	"%":  {{typNumber, typNumber}: typNumber, {typAny, typNumber}: typNumber, {typNumber, typAny}: typNumber, {typAny, typAny}: typNumber},
	"**": {{typNumber, typNumber}: typNumber, {typAny, typNumber}: typNumber, {typNumber, typAny}: typNumber, {typAny, typAny}: typNumber},
}

func (lw *lowerer) arithmetic(operator string, a, b *node, from, to int) *node {
	if operator == "^" {
		operator = "**"
	}
	t, ok := arithmeticTypes[operator][[2]Type{a.typ, b.typ}]
	if !ok {
		detail := ""
		if a.typ == typTime && b.typ == typNumber || a.typ == typDuration && b.typ == typNumber {
			detail = "A duration has a unit: hours(1), days(7)."
		}
		return lw.problem(from, to, idType, fmt.Sprintf("%s %s %s has no meaning.", capital(a.typ.String()), operator, b.typ), detail)
	}
	out := mk(opCall, t, a, b)
	out.fn, out.maybe = operators[operator], true
	if t == typDuration && (a.typ == typDuration || b.typ == typDuration) && a.typ != typAny && b.typ != typAny && operator != "/" && !a.maybe && !b.maybe {
		out.maybe = operator == "-" && !a.isConst() && !b.isConst()
	}
	if t == typTime {
		out.maybe = a.maybe || b.maybe || !a.isConst() && a.typ == typDuration || !b.isConst() && b.typ == typDuration
	}
	if t == typDuration && a.typ == typTime {
		out.maybe = a.maybe || b.maybe
	}
	return out
}

// fold computes what is known at compile time.
func fold(n *node) *node {
	if n.op != opCall || n.fn == nil || n.fn.zoned != nil || n.bad() {
		return n
	}
	args := make([]any, len(n.kids))
	for i, k := range n.kids {
		if !k.isConst() {
			return n
		}
		args[i] = k.val
	}
	v := n.fn.apply(nil, args)
	t := n.typ
	if v == nil {
		t = typNil
	}
	if t == typList || t == typObject {
		return n
	}
	return constant(t, v)
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
