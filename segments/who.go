// Package segments says who: the condition language (expr), its types and values, and in its
// sub-packages geofences (geo) and the planner that turns conditions into ClickHouse queries (plan).
package segments

import (
	"encoding/json"
	"strings"

	"nudge/events"
)

// Agg is what a feature asks of a history.
type Agg uint8

// Aggregates and the Go type that the planner delivers for each in Candidate.Values.
const (
	AggCount Agg = iota + 1 // int64
	AggSum                  // float64; what is not a number is skipped
	AggAvg                  // float64 or nil
	AggMin                  // float64 or nil
	AggMax                  // float64 or nil
	AggUniq                 // int64, exact
	AggTop                  // the most frequent value: string, float64, bool or nil; ties: the latest
	AggFirst                // *Occurrence or nil
	AggLast                 // *Occurrence or nil; latest by (time, position)
	AggList                 // []*Occurrence, newest first, at most N (N = 0: MaxOccurrences)
)

// MaxOccurrences bounds a list that names no n of its own.
const MaxOccurrences = 10_000

// Feature is one value that a condition asks of a person's history, and one column of a query.
// Two features with equal Key() are one column.
type Feature struct {
	// Event is the event's name; "*" is every track, page and screen of the app. Page and screen
	// calls are named "Page Viewed" and "Screen Viewed".
	Event string
	// Message, when set, makes this our messages of that rule ("*": any rule); Event is then
	// the Message … event ("Message Sent", "Message Opened", …). Opens and clicks that are marked as
	// a machine's (events.MachineOpen) are not counted.
	Message string
	// Keyed narrows to the occurrences whose for_each property has the candidate's value (`it`).
	Keyed bool
	// Filter narrows to the occurrences for which it is true; nil is all.
	Filter *Pred
	// Within narrows to (now−Within, now], in milliseconds; 0 is all within retention.
	Within int64
	Agg    Agg
	// Path is the property aggregated over ("properties.price"), for sum to top.
	Path string
	N    int // AggList
	// Reads is what judging reads of the occurrences of AggFirst, AggLast and AggList beside their time and
	// name, ReadsLater what everything reads, with `with` and exit.since, which are computed only of those for
	// whom the condition is true. Neither is part of Key: of two features with one key both are read.
	Reads, ReadsLater Reads
	// Later says that judging does not read the feature at all.
	Later bool
}

// Reads is a set of parts of an occurrence.
type Reads uint8

// The parts that are long.
const (
	ReadsProperties Reads = 1 << iota
	ReadsContext
)

// Occurrence is one event of a person's history.
type Occurrence struct {
	Time       int64 // Unix milliseconds
	Pos        events.Position
	Event      string
	Properties json.RawMessage
	Context    json.RawMessage
}

// Leaf is the value at a path ("properties.cart_id", "context.app.name") as the store keeps it by itself; without a
// kind where there is no string, number or boolean.
func (o *Occurrence) Leaf(path string) events.Leaf {
	object, inner := o.Properties, strings.TrimPrefix(path, "properties.")
	if in, ok := strings.CutPrefix(path, "context."); ok {
		object, inner = o.Context, in
	}
	leaf, _ := events.LeafOf(lookup(object, inner))
	return leaf
}

// ForEach is the `for_each: event(E, filter).by(P)` of a rule.
type ForEach struct {
	Event  string
	Filter *Pred
	Path   string // "properties.cart_id"
}

// On is the `on:` of a rule: judged once for each accepted occurrence.
type On struct {
	Event  string
	Filter *Pred  // `where`
	By     string // "properties.parcel_id", or ""
	MaxAge int64  // milliseconds
}

// Device is one address of a person on a phone or browser.
type Device struct {
	Token, Platform, App, Environment string
	LastSeen                          int64
}

// Consent is one recorded consent; empty Channel or Category means all.
type Consent struct {
	Channel, Category string
	Granted           bool
	Time              int64
}

// Profile is what is known of a person as of an instant and a position.
type Profile struct {
	Person    events.PersonID
	UserID    string // the newest known id, "" while anonymous
	Anonymous string // the newest anonymous id, ""
	CreatedAt int64  // time of the person's first event; 0 too where Who.NeedsCreated says that nothing asks for it
	Zone      string // IANA name: latest valid of a device, else trait timezone, else ""
	Locale    string // BCP 47 tag: trait locale, else trait language, else the latest of a device, else ""
	Traits    map[string]json.RawMessage
	Devices   []Device
	Consents  []Consent
}

// LocaleOf is the locale of somebody, "" where it is not known: what they chose, which apps say in the trait locale or
// language, goes before what a device is set to.
func LocaleOf(traits map[string]json.RawMessage, device string) string {
	for _, name := range []string{"locale", "language"} {
		var said string
		if json.Unmarshal(traits[name], &said) == nil {
			if tag, ok := events.Locale(said); ok {
				return tag
			}
		}
	}
	return device
}

// PlaceRef is one near(…) or inside(…) of a condition.
type PlaceRef struct {
	Pattern string  // fence id or glob: "stores/*"
	Meters  float64 // near: the radius; inside: 0
	Inside  bool
}

// Place is the answer of a fold over a person's fixes for one PlaceRef.
type Place struct {
	Known    bool // there was a usable fix
	Now      bool
	Entered  int64   // Unix milliseconds, 0 when not Now
	Dwell    int64   // milliseconds up to the last fix
	Distance float64 // metres from the last usable fix to the winning fence
	FenceID  string
	Fence    json.RawMessage // the fence's GeoJSON properties
}

// EveryoneRef is one `everyone.event(…)….people` of `with:`. Its filter may hold outside values
// ($it, $trigger, $user, earlier names), resolved for a candidate by Who.EveryoneArgs.
type EveryoneRef struct {
	Event  string
	Filter *Pred
	Within int64
	Min    int64 // below it the value is missing
}

// Candidate is one person (and value, and trigger) to judge, with everything that the rule asks.
type Candidate struct {
	Person   events.PersonID
	Value    string // for_each's or on.by's value as text, "" where there is none
	Values   []any  // one for each of Who.Features, typed as its Agg says; for judging those that are Later may be nil
	Places   []Place
	Trigger  *Occurrence
	Profile  *Profile
	Segments []bool // unused: segments are expanded into the condition at compile time
	// DefaultZone is the workspace's IANA zone, for people without one; "" is UTC.
	DefaultZone string
}
