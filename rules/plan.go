package rules

import (
	"slices"
	"strings"

	"nudge/events"
	"nudge/rules/yamlfile"
)

// types of the tracking plan by the word that files use.
var types = map[string]events.Type{
	"string": events.TypeString, "number": events.TypeNumber, "integer": events.TypeInteger, "decimal": events.TypeDecimal,
	"boolean": events.TypeBoolean, "time": events.TypeTime, "array": events.TypeArray, "object": events.TypeObject,
}

// typeWords are the words in the order in which they are listed to people.
var typeWords = []string{"string", "number", "integer", "decimal", "boolean", "time", "array", "object"}

// ParsePlan reads events.yaml, the tracking plan. It is nil when the file is empty.
func ParsePlan(path string, src []byte) (*events.Plan, []Finding) {
	doc, broken := yamlfile.Parse(path, src)
	if doc.Root.Kind == yamlfile.Null {
		return nil, broken
	}
	p := &planParser{yamlfile.NewReader("plan")}
	plan := &events.Plan{Events: map[string]events.Declared{}}
	f := p.r.Fields(doc.Root)
	plan.UndeclaredEvents = p.onViolation(f.Get("undeclared_events"))
	plan.UndeclaredProperties = p.onViolation(f.Get("undeclared_properties"))
	for _, pair := range p.r.Entries(f.Get("events")) {
		p.event(plan, pair)
	}
	plan.Traits = p.properties(f.Get("traits"))
	f.Done()
	return plan, append(broken, p.r.Findings()...)
}

type planParser struct{ r *yamlfile.Reader }

func (p *planParser) onViolation(n *yamlfile.Node) events.OnViolation {
	if n != nil && p.r.OneOf(n, "flag", "refuse") == "refuse" {
		return events.Refuse
	}
	return events.Flag
}

func (p *planParser) event(plan *events.Plan, pair yamlfile.Pair) {
	name := pair.Key.Text
	if strings.HasPrefix(name, "Message ") {
		p.r.Report(pair.Key, "taken-name", "Only nudge writes them; they are declared already.", "%q begins as nudge's own events do", name)
		return
	}
	if strings.TrimSpace(name) == "" || name == "*" {
		p.r.Report(pair.Key, "bad-name", "", "%q is not a name of an event", name)
		return
	}
	d := events.Declared{Name: name}
	if pair.Value.Kind != yamlfile.Null { // an event may have nothing but its name
		f := p.r.Fields(pair.Value)
		d.Description = p.r.Text(f.Get("description"))
		d.OnViolation = p.onViolation(f.Get("on_violation"))
		d.Properties = p.properties(f.Get("properties"))
		f.Done()
	}
	plan.Events[name] = d
}

// properties reads paths with their types.
func (p *planParser) properties(n *yamlfile.Node) map[string]events.Property {
	pairs := p.r.Entries(n)
	if len(pairs) == 0 {
		return nil
	}
	out := map[string]events.Property{}
	keys := map[string]*yamlfile.Node{}
	for _, pair := range pairs {
		path := pair.Key.Text
		if path == "" || slices.Contains(strings.Split(path, "."), "") {
			p.r.Report(pair.Key, "bad-name", `Write "price", or "address.city" for what is inside another.`, "%q is not a path of a property", path)
			continue
		}
		out[path] = p.property(path, pair)
		keys[path] = pair.Key
	}
	for path, key := range keys {
		for parent := path; strings.Contains(parent, "."); {
			parent = parent[:strings.LastIndexByte(parent, '.')]
			if d, ok := out[parent]; ok && d.Type != events.TypeObject && d.Type != events.Untyped {
				p.r.Report(key, "conflict", "Declare the outer one as object, or leave it out.", "%q stands inside %q, which is no object", path, parent)
			}
		}
	}
	return out
}

func (p *planParser) property(path string, pair yamlfile.Pair) events.Property {
	d := events.Property{Path: path}
	n := pair.Value
	switch n.Kind {
	case yamlfile.Null:
		p.r.Report(pair.Key, "empty", "Say its type: "+strings.Join(typeWords, ", ")+".", "%q has no type", path)
		return d
	case yamlfile.String:
		d.Type = types[p.r.OneOf(n, typeWords...)]
		return d
	default:
	}
	f := p.r.Fields(n)
	d.Type = types[p.r.OneOf(f.Must("type", "One of "+strings.Join(typeWords, ", ")+"."), typeWords...)]
	d.Required = p.r.Bool(f.Get("required"), false)
	d.Description = p.r.Text(f.Get("description"))
	enum, items := f.Get("enum"), f.Get("items")
	d.Enum = p.enum(enum)
	if enum != nil && d.Type != events.TypeString && d.Type != events.Untyped {
		p.r.Report(enum.Key, "conflict", "", "only a string has an enum")
	}
	if items != nil {
		d.Items = types[p.r.OneOf(items, typeWords...)]
		if d.Type != events.TypeArray && d.Type != events.Untyped {
			p.r.Report(items.Key, "conflict", "", "only an array has items")
		}
	}
	f.Done()
	return d
}

func (p *planParser) enum(n *yamlfile.Node) []string {
	var out []string
	for _, item := range p.r.Items(n) {
		s := p.r.Text(item)
		if slices.Contains(out, s) {
			p.r.Report(item, "duplicate-value", "", "%q stands twice", s)
			continue
		}
		out = append(out, s)
	}
	return out
}
