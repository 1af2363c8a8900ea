// Package send is the sender: it reads what was decided from the decision stream, writes an intent,
// sends through the channels' adapters, writes what became of it, retries, and gives up.
//
// # Promises
//
// A decision is never lost: whatever has no outcome on `deliveries.<shard>` is sent after a restart.
// An attempt whose outcome was lost in a crash (an intent without an outcome) is repeated where the
// adapter makes a repeat harmless (channels.RepeatHarmless: same key, collapsed by the receiver);
// elsewhere the channel's AfterCrash says whether to repeat it, at most doubling that one message,
// or to count it as sent. A second sender on a shard is refused before it sends anything
// (queue.ErrFenced): only senders publish on the deliveries stream.
//
// # Memory
//
// At most 1,024 (entry, channel)s of one rule, channel, lane and set of providers are in memory, or more
// of them while those of their provider are less than twice what it may have under way; what follows
// stays in the stream and is read again from there when there is room. So a provider that is slow or
// dead holds up its own messages and nobody else's, and one that is quick does not wait for the stream.
package send

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nudge/channels"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// DecisionLog is the decision stream, read only.
type DecisionLog interface {
	Read(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error
	Replay(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error
	Last(ctx context.Context, shard int) (uint64, error)
}

// DeliveryLog is the delivery stream. Nobody else may publish on it.
type DeliveryLog interface {
	Publish(ctx context.Context, shard int, payload []byte, expectLast uint64) (uint64, error)
	Replay(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error
	Last(ctx context.Context, shard int) (uint64, error)
}

// EventLog is the event stream, to which outcomes and dead tokens are appended.
type EventLog interface {
	Append(ctx context.Context, evs []events.Event) (uint64, error)
}

// Notes keep the sender's resume positions.
type Notes interface {
	SetNote(ctx context.Context, name string, value []byte) error
	Note(ctx context.Context, name string) ([]byte, error)
}

// Rendered is a message made of a decision's values.
type Rendered struct {
	// Fields by the names of channels.Spec.Message; values are JSON values.
	Fields map[string]any
	// TTL is how long the provider may keep trying, 0 its default.
	TTL    time.Duration
	Urgent bool
	// Locale of the fields, where the rule has them in several and this one was chosen; else "".
	Locale string
}

// Renderer renders the message of a decision for one of its channels. It must be pure (the same
// decision gives the same text whenever it is rendered) and safe for concurrent use. An error ends
// the message as template_failed, but for one that wraps ErrLater: then it is tried again, until it
// expires.
type Renderer func(d *ledger.Decision, channel string) (Rendered, error)

// ErrLater says that a message cannot be rendered now and may be later.
var ErrLater = errors.New("the message cannot be rendered now")

// ExitCheck says whether an exit of the decision's entry has arrived by now (Unix ms). It is asked
// before every attempt, concurrently. It may wait until it knows, at most until ctx ends; what it knows
// it says even when ctx has ended before. An error means that it does not know: the message is put aside
// and asked about again, until it expires, while others go on.
type ExitCheck func(ctx context.Context, d *ledger.Decision, now int64) (bool, error)

// AfterCrash says what becomes of an attempt whose outcome was lost and whose repeat would double
// the message.
type AfterCrash string

// Retry sends again: at least once. GiveUp counts the message as sent: at most once.
const (
	Retry  AfterCrash = "retry"
	GiveUp AfterCrash = "give_up"
)

// Route is how the messages of one channel word ("push", "email") go out.
type Route struct {
	// Providers serve the channel. With tokens each device goes to the first provider that serves
	// its platform and app; otherwise the first provider is used.
	Providers []Provider
	// Rate is the number of messages a second over all providers, 0 without limit; Burst how many
	// may go at once after a pause, 0 for one second's.
	Rate  float64
	Burst int
	// AfterCrash is GiveUp when empty.
	AfterCrash AfterCrash
	// Tracking is with links of ours (Options.Links).
	Tracking Tracking
}

// Provider is one configured adapter.
type Provider struct {
	Name    string // as configured; a metric label
	Spec    channels.Spec
	Channel channels.Channel
	// Apps that it serves (bundle ids, package names); empty is all.
	Apps []string
}

// Options of a Sender.
type Options struct {
	Decisions  DecisionLog
	Deliveries DeliveryLog
	Events     EventLog
	Notes      Notes
	// Shards that this sender serves; required.
	Shards []int
	// Routes by the channel's word.
	Routes map[string]Route
	Render Renderer
	// Exited may be nil: nothing exits.
	Exited ExitCheck
	// Halted says of a rule that what is queued of it is not sent any more, or that it waits, until it expires or the rule
	// is halted no more; nil: of none. It must not block.
	Halted func(rule string) (halted, waits bool)
	// Signer makes the signed message ids; nil for none. With Links, the base URL under which
	// Receipts.Handler is reached ("https://go.shop.example"), links are rewritten too.
	Signer *Signer
	Links  string
	// Now is the clock of Run; required for Run.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Hold is the bound of what is in memory of one line (see the package's comment); 0 sizes it by itself.
	Hold int
	// exact: Hold was given.
	exact bool
	// Timeout of one call of an adapter; 0 is one minute.
	Timeout time.Duration
	// Patience is how long the exit check may take about a message before that is put aside; 0 is 2 s.
	// Settle waits for as long as it takes.
	Patience time.Duration
	// GiveUpAfter ends what a decision without an expiry cannot deliver; 0 is 24 hours.
	GiveUpAfter time.Duration
	// Grace is how long outcomes are still written after Run's context has ended; 0 is 10 s.
	Grace time.Duration
	// SaveEvery is how often the resume positions are saved; 0 is 2 s. What lies between is read
	// again after a crash, not sent again.
	SaveEvery time.Duration
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.exact = o.Hold > 0; !o.exact {
		o.Hold = 1024
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Patience <= 0 {
		o.Patience = 2 * time.Second
	}
	if o.GiveUpAfter <= 0 {
		o.GiveUpAfter = 24 * time.Hour
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	if o.SaveEvery <= 0 {
		o.SaveEvery = 2 * time.Second
	}
}

// text is what Delivery.Text keeps of a message.
func (r Rendered) text() json.RawMessage {
	raw, err := json.Marshal(r.Fields)
	if err != nil {
		return nil
	}
	return raw
}
