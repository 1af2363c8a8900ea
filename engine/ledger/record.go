// Package ledger holds the records of the decision and delivery streams, their codec, the state
// that is a fold over them, and the reader that writes them to ClickHouse.
package ledger

import (
	"encoding/json"

	"nudge/events"
)

// Reason is the one answer of an entry: a closed list that logs, metrics, reports, tests and
// explain share.
type Reason string

// The closed list.
const (
	Send           Reason = "send"
	InDigest       Reason = "in_digest" // it went out with the digest that By names
	Holdout        Reason = "holdout"
	AlreadyTrue    Reason = "already_true"
	NotInRollout   Reason = "not_in_rollout"
	FrequencyCap   Reason = "frequency_cap"
	Outranked      Reason = "outranked"
	NoAddress      Reason = "no_address"
	NoConsent      Reason = "no_consent"
	QuietHours     Reason = "quiet_hours"
	Exited         Reason = "exited"
	NoLongerTrue   Reason = "no_longer_true"
	Expired        Reason = "expired"
	Merged         Reason = "merged"
	TemplateFailed Reason = "template_failed"
	ConditionError Reason = "condition_error"
	Paused         Reason = "paused"
	Shadow         Reason = "shadow"
)

// Held is not an answer but a state on the way to one: the entry waits until Due. Its rows stand in
// the ledger so that a restart and `explain` know of it; reports show it only where it is the last.
const Held Reason = "held"

// Reasons is the list in the order in which reports show it.
func Reasons() []Reason {
	return []Reason{
		Send, InDigest, Holdout, AlreadyTrue, NotInRollout, FrequencyCap, Outranked, NoAddress, NoConsent,
		QuietHours, Exited, NoLongerTrue, Expired, Merged, TemplateFailed, ConditionError, Paused, Shadow,
	}
}

// CountsAs is the reason that an answer counts as, where reports say how often there was which: of somebody who could not be
// reached until their entry expired, that they could not.
func CountsAs(reason Reason, by string) Reason {
	if reason == Expired && by == string(NoAddress) {
		return NoAddress
	}
	return reason
}

// Decision is one answer about one entry: a row of the ledger. Rows are append-only by Entry; the
// last one (highest Pos) is the answer. Times are Unix milliseconds.
type Decision struct {
	// Entry is the stable key of the entry: hex of a hash of (rule, person, value, entered at,
	// trigger position). Attempt counts its decisions (a retry's next answer has Attempt+1).
	Entry   string          `json:"entry"`
	Attempt int             `json:"attempt,omitempty"`
	Rule    string          `json:"rule"`
	Version string          `json:"version"`           // content hash of the rule
	Message string          `json:"message,omitempty"` // send, template_failed: hash of the message, by which one that failed is known
	Person  events.PersonID `json:"person"`
	UserID  string          `json:"user_id,omitempty"` // as known when deciding
	Value   string          `json:"value,omitempty"`
	Entered int64           `json:"entered"`
	At      int64           `json:"at"`   // when decided (the tick's t1)
	Tick    string          `json:"tick"` // id of the tick record
	Reason  Reason          `json:"reason"`
	By      string          `json:"by,omitempty"`   // the rule or cap that won, the stage's detail; of expired the reason that it waited for
	Open    bool            `json:"open,omitempty"` // the entry stays open: tried again at Due
	Held    bool            `json:"held,omitempty"` // the entry is held until Due
	// Due is when an entry that is open or held is tried again; of a send see Escalates.
	Due     int64 `json:"due,omitempty"`
	Wait    bool  `json:"wait,omitempty"` // an address or a consent that comes makes it due
	Expires int64 `json:"expires,omitempty"`
	Since   int64 `json:"since,omitempty"` // exit.since
	// SincePos is the position of the occurrence whose time Since is; 0: it is not that of one.
	SincePos events.Position `json:"since_pos,omitempty"`
	Trigger  events.Position `json:"trigger,omitempty"`

	Category string   `json:"category,omitempty"`
	Variant  string   `json:"variant,omitempty"`
	Channels []string `json:"channels,omitempty"` // send: the channels to use now
	Fallback []string `json:"fallback,omitempty"` // send: channels to try when these fail for good, or as Escalates says
	// Watch: a false answer at a later look matters to `again`.
	Watch bool   `json:"watch,omitempty"`
	Zone  string `json:"zone,omitempty"` // the person's zone as used

	Features Values            `json:"features,omitempty"`
	With     Values            `json:"with,omitempty"`
	Profile  json.RawMessage   `json:"profile,omitempty"` // send: what the templates may print
	Devices  []json.RawMessage `json:"devices,omitempty"` // send: segments.Device for each address chosen

	// Items are the last rows of the entries that a digest takes along. They stand in the digest's row, so that no crash comes
	// between the two; whoever decodes a chunk gets them as rows of their own, before it.
	Items []*Decision `json:"items,omitempty"`
}

// Status is what became of an attempt.
type Status string

// Statuses. Intent is written before sending; all others are outcomes and end the delivery,
// except Retrying, which says why an attempt failed and when the next is due.
const (
	Intent         Status = "intent"
	Retrying       Status = "retrying"
	Accepted       Status = "accepted"
	Failed         Status = "failed" // permanent, on every device
	StoppedExited  Status = "exited" // an exit arrived while queued
	StoppedExpired Status = "expired"
	StoppedPaused  Status = "paused" // its rule was paused while queued
	Unrendered     Status = "template_failed"
)

// Delivery is one record of `deliveries.<shard>`: what became of (entry, channel).
type Delivery struct {
	Entry    string          `json:"entry"`
	Channel  string          `json:"channel"` // as the rule calls it: "push", "email"
	Adapter  string          `json:"adapter,omitempty"`
	Device   string          `json:"device,omitempty"` // short hash of the token, for outcomes of one device
	Rule     string          `json:"rule"`
	Person   events.PersonID `json:"person"`
	Status   Status          `json:"status"`
	At       int64           `json:"at"`
	Attempt  int             `json:"attempt,omitempty"`
	Next     int64           `json:"next,omitempty"`
	Provider string          `json:"provider_id,omitempty"` // the provider's message id
	Error    string          `json:"error,omitempty"`
	Class    string          `json:"class,omitempty"` // channels.Class of the error
	Text     json.RawMessage `json:"text,omitempty"`  // what was sent, as rendered; accepted only
	// Again: a device took it before, and the message has been told as accepted.
	Again bool `json:"again,omitempty"`
}
