package check

import (
	"slices"
	"time"

	"nudge/engine/decide"
	"nudge/engine/workspace"
	"nudge/rules"
)

func alwaysQuiet() Check {
	return Check{
		ID: "rule/always-quiet", Severity: rules.Warning,
		What: "A rule all of whose looks, or whose `send_at`, fall into the quiet hours of each of its channels.",
		Why:  "Nothing goes out when the rule says, but hours later, with what was known then, or never: `expire` goes on, and `when_blocked` may drop it.",
		Bad: `-- nudge.yaml --
quiet_hours: {from: "21:00", to: "08:00", zone: person}
-- rules/good-night.yaml --
rule: good-night
schedule: {cron: "30 22 * * *", zone: person}
when: did("Product Viewed").within(days(1))
again: {after: 7d}
message:
  push: {title: Good night, body: It is still there tomorrow}
`,
		Good: `-- nudge.yaml --
quiet_hours: {from: "21:00", to: "08:00", zone: person}
-- rules/good-night.yaml --
rule: good-night
schedule: {cron: "30 20 * * *", zone: person}
when: did("Product Viewed").within(days(1))
again: {after: 7d}
message:
  push: {title: Good night, body: It is still there tomorrow}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				if r.Transactional() {
					continue
				}
				key, zone, times := "schedule", "", p.instants(r.Schedule)
				if r.Schedule != nil {
					zone = r.Schedule.Zone
				}
				if r.SendAt != nil {
					key, zone = "send_at", rules.ZonePerson
					times = []time.Time{time.Date(2026, 1, 7, int(*r.SendAt)/60, int(*r.SendAt)%60, 0, 0, time.UTC)}
				}
				if len(times) == 0 {
					continue
				}
				if until, always := p.quiet(r, zone, times); always {
					what := "every look of the rule is in quiet hours"
					if key == "send_at" {
						what = "send_at is in quiet hours"
					}
					p.report(at(r, key), r.Name, "Its messages wait until "+until+"; choose another time, or let the quiet hours leave out a channel.", "%s", what)
				}
			}
		},
	}
}

// quiet says whether each of the instants, on the zone's clock, is in quiet hours of the same clock for
// every channel of the rule, and when those of the first end.
func (p *pass) quiet(r *workspace.Rule, zone string, times []time.Time) (until string, always bool) {
	for _, channel := range r.Channels() {
		for _, t := range times {
			i := slices.IndexFunc(p.Policy.Quiet, func(q decide.Quiet) bool {
				return q.Zone == zone && q.Covers(channel, r.Category) && q.End(t) != 0
			})
			if i < 0 {
				return "", false
			}
			if until == "" {
				until = time.UnixMilli(p.Policy.Quiet[i].End(t)).UTC().Format("15:04")
			}
		}
	}
	return until, until != ""
}
