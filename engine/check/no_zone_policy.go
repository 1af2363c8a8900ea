package check

import (
	"nudge/rules"
	"nudge/rules/yamlfile"
)

func noZonePolicy() Check {
	return Check{
		ID: "workspace/no-zone-policy", Severity: rules.Warning,
		What: "Something goes by the person's own clock, and nudge.yaml does not say under `unknown_zone` what holds for people whose time zone nobody knows.",
		Why:  "Many people have none until their app sends one. Without a word the workspace's zone is theirs, which may be the middle of their night.",
		Bad: `-- nudge.yaml --
quiet_hours: {from: "21:00", to: "08:00", zone: person}
`,
		Good: `-- nudge.yaml --
unknown_zone: hold
quiet_hours: {from: "21:00", to: "08:00", zone: person}
`,
		run: func(p *pass) {
			root := p.config
			if root.Get("unknown_zone") != nil {
				return
			}
			var where *yamlfile.Node
			for _, q := range p.Policy.Quiet {
				if q.Zone == rules.ZonePerson && where == nil {
					where = root.Get("quiet_hours").Key
				}
			}
			for i, c := range p.Policy.Caps {
				if c.Clock == rules.ZonePerson && c.Calendar != "" && where == nil {
					where = root.Get("caps").Items[i].Get("clock")
				}
			}
			for _, r := range p.Rules {
				if where != nil {
					break
				}
				switch {
				case r.SendAt != nil:
					where = at(r, "send_at")
				case r.Schedule != nil && r.Schedule.Zone == rules.ZonePerson:
					where = at(r, "schedule")
				}
			}
			if where != nil {
				p.report(where, "", "Write `unknown_zone: default` for the workspace's zone, hold, or drop.", "nothing is said of people whose time zone is unknown")
			}
		},
	}
}
