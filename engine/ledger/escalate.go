package ledger

import "strings"

// Escalation is By of the rows of an entry behind the message that a channel took. The entry's answer stays Send, and
// uses up `again` once, whatever comes of the channels after the first: that stands behind the word, as Following has it.
const Escalation = "escalation"

// Following is By of a row that says why an entry goes no further, or not yet, than the channels that took its message.
func Following(why string) string { return Escalation + ": " + why }

// Escalates says of a send that its entry stays open: the next of Fallback is used at Due, counted anew from when a
// channel has taken the message.
func (d *Decision) Escalates() bool { return d.Reason == Send && d.Due != 0 }

// Sends says that the row sends something. Not so of a Send that says how an escalation went on.
func (d *Decision) Sends() bool { return d.Reason == Send && len(d.Channels) > 0 }

// Follows says that a channel took the entry's message before this row.
func (d *Decision) Follows() bool { return d.Reason == Send && follows(d.By) }

func follows(by string) bool { return by == Escalation || strings.HasPrefix(by, Following("")) }

// Follows says that the entry waits to be escalated: a channel has got its message. Those of Channels are left.
func (o *Open) Follows() bool { return o.Reason == Send }

// Ended is the row by which something outside its rule's stages ends an open entry at an instant.
func (o *Open) Ended(reason Reason, by string, at int64) *Decision {
	d := &Decision{
		Entry: o.Entry, Attempt: o.Attempt + 1, Rule: o.slot.Rule, Person: o.person, Value: o.slot.Value, Entered: o.Entered,
		At: at, Reason: reason, By: by, Trigger: o.Trigger,
	}
	if o.Follows() {
		d.Reason, d.By, d.Variant = Send, Following(string(reason)), o.Variant
	}
	return d
}
