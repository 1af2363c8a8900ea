package channeltest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"nudge/channels"
)

// Recorder is a channel that keeps what it is given, for tests of senders. The zero value accepts
// everything. It is safe for concurrent use.
type Recorder struct {
	// Kind is the kind it registers for; "" is "recorder".
	Kind string
	// Needs is the part of an address that it needs, as in channels.Spec.
	Needs string
	// Answer decides what becomes of a message; attempt is 1 for the first with its key. nil accepts.
	Answer func(m channels.Message, attempt int) error
	// Gate, where not nil, is received from before each message is answered, so that a test holds
	// messages in flight; when the context ends first the answer is ClassCancelled.
	Gate chan struct{}

	mu       sync.Mutex
	all      []channels.Message
	accepted []channels.Message
	attempts map[string]int
}

// Spec returns a spec whose constructor gives this very recorder.
func (r *Recorder) Spec() channels.Spec {
	kind := r.Kind
	if kind == "" {
		kind = "recorder"
	}
	return channels.Spec{
		Name: "recorder", Kind: kind, About: "Keeps messages in memory, for tests.",
		Batch: 100, Concurrency: 4, Repeat: channels.RepeatHarmless, Any: true, Needs: r.Needs,
		Tried: "It is a test's own.",
		New: func(o channels.Options) (channels.Channel, error) {
			return r, channels.Spec{Name: "recorder"}.Decode(o.Config, &struct{}{})
		},
	}
}

// Send implements channels.Channel.
func (r *Recorder) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	for i, m := range batch {
		results[i] = r.one(ctx, m)
	}
	return results
}

// one answers one message.
func (r *Recorder) one(ctx context.Context, m channels.Message) channels.Result {
	r.mu.Lock()
	if r.attempts == nil {
		r.attempts = make(map[string]int)
	}
	r.attempts[m.Key]++
	attempt := r.attempts[m.Key]
	r.all = append(r.all, m)
	r.mu.Unlock()
	if r.Gate != nil {
		select {
		case <-r.Gate:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return channels.Failed(channels.ClassCancelled, "cancelled", err)
	}
	if r.Answer != nil {
		if err := r.Answer(m, attempt); err != nil {
			return channels.Result{Err: channels.AsDelivery(err)}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted = append(r.accepted, m)
	return channels.Result{ProviderID: channels.UUID(m.Key)}
}

// Attempts returns every message given, in order, repeats too.
func (r *Recorder) Attempts() []channels.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// Accepted returns the messages that were accepted, in order.
func (r *Recorder) Accepted() []channels.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted)
}

// Reset forgets everything.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.accepted, r.attempts = nil, nil, nil
}

// Discard is a channel that accepts everything, keeps nothing and counts: what is left of a
// bench's figure with it is the sender's own cost.
type Discard struct{ sent atomic.Int64 }

// Spec returns a spec whose constructor gives this very channel.
func (d *Discard) Spec() channels.Spec {
	return channels.Spec{
		Name: "discard", Kind: "discard", About: "Accepts everything and keeps nothing, for benches.",
		Batch: 1000, Concurrency: 16, Repeat: channels.RepeatHarmless, Any: true,
		Tried: "It is a test's own.",
		New: func(o channels.Options) (channels.Channel, error) {
			return d, channels.Spec{Name: "discard"}.Decode(o.Config, &struct{}{})
		},
	}
}

// Send implements channels.Channel.
func (d *Discard) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	if err := ctx.Err(); err != nil {
		for i := range results {
			results[i] = channels.Failed(channels.ClassCancelled, "cancelled", err)
		}
		return results
	}
	d.sent.Add(int64(len(batch)))
	return results
}

// Sent is the number of messages accepted.
func (d *Discard) Sent() int64 { return d.sent.Load() }
