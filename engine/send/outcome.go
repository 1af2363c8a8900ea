package send

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"unicode/utf8"

	"nudge/channels"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// eventSource is the source of the events that the sender writes.
const eventSource = "nudge"

// outcome is what became of one attempt of one job.
type outcome struct {
	job      *job
	status   ledger.Status
	at       int64
	next     int64
	provider string // the provider's message id
	failed   *channels.DeliveryError
	rendered Rendered
}

// record makes the delivery record of an outcome and moves the unit on; the events that follow
// from it are the second result. Sender.mu is held.
func (o *outcome) record() (ledger.Delivery, []events.Event) {
	u, j := o.job.unit, o.job
	d := ledger.Delivery{
		Entry: u.decision.Entry, Channel: u.channel, Adapter: j.provider.conf.Spec.Name, Device: j.device,
		Rule: u.decision.Rule, Person: u.decision.Person, Status: o.status, At: o.at,
		Attempt: j.attempt, Next: o.next, Provider: o.provider,
	}
	if o.failed != nil {
		d.Class, d.Error = string(o.failed.Class), clip(o.failed.Error(), 500)
	}
	var evs []events.Event
	if o.failed != nil && o.failed.Class == channels.ClassAddress {
		evs = append(evs, retired(u, j, o)...)
	}
	if o.failed != nil && o.failed.OptedOut {
		evs = append(evs, optedOut(u, j, o)...)
	}
	j.begun = false
	if o.status == ledger.Retrying {
		return d, evs
	}
	j.closed = true
	u.open--
	switch {
	case o.status == ledger.Accepted:
		if raw := o.rendered.text(); len(raw) <= longestText {
			d.Text = raw
		}
		d.Again = u.accepted
		if !u.accepted {
			evs = append(evs, outcomeEvents(u, &d, o.rendered)...)
		}
		u.accepted = true
	case u.accepted || u.open > 0:
		// One device of several has ended; the unit goes on, or was accepted elsewhere.
		d.Status, d.Next = ledger.Retrying, 0
		u.worse(o)
	default:
		u.worse(o)
		d.Status, d.Device = u.last.status, ""
		if u.last.failed != nil {
			d.Class, d.Error = string(u.last.failed.Class), clip(u.last.failed.Error(), 500)
		}
		evs = append(evs, outcomeEvents(u, &d, o.rendered)...)
	}
	return d, evs
}

// worse keeps the end that says most about a unit which no device took: what stopped it, before
// what failed.
func (u *unit) worse(o *outcome) {
	rank := map[ledger.Status]int{ledger.Failed: 1, ledger.Unrendered: 2, ledger.StoppedExpired: 3, ledger.StoppedPaused: 4, ledger.StoppedExited: 5}
	if u.last == nil || rank[o.status] > rank[u.last.status] {
		u.last = o
	}
}

// outcomeEvents makes the Message event of an outcome; only what was sent or has failed is one.
func outcomeEvents(u *unit, d *ledger.Delivery, r Rendered) []events.Event {
	name := ""
	switch d.Status {
	case ledger.Accepted:
		name = events.MessageSent
	case ledger.Failed:
		name = events.MessageFailed
	default:
		return nil
	}
	user, anonymous := ids(u.decision)
	if user == "" && anonymous == "" {
		return nil // nobody to attach it to; the ledger has it all the same
	}
	props := about(u.decision, u.channel)
	put(props, "adapter", d.Adapter)
	put(props, "provider_id", d.Provider)
	put(props, "class", d.Class)
	put(props, "error", d.Error)
	shown := map[string]string{}
	for _, field := range []string{"title", "subject", "body", "text"} {
		if s, ok := r.Fields[field].(string); ok && s != "" {
			shown[field] = clip(s, 500)
		}
	}
	if len(shown) > 0 {
		props["text"] = shown
	}
	ev := messageEvent(name, messageID(d.Entry, d.Channel, string(d.Status)), d.At, props)
	ev.UserID, ev.AnonymousID = user, anonymous
	return []events.Event{ev}
}

// about are the properties that every Message event carries.
func about(d *ledger.Decision, channel string) map[string]any {
	props := map[string]any{"rule": d.Rule, "entry": d.Entry, "channel": channel}
	put(props, "variant", d.Variant)
	put(props, "category", d.Category)
	put(props, "value", d.Value)
	return props
}

func put(props map[string]any, name, value string) {
	if value != "" {
		props[name] = value
	}
}

// messageID makes the same id whenever the same thing is told again, so that the store keeps one.
func messageID(entry, channel, what string) string { return entry + "/" + channel + "/" + what }

func messageEvent(name, id string, at int64, props map[string]any) events.Event {
	raw, err := json.Marshal(props)
	if err != nil {
		panic(err) // strings in maps
	}
	return events.Event{
		Kind: events.KindMessage, Name: name, MessageID: id, Source: eventSource,
		Time: at, ReceivedAt: at, Properties: raw,
	}
}

// ids are the decision's user id, else the person's anonymous id.
func ids(d *ledger.Decision) (user, anonymous string) {
	if d.UserID != "" {
		return d.UserID, ""
	}
	var p struct{ UserID, Anonymous string } // of segments.Profile
	if len(d.Profile) > 0 && ledger.Unmarshal(d.Profile, &p) == nil {
		return p.UserID, p.Anonymous
	}
	return "", ""
}

// retired makes the event that takes a dead token away, or has a dead address remembered.
func retired(u *unit, j *job, o *outcome) []events.Event {
	user, anonymous := ids(u.decision)
	if user == "" && anonymous == "" {
		return nil // nobody to attach it to
	}
	switch need := j.provider.conf.Spec.Needs; {
	case j.to.Token != "":
	case o.failed.OptedOut: // there is somebody, who may change their mind
		return nil
	case need == "email":
		return []events.Event{undeliverable(need, j.address().Email, user, anonymous, j.key+"/dead", o.at)}
	case need == "phone":
		return []events.Event{undeliverable(need, j.address().Phone, user, anonymous, j.key+"/dead", o.at)}
	default:
		return nil
	}
	raw, err := json.Marshal(events.DeviceChange{
		Token: j.to.Token, Platform: j.to.Platform, App: j.to.App,
		Environment: j.to.Environment, Removed: true, Reason: "dead",
	})
	if err != nil {
		panic(err) // plain fields
	}
	ev := events.Event{
		Kind: events.KindDevice, MessageID: j.key + "/dead", Source: eventSource,
		Time: o.at, ReceivedAt: o.at, Properties: raw,
	}
	ev.UserID, ev.AnonymousID = user, anonymous
	return []events.Event{ev}
}

// undeliverable makes the event that has an address of a kind ("email", "phone") remembered as dead.
func undeliverable(kind, address, user, anonymous, id string, at int64) events.Event {
	raw, err := json.Marshal(map[string]string{events.UndeliverableTrait(kind): address})
	if err != nil {
		panic(err) // strings in maps
	}
	return events.Event{
		Kind: events.KindIdentify, MessageID: id, Source: eventSource,
		Time: at, ReceivedAt: at, Traits: raw, UserID: user, AnonymousID: anonymous,
	}
}

// optedOut makes the event that withdraws the consent of somebody who wants no more by the provider's word. It
// names the channel, and so is about all that the channel sends: the provider lets none of it through.
func optedOut(u *unit, j *job, o *outcome) []events.Event {
	ev := withdrawn(events.ConsentChange{Channel: u.channel}, j.key+"/opted_out")
	ev.Source, ev.Time, ev.ReceivedAt = eventSource, o.at, o.at
	if ev.UserID, ev.AnonymousID = ids(u.decision); ev.UserID == "" && ev.AnonymousID == "" {
		return nil // nobody to attach it to; the provider goes on refusing
	}
	return []events.Event{ev}
}

// tell appends events, however long the queue is away or full, until ctx ends.
func tell(ctx context.Context, log EventLog, evs []events.Event, logger *slog.Logger) error {
	for len(evs) > 0 {
		n, size := 0, 0
		for n < len(evs) && n < events.MaxPerMessage && (n == 0 || size+events.EncodedSize(&evs[n]) < queue.MaxPayload*9/10) {
			size += events.EncodedSize(&evs[n])
			n++
		}
		_, err := log.Append(ctx, evs[:n])
		if err == nil {
			evs = evs[n:]
			continue
		}
		if errors.Is(err, queue.ErrTooLarge) {
			return fmt.Errorf("tell what became of messages: %w", err)
		}
		logger.Warn("outcomes cannot be told; trying again", "events", n, "error", err)
		if err := sleep(ctx, retryQueue); err != nil {
			return err
		}
	}
	return nil
}

// clip shortens text to at most n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
