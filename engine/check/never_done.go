package check

import (
	"strings"

	"nudge/rules"
)

func neverDone() Check {
	return Check{
		ID: "rule/never-done", Severity: rules.Info,
		What: "A condition that asks for an event longer ago than a time, and not that it ever happened.",
		Why:  "Of those who never did it the age is longer than any: a rule for customers who have not ordered for sixty days is true of everybody who never ordered. It may be meant; then silence it.",
		Bad: `rule: win-back
schedule: "0 9 * * *"
when: event("Order Completed").last.ago > days(60)
again: {after: 90d}
message:
  push: {title: We miss you, body: Come back}
`,
		Good: `rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(60)
again: {after: 90d}
message:
  push: {title: We miss you, body: Come back}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				if r.Who == nil {
					continue
				}
				if never := r.Who.Never(); len(never) > 0 {
					p.report(at(r, "when"), r.Name, "Add `did(\""+never[0]+"\") and …` if only those are meant who did it once.",
						"true also of those who never did %q", strings.Join(never, `" or "`))
				}
			}
		},
	}
}
