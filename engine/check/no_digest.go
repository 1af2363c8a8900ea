package check

import (
	"slices"

	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

func noDigest() Check {
	return Check{
		ID: "rule/no-digest", Severity: rules.Warning,
		What: "A message on a channel that collects, where no rule sends what it collects; or a rule that sends what nobody collects.",
		Why: "What is collected leaves with the rule that says `digest:`, and only so. Without one nothing is collected at all: the channel reaches nobody, " +
			"and entries of the rule end or wait as `no_address`. And a digest to which nothing is added never goes out.",
		Bad: `-- nudge.yaml --
channels:
  email: {adapter: file, needs: email, config: {path: data/email.ndjson}}
  digest: {adapter: digest}
-- rules/price-drop.yaml --
rule: price-drop
on: {event: Price Dropped, by: product_id}
again: {after: 7d}
exit: {event: Order Completed}
with: {name: trigger.properties.name}
message:
  digest: {title: "{{ name }} has become cheaper"}
`,
		Good: `-- nudge.yaml --
channels:
  email: {adapter: file, needs: email, config: {path: data/email.ndjson}}
  digest: {adapter: digest}
-- rules/price-drop.yaml --
rule: price-drop
on: {event: Price Dropped, by: product_id}
again: {after: 7d}
exit: {event: Order Completed}
with: {name: trigger.properties.name}
message:
  digest: {title: "{{ name }} has become cheaper"}
-- rules/weekly-digest.yaml --
rule: weekly-digest
digest: digest
schedule: {cron: "0 9 * * 1", zone: person}
message:
  email: {subject: "{{ count }} things for you", text: "{% for item in items %}{{ item.title }}. {% endfor %}"}
`,
		run: func(p *pass) {
			collected := map[string]bool{}
			for _, r := range p.Rules {
				for _, channel := range r.Channels() {
					if !p.Policy.Channels[channel].Collects {
						continue
					}
					collected[channel] = true
					if p.Policy.Digests[channel] == nil {
						p.report(channelOf(r, channel), r.Name, "Add a rule with `digest: "+channel+"`, a `schedule` and a message, or leave the channel out.", "no rule sends what %s collects", channel)
					}
				}
			}
			for _, r := range p.Rules {
				if r.Digest != "" && !collected[r.Digest] {
					p.report(r.Source["digest"], r.Name, "Name the channel under `message` of the rules that can wait.", "no rule's message is collected by %s, so this one never sends anything", r.Digest)
				}
			}
		},
	}
}

// channelOf is where a rule's file begins what it says on a channel: under `message`, or under a variant's.
func channelOf(r *workspace.Rule, channel string) *yamlfile.Node {
	messages := []*yamlfile.Node{file(r).Get("message")}
	if variants := file(r).Get("variants"); variants != nil {
		for _, v := range variants.Pairs {
			messages = append(messages, v.Value.Get("message"))
		}
	}
	i := slices.IndexFunc(messages, func(n *yamlfile.Node) bool { return n != nil && n.Get(channel) != nil })
	if i < 0 {
		return r.Source["rule"]
	}
	if n := messages[i].Get(channel); n.Key != nil {
		return n.Key
	}
	return messages[i]
}
