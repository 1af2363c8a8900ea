package check

import (
	"strings"

	"nudge/rules"
)

func noExit() Check {
	return Check{
		ID: "rule/no-exit", Severity: rules.Warning,
		What: "A condition that asks whether something has *not* happened, in a rule without `exit`: a cart that was not bought.",
		Why:  "A message can wait after the decision: in quiet hours, at a cap, in a provider's queue. Who buys meanwhile is reminded of what they have bought. An exit takes the message back.",
		Bad: `rule: cart
schedule: "*/5 * * * *"
when: |
  event("Product Added").last.ago >= hours(1)
    and not did("Order Completed").since(event("Product Added").last.at)
again: {after: 7d}
message:
  push: {title: Your cart, body: It is still here}
`,
		Good: `rule: cart
schedule: "*/5 * * * *"
when: |
  event("Product Added").last.ago >= hours(1)
    and not did("Order Completed").since(event("Product Added").last.at)
again: {after: 7d}
exit: Order Completed
message:
  push: {title: Your cart, body: It is still here}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				if r.Who == nil || len(r.Exits) > 0 || r.Transactional() {
					continue
				}
				if absent := r.Who.Absent(); len(absent) > 0 {
					p.report(at(r, "when"), r.Name, "Add `exit: "+absent[0]+"`.", "nothing takes the message back from those who do %q while it waits", strings.Join(absent, `" or "`))
				}
			}
		},
	}
}
