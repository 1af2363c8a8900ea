// Package digest collects what is not urgent, until a rule with `digest:` sends it in one message.
package digest

import (
	"context"
	"errors"

	"nudge/channels"
)

// Spec describes the adapter.
func Spec() channels.Spec {
	fields := channels.PushFields("title", "body", "link", "image")
	for i := range fields {
		switch f := &fields[i]; f.Name {
		case "title":
			f.Required = true
			f.About = "the headline of the item"
		case "body":
			f.About = "its text, without HTML"
		case "link":
			f.Template, f.About = true, "where it leads"
		}
	}
	return channels.Spec{
		Name:        "digest",
		Kind:        "digest",
		About:       "Collects messages for a person, until the rule that says `digest:` with this channel's name sends them in one. It needs no address of its own: it takes what that rule can send. See docs/digest.md.",
		Message:     fields,
		Collects:    true,
		Batch:       1,
		Concurrency: 1,
		Repeat:      channels.RepeatHarmless,
		Tried:       "This is the real thing: there is no provider.",
		New:         open,
	}
}

type channel struct{}

// open makes a channel.
func open(o channels.Options) (channels.Channel, error) {
	return channel{}, Spec().Decode(o.Config, &struct{}{})
}

// Send implements channels.Channel. Nothing that was collected comes here: the rule of the digest sends it, by its own
// channels. Only a test message does.
func (channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	for i := range results {
		results[i] = channels.Failed(channels.ClassMessage, "collected",
			errors.New("what a digest collects is not sent by itself: send the rule that sends the digest, or look at the item in a rule test"))
		if err := ctx.Err(); err != nil {
			results[i] = channels.Failed(channels.ClassCancelled, "cancelled", err)
		}
	}
	return results
}
