package events

import "math/rand/v2"

// Finish completes the events of the body last read with what the endpoint knows, and returns them
// with those that are refused. Both are valid until the next Read.
func (n *Normaliser) Finish(c Call) ([]Event, []Refused) {
	n.events, n.indexes = n.events[:0], n.indexes[:0]
	ahead := c.MaxAhead
	if ahead == 0 {
		ahead = DefaultMaxAhead
	}
	for i := range n.drafts {
		d := &n.drafts[i]
		ev := &d.ev
		ev.Source, ev.ReceivedAt = c.Source, c.ReceivedAt
		if c.Imported {
			ev.Flags |= Imported
		}
		if c.Secret && ev.Kind == KindAlias {
			ev.Flags |= KnownAlias
		}
		if ev.Context == nil {
			ev.Context = n.shared
		}
		if err := d.date(n.sentAt, ahead); err != nil {
			n.refuse(d.index, err, ev.Raw)
			continue
		}
		if ev.Kind == KindPage || ev.Kind == KindScreen {
			n.describe(d)
		}
		if ev.MessageID == "" {
			ev.MessageID = n.messageID()
		}
		n.events, n.indexes = append(n.events, *ev), append(n.indexes, d.index)
	}
	return n.events, n.refused
}

// Index is the place in its batch of the i-th event that Finish returned.
func (n *Normaliser) Index(i int) int { return n.indexes[i] }

// date works out when the event happened. The sender's clock may be wrong: what lies between its
// stamp and its sending is right nevertheless, so that is taken off the endpoint's own clock. An
// event with both timestamp and originalTimestamp carries a timestamp that is correct already.
func (d *draft) date(sent stamp, ahead int64) error {
	ev := &d.ev
	field, at := "timestamp", d.timestamp
	if d.sentAt.ok {
		sent = d.sentAt
	}
	correct := sent.ok && (!d.timestamp.ok || !d.original.ok)
	if !at.ok {
		field, at = "originalTimestamp", d.original
	}
	if !at.ok {
		ev.Time = ev.ReceivedAt
		return nil
	}
	ev.Time = at.ms
	if correct {
		ev.Time += ev.ReceivedAt - sent.ms
	}
	switch {
	case ev.Time < EarliestTime:
		return &RefusedError{Path: field, Reason: "is before the year 2000; check the sender's clock, and that the number is in seconds or milliseconds"}
	case ev.Time > ev.ReceivedAt+ahead:
		return &RefusedError{Path: field, Reason: "is too far in the future; check the sender's clock, or raise the tracking plan's limit"}
	}
	return nil
}

// describe puts the name and the category of a page or screen among its properties, where conditions
// read them, unless the sender did so.
func (n *Normaliser) describe(d *draft) {
	for _, field := range [...]struct{ key, value string }{{"name", d.ev.Name}, {"category", d.category}} {
		if field.value == "" {
			continue
		}
		if _, has := Lookup(d.ev.Properties, field.key); has {
			continue
		}
		begin := len(n.s.out)
		if len(d.ev.Properties) <= len("{}") {
			n.s.out = append(n.s.out, '{')
		} else {
			n.s.out = append(n.s.out, d.ev.Properties[:len(d.ev.Properties)-1]...)
			n.s.out = append(n.s.out, ',')
		}
		n.s.out = append(n.s.out, '"')
		n.s.out = append(n.s.out, field.key...)
		n.s.out = append(n.s.out, '"', ':')
		n.s.out = append(AppendString(n.s.out, field.value), '}')
		d.ev.Properties = n.s.out[begin:len(n.s.out):len(n.s.out)]
	}
}

// messageID makes an id for an event that came without one. Such an event cannot be recognised when
// it is sent again.
func (n *Normaliser) messageID() string {
	const alphabet = "0123456789abcdefghijklmnopqrstuv"
	begin := len(n.s.out)
	n.s.out = append(n.s.out, "nudge-"...)
	for range 2 {
		for bits, i := rand.Uint64(), 0; i < 12; i++ {
			n.s.out = append(n.s.out, alphabet[bits&31])
			bits >>= 5
		}
	}
	return view(n.s.out[begin:len(n.s.out):len(n.s.out)])
}
