package check

import (
	"nudge/rules"
	"nudge/rules/yamlfile"
)

func againUnderSchedule() Check {
	return Check{
		ID: "rule/again-under-schedule", Severity: rules.Warning,
		What: "`again: {after: …}` that is shorter than the time between two looks of the rule's schedule.",
		Why:  "It holds nobody back: by the next look it is over. Whoever wrote it expects a pause that is not there, or a schedule that looks oftener.",
		Bad: `rule: weekly-picks
schedule: "0 9 * * 1"
when: did("Product Viewed").within(days(7))
again: {after: 1d}
message:
  push: {title: New this week, body: Have a look}
`,
		Good: `rule: weekly-picks
schedule: "0 9 * * 1"
when: did("Product Viewed").within(days(7))
again: {after: 28d}
message:
  push: {title: New this week, body: Have a look}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				gap := p.shortest(r.Schedule)
				if r.Again.Mode == rules.AgainAfter && r.Again.After < gap {
					p.report(at(r, "again").Get("after"), r.Name, "Make it longer, or say each_time, which reads as what it does.",
						"the rule is looked at every %s at most: again after %s holds nobody back", yamlfile.FormatDuration(gap), yamlfile.FormatDuration(r.Again.After))
				}
			}
		},
	}
}
