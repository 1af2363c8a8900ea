// Package events holds what happened: the event, the tracking plan, and in its sub-packages the
// ingest API, the queue, and ClickHouse. It imports nothing else of this module.
package events

import "encoding/json"

// Kind says what a record of the event stream is.
type Kind uint8

// The calls of the Segment spec come first; the rest are written by nudge's own API and engine.
const (
	KindTrack Kind = iota + 1
	KindIdentify
	KindPage
	KindScreen
	KindGroup
	KindAlias
	// KindMessage is an outcome of one of our messages; only the engine writes it.
	// Name is one of those that begin with Message, below.
	KindMessage
	// KindDevice puts or removes a device (Properties is a DeviceChange).
	KindDevice
	// KindConsent records a consent (Properties is a ConsentChange).
	KindConsent
	// KindErase erases a person: readers drop what came before it.
	KindErase
	// KindRefused is a dead letter: a call that was answered with a reason instead of being accepted.
	// Only Source, Index, Reason, Raw, ReceivedAt and Time (= ReceivedAt) are set. It has no person
	// and never reaches the events table.
	KindRefused
)

// String is the call's name in the tracking spec ("track"), or the record's own.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

var kindNames = [...]string{
	"unknown", "track", "identify", "page", "screen", "group", "alias",
	"message", "device", "consent", "erase", "refused",
}

// Names of events that nudge itself reads or writes.
const (
	LocationUpdated   = "Location Updated"
	MessageSent       = "Message Sent"
	MessageFailed     = "Message Failed"
	MessageDelivered  = "Message Delivered"
	MessageOpened     = "Message Opened"
	MessageClicked    = "Message Clicked"
	MessageDismissed  = "Message Dismissed"  // the person took it out of an inbox
	MessageBounced    = "Message Bounced"    // it was accepted, and came back
	MessageComplained = "Message Complained" // it was reported as spam
)

// MessageEvents are the names of the events that only nudge itself writes, about its messages.
func MessageEvents() []string {
	return []string{
		MessageSent, MessageFailed, MessageDelivered, MessageOpened, MessageClicked, MessageDismissed, MessageBounced, MessageComplained,
	}
}

// UndeliverableTrait is the trait in which nudge remembers that an address is dead: undeliverable_email has the e-mail
// address at which a provider says nobody can be reached. Another address in the trait `email` is tried again. kind is
// the trait of the address, "email" or "phone".
func UndeliverableTrait(kind string) string { return "undeliverable_" + kind }

// Flags of an event.
type Flags uint32

const (
	// Imported history never triggers an `on:` rule.
	Imported Flags = 1 << iota
	// Violation marks an event that the tracking plan does not allow but stores.
	Violation
	// KnownAlias marks an alias made with a secret key: it may merge two known people.
	KnownAlias
	// MachineOpen marks an open or click that no human made.
	MachineOpen
)

// Event is one accepted call, as it stands in the queue and as it is written to the store.
// Every time is Unix milliseconds, UTC. An event has a UserID or an AnonymousID or both.
type Event struct {
	Kind        Kind
	Flags       Flags
	MessageID   string // deduplicates within Source
	Source      string // name of the write key, never the key itself
	UserID      string
	AnonymousID string
	PreviousID  string // alias only
	GroupID     string // group only
	Name        string // track: event name; page and screen: page name; KindMessage: see above
	Time        int64  // when it happened, corrected by sentAt for the sender's clock skew
	ReceivedAt  int64  // when the endpoint read it

	// Normalised JSON objects, or nil: no duplicate or colliding paths, no number beyond 64 bits,
	// declared properties converted to their types. Traits also for identify and group.
	Properties json.RawMessage
	Context    json.RawMessage
	Traits     json.RawMessage

	// Raw is the call as received, for the dead letters and for reading again.
	Raw []byte

	// Violations lists what the tracking plan objects to, one short sentence each.
	Violations []string

	// Index and Reason belong to KindRefused: which element of the batch it was (0 for a single
	// call, -1 for a whole body that could not be read) and why it was refused.
	Index  int
	Reason string
}

// DeviceChange is the body of a KindDevice record.
type DeviceChange struct {
	Token       string `json:"token"`
	Platform    string `json:"platform,omitempty"`    // ios, android, web
	App         string `json:"app,omitempty"`         // bundle id or package name
	Environment string `json:"environment,omitempty"` // production, sandbox
	// Device is the app's own id of the device, "" where it says none: of one device the newest token counts.
	Device  string `json:"device,omitempty"`
	Removed bool   `json:"removed,omitempty"`
	// Reason of a removal: "app" (the API), "dead" (a provider said so), "moved" (somebody else identified on it),
	// "replaced" (its device has a newer one).
	Reason string `json:"reason,omitempty"`
}

// ConsentChange is the body of a KindConsent record. An empty Channel or Category means all.
type ConsentChange struct {
	Channel  string `json:"channel,omitempty"`
	Category string `json:"category,omitempty"`
	Granted  bool   `json:"granted"`
}

// PersonID is the internal id of a person: the position of the first event that named them.
type PersonID uint64

// Resolved is an event with its place in the stream and the person it belongs to, as the identity
// writer hands it on. Person is the canonical person at that position (merges before it applied).
type Resolved struct {
	Event
	Pos    Position
	Person PersonID
}

// StoredName is the event's name in the store, which is what `event("…")` in a condition asks for: ""
// for calls that are no occurrences of anything.
func (ev *Event) StoredName() string {
	switch ev.Kind {
	case KindPage:
		return PageViewed
	case KindScreen:
		return ScreenViewed
	case KindTrack, KindMessage:
		return ev.Name
	default:
		return ""
	}
}
