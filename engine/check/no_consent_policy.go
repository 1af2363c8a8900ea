package check

import (
	"slices"

	"nudge/engine/workspace"
	"nudge/rules"
)

func noConsentPolicy() Check {
	return Check{
		ID: "workspace/no-consent-policy", Severity: rules.Warning,
		What: "Rules send a category by e-mail or SMS, and nudge.yaml does not say under `categories` whether people must have agreed.",
		Why:  "Without a word silence counts as consent. For advertising by e-mail and SMS many laws want it the other way round, so it should be somebody's decision.",
		Bad: `-- rules/letter.yaml --
rule: letter
schedule: "0 9 * * 1"
when: did("Product Viewed").within(days(7))
again: never
message:
  email: {subject: News, text: There is some}
`,
		Good: `-- nudge.yaml --
categories:
  promotional: {consent: {email: opt_in}}
-- rules/letter.yaml --
rule: letter
schedule: "0 9 * * 1"
when: did("Product Viewed").within(days(7))
again: never
message:
  email: {subject: News, text: There is some}
`,
		run: func(p *pass) {
			said := p.config.Get("categories")
			var told []string
			for _, r := range p.Rules {
				if r.Transactional() || said.Get(r.Category).Get("consent") != nil || slices.Contains(told, r.Category) || !p.writes(r) {
					continue
				}
				told = append(told, r.Category)
				p.report(at(r, "category"), r.Name, "Say in nudge.yaml `categories: {"+r.Category+": {consent: opt_in}}`, or opt_out.", "nobody has said whether %s messages need consent", r.Category)
			}
		},
	}
}

// writes says whether a rule sends e-mail or SMS.
func (p *pass) writes(r *workspace.Rule) bool {
	return slices.ContainsFunc(r.Channels(), func(name string) bool {
		needs := p.Policy.Channels[name].Needs
		return needs == "email" || needs == "phone"
	})
}
