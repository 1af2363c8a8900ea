// Package inbox keeps messages for the app to fetch.
package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"nudge/channels"
)

// Name of the adapter, by which what it accepted is found in the ledger.
const Name = "inbox"

// MaxPayload is how much a message may have, in bytes of JSON. The ledger keeps the text of messages of this size in any
// case; of much larger ones it would not.
const MaxPayload = 32 << 10

// Spec describes the adapter.
func Spec() channels.Spec {
	fields := channels.PushFields("title", "body", "link", "image", "actions", "data", "icon", "ttl")
	for i := range fields {
		switch f := &fields[i]; f.Name {
		case "ttl":
			f.About = "how long the message is shown; without it, for as long as the ledger keeps its text (`store.retention`)"
		case "icon":
			f.Example, f.About = "cart", "an image's URL, or the name of an icon that the app has"
		}
	}
	return channels.Spec{
		Name:        Name,
		Kind:        "inbox",
		About:       "Messages that wait until the app fetches them: `GET /v1/inbox`, and a stream of what arrives. The ledger is where they are kept, as every message is. docs/inbox.md says how an app shows them, and what is kept how long.",
		Message:     fields,
		Needs:       "user_id",
		MaxPayload:  MaxPayload,
		Measure:     measure,
		Batch:       500,
		Concurrency: 4,
		Repeat:      channels.RepeatHarmless,
		Tried:       "This is the real thing: there is no provider. Tried with an HTTP client, and with EventSource in Chromium.",
		New:         open,
	}
}

type channel struct{}

// open makes a channel.
func open(o channels.Options) (channels.Channel, error) {
	return channel{}, Spec().Decode(o.Config, &struct{}{})
}

// Send implements channels.Channel. There is nobody to hand a message to: what keeps it is the record that the sender
// writes of its acceptance, with its text and, as the provider's id, the signed one by which the app knows it.
func (channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	for i := range batch {
		results[i] = accept(ctx, &batch[i])
	}
	return results
}

func accept(ctx context.Context, m *channels.Message) channels.Result {
	if err := ctx.Err(); err != nil {
		return channels.Failed(channels.ClassCancelled, "cancelled", err)
	}
	if m.Signed == "" {
		return channels.Failed(channels.ClassMessage, "not_in_ledger",
			errors.New("a test message is in no ledger, and so in no inbox: send an event that a rule with this message hears, to a workspace of its own"))
	}
	size, err := measure(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	if size > MaxPayload {
		return channels.Failed(channels.ClassMessage, "too_large", fmt.Errorf("the message has %d bytes; an inbox takes %d", size, MaxPayload))
	}
	return channels.Result{ProviderID: m.Signed}
}

// measure is the size of what the ledger keeps of a message.
func measure(m *channels.Message) (int, error) {
	raw, err := json.Marshal(m.Fields)
	if err != nil {
		return 0, &channels.DeliveryError{Class: channels.ClassMessage, Code: "json", Err: fmt.Errorf("encoding the message: %w", err)}
	}
	return len(raw), nil
}
