package check

import (
	"slices"

	"nudge/engine/decide"
	"nudge/engine/workspace"
	"nudge/rules"
)

func expireWithoutHold() Check {
	return Check{
		ID: "rule/expire-without-hold", Severity: rules.Info,
		What: "An `expire` in a rule with a schedule in which nothing is ever held: no `hold` under `when_blocked` or at a cap, no `send_at`.",
		Why: "It ends entries that are held, and messages in a provider's queue. What is only tried again (`retry`) waits for as long as the condition is true, " +
			"however short `expire` is: in quiet hours, at a cap, for an address. A rule that drops what it stops, or whose message has a `ttl`, means the queue.",
		Bad: `rule: lunch
schedule: "0 11 * * *"
when: did("Product Viewed").within(days(1))
again: {after: 7d}
expire: 2h
message:
  push: {title: Hungry?, body: It is nearly noon}
`,
		Good: `rule: lunch
schedule: "0 11 * * *"
when: did("Product Viewed").within(days(1))
again: {after: 7d}
when_blocked: hold
expire: 2h
message:
  push: {title: Hungry?, body: It is nearly noon}
`,
		run: func(p *pass) {
			for _, r := range p.Rules {
				if n := file(r).Get("expire"); n != nil && r.On == nil && !r.Broadcast && retries(r) && !p.holds(r) && !hasTTL(r) {
					p.report(n, r.Name, "It only ends messages in a provider's queue. Write `when_blocked: hold`, then entries wait no longer than that; or let the condition say until when it is true. If the queue is meant, give the message a `ttl` too.",
						"expire ends no waiting: nothing of this rule is held, only tried again")
				}
			}
		},
	}
}

// retries says whether the rule tries anything again that is stopped; of caps it is the cap that says it, if the rule does not.
func retries(r *workspace.Rule) bool {
	b := r.WhenBlocked
	return slices.Contains([]rules.Action{b.FrequencyCap, b.Outranked, b.NoAddress, b.NoConsent, b.QuietHours}, rules.Retry)
}

// hasTTL says whether a message of the rule says how long its provider may try.
func hasTTL(r *workspace.Rule) bool {
	for _, variant := range variantsOf(r) {
		for _, channel := range r.Channels() {
			m, _ := r.MessageOf(variant, channel)
			if slices.ContainsFunc(m.All(), func(one rules.ChannelMessage) bool { return one.TTL > 0 }) {
				return true
			}
		}
	}
	return false
}

// holds says whether anything can hold entries of a rule.
func (p *pass) holds(r *workspace.Rule) bool {
	b := r.WhenBlocked
	if slices.ContainsFunc(r.Channels(), func(channel string) bool { return p.Policy.Channels[channel].Collects }) {
		return true
	}
	if r.SendAt != nil || slices.Contains([]rules.Action{b.FrequencyCap, b.Outranked, b.NoAddress, b.NoConsent, b.QuietHours}, rules.Hold) {
		return true
	}
	if r.Transactional() {
		return false
	}
	covers := func(c decide.Cap) bool {
		return c.AtCap == rules.Hold && slices.ContainsFunc(r.Channels(), func(channel string) bool { return c.Applies(r.Rule, channel) })
	}
	if b.FrequencyCap == "" && slices.ContainsFunc(p.Policy.Caps, covers) {
		return true
	}
	return p.Policy.UnknownZone == "hold" && slices.ContainsFunc(p.Policy.Quiet, func(q decide.Quiet) bool {
		return q.Zone == rules.ZonePerson && slices.ContainsFunc(r.Channels(), func(channel string) bool { return q.Covers(channel, r.Category) })
	})
}
