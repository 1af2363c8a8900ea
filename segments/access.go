package segments

import (
	"fmt"
	"slices"
	"strings"

	"nudge/events"
	"nudge/internal/suggest"

	"github.com/expr-lang/expr/ast"
)

// link is one `.name` of a chain, with its place.
type link struct {
	name     string
	from, to int
}

// member reads a.b.c and a[i]. A chain of names is read as a whole, because "address.city" may be
// one declared property.
func (lw *lowerer) member(n *ast.MemberNode) *node {
	if _, isName := n.Property.(*ast.StringNode); !isName {
		return lw.indexed(n)
	}
	var links []link
	var base ast.Node = n
	for {
		if c, ok := base.(*ast.ChainNode); ok {
			base = c.Node
			continue
		}
		m, ok := base.(*ast.MemberNode)
		if !ok {
			break
		}
		name, isName := m.Property.(*ast.StringNode)
		if !isName {
			break
		}
		from, to := lw.src.span(name.Location())
		links = append(links, link{name.Value, from, to})
		base = m.Node
	}
	slices.Reverse(links)
	v := lw.lower(base)
	if v.op == opSinceCount {
		v = lw.sinceList(v)
	}
	for len(links) > 0 && !v.bad() {
		from := v.from
		var used int
		v, used = lw.access(v, links)
		if v.bad() {
			return v
		}
		copied := *v
		v = copied.at(from, links[used-1].to)
		links = links[used:]
	}
	return v
}

// access takes one or more names from a chain.
func (lw *lowerer) access(v *node, links []link) (*node, int) {
	l := links[0]
	switch v.typ {
	case typBad:
		return v, 1
	case typHistory:
		return lw.historyField(v, l.name, l.from, l.to), 1
	case typOccurrence:
		return lw.occurrenceField(v, links)
	case typPlace:
		return lw.placeAccess(v, links)
	case typSpace:
		return lw.space(v, links)
	case typAny, typObject, typNil:
		m := mk(opMember, typAny, v)
		m.name, m.maybe = l.name, true
		return m, 1
	default:
	}
	return lw.problem(l.from, l.to, idField, fmt.Sprintf("This is %s and has no fields.", v.typ), ""), 1
}

func (lw *lowerer) problemN(from, to int, id, summary, detail string, used int) (*node, int) {
	return lw.problem(from, to, id, summary, detail), used
}

var occurrenceFields = []string{"at", "ago", "event", "properties", "context"}

func (lw *lowerer) occurrenceField(v *node, links []link) (*node, int) {
	l := links[0]
	switch l.name {
	case "at":
		return field(v, "at", typTime, v.maybe), 1
	case "ago":
		if lw.scope == scopeSince {
			return lw.problemN(l.from, l.to, idScope, "exit.since cannot depend on now: it is fixed when the entry begins.", "Write .at.", 1)
		}
		// Of an event that never happened it is longer than any duration, and so never missing;
		// of an element that a search did not find it is missing.
		return field(v, "ago", typDuration, v.maybe && !fromHistory(v)), 1
	case "event":
		return field(v, "event", typString, v.maybe), 1
	case "properties":
		if len(links) == 1 {
			return field(v, "properties", typObject, true), 1
		}
		p, used, bad := lw.declaredPath(v.props, links[1:])
		if bad != nil {
			return bad, used + 1
		}
		n := field(v, "properties."+p.Path, typeOf(p.Type), true)
		n.declared, n.elem = p.Type, elemOf(p)
		return n, used + 1
	case "context":
		if len(links) == 1 {
			return field(v, "context", typObject, true), 1
		}
		return field(v, "context."+joinNames(links[1:]), typAny, true), len(links)
	}
	return lw.report(Problem{From: l.from, To: l.to, ID: idField, Summary: fmt.Sprintf("An occurrence has no %q.", l.name), Suggest: suggest.Nearest(l.name, occurrenceFields), Detail: "It has at, ago, event, properties.… and context.…."}), 1
}

// fromHistory reports whether an occurrence is a history's first or last, so that its absence says
// that the event never happened.
func fromHistory(v *node) bool {
	switch v.op {
	case opFeature:
		return true
	case opListAgg:
		return !v.kids[0].maybe
	case opAfter:
		return fromHistory(v.kids[0]) && !v.kids[1].maybe
	default:
	}
	return false
}

func field(occ *node, name string, t Type, maybe bool) *node {
	n := mk(opField, t, occ)
	n.name, n.maybe = name, maybe
	return n
}

func joinNames(links []link) string {
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.name
	}
	return strings.Join(names, ".")
}

// declaredPath finds the declared property that a chain of names means: the longest path that is
// declared, else all of the names as one undeclared path.
func (lw *lowerer) declaredPath(p *props, links []link) (events.Property, int, *node) {
	for n := len(links); n > 0; n-- {
		if d, ok := declaredIn(p, joinNames(links[:n])); ok && (n == len(links) || d.Type == events.TypeObject || d.Type == events.TypeArray || d.Type == events.Untyped) {
			return d, n, nil
		}
	}
	path := joinNames(links)
	d, bad := lw.property(p, path, links[0].from, links[len(links)-1].to)
	return d, len(links), bad
}

func declaredIn(p *props, path string) (events.Property, bool) {
	if p == nil {
		return events.Property{}, false
	}
	d, ok := p.declared[path]
	if ok {
		d.Path = path
	}
	return d, ok
}

// property looks a path up; an undeclared one of a declared event is a finding.
func (lw *lowerer) property(p *props, path string, from, to int) (events.Property, *node) {
	if path == "" {
		return events.Property{}, lw.problem(from, to, idProperty, "The property's name is empty.", "")
	}
	if d, ok := declaredIn(p, path); ok {
		return d, nil
	}
	untyped := events.Property{Path: path}
	if p == nil || !p.known {
		return untyped, nil
	}
	for known := range p.declared {
		if strings.HasPrefix(known, path+".") { // an object whose members are declared
			return events.Property{Path: path, Type: events.TypeObject}, nil
		}
	}
	return untyped, lw.undeclared(path, keysOf(p.declared), from, to, idProperty, fmt.Sprintf("%q declares no property %q.", p.event, path))
}

// undeclared is an error where something declared is nearly the same, else a warning.
func (lw *lowerer) undeclared(name string, known []string, from, to int, id, summary string) *node {
	p := Problem{From: from, To: to, ID: id, Summary: summary, Suggest: suggest.Nearest(name, known), Warning: true}
	p.Detail = "Declare it in events.yaml; undeclared values keep their JSON type, and a string never equals a number."
	if p.Suggest != "" {
		p.Warning = false
	}
	bad := lw.report(p)
	if p.Warning {
		return nil
	}
	return bad
}

func (lw *lowerer) space(v *node, links []link) (*node, int) {
	l := links[0]
	switch v.name {
	case "user":
		return lw.user(v, links)
	case "local":
		return lw.local(l), 1
	case "properties", "context", "entry":
		return lw.filterField(v, links)
	}
	if strings.HasPrefix(v.name, "$") {
		return lw.outside(v.name+"."+joinNames(links), v.from, links[len(links)-1].to), len(links)
	}
	if v.name == "everyone" {
		return lw.problem(l.from, l.to, idField, "everyone is followed by .event(…).", "Write everyone.event(\"Product Viewed\").within(days(1)).people."), 1
	}
	return lw.problem(l.from, l.to, idField, fmt.Sprintf("There is no %s.%s.", v.name, l.name), ""), 1
}

var userFields = []string{"id", "traits", "created_at", "timezone", "locale"}

func (lw *lowerer) user(v *node, links []link) (*node, int) {
	l := links[0]
	n := &node{op: opUser, name: l.name, maybe: true}
	switch l.name {
	case "id", "timezone", "locale":
		n.typ = typString
		return n, 1
	case "created_at":
		n.typ = typTime
		return n, 1
	case "traits":
		if len(links) == 1 {
			return lw.problemN(v.from, l.to, idField, "user.traits has fields and is no value itself.", "Name a trait: user.traits.plan.", 1)
		}
		var declared map[string]events.Property
		if lw.schema.plan != nil {
			declared = lw.schema.plan.Traits
		}
		p := &props{declared: declared}
		d, used, _ := lw.declaredPath(p, links[1:])
		if _, ok := declaredIn(p, d.Path); !ok && len(declared) > 0 && !hasMembers(declared, d.Path) {
			last := links[used]
			if bad := lw.undeclared(d.Path, keysOf(declared), links[1].from, last.to, idTrait, fmt.Sprintf("The tracking plan declares no trait %q.", d.Path)); bad != nil {
				return bad, used + 1
			}
		}
		n.op, n.name, n.typ, n.declared, n.elem = opTrait, d.Path, typeOf(d.Type), d.Type, elemOf(d)
		return n, used + 1
	}
	p := Problem{From: l.from, To: l.to, ID: idField, Summary: fmt.Sprintf("user has no %q.", l.name), Suggest: suggest.Nearest(l.name, userFields), Detail: "It has id, created_at, timezone, locale and traits.…."}
	if lw.schema.plan != nil {
		if _, ok := lw.schema.plan.Traits[l.name]; ok {
			p.Suggest = "traits." + l.name
		}
	}
	return lw.report(p), 1
}

func hasMembers(m map[string]events.Property, path string) bool {
	for k := range m {
		if strings.HasPrefix(k, path+".") {
			return true
		}
	}
	return false
}

var localFields = []string{"hour", "weekday", "date", "month", "day"}

func (lw *lowerer) local(l link) *node {
	if lw.scope == scopeSince {
		return lw.problem(l.from, l.to, idScope, "exit.since cannot depend on now: it is fixed when the entry begins.", "")
	}
	n := &node{op: opLocal, name: l.name, typ: typNumber}
	switch l.name {
	case "hour", "month", "day":
	case "weekday":
		n.typ = typString
	case "date":
		n.typ = typTime
	default:
		return lw.report(Problem{From: l.from, To: l.to, ID: idField, Summary: fmt.Sprintf("local has no %q.", l.name), Suggest: suggest.Nearest(l.name, localFields), Detail: "It has hour, weekday, date, month and day."})
	}
	return n
}

func (lw *lowerer) placeAccess(v *node, links []link) (*node, int) {
	l := links[0]
	if v.name == "fence" {
		switch l.name {
		case "id":
			return lw.placeField(v, "fence.id"), 1
		case "properties":
			if len(links) > 1 {
				return lw.placeField(v, "fence.properties."+joinNames(links[1:])), len(links)
			}
		}
		return lw.report(Problem{From: l.from, To: l.to, ID: idField, Summary: fmt.Sprintf("A fence has no %q.", l.name), Suggest: suggest.Nearest(l.name, []string{"id", "properties"}), Detail: "It has id and properties.…, from the GeoJSON file."}), 1
	}
	switch l.name {
	case "now", "entered", "dwell", "distance":
		if lw.scope == scopeSince && l.name != "entered" {
			return lw.problemN(l.from, l.to, idScope, "exit.since cannot depend on now: it is fixed when the entry begins.", "", 1)
		}
		return lw.placeField(v, l.name), 1
	case "fence":
		n := *v
		n.name = "fence"
		if len(links) == 1 {
			return lw.problemN(l.from, l.to, idField, "fence has fields and is no value itself.", "Write .fence.id or .fence.properties.name.", 1)
		}
		out, used := lw.placeAccess(&n, links[1:])
		return out, used + 1
	}
	return lw.report(Problem{From: l.from, To: l.to, ID: idField, Summary: fmt.Sprintf("A place has no %q.", l.name), Suggest: suggest.Nearest(l.name, []string{"now", "entered", "dwell", "distance", "fence"}), Detail: "It has now, entered, dwell, distance, fence.id and fence.properties.…."}), 1
}

// placeField is a field of a place, or of each of the places that a choice is between.
func (lw *lowerer) placeField(v *node, name string) *node {
	switch {
	case v.op == opIf && v.typ == typPlace:
		out := mk(opIf, typNil, v.kids[0], v.kids[1], v.kids[2])
		for i, place := range v.kids[1:] {
			if place.typ != typPlace { // nil has no fields
				continue
			}
			field := lw.placeField(place, name)
			if field.bad() {
				return field
			}
			out.kids[i+1], out.typ = field, field.typ
		}
		out.maybe = true
		return out.at(v.from, v.to)
	case v.op != opPlace:
		return lw.problem(v.from, v.to, idType, "A place that comes from a list cannot be asked.", "Write near(…) or inside(…) where the answer is needed.")
	}
	t := typAny
	switch name {
	case "now":
		t = typBool
	case "entered":
		t = typTime
	case "dwell":
		t = typDuration
	case "distance":
		t = typMeters
	case "fence.id":
		t = typString
	}
	n := &node{op: opPlace, typ: t, place: v.place, name: name, maybe: true}
	return n.at(v.from, v.to)
}

// indexed reads list[i] and object["key"].
func (lw *lowerer) indexed(n *ast.MemberNode) *node {
	v, i := lw.value(n.Node), lw.value(n.Property)
	if v.bad() || i.bad() {
		return &node{op: opBad}
	}
	switch v.typ {
	case typList, typAny, typObject, typNil:
	default:
		return lw.problem(v.from, v.to, idType, fmt.Sprintf("This is %s; only a list has elements.", v.typ), "")
	}
	if i.typ != typNumber && i.typ != typString && i.typ != typAny {
		return lw.problem(i.from, i.to, idType, fmt.Sprintf("An element is named by a number or a string, not by %s.", i.typ), "")
	}
	out := mk(opCall, typAny, v, i)
	out.fn, out.maybe = functions["get"], true
	if v.typ == typList {
		out.typ, out.props = elemType(v), v.props
	}
	return out
}

func (lw *lowerer) slice(n *ast.SliceNode) *node {
	v := lw.value(n.Node)
	if v.bad() {
		return v
	}
	if v.typ != typList && v.typ != typAny {
		return lw.problem(v.from, v.to, idType, fmt.Sprintf("This is %s; only a list has a part.", v.typ), "")
	}
	bound := func(b ast.Node) *node {
		if b == nil {
			return constant(typNil, nil)
		}
		k := lw.value(b)
		if !k.bad() && k.typ != typNumber && k.typ != typAny {
			return lw.problem(k.from, k.to, idType, fmt.Sprintf("The bound of a part is a number, not %s.", k.typ), "")
		}
		return k
	}
	out := mk(opCall, typList, v, bound(n.From), bound(n.To))
	if out.bad() {
		return out
	}
	out.fn, out.elem, out.props, out.maybe = fnSlice, elemType(v), v.props, v.maybe || v.typ != typList
	return out
}

func elemType(list *node) Type {
	if list.typ == typList && list.elem != typBad {
		return list.elem
	}
	return typAny
}

// typeOf is the type of a declared property's value.
func typeOf(t events.Type) Type {
	switch t {
	case events.TypeString:
		return typString
	case events.TypeNumber, events.TypeInteger, events.TypeDecimal:
		return typNumber
	case events.TypeBoolean:
		return typBool
	case events.TypeTime:
		return typTime
	case events.TypeArray:
		return typList
	case events.TypeObject:
		return typObject
	case events.Untyped:
	}
	return typAny
}

func elemOf(p events.Property) Type {
	if p.Type != events.TypeArray || p.Items == events.TypeTime {
		return typAny // times inside arrays keep their JSON type
	}
	return typeOf(p.Items)
}

func isNumeric(t events.Type) bool {
	return t == events.TypeNumber || t == events.TypeInteger || t == events.TypeDecimal
}

// typeWord is the word for a declared type in events.yaml, in findings and in Operand.Type.
func typeWord(t events.Type) string {
	return [...]string{"", "string", "number", "integer", "decimal", "boolean", "time", "array", "object"}[t]
}
