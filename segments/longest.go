package segments

import (
	"strings"

	"nudge/events"
)

// What a text or list that nobody declares the length of is taken to have at most.
const (
	LongestText = 100 // characters
	LongestList = 10  // items
)

// Longest are the values of `with` at about their longest, by name, as With gives them: of an enum its longest text, of any
// other text LongestText characters, of a list LongestList items or as many as it is asked for. It is for knowing
// how large a message becomes, not for what it says.
func (w *Who) Longest(plan *events.Plan) map[string]any {
	l := longest{plan: plan, earlier: map[string]any{}}
	for _, n := range w.named {
		l.earlier[n.name] = l.of(n.node)
	}
	return l.earlier
}

// LongestOf is the longest value of a declared property or trait, as Longest has it.
func LongestOf(p events.Property) any {
	if len(p.Enum) > 0 {
		out := ""
		for _, s := range p.Enum {
			if len(s) > len(out) {
				out = s
			}
		}
		return out
	}
	if p.Type == events.TypeArray {
		items := make([]any, LongestList)
		for i := range items {
			items[i] = LongestOf(events.Property{Type: p.Items})
		}
		return items
	}
	return longestTyped(typeOf(p.Type))
}

// longest computes them from what is known of each expression.
type longest struct {
	plan    *events.Plan
	earlier map[string]any
}

func (l *longest) of(n *node) any {
	switch n.op {
	case opConst:
		return portable(n.val)
	case opFeature:
		return l.feature(n)
	case opTrigger, opElem:
		if n.typ == typOccurrence {
			return l.occurrence(n.props)
		}
	case opField:
		if path, ok := strings.CutPrefix(n.name, "properties."); ok && n.kids[0].props != nil {
			return l.property(n.kids[0].props.declared, path, n.typ)
		}
	case opTrait:
		if l.plan != nil {
			return l.property(l.plan.Traits, n.name, n.typ)
		}
	case opEarlier:
		return l.earlier[n.name]
	case opIf:
		return longer(l.of(n.kids[1]), l.of(n.kids[2]))
	case opCoalesce:
		return longer(l.of(n.kids[0]), l.of(n.kids[1]))
	case opList:
		out := make([]any, 0, len(n.kids))
		for _, k := range n.kids {
			out = append(out, l.of(k))
		}
		return out
	case opCall:
		return l.call(n)
	case opLoop:
		return l.loop(n)
	case opAfter:
		return l.of(n.kids[0])
	case opLater, opConverted:
		return l.of(n.kids[0])
	case opListAgg:
		if agg := Agg(n.index); agg == AggFirst || agg == AggLast {
			return element(asList(l.of(n.kids[0])), 0)
		}
	case opMember:
		if m, ok := l.of(n.kids[0]).(map[string]any); ok && m[n.name] != nil {
			return m[n.name]
		}
	default:
	}
	return longestTyped(n.typ)
}

func (l *longest) feature(n *node) any {
	f := n.feat
	switch f.Agg {
	case AggFirst, AggLast:
		return l.occurrence(n.props)
	case AggList:
		out := make([]any, LongestList)
		if f.N > 0 && f.N <= 10*LongestList {
			out = make([]any, f.N)
		}
		for i := range out {
			out[i] = l.occurrence(n.props)
		}
		return out
	case AggTop:
		if l.plan != nil {
			return l.property(l.plan.Events[f.Event].Properties, strings.TrimPrefix(f.Path, "properties."), n.typ)
		}
	default:
	}
	return longestTyped(n.typ)
}

// occurrence has every property that is declared.
func (l *longest) occurrence(p *props) any {
	out := map[string]any{"at": longestTyped(typTime), "event": longestTyped(typString), "properties": map[string]any{}, "context": map[string]any{}}
	if p != nil {
		out["event"], out["properties"] = p.event, l.object(p.declared, "")
	}
	return out
}

// object is the object of the declared properties below a path that ends in a dot, or of all.
func (l *longest) object(declared map[string]events.Property, below string) map[string]any {
	out := map[string]any{}
	for path, p := range declared {
		inner, ok := strings.CutPrefix(path, below)
		if !ok || p.Type == events.TypeObject {
			continue
		}
		into, keys := out, strings.Split(inner, ".")
		for _, key := range keys[:len(keys)-1] {
			next, is := into[key].(map[string]any)
			if !is {
				next = map[string]any{}
				into[key] = next
			}
			into = next
		}
		into[keys[len(keys)-1]] = LongestOf(p)
	}
	return out
}

func (l *longest) property(declared map[string]events.Property, path string, t Type) any {
	p, ok := declared[path]
	switch {
	case ok && p.Type != events.TypeObject:
		return LongestOf(p)
	case t == typObject:
		return l.object(declared, path+".")
	default:
		return longestTyped(t)
	}
}

func (l *longest) call(n *node) any {
	switch {
	case n.typ == typList || n.fn.shape != nil:
		for _, k := range n.kids {
			if items, ok := l.of(k).([]any); ok {
				if n.typ != typList {
					return element(items, 0)
				}
				return items
			}
		}
	case n.typ == typString: // nothing but join makes more text than it is given
		size := 0
		for _, k := range n.kids {
			size += textSize(l.of(k))
		}
		if size > 0 {
			return strings.Repeat("x", min(size, maxText>>4))
		}
	}
	return longestTyped(n.typ)
}

// loop is filter, map and the like.
func (l *longest) loop(n *node) any {
	items, ok := l.of(n.kids[0]).([]any)
	if !ok || len(items) == 0 {
		return longestTyped(n.typ)
	}
	switch {
	case n.name == "map" && len(n.kids) > 1:
		one := l.of(n.kids[1])
		out := make([]any, len(items))
		for i := range out {
			out[i] = one
		}
		return out
	case n.typ == typList:
		return items
	case n.typ == typOccurrence || n.typ == typAny:
		return items[0]
	}
	return longestTyped(n.typ)
}

func longestTyped(t Type) any {
	switch t {
	case typNumber, typDuration, typMeters:
		return 99999.99
	case typBool:
		return false
	case typTime:
		return "2026-12-31T23:59:59.000Z"
	case typList:
		out := make([]any, LongestList)
		for i := range out {
			out[i] = longestTyped(typString)
		}
		return out
	case typObject, typOccurrence, typPlace, typSpace, typHistory:
		return map[string]any{}
	case typNil:
		return nil
	default: // of what nobody declares text is the longest
		return strings.Repeat("x", LongestText)
	}
}

func longer(a, b any) any {
	if textSize(b) > textSize(a) {
		return b
	}
	return a
}

// textSize is about how many characters a value has when it is printed.
func textSize(v any) int {
	switch x := v.(type) {
	case nil:
		return 0
	case string:
		return len([]rune(x))
	case []any:
		size := 0
		for _, e := range x {
			size += textSize(e) + 2
		}
		return size
	case map[string]any:
		size := 0
		for _, e := range x {
			size += textSize(e)
		}
		return size
	default:
		s, _ := text(v).(string)
		return len(s)
	}
}
