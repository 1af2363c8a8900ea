package check

import (
	"strings"

	"nudge/engine/trial"
	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

func missingTrait() Check {
	return Check{
		ID: "message/missing-trait", Severity: rules.Warning,
		What: "A message prints a trait that somebody it is for may not have: neither does `when` ask for it, nor is it `required` in events.yaml.",
		Why: "A value that is printed and missing stops the message: those people get nothing, and the report counts them as `template_failed`. A default " +
			"is for them; or `when` says that they are not meant: `has(user.traits.first_name)`, or any comparison that needs the trait.",
		Bad: `rule: hello
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(1))
again: never
message:
  push: {title: "Hello {{ user.traits.first_name }}", body: Have a look}
`,
		Good: `rule: hello
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(1))
again: never
message:
  push: {title: "Hello {{ user.traits.first_name | default: 'there' }}", body: Have a look}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				told := map[place]bool{} // variants share what they do not say themselves
				for _, variant := range variantsOf(r) {
					for _, channel := range r.Channels() {
						m, _ := r.MessageOf(variant, channel)
						for _, one := range m.All() {
							for _, trait := range trial.Missing(p.Workspace, r, variant, channel, one.Locale) {
								if !p.has(r, channel, trait) {
									p.missing(r, variant, channel, one.Locale, trait, told)
								}
							}
						}
					}
				}
			}
		},
	}
}

// has says whether everybody who can get a rule's message on a channel has a trait.
func (p *pass) has(r *workspace.Rule, channel, trait string) bool {
	if p.Plan != nil && p.Plan.Traits[trait].Required {
		return true
	}
	needs := p.Policy.Channels[channel].Needs
	return (trait == "email" || trait == "phone") && needs == trait || r.Who.Requires(trait) // an address is a trait
}

// place is where a text prints something.
type place struct {
	text *yamlfile.Node
	from int
}

// missing reports a trait where the message prints it.
func (p *pass) missing(r *workspace.Rule, variant, channel, locale, trait string, told map[place]bool) {
	const detail = "Give it a default, {{ user.traits.NAME | default: 'there' }}, ask for it in `when`, has(user.traits.NAME), or declare it in events.yaml as required."
	where, found := place{text: channelOf(r, channel)}, false // or a file of templates/ prints it
	path := "user.traits." + trait
	for _, message := range []*yamlfile.Node{file(r).Get("variants").Get(variant).Get("message"), file(r).Get("message")} {
		for _, fields := range []*yamlfile.Node{message.Get(channel).Get("locales").Get(locale), message.Get(channel)} {
			texts(fields, func(n *yamlfile.Node) {
				if i := printedAt(n.Text, path); i >= 0 && !found {
					where, found = place{n, i}, true
				}
			})
		}
	}
	if told[where] {
		return
	}
	told[where] = true
	says := strings.ReplaceAll(detail, "NAME", trait)
	if found {
		p.reportIn(where.text, where.from, where.from+len(path), r.Name, says, "%s stops the message for those who do not have it", path)
		return
	}
	p.report(where.text, r.Name, says, "%s prints %s, and who does not have it does not get the message", channel, path)
}

// printedAt is where a text first prints a value, and without a default; -1 where it does not.
func printedAt(text, path string) int {
	for at := 0; ; {
		i := strings.Index(text[at:], path)
		if i < 0 {
			return -1
		}
		at += i
		if before := strings.TrimRight(text[:at], " -"); strings.HasSuffix(before, "{{") && !strings.HasPrefix(text[at+len(path):], ".") {
			if rest := text[at+len(path):]; !strings.Contains(rest[:max(0, strings.Index(rest, "}}"))], "default") {
				return at
			}
		}
		at += len(path)
	}
}
