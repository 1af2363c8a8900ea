package check

import (
	"slices"

	"nudge/engine/decide"
	"nudge/engine/workspace"
	"nudge/rules"
)

func capNeverBinds() Check {
	return Check{
		ID: "cap/never-binds", Severity: rules.Warning,
		What: "A cap that holds back nothing: no rule's messages are counted by it, or another cap is always reached before.",
		Why:  "Whoever wrote it counts on a limit that is not there. Transactional messages are counted only by caps that name their category.",
		Bad: `-- nudge.yaml --
caps:
  - {name: two-a-day, max: 2, per: 24h, scope: all, at_cap: retry}
  - {name: three-a-morning, max: 3, per: 6h, scope: all, at_cap: retry}
`,
		Good: `-- nudge.yaml --
caps:
  - {name: two-a-day, max: 2, per: 24h, scope: all, at_cap: retry}
  - {name: one-a-morning, max: 1, per: 6h, scope: all, at_cap: retry}
`,
		run: func(p *pass) {
			caps := p.Policy.Caps
			for i, c := range caps {
				item := p.config.Get("caps").Items[i]
				if !slices.ContainsFunc(p.Rules, func(r *workspace.Rule) bool { return counts(c, r) }) {
					p.report(item.Get("name"), "", "Name channels, categories or rules that there are, or leave the cap out.", "no rule sends a message that the cap %q counts", c.Name)
					continue
				}
				for j, other := range caps {
					if i != j && first(other, c) && (j < i || !first(c, other)) {
						p.report(item.Get("name"), "", "Make it stricter than the other, or leave it out.", "the cap %q is never reached: %q is before", c.Name, other.Name)
						break
					}
				}
			}
		},
	}
}

// counts says whether messages of a rule count towards the cap.
func counts(c decide.Cap, r *workspace.Rule) bool {
	if r.Transactional() && !slices.Contains(c.Categories, r.Category) {
		return false
	}
	return slices.ContainsFunc(r.Channels(), func(channel string) bool { return c.Applies(r.Rule, channel) })
}

// first says whether cap a, which counts all that b counts, is reached when b is or before.
func first(a, b decide.Cap) bool {
	wider := func(a, b []string) bool {
		return len(a) == 0 || len(b) > 0 && !slices.ContainsFunc(b, func(x string) bool { return !slices.Contains(a, x) })
	}
	if a.Max > b.Max || a.Scope != "all" && a.Scope != b.Scope || !wider(a.Channels, b.Channels) || !wider(a.Rules, b.Rules) {
		return false
	}
	// A cap without categories does not count transactional messages, one that names them does.
	if !wider(a.Categories, b.Categories) || len(a.Categories) == 0 && slices.Contains(b.Categories, rules.Transactional) {
		return false
	}
	if a.Calendar == "" || b.Calendar == "" {
		return a.Calendar == "" && b.Calendar == "" && a.Window >= b.Window
	}
	within := map[string][]string{"hour": {"hour"}, "day": {"hour", "day"}, "week": {"hour", "day", "week"}, "month": {"hour", "day", "month"}}
	return a.Clock == b.Clock && slices.Contains(within[a.Calendar], b.Calendar)
}
