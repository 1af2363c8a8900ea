package check

import "nudge/rules"

func holdoutWithoutGoal() Check {
	return Check{
		ID: "rule/holdout-without-goal", Severity: rules.Warning,
		What: "A rule that holds some people out and has no `goal`.",
		Why:  "A holdout is there to compare: did those who got the message do more of what it is for than those who did not? Without a goal people are held out for nothing.",
		Bad: `rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(60)
again: {after: 90d}
holdout: 10%
message:
  push: {title: We miss you, body: Come back}
`,
		Good: `rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(60)
again: {after: 90d}
holdout: 10%
goal: {event: Order Completed, within: 14d}
message:
  push: {title: We miss you, body: Come back}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				if r.Holdout > 0 && r.Goal == nil && !r.Transactional() {
					p.report(at(r, "holdout"), r.Name, "Add `goal: {event: …, within: 7d}`, or leave the holdout out.", "people are held out and nothing is measured")
				}
			}
		},
	}
}
