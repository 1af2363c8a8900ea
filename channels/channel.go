// Package channels is how a message reaches a person: the contract every adapter keeps, the
// registry they are listed in, and one folder an adapter. It imports nothing else of this module.
package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Message is one rendered message to one address.
type Message struct {
	// Key is the stable id of (entry, channel, device): the same for every attempt. Adapters
	// derive apns-id (UUIDv5), collapse ids, Topic, Message-ID and webhook-id from it.
	Key string
	// Address is what the adapter delivers to.
	Address Address
	// Fields are the rendered fields of the rule's message for this channel, by the names that
	// Spec.Message declares ("title", "body", "link", "actions", …). Values are JSON values.
	Fields map[string]any
	// About carries what receivers may want beside the text: rule, variant, category, user id.
	About map[string]string
	// Signed is the signed message id with which the app reports an open or a click.
	Signed string
	// TTL is how long the provider may keep trying; 0 is the provider's default.
	TTL time.Duration
	// Unsubscribe is a link of ours, signed, at which the person chooses what to get; it takes the POST of RFC 8058. It
	// is "" where there is none, or nothing to unsubscribe from: of transactional messages, or without base_url.
	Unsubscribe string
	// Urgent asks for immediate delivery where the platform knows the difference.
	Urgent bool
}

// Address is where a message goes. Which parts an adapter needs is said in Spec.Needs.
type Address struct {
	UserID      string
	Token       string
	Platform    string // ios, android, web
	App         string
	Environment string // production, sandbox
	Email       string
	Phone       string
}

// Result is what became of one message of a batch. Err nil means that the provider accepted it.
// A non-nil Err is always a *DeliveryError.
type Result struct {
	ProviderID string
	Err        error
}

// Channel sends messages.
type Channel interface {
	// Send delivers a batch of at most Spec.Batch messages and returns one Result for each, in
	// order. It may be called concurrently, up to Spec.Concurrency times at once. It never
	// retries by itself. When ctx ends, what is not yet known to be accepted is answered with
	// ClassCancelled. Errors never contain a secret or a whole token.
	Send(ctx context.Context, batch []Message) []Result
}

// Closer is implemented by channels that hold connections or files.
type Closer interface{ Close() error }

// Tester is implemented by channels that can check credentials and reachability.
type Tester interface {
	Test(ctx context.Context) error
}

// Served is implemented by channels that need something of ours to be fetched, as browsers fetch
// the scripts for their pushes. The handler answers the paths under /web/ of nudge's own endpoint.
type Served interface {
	Handler() http.Handler
}

// Class says what a failed attempt means; it is a metric label and a report column.
type Class string

// The closed list of classes.
const (
	ClassTemporary  Class = "temporary"   // network, timeout, 5xx: retry with backoff
	ClassRateLimit  Class = "rate_limit"  // 429: retry after RetryAfter
	ClassAddress    Class = "address"     // the address is dead: retire it, never retry
	ClassMessage    Class = "message"     // the provider refuses this message: never retry
	ClassCredential Class = "credentials" // our set-up is wrong: retry slowly, open the breaker
	ClassCancelled  Class = "cancelled"   // the context ended; may or may not have been accepted
)

// Retryable says whether the same message may be tried again.
func (c Class) Retryable() bool {
	return c == ClassTemporary || c == ClassRateLimit || c == ClassCredential || c == ClassCancelled
}

// DeliveryError is the error of a Result.
type DeliveryError struct {
	Class      Class
	RetryAfter time.Duration // 0: the sender's own backoff
	// Code is the provider's own reason ("BadDeviceToken", "UNREGISTERED", "503"), for people.
	Code string
	// Since is when, by the provider, a dead address died (APNs says it with 410); zero if it does
	// not say. A device that was seen after it has come back and is not to be retired.
	Since time.Time
	// OptedOut says that the person has told the provider to send them no more (STOP to a text message): the
	// sender records it as a consent withdrawn for the channel.
	OptedOut bool
	Err      error
}

// Error implements error.
func (e *DeliveryError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("%s (%s): %v", e.Class, e.Code, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Class, e.Err)
}

// Unwrap returns the cause.
func (e *DeliveryError) Unwrap() error { return e.Err }

// Repeat says what happens when an attempt is repeated whose outcome was lost in a crash.
type Repeat string

// A harmless repeat is collapsed by the receiver (same id, same collapse key); one that doubles
// follows the channel's `after_crash` setting: retry or give_up.
const (
	RepeatHarmless Repeat = "harmless"
	RepeatDoubles  Repeat = "doubles"
)

// Field describes one field of an adapter's configuration or message.
type Field struct {
	Name     string
	Type     string // string, int, bool, duration, list, map, actions
	Required bool
	Secret   bool // never logged; read from env or file
	Template bool // a Liquid template in the rule file
	Text     bool // people read it: a message in another language has another
	Default  string
	Example  string
	About    string
}

// Spec describes an adapter: parsing, check, docs and skeleton configs come from it.
type Spec struct {
	Name    string // adapter: "apns", "webhook"
	Kind    string // the rule file's word: "push", "webhook", "email", "sms"
	About   string
	Config  []Field
	Message []Field
	// Needs is the part of Address without which the person cannot be reached: "token", "email",
	// "phone", "user_id", or "" for none.
	Needs string
	// Fit changes Needs, Platforms and Takes by a config as written, for an adapter whose config says to whom it
	// sends (a person, or one place for all); nil leaves them. Nothing of the config need be right.
	Fit func(spec *Spec, config map[string]any)
	// Platforms of device tokens that the adapter serves, for Kind "push".
	Platforms []string
	// Takes tells by its form whether a token is one of this adapter's, where several serve the same
	// platform; nil takes all. Tokens in rule tests have no form, so it does not decide who can be
	// reached, only which adapter sends.
	Takes func(token string) bool
	// MaxPayload is the most of a message that the provider takes, in Unit; 0 for no limit.
	MaxPayload int
	// LimitField is the config's whole number that stands for MaxPayload where it is given, "" for a limit that
	// is the provider's alone; its default is MaxPayload.
	LimitField string
	// Unit is what MaxPayload counts, where it is not bytes: "segments" of an SMS.
	Unit string
	// Measure is how much of MaxPayload a message takes, counted as the provider does on what Send makes of
	// it, whatever the address. An error is the one with which Send would refuse it. Required with MaxPayload.
	Measure     func(*Message) (int, error)
	Batch       int // at least 1
	Concurrency int // Send calls at once
	Repeat      Repeat
	Receipts    bool // the provider reports deliveries
	// Collects says that what the channel takes is not sent: it waits for the rule that sends the channel's digest.
	Collects bool
	// Any says that the adapter can stand in for every kind (a workspace may send its `push` to
	// a file) and takes whatever message fields there are, not only those of Message.
	Any bool
	// Answers is the provider's own table of answers and what each means; the classifier of the
	// adapter, its documentation and its tests read the same table.
	Answers []Answer
	// Tried says what was and what was not tried against the real provider, for the docs.
	Tried string
	New   func(Options) (Channel, error)
}

// Answer is one line of a provider's table of answers.
type Answer struct {
	Status int    // HTTP status, 0 for any
	Code   string // the provider's reason, "" for any other with this status
	Class  Class  // "" means accepted
	About  string
	// OptedOut is DeliveryError.OptedOut.
	OptedOut bool
}

// Options is what a constructor gets.
type Options struct {
	// Config holds the adapter's fields as JSON, validated against Spec.Config, secrets resolved.
	Config json.RawMessage
	// Stdout is where the stdout adapter writes.
	Stdout interface{ Write([]byte) (int, error) }
	// Now is the clock.
	Now func() time.Time
	// Callback is the address at which the provider reaches us (Reporter), "" where no base_url is set.
	Callback string
	// Dir resolves relative paths (the workspace folder).
	Dir string
}
