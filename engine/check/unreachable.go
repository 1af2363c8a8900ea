package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"nudge/engine/decide"
	"nudge/engine/schedule"
	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

func unreachable() Check {
	return Check{
		ID: "rule/unreachable", Severity: rules.Warning,
		What: "A rule that messages nobody, whatever people do: another one always takes the only place under a cap, it has no look between `start` and `end`, " +
			"it waits for `send_at` longer than `expire` lets it, or everybody is held out of it.",
		Why: "Nobody notices a message that never comes. Of two rules that are due together the one with the higher priority goes first, then by name; with room " +
			"for one message the other is `outranked`. It is found where the first rule is due whenever the second is, so that only a message of the first that fails leaves a place.",
		Bad: `-- nudge.yaml --
caps:
  - {name: one-a-week, max: 1, per: 7d, scope: all, at_cap: retry}
-- rules/digest.yaml --
rule: digest
priority: 60
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(30))
again: {after: 1d}
backfill: true
message:
  push: {title: News, body: What is new in the shop}
-- rules/shoes.yaml --
rule: shoes
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(30)) and user.traits.likes == "shoes"
again: {after: 30d}
message:
  push: {title: Shoes, body: New ones have come in}
`,
		Good: `-- nudge.yaml --
caps:
  - {name: one-a-week, max: 1, per: 7d, scope: all, at_cap: retry}
-- rules/digest.yaml --
rule: digest
priority: 60
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(30))
again: {after: 1d}
backfill: true
message:
  push: {title: News, body: What is new in the shop}
-- rules/shoes.yaml --
rule: shoes
priority: 70
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(30)) and user.traits.likes == "shoes"
again: {after: 30d}
message:
  push: {title: Shoes, body: New ones have come in}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				switch {
				case r.Rollout == 0:
					p.report(at(r, "rollout"), r.Name, "To see what it would do say `shadow: true` instead.", "the rule is for nobody")
				case r.Holdout >= 1 && !r.Transactional():
					p.report(at(r, "holdout"), r.Name, "To see what it would do say `shadow: true` instead.", "everybody is held out")
				case p.neverLooks(r):
					p.report(at(r, scheduleKey(r.Schedule)), r.Name, "Choose another time, or let the rule begin earlier or go on for longer.", "the rule never looks: its start and end leave that time out")
				}
				if wait := p.waits(r); wait >= r.Expire {
					p.report(at(r, "send_at"), r.Name, "Look shortly before it, or give the rule a longer `expire`.",
						"send_at is %s after the look, and entries expire after %s", yamlfile.FormatDuration(wait), yamlfile.FormatDuration(r.Expire))
				}
			}
			p.outranked()
		},
	}
}

// neverLooks says whether a rule's schedule has no instant between its start and end, on any clock that it may go by.
func (p *pass) neverLooks(r *workspace.Rule) bool {
	s := r.Schedule
	if s == nil || s.Spec != nil && (r.Start == 0 || r.End == 0) {
		return false // a schedule without an end comes some time
	}
	margin := int64(0)
	loc := p.Zone
	switch s.Zone {
	case rules.ZoneWorkspace:
	case rules.ZonePerson:
		margin = (26 * time.Hour).Milliseconds() // as far as two clocks can be apart
	default:
		if l, err := p.Policy.Location(s.Zone); err == nil {
			loc = l
		}
	}
	next, ok := schedule.Next(s, loc, r.Start-1-margin)
	return !ok || r.End != 0 && next >= r.End+margin
}

// waits is how long entries wait for send_at at least, where a rule looks on the same clock, the person's.
func (p *pass) waits(r *workspace.Rule) time.Duration {
	const day = 24 * time.Hour
	if r.SendAt == nil || r.Schedule == nil || r.Schedule.Zone != rules.ZonePerson {
		return 0
	}
	least := day
	for _, t := range p.instants(r.Schedule) {
		look := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
		least = min(least, (time.Duration(*r.SendAt)*time.Minute-look+day)%day)
	}
	if least == day { // there is none
		return 0
	}
	return least
}

// outranked reports rules that another one always goes before, under a cap with room for one message.
func (p *pass) outranked() {
	if !slices.ContainsFunc(p.Policy.Caps, func(c decide.Cap) bool { return c.Max == 1 }) {
		return
	}
	together := map[string][]*workspace.Rule{} // rules that look together, the first to go first
	var keys []string
	for _, r := range p.Rules {
		if r.Schedule == nil || r.Schedule.Cron == "" || r.Digest != "" || r.Transactional() || r.Shadow {
			continue
		}
		key := fmt.Sprintf("%s %s %d %d %s", r.Schedule.Cron, r.Schedule.Zone, r.Start, r.End, r.Category)
		if together[key] == nil {
			keys = append(keys, key)
		}
		together[key] = append(together[key], r)
	}
	for _, key := range keys {
		all := together[key]
		slices.SortStableFunc(all, func(a, b *workspace.Rule) int {
			return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
		})
		for i, r := range all {
			for _, other := range all[:i] {
				if c, ok := p.always(other, r); ok {
					p.report(at(r, "priority"), r.Name, fmt.Sprintf("Give it a higher priority than %d, tell the two conditions apart, or let the cap have room for both.", other.Priority),
						"always outranked: %s goes first whenever this rule is due, and %s has room for one message", other.Name, c.Name)
					break
				}
			}
		}
	}
}

// always says whether rule a, which goes first, is due whenever b is and takes the only place under a cap. The two
// look together and have one category. What it asks for leaves no way past a but a message of a that fails.
func (p *pass) always(a, b *workspace.Rule) (decide.Cap, bool) {
	none := decide.Cap{}
	w := a.WhenBlocked
	tried := w.NoAddress == rules.Retry && w.NoConsent == rules.Retry && w.QuietHours == rules.Retry && w.Outranked == rules.Retry
	if !tried || a.Holdout > 0 || a.Rollout < 1 || a.PauseWhen != nil || (a.SendAt == nil) != (b.SendAt == nil) || a.SendAt != nil && *a.SendAt != *b.SendAt {
		return none, false
	}
	for _, channel := range b.Channels() {
		if !slices.Contains(a.Channels(), channel) {
			return none, false
		}
	}
	only, ok := p.shared(a, b)
	if !ok || !b.Who.Implies(a.Who) {
		return none, false
	}
	same := a.Who.Implies(b.Who)
	switch {
	case len(a.Exits) > 0 && (!same || !slices.Equal(a.Rule.Exits, b.Rule.Exits)):
		return none, false // what ends its entry leaves the place to b
	case !same && !a.Backfill, b.Backfill && !a.Backfill:
		return none, false // those who are only noted at its first look
	case same && a.Again == b.Again && b.WhenBlocked.Outranked == rules.Drop:
		return only, true // both enter together, and b gives up
	}
	// Before there is room again a is due again, and goes first again.
	again := a.Again.After
	if a.Again.Mode != rules.AgainAfter && a.Again.Mode != rules.AgainEveryTick || only.Calendar != "" {
		return none, false
	}
	return only, again+p.longest(a.Schedule) < only.Window
}

// shared is a cap with room for one message that counts those of both rules. It is none unless every cap on a is one
// on b too, of which it does not matter by whose messages it is filled, and at which a tries again.
func (p *pass) shared(a, b *workspace.Rule) (only decide.Cap, ok bool) {
	on := func(c decide.Cap, r *workspace.Rule) (some, all bool) {
		all = true
		for _, channel := range r.Channels() {
			applies := c.Applies(r.Rule, channel)
			some, all = some || applies, all && applies
		}
		return some, all
	}
	one := len(a.Channels()) == 1 && len(b.Channels()) == 1
	for _, c := range p.Policy.Caps {
		some, all := on(c, a)
		if !some {
			continue
		}
		_, both := on(c, b)
		action := cmp.Or(a.WhenBlocked.FrequencyCap, c.AtCap)
		if !all || !both || action != rules.Retry || c.Scope == "rule" || c.Scope == "channel" && !one {
			return decide.Cap{}, false
		}
		if c.Max == 1 && !ok {
			only, ok = c, true
		}
	}
	return only, ok
}
