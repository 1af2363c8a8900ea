package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"nudge/channels"
	"nudge/engine/trial"
	"nudge/engine/workspace"
	"nudge/internal/counted"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

func overLimit() Check {
	return Check{
		ID: "message/over-limit", Severity: rules.Warning,
		What: "A message that is larger than the provider takes once long values are filled in: APNs and FCM take 4,096 bytes.",
		Why: "The provider refuses it, so those get nothing who have the longest names, and a test with short ones never shows it. The message is made as it " +
			"would be sent, with its id and tracked links; a text of an `enum` is the longest of it, any other 100 characters, a list 10 items or as many as `.list(n)` asks for.",
		Bad: `-- nudge.yaml --
channels:
  push: {adapter: fcm, config: {credentials: {file: fcm.json}}}
-- rules/cart.yaml --
rule: cart
schedule: "0 18 * * *"
when: did("Product Added").within(days(1))
again: {after: 7d}
with: {products: 'map(event("Product Added").within(days(1)).list(40), .properties.name)'}
message:
  push: {title: Your cart, body: "These are waiting: {{ products }}"}
`,
		Good: `-- nudge.yaml --
channels:
  push: {adapter: fcm, config: {credentials: {file: fcm.json}}}
-- rules/cart.yaml --
rule: cart
schedule: "0 18 * * *"
when: did("Product Added").within(days(1))
again: {after: 7d}
with: {products: 'map(event("Product Added").within(days(1)).list(5), .properties.name)'}
message:
  push: {title: Your cart, body: "These are waiting: {{ products }}"}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				told := map[*yamlfile.Node]bool{} // variants share what they do not say themselves
				for _, variant := range variantsOf(r) {
					for _, name := range r.Channels() {
						m, _ := r.MessageOf(variant, name)
						for _, one := range m.All() {
							p.measure(r, variant, name, one.Locale, told)
						}
					}
				}
			}
		},
	}
}

// measure reports a message that is over the limit of one of its channel's adapters: of several, the one that it
// is over by most.
func (p *pass) measure(r *workspace.Rule, variant, name, locale string, told map[*yamlfile.Node]bool) {
	specs := p.limited(name)
	if len(specs) == 0 {
		return
	}
	m, assumed, err := trial.Longest(p.Workspace, r, variant, name, locale)
	if err != nil {
		return // what it is made of is not known well enough
	}
	var worst *channels.Spec
	size := 0
	for i, s := range specs {
		n, err := s.Measure(&m)
		if err == nil && n > s.MaxPayload && (worst == nil || n-s.MaxPayload > size-worst.MaxPayload) {
			worst, size = &specs[i], n
		}
	}
	if worst == nil {
		return
	}
	field, most := largest(m.Fields)
	where := messageAt(r, variant, name, locale, field)
	if told[where] {
		return
	}
	told[where] = true
	unit := cmp.Or(worst.Unit, "bytes")
	what := name
	if variant != "" {
		what += " of " + variant
	}
	if locale != "" {
		what += " in " + locale
	}
	detail := fmt.Sprintf("Its largest field is %s with %s bytes. ", field, counted.Grouped(most))
	var named []string
	for _, a := range assumed {
		named = append(named, fmt.Sprintf("%s as %s", a.Name, a.Size))
	}
	if len(named) > 0 {
		detail += "It is made with " + enumerate(named) + ". Shorten the text, or what is printed: {{ name | truncate: 40 }}."
	} else {
		detail += "Shorten the text."
	}
	p.report(where, r.Name, detail, "%s can have %s %s, %s takes %s", what, counted.Grouped(size), unit, worst.Name, counted.Grouped(worst.MaxPayload))
}

// limited are the adapters of a channel that measure what they take.
func (p *pass) limited(channel string) []channels.Spec {
	var out []channels.Spec
	for _, c := range p.Channels {
		if c.Name != channel {
			continue
		}
		for _, a := range c.Adapters {
			if a.Spec.MaxPayload > 0 && a.Spec.Measure != nil {
				out = append(out, a.Spec)
			}
		}
	}
	return out
}

// variantsOf are the names of a rule's variants, "" for a rule without.
func variantsOf(r *workspace.Rule) []string {
	if len(r.Variants) == 0 {
		return []string{""}
	}
	var out []string
	for _, v := range r.Variants {
		out = append(out, v.Name)
	}
	return out
}

// largest is the field of a message that takes most bytes.
func largest(fields map[string]any) (name string, size int) {
	for f, v := range fields {
		n := 0
		if text, ok := v.(string); ok {
			n = len(text)
		} else if raw, err := json.Marshal(v); err == nil {
			n = len(raw)
		}
		if n > size || n == size && f < name {
			name, size = f, n
		}
	}
	return name, size
}

// messageAt is where a field of a message stands: in the variant, or else in what all variants share, and there under
// the locale, or else without one.
func messageAt(r *workspace.Rule, variant, channel, locale, field string) *yamlfile.Node {
	for _, message := range []*yamlfile.Node{file(r).Get("variants").Get(variant).Get("message"), file(r).Get("message")} {
		for _, fields := range []*yamlfile.Node{message.Get(channel).Get("locales").Get(locale), message.Get(channel)} {
			if n := fields.Get(field); n != nil {
				return n.Key
			}
		}
	}
	return at(r, "message")
}

// enumerate joins words as a sentence does.
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
