package check

import (
	"fmt"
	"slices"
	"time"

	"nudge/engine/decide"
	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/yamlfile"
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
				if until, wait, always := p.quiet(r, zone, times); always {
					what := "every look of the rule is in quiet hours"
					if key == "send_at" {
						what = "send_at is in quiet hours"
					}
					p.report(at(r, key), r.Name, becomes(r, "Its", "Nobody ever gets it", wait, until)+" Choose another time, or let the quiet hours leave out a channel.", "%s", what)
				}
			}
		},
	}
}

// quiet says whether each of the instants, on the zone's clock, is in quiet hours of the same clock for
// every channel of the rule, and when and how much later those of the first end.
func (p *pass) quiet(r *workspace.Rule, zone string, times []time.Time) (until string, wait time.Duration, always bool) {
	for _, channel := range r.Channels() {
		for _, t := range times {
			i := slices.IndexFunc(p.Policy.Quiet, func(q decide.Quiet) bool {
				return q.Zone == zone && q.Covers(channel, r.Category) && q.End(t) != 0
			})
			if i < 0 {
				return "", 0, false
			}
			if until == "" {
				end := time.UnixMilli(p.Policy.Quiet[i].End(t)).UTC()
				until, wait = end.Format("15:04"), end.Sub(t)
			}
		}
	}
	return until, wait, until != ""
}

// becomes is what becomes of a rule's messages that fall into quiet hours.
func becomes(r *workspace.Rule, whose, nobody string, wait time.Duration, until string) string {
	switch {
	case r.WhenBlocked.QuietHours == rules.Drop:
		return nobody + ": the rule drops what falls into quiet hours."
	case r.Expire <= wait && (r.WhenBlocked.QuietHours == rules.Hold || r.On != nil):
		return fmt.Sprintf("%s: quiet hours end %s later, and the rule's entries expire after %s.", nobody, yamlfile.FormatDuration(wait), yamlfile.FormatDuration(r.Expire))
	case r.WhenBlocked.QuietHours == rules.Hold && r.WhileHeld == rules.Keep:
		return fmt.Sprintf("%s messages wait until %s.", whose, until)
	default:
		return fmt.Sprintf("%s messages wait until %s, and go only if the condition is still true then.", whose, until)
	}
}
