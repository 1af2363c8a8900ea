package check

import (
	"fmt"
	"math"

	"nudge/rules"
)

func guardOfOne() Check {
	return Check{
		ID: "rule/guard-of-one", Severity: rules.Warning,
		What: "A `pause_when` whose `min` is so small that a single message passes the limit: one unsubscribe among 50 messages is 2%.",
		Why:  "One person who has had enough pauses the rule for everybody. A share says something once there are several of them. (`> 0%` says that one is too many, and is no finding.)",
		Bad: `rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(60)
again: {after: 90d}
pause_when: {unsubscribes: "> 1%", min: 50}
message:
  push: {title: We miss you, body: Come back}
`,
		Good: `rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(60)
again: {after: 90d}
pause_when: {unsubscribes: "> 1%", min: 200}
message:
  push: {title: We miss you, body: Come back}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				w := r.PauseWhen
				if w == nil {
					continue
				}
				for _, g := range []struct {
					key   string
					limit *rules.Limit
				}{{"unsubscribes", w.Unsubscribes}, {"failures", w.Failures}} {
					if g.limit == nil || *g.limit == 0 || !g.limit.PassedBy(1, w.Min) {
						continue
					}
					enough := int64(math.Ceil(1_000_000 / float64(*g.limit)))
					p.report(at(r, "pause_when").Get(g.key), r.Name, fmt.Sprintf("Write `min: %d` or more.", enough), "one of %d messages is more than %s already", w.Min, g.limit.Share())
				}
			}
		},
	}
}
