package trial

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/events"
	"nudge/rules"
)

// kinds are sample values of each kind that a template can want. A text that names what it stands for, in marks that
// nobody takes for somebody's data, is tried first: ‹first_name›.
func kinds(name string, at int64) []any {
	name = name[strings.LastIndexByte(name, '.')+1:]
	text := func(more string) string { return "‹" + name + more + "›" }
	return []any{
		text(""), int64(3), 19.9, time.UnixMilli(at).UTC().Format(time.RFC3339), true,
		[]any{text(" 1"), text(" 2")},
		[]any{map[string]any{"name": text(" 1")}},
		map[string]any{"name": text("")},
	}
}

// sample is a value like those that a trait is declared to have; nil where nothing better is known than a text.
func sample(p events.Property, at int64) any {
	switch p.Type {
	case events.TypeString:
		if len(p.Enum) > 0 {
			return p.Enum[0]
		}
	case events.TypeNumber, events.TypeDecimal:
		return 19.9
	case events.TypeInteger:
		return int64(3)
	case events.TypeBoolean:
		return true
	case events.TypeTime:
		return time.UnixMilli(at).UTC().Format(time.RFC3339)
	default:
	}
	return nil
}

// sampled renders with samples in place of all values that were not given. What kind of value a template wants of
// a name only it knows, so kinds are tried until it can be rendered; an error that changes is a step ahead.
func (m *Message) sampled(o Options, what render.Message, of []rules.Field) (map[string]any, error) {
	p := what.Profile
	if m.Value == "" && (o.Rule.ForEach != "" || o.Rule.On != nil && o.Rule.On.By != "") {
		m.Value = "sample"
		what.Value = m.Value
	}
	if p.UserID == "" {
		p.UserID = "sample"
	}
	if p.CreatedAt == 0 {
		p.CreatedAt = what.At
	}
	if what.With == nil {
		what.With = ledger.Values{}
	}
	set := map[string]func(any){}
	values := map[string][]any{}
	add := func(name string, given bool, declared events.Property, to func(any)) {
		if given || set[name] != nil {
			return
		}
		values[name] = kinds(name, what.At)
		if likely := sample(declared, what.At); likely != nil {
			values[name] = append([]any{likely}, values[name]...)
		}
		to(values[name][0])
		set[name] = to
		m.Samples = append(m.Samples, name)
	}
	for _, n := range o.Rule.With {
		_, given := what.With[n.Name]
		add(n.Name, given, events.Property{}, func(v any) { what.With[n.Name] = v })
	}
	for _, f := range of {
		for _, v := range templates(f.Value) {
			for _, used := range v.Template.Names() {
				if trait := traitOf(used.Path); trait != "" {
					_, given := p.Traits[trait]
					add("user.traits."+trait, given, declaredTrait(o.Workspace.Plan, trait), func(v any) {
						if raw, err := json.Marshal(v); err == nil {
							p.Traits[trait] = raw
						}
					})
				}
			}
		}
	}
	slices.Sort(m.Samples)
	return settle(m.Samples, set, func(name string) []any { return values[name] }, func() (map[string]any, error) {
		return render.Fields(o.Rule.Rule, what) //nolint:wrapcheck // names the field
	})
}

// settle renders with the values that names have now, the first of their kinds, and where that fails with others of
// their kinds.
func settle(names []string, set map[string]func(any), kinds func(name string) []any, rendered func() (map[string]any, error)) (map[string]any, error) {
	fields, err := rendered()
	for step := 0; err != nil && step < 2*len(names); step++ {
		before := err.Error()
	names:
		for _, name := range names {
			all := kinds(name)
			for _, v := range all {
				set[name](v)
				if fields, err = rendered(); err == nil || err.Error() != before {
					break names
				}
			}
			set[name](all[0])
		}
		if err != nil && err.Error() == before {
			break
		}
	}
	return fields, err
}

// digestSample is what the messages of a digest print, as if some things had been collected, in which a template that
// forgets to ask for a field that is missing, or to escape, shows.
func digestSample(at int64) ledger.Values {
	when := time.UnixMilli(at).UTC().Format(time.RFC3339)
	items := []any{
		map[string]any{"title": "item 1", "body": "What it is about.", "link": "https://example.com/1", "image": "https://example.com/1.png", "rule": "rule", "category": rules.Promotional, "value": "1", "at": when},
		map[string]any{"title": "item 2 <small> & such", "body": "What it is about.", "link": "https://example.com/2", "rule": "rule", "category": rules.Promotional, "at": when},
		map[string]any{"title": "item 3", "rule": "rule", "category": rules.Promotional, "at": when},
	}
	return ledger.Values{rules.DigestItems: items, rules.DigestCount: int64(len(items))}
}
