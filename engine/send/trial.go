package send

import (
	"context"
	"errors"
	"time"

	"nudge/channels"
	"nudge/engine/ledger"
)

// Trial makes the message that a decision would be, for an address that somebody chose. It carries no signed id and its
// links are not tracked: whatever becomes of it is counted nowhere. base is what our links begin with, "" for none.
func Trial(d *ledger.Decision, channel, base string, to channels.Address, r Rendered) channels.Message {
	if base != "" {
		r.Fields = withLink(r.Fields, TestPreferences(base))
	}
	m := compose(d, channel, jobKey(d.Entry, channel, deviceHash(to.Token)), to, r)
	m.About["test"] = "true"
	return m
}

// Model makes the message that a decision would be with everything that makes it longer: a signed id and, where base is
// not "", our links. The ids are signed with no key of anybody's, and are as long as any.
func Model(d *ledger.Decision, channel, base string, track Tracking, r Rendered) (channels.Message, error) {
	signer, err := NewSigner(make([]byte, shortestKey))
	if err != nil {
		return channels.Message{}, err
	}
	ref := messageOf(&unit{decision: d, channel: channel})
	r.Fields = signer.finish(base, ref, track, r.Fields)
	m := compose(d, channel, jobKey(d.Entry, channel, deviceHash("")), channels.Address{}, r)
	m.Signed = signer.Sign(ref)
	if base != "" && d.Category != transactional {
		m.Unsubscribe = signer.Preferences(base, ref)
	}
	return m, nil
}

// Once sends one message, once, and writes nothing down. The error is nil where the provider took it.
func Once(ctx context.Context, c channels.Channel, m channels.Message, timeout time.Duration) (id string, failed *channels.DeliveryError) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	results := c.Send(ctx, []channels.Message{m})
	if len(results) != 1 {
		return "", deliveryError(errors.New("the adapter did not answer"))
	}
	return results[0].ProviderID, deliveryError(results[0].Err)
}
