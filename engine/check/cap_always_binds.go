package check

import "nudge/rules"

func capAlwaysBinds() Check {
	return Check{
		ID: "cap/always-binds", Severity: rules.Warning,
		What: "A cap with `max: 0`: every message it is about stays at it.",
		Why:  "A rule that should send nothing is easier to find when it says so itself; with a cap of 0 its people count as matched and capped for ever.",
		Bad: `-- nudge.yaml --
caps:
  - {name: none, max: 0, per: 24h, scope: all, at_cap: drop}
`,
		Good: `-- nudge.yaml --
caps:
  - {name: one-a-day, max: 1, per: 24h, scope: all, at_cap: drop}
`,
		run: func(p *pass) {
			for i, c := range p.Policy.Caps {
				if c.Max == 0 {
					p.report(p.config.Get("caps").Items[i].Get("max"), "", "Set it to 1 or more; to stop a rule say `shadow: true` in its file.", "the cap %q lets nothing through", c.Name)
				}
			}
		},
	}
}
