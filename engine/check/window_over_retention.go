package check

import (
	"time"

	"nudge/rules"
	"nudge/rules/yamlfile"
)

func windowOverRetention() Check {
	return Check{
		ID: "rule/window-over-retention", Severity: rules.Warning,
		What: "A condition that looks further back than history is kept (`store.retention` in nudge.yaml).",
		Why:  "What is that old is gone: who did something longer ago counts as somebody who never did it.",
		Bad: `-- nudge.yaml --
store: {retention: 90d}
-- rules/win-back.yaml --
rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(120)
again: {after: 90d}
message:
  push: {title: We miss you, body: Come back}
`,
		Good: `-- nudge.yaml --
store: {retention: 365d}
-- rules/win-back.yaml --
rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(120)
again: {after: 90d}
message:
  push: {title: We miss you, body: Come back}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				if r.Who == nil || p.Retention == 0 {
					continue
				}
				furthest := time.Duration(0)
				for _, f := range r.Who.Features() {
					furthest = max(furthest, time.Duration(f.Within)*time.Millisecond)
				}
				for _, s := range r.Who.Changes().Sources {
					for _, age := range s.Ages {
						furthest = max(furthest, time.Duration(age)*time.Millisecond)
					}
				}
				if furthest > p.Retention {
					p.report(at(r, "when"), r.Name, "Keep history for longer, or look less far back.", "the condition looks %s back; history is kept for %s", yamlfile.FormatDuration(furthest), yamlfile.FormatDuration(p.Retention))
				}
			}
		},
	}
}
