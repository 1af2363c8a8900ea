package trial

import (
	"encoding/json"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/rules"
)

// kinds are sample values of each kind that a template can want; a text that names what it stands for is tried first.
func kinds(name string, at int64) []any {
	return []any{
		name, int64(3), 19.9, time.UnixMilli(at).UTC().Format(time.RFC3339), true,
		[]any{name + " 1", name + " 2"},
		[]any{map[string]any{"name": name + " 1"}},
		map[string]any{"name": name},
	}
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
	add := func(name string, given bool, to func(any)) {
		if given || set[name] != nil {
			return
		}
		to(name)
		set[name] = to
		m.Samples = append(m.Samples, name)
	}
	for _, n := range o.Rule.With {
		_, given := what.With[n.Name]
		add(n.Name, given, func(v any) { what.With[n.Name] = v })
	}
	for _, f := range of {
		for _, v := range templates(f.Value) {
			for _, used := range v.Template.Names() {
				if trait := traitOf(used.Path); trait != "" {
					_, given := p.Traits[trait]
					add("user.traits."+trait, given, func(v any) {
						if raw, err := json.Marshal(v); err == nil {
							p.Traits[trait] = raw
						}
					})
				}
			}
		}
	}
	slices.Sort(m.Samples)
	return settle(m.Samples, set, func(name string) []any { return kinds(name, what.At) }, func() (map[string]any, error) {
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
