// Package rules says what to do: the rule file with the position of everything in it, segment files,
// the tracking plan's file, findings and how they are printed. It decides nothing about people;
// engine/workspace compiles what is read here.
package rules

import (
	"time"

	"github.com/robfig/cron/v3"

	"nudge/rules/yamlfile"
)

// Rule is one rule as its file says it, every default filled in. It is immutable after parsing.
// Instants are Unix milliseconds; 0 is none.
type Rule struct {
	Name    string
	Version string // content hash of what the rule says, comments and layout aside: 16 hex digits
	// Hash is as Version, but of `message`, `variants` and their files alone.
	Hash  string
	File  string // path within the workspace
	About string
	Owner string

	Category string // "promotional" unless the file says otherwise
	Priority int    // 0–100, default 50; higher goes first

	// Broadcast says that the rule is a file of broadcasts/: one message, sent once, to everybody for whom its
	// condition is true at its At. See OverAt.
	Broadcast bool

	// Digest is the channel whose messages the rule sends in one, at the instants of its Schedule, to everybody for whom
	// some wait; "" of every other rule. Such a rule looks at nobody.
	Digest string

	// One of Schedule and On is set, never both.
	Schedule *Schedule
	On       *On
	Start    int64 // not before
	End      int64 // not at or after
	SendAt   *TimeOfDay

	ForEach  string // expression, "" when absent
	When     string // expression, "true" when absent under On
	Again    Again
	Backfill bool
	Exits    []Exit
	Goal     *Goal
	With     []Named // in the order of the file: later values may use earlier names

	Holdout float64 // share of people, 0–1
	Rollout float64 // share of people, 0–1; 1 when absent
	Shadow  bool

	// PauseWhen says when the rule is paused by itself; nil: never.
	PauseWhen *PauseWhen

	Deliver Deliver
	// EscalateAfter, with DeliverEscalate alone, is how long after a channel took the message the next one is used.
	EscalateAfter time.Duration
	// Urgent rules try a channel of devices before the others, and ask it to wake the device at once.
	Urgent bool
	// LatestDevice: of the devices that a channel could reach, only the one that was seen last gets the message.
	LatestDevice bool
	WhenBlocked  WhenBlocked
	WhileHeld    WhileHeld
	Expire       time.Duration // of an open or held entry, from its start; default 24 h
	// SaysExpire: the file has an `expire`. Without one, what waits for a digest does so until that goes out.
	SaysExpire bool

	// Message is what is sent without variants, by channel in the order of the file.
	Message []ChannelMessage
	// Variants, when there are any, hold what is sent instead, each complete: what a variant leaves
	// out has been taken from Message.
	Variants []Variant

	// SaysCreated: a message prints user.created_at.
	SaysCreated bool

	Silences []Silence

	// Source holds the place of every expression and name of an event, by part: "rule" (the rule's
	// name), "when", "for_each", "on" (its event), "on.where", "on.by", "exit", "exit.where",
	// "exit.since" (of a list: "exit[0]", "exit[0].where", …), "goal", "goal.where", "goal.value",
	// "with.<name>", "digest".
	Source map[string]*yamlfile.Node
}

// OverAt is the instant (Unix ms) from which on nothing comes of a broadcast any more, wherever people are, given the
// workspace's zone: its At, and its Expire for those that it had to wait for. Of other rules it is 0.
func (r *Rule) OverAt(zone *time.Location) int64 {
	if !r.Broadcast || r.Schedule == nil || r.Schedule.At == nil {
		return 0
	}
	const westernmost = -12 * 60 * 60 // seconds, as zones say it: the last clock to show a time
	switch r.Schedule.Zone {
	case ZonePerson:
		zone = time.FixedZone("", westernmost)
	case "", ZoneWorkspace:
	default:
		if own, err := LoadZone(r.Schedule.Zone); err == nil {
			zone = own
		}
	}
	return r.Schedule.At.In(zone) + r.Expire.Milliseconds()
}

// Transactional says whether the rule skips quiet hours, arbitration, caps and holdout.
func (r *Rule) Transactional() bool { return r.Category == Transactional }

// WakesDevice says whether a device that gets the rule's message is to be woken for it.
func (r *Rule) WakesDevice() bool { return r.Urgent || r.Transactional() }

// Categories that always exist.
const (
	Promotional   = "promotional"
	Transactional = "transactional"
)

// Zones that are not names of the IANA database.
const (
	ZoneWorkspace = "workspace"
	ZonePerson    = "person"
)

// Schedule says when a rule without `on` is looked at: by Cron, or once at At.
type Schedule struct {
	Cron string             // five fields, or @hourly, @daily, …; "" with At
	Spec *cron.SpecSchedule // Cron, parsed; its Location says nothing, Zone does
	At   *LocalTime         // `at:`, or nil
	Zone string             // ZoneWorkspace (default), ZonePerson, or an IANA name
}

// LocalTime is a date and time on the clock of the schedule's zone, or an instant when the file gave
// an offset.
type LocalTime struct {
	Year, Month, Day, Hour, Minute, Second int
	Instant                                int64 // Unix ms when Fixed
	Fixed                                  bool
}

// In is the instant (Unix milliseconds) at which the clock of loc shows the time. A time in a DST gap
// is the gap's end; one in an overlap is its first.
func (t LocalTime) In(loc *time.Location) int64 {
	if t.Fixed {
		return t.Instant
	}
	return firstInstant(t, loc).UnixMilli()
}

// TimeOfDay is minutes after midnight on somebody's clock.
type TimeOfDay int

// On judges the rule once for each accepted occurrence of an event.
type On struct {
	Event  string
	Where  string        // filter, "" when absent
	By     string        // property path "properties.x", "" when absent
	MaxAge time.Duration // default 1 h
}

// AgainMode says when a person who has entered may enter again.
type AgainMode string

// Modes of again; see Again.
const (
	AgainNever     AgainMode = "never"
	AgainEachTime  AgainMode = "each_time"
	AgainEveryTick AgainMode = "every_tick"
	AgainAfter     AgainMode = "after"
)

// Again is a rule's `again`; After is set with AgainAfter alone.
type Again struct {
	Mode  AgainMode
	After time.Duration
}

// Exit closes entries when its event happens after Since.
type Exit struct {
	Event string
	Where string // filter that may use entry.*, "" when absent
	Since string // expression, "" for the default
}

// Goal is the event that the rule wants to see.
type Goal struct {
	Event  string
	Where  string        // filter, "" when absent
	Within time.Duration // after the send; default 7 d
	Value  string        // property path of the amount ("properties.revenue"), "" when absent
}

// Named is one entry of `with`.
type Named struct {
	Name string
	Expr string
}

// Deliver says which of the rule's channels are used.
type Deliver string

// DeliverFirst takes the first channel, in the order of the file, that can reach the person, and DeliverAll all
// that can. DeliverPreferred is DeliverFirst with the channel that the trait PreferredChannel names before all others;
// DeliverEscalate begins as DeliverFirst does and takes the next one where the message stays unopened.
const (
	DeliverFirst     Deliver = "first"
	DeliverAll       Deliver = "all"
	DeliverPreferred Deliver = "preferred"
	DeliverEscalate  Deliver = "escalate"
)

// PreferredChannel is the trait by which a person has a channel of the workspace before the others.
const PreferredChannel = "preferred_channel"

// Action is what becomes of an entry that a stage stops.
type Action string

// Actions. Retry keeps one open entry that is tried again when the reason may have gone; Hold keeps
// it without asking the condition again unless WhileHeld says so; Drop ends it and uses up `again`;
// Next, at a cap only, goes to the next channel.
const (
	Retry Action = "retry"
	Hold  Action = "hold"
	Drop  Action = "drop"
	Next  Action = "next"
)

// WhenBlocked is the rule's choice for each reason that stops an entry for now. All are Retry when
// absent, except FrequencyCap, which is "" when absent: then the cap's own at_cap holds.
type WhenBlocked struct {
	FrequencyCap Action
	Outranked    Action
	NoAddress    Action
	NoConsent    Action
	QuietHours   Action
}

// WhileHeld says whether the condition is asked again when a hold ends.
type WhileHeld string

// Recheck is the default of schedules, Keep of `on` rules.
const (
	Recheck WhileHeld = "recheck"
	Keep    WhileHeld = "keep"
)

// Variant is one arm of an experiment.
type Variant struct {
	Name    string
	Weight  int // relative to the other variants' weights, at least 1
	Message []ChannelMessage
}

// Channels are the names of the channels that the rule writes to, in order.
func (r *Rule) Channels() []string {
	out := make([]string, 0, len(r.Message))
	seen := map[string]bool{}
	add := func(ms []ChannelMessage) {
		for _, m := range ms {
			if !seen[m.Channel] {
				seen[m.Channel] = true
				out = append(out, m.Channel)
			}
		}
	}
	add(r.Message)
	for _, v := range r.Variants {
		add(v.Message)
	}
	return out
}

// MessageOf is what the variant sends on the channel, in all its languages (ChannelMessage.For); variant "" is a rule
// without variants.
func (r *Rule) MessageOf(variant, channel string) (ChannelMessage, bool) {
	ms := r.Message
	for _, v := range r.Variants {
		if v.Name == variant {
			ms = v.Message
		}
	}
	for _, m := range ms {
		if m.Channel == channel {
			return m, true
		}
	}
	return ChannelMessage{}, false
}
