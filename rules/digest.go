package rules

import (
	"fmt"
	"slices"

	"nudge/rules/yamlfile"
)

// Names that the messages of a digest have: what was collected, as a list, and how much that is.
const (
	DigestItems = "items"
	DigestCount = "count"
)

// notOfDigest are the keys that mean nothing in a rule that sends a digest: it is for whom something was collected.
var notOfDigest = []string{"at", "on", "start", "end", "send_at", "for_each", "when", "again", "backfill", "exit", "with", "rollout", "shadow", "while_held", "when_blocked"}

// digest reads when a rule sends what a channel collects.
func (p *ruleParser) digest(f *yamlfile.Fields, n *yamlfile.Node) {
	r := p.r
	p.rule.Digest = p.text("digest", n)
	if p.rule.Broadcast && n != nil {
		r.Report(n.Key, "conflict", "Move the file to rules/.", "a broadcast sends no digest")
	}
	i := slices.IndexFunc(p.o.Channels, func(c ChannelSpec) bool { return c.Name == p.rule.Digest })
	if n != nil && n.Text != "" && (i < 0 || !p.o.Channels[i].Collects) {
		var known []string
		for _, c := range p.o.Channels {
			if c.Collects {
				known = append(known, c.Name)
			}
		}
		x := instead(n, "rule/bad-value", fmt.Sprintf("%q is no channel that collects", n.Text), "Channels that do", known)
		if len(known) == 0 {
			x.Detail = "Add one to nudge.yaml under `channels`: `digest: {adapter: digest}`."
		}
		r.Add(x)
	}
	for _, key := range notOfDigest {
		if x := f.Get(key); x != nil {
			r.Report(x.Key, "conflict", "Leave it out.", "a rule with `digest` is for everybody for whom something was collected, at the time that `schedule` says, and has no %q", key)
		}
	}
	p.rule.When, p.rule.Again, p.rule.Rollout = "true", Again{Mode: AgainEveryTick}, 1
	if schedule := f.Must("schedule", "Say when it goes out: `schedule: {cron: \"0 9 * * 1\", zone: person}`."); schedule != nil {
		p.schedule(schedule)
	}
}

// collects checks a rule whose messages wait for a digest.
func (p *ruleParser) collects() {
	for _, channel := range p.rule.Channels() {
		i := slices.IndexFunc(p.o.Channels, func(c ChannelSpec) bool { return c.Name == channel })
		if i < 0 || !p.o.Channels[i].Collects {
			continue
		}
		at := p.keys[channel]
		switch {
		case p.rule.Digest != "":
			p.r.Report(at, "conflict", "Send it by a channel that reaches people, as e-mail does.", "a digest is not collected itself")
		case p.rule.Broadcast:
			p.r.Report(at, "conflict", "Leave the channel out.", "a broadcast is sent at its time, and %s collects", channel)
		case p.rule.Urgent:
			p.r.Report(at, "conflict", "Leave out `urgent`, or the channel.", "the rule is urgent, and %s collects until its digest goes out", channel)
		case p.rule.Deliver == DeliverAll || p.rule.Deliver == DeliverEscalate:
			p.r.Report(at, "conflict", "Write `deliver: first` or `preferred`, or make it two rules.", "%s collects until its digest goes out, which does not go with `deliver: %s`", channel, p.rule.Deliver)
		}
	}
}
