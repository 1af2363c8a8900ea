package decide

import (
	"slices"
	"strings"

	"nudge/engine/ledger"
	"nudge/rules"
	"nudge/segments"
)

// exitStage ends an entry whose exit has happened.
func exitStage(w *walk, c *contest) bool {
	if c.Exited == 0 {
		return true
	}
	w.end(c, ledger.Exited, "")
	return false
}

// answerStage ends an entry whose message, which would go by the next channel now, has been answered.
func answerStage(w *walk, c *contest) bool {
	if c.Answered == "" || !c.follows() {
		return true
	}
	w.goNoFurther(c, c.Answered)
	return false
}

// consentStage leaves the channels on which the person may be written to.
func consentStage(w *walk, c *contest) bool {
	all := w.in.Policy.Order(c.Rule, c.profile)
	if c.Open != nil && len(c.Open.Channels) > 0 {
		all = c.Open.Channels
	}
	c.all = all
	for _, ch := range all {
		if w.in.Policy.allowed(ch, c.Rule.Category, c.profile) {
			c.channels = append(c.channels, ch)
		}
	}
	if len(c.channels) > 0 {
		return true
	}
	w.blocked(c, ledger.NoConsent, "", 0, c.Rule.WhenBlocked.NoConsent)
	return false
}

// reachStage leaves the channels that have an address.
func reachStage(w *walk, c *contest) bool {
	c.devices = map[string][]segments.Device{}
	c.channels = slices.DeleteFunc(c.channels, func(ch string) bool {
		devices, ok := w.in.Policy.reachable(ch, c.profile)
		if c.Rule.LatestDevice {
			devices = latest(devices)
		}
		c.devices[ch] = devices
		return !ok
	})
	if len(c.channels) > 0 {
		return true
	}
	w.blocked(c, ledger.NoAddress, "", 0, c.Rule.WhenBlocked.NoAddress)
	return false
}

// timeStage holds for send_at, and stops in quiet hours. A channel that is quiet is left out while
// another of the rule's is not.
func timeStage(w *walk, c *contest) bool {
	r, t := c.Rule, w.in.At
	if r.SendAt != nil && !w.releasedBySendAt(c) {
		loc, ok := w.in.Policy.zoneOf(rules.ZonePerson, c.profile)
		if !ok {
			w.zoneUnknown(c)
			return false
		}
		if due := nextSendAt(*r.SendAt, loc, t); due > t {
			w.hold(c, sendAt, due)
			return false
		}
	}
	if r.Transactional() {
		return true
	}
	var open []string
	var until int64
	for _, ch := range c.channels {
		if w.in.Policy.Channels[ch].Collects { // which wakes nobody
			open = append(open, ch)
			continue
		}
		u, unknown := w.in.Policy.QuietUntil(ch, r.Category, c.profile, t)
		if unknown {
			w.zoneUnknown(c)
			return false
		}
		if u == 0 {
			open = append(open, ch)
		} else if until == 0 || u < until {
			until = u
		}
	}
	if len(open) > 0 {
		c.channels = open
		return true
	}
	w.blocked(c, ledger.QuietHours, "", until, r.WhenBlocked.QuietHours)
	return false
}

// sendAt is By of an entry that is held for its rule's send_at.
const sendAt = "send_at"

// ByFallback is By of an entry that is held, for no time at all, because its channel failed for good.
const ByFallback = "fallback"

// releasedBySendAt says whether the entry has had its time of day: what stops it now came after that.
// Consent, address and the zone are asked for before.
func (w *walk) releasedBySendAt(c *contest) bool {
	if c.follows() {
		return true
	}
	if c.items != nil || c.Open != nil && c.Open.Collected() {
		return true
	}
	if c.Open == nil || c.Open.By == unknownZone || strings.HasSuffix(c.Open.By, detail(unknownZone)) {
		return false
	}
	switch waitsFor(c.Open) {
	case sendAt, ByFallback, string(ledger.QuietHours), string(ledger.FrequencyCap), string(ledger.Outranked):
		return true
	default:
		return false
	}
}

// waitsFor is what stopped an open entry for now: the reason of its answer, or of what it is held for.
func waitsFor(o *ledger.Open) string {
	why := o.By
	switch {
	case o.Follows():
		why = strings.TrimPrefix(why, ledger.Following(""))
	case o.Reason != ledger.Held:
		return string(o.Reason)
	}
	if _, behind, ok := ledger.CollectedFor(why); ok && behind != "" { // the digest was stopped
		why = behind
	}
	why, _, _ = strings.Cut(why, ":")
	return why
}

// AtCap says whether an open entry waits for room under a cap.
func AtCap(o *ledger.Open) bool {
	why := waitsFor(o)
	return why == string(ledger.FrequencyCap) || why == string(ledger.Outranked)
}

// unknownZone is By of an entry that waits for the person's zone.
const unknownZone = "unknown zone"

// zoneUnknown does what the workspace wants of people whose clock nobody knows.
func (w *walk) zoneUnknown(c *contest) {
	action := rules.Hold
	if w.in.Policy.UnknownZone == "drop" {
		action = rules.Drop
	}
	w.blocked(c, ledger.QuietHours, unknownZone, 0, action)
}

// capStage leaves the channels with room under every cap: for `deliver: first` the first one. It
// answers the cap that stopped the rule when none is left.
func (w *walk) capStage(c *contest) (chosen []string, full *capped) {
	r := c.Rule
	entry := ""
	if c.Open != nil {
		entry = c.Open.Entry
	}
	uses := slices.Clip(w.uses)
	for _, ch := range c.channels {
		if !r.Transactional() && !w.in.Policy.Channels[ch].Collects {
			if f := w.in.Policy.checkCaps(uses, r, entry, ch, c.profile, w.in.At); f != nil {
				if full == nil || f.frees < full.frees {
					full = f
				}
				action := r.WhenBlocked.FrequencyCap
				if action == "" {
					action = f.cap.AtCap
				}
				if r.Deliver == rules.DeliverAll || action == rules.Next {
					continue
				}
				return nil, f
			}
			// With `deliver: all` each channel is one more message, for the channels behind it too.
			uses = append(uses, usage{Use: ledger.Use{Entry: entry, Rule: r.Name, Channel: ch, Category: r.Category, At: w.in.At}})
		}
		chosen = append(chosen, ch)
		if r.Deliver != rules.DeliverAll {
			break
		}
	}
	return chosen, full
}
