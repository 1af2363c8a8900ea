package decide

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

// Consented says whether the person may be written to on the channel in the category: the newest
// record that covers both decides, of two at one instant the refusal; without a record the
// workspace's policy does.
func (p *Policy) Consented(channel, category string, profile *segments.Profile) bool {
	var newest int64 = -1
	granted := !p.OptIn(channel, category)
	for _, c := range profile.Consents {
		if !Covers(c, channel, category) {
			continue
		}
		if c.Time > newest || (c.Time == newest && !c.Granted) {
			newest, granted = c.Time, c.Granted
		}
	}
	return granted
}

// Covers says whether a recorded consent is about messages of a category on a channel.
func Covers(c segments.Consent, channel, category string) bool {
	if (c.Channel != "" && c.Channel != channel) || (c.Category != "" && c.Category != category) {
		return false
	}
	// A refusal of everything is about marketing; a delivery notice is refused by the name of its
	// channel or category only.
	return c.Granted || category != rules.Transactional || c.Channel != "" || c.Category != ""
}

// Order is the order in which a rule's channels are tried for a person: as its file has them, but for push of an urgent
// rule, or the channel that the person prefers, which comes first.
func (p *Policy) Order(r *rules.Rule, profile *segments.Profile) []string {
	all := r.Channels()
	first := -1
	switch {
	case r.Urgent:
		first = slices.IndexFunc(all, func(ch string) bool { return p.Channels[ch].Needs == "token" })
	case r.Deliver == rules.DeliverPreferred:
		first = slices.Index(all, textTrait(profile, rules.PreferredChannel))
	}
	if first > 0 {
		return slices.Concat(all[first:first+1], all[:first], all[first+1:])
	}
	return all
}

// latest leaves of devices the one that was seen last, of several of one instant the one with the greatest token.
func latest(devices []segments.Device) []segments.Device {
	if len(devices) < 2 {
		return devices
	}
	return []segments.Device{slices.MaxFunc(devices, func(a, b segments.Device) int {
		return cmp.Or(cmp.Compare(a.LastSeen, b.LastSeen), cmp.Compare(a.Token, b.Token))
	})}
}

// Reachable says whether the channel has an address of the person.
func (p *Policy) Reachable(channel string, profile *segments.Profile) bool {
	_, ok := p.reachable(channel, profile)
	return ok
}

// reachable says whether the channel has an address of the person, and with tokens which.
func (p *Policy) reachable(channel string, profile *segments.Profile) (devices []segments.Device, ok bool) {
	ch := p.Channels[channel]
	if ch.Collects {
		return nil, p.Digests[channel] != nil && slices.ContainsFunc(p.Digests[channel].Channels(), func(by string) bool { return p.Reachable(by, profile) })
	}
	switch ch.Needs {
	case "":
		return nil, true
	case "user_id":
		return nil, profile.UserID != ""
	case "token":
		for _, d := range profile.Devices {
			if slices.Contains(ch.Platforms, d.Platform) {
				devices = append(devices, d)
			}
		}
		return devices, len(devices) > 0
	default:
		address := textTrait(profile, ch.Needs)
		return nil, address != "" && !Undeliverable(profile, ch.Needs)
	}
}

// Undeliverable says whether a provider has said that nobody is reached at the person's present address of a kind,
// "email" or "phone".
func Undeliverable(profile *segments.Profile, kind string) bool {
	dead := strings.TrimSpace(textTrait(profile, events.UndeliverableTrait(kind)))
	return dead != "" && strings.EqualFold(dead, strings.TrimSpace(textTrait(profile, kind)))
}

// textTrait is a trait that is a string, or "".
func textTrait(profile *segments.Profile, name string) string {
	var s string
	if raw, ok := profile.Traits[name]; ok && json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
