package check

import (
	"time"

	"nudge/rules"
	"nudge/rules/yamlfile"
)

// often is from how short a time between two looks on the cost of each matters.
const often = time.Hour

func fullLook() Check {
	return Check{
		ID: "rule/full-look", Severity: rules.Warning,
		What: "A condition that needs a look at everybody each time, on a schedule that looks more often than once an hour.",
		Why:  "Other rules read only those people for whom something has changed. This one reads everybody's history at each look; with ten million events that is most of a minute.",
		Bad: `rule: a-month-later
schedule: "*/5 * * * *"
when: floor(event("Product Viewed").last.ago / days(1)) == 30
again: {after: 30d}
message:
  push: {title: Still looking?, body: It is still here}
`,
		Good: `rule: a-month-later
schedule: "*/5 * * * *"
when: event("Product Viewed").last.ago >= days(30) and event("Product Viewed").last.ago < days(31)
again: {after: 30d}
message:
  push: {title: Still looking?, body: It is still here}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				gap := p.shortest(r.Schedule)
				if r.Who == nil || gap == 0 || gap >= often {
					continue
				}
				for _, f := range r.Who.Changes().Full {
					if n := r.Source[f.Part]; n != nil {
						p.reportIn(n, f.From, f.To, r.Name, f.Why, "every %s everybody is looked at because of this", yamlfile.FormatDuration(gap))
					}
				}
			}
		},
	}
}
