package segments

import "nudge/events"

// Truth is Kleene's, plus a condition that failed to evaluate.
type Truth uint8

// Truths. Unknown at the top is not true; Failed is `condition_error`.
const (
	False Truth = iota
	True
	Unknown
	Failed
)

// String is the truth in a word.
func (t Truth) String() string {
	switch t {
	case False:
		return "false"
	case True:
		return "true"
	case Unknown:
		return "unknown"
	default:
		return "failed"
	}
}

// Look is one question to the planner: for which people are these conditions true at this instant?
type Look struct {
	At    int64           // t1: every query reads event time ≤ At, Unix ms
	UpTo  events.Position // p1: every query reads pos ≤ UpTo
	After events.Position // p0: for On conditions, arrivals of (After, UpTo] are judged
	Who   []*Who
	// People restricts the look; nil is everyone. With People, an Answer comes for each of them and
	// each Who (for each value with for_each), true or not; without, only True and Failed come.
	People []events.PersonID
	// Values restricts for_each and on.by rules to these values per person; nil is all values.
	Values map[events.PersonID][]string
	// Triggers re-judges `on` conditions for these stored occurrences (held entries), by position.
	Triggers []events.Position
	// Retention in ms: history older than At−Retention is not seen. 0 is no limit.
	Retention int64
	// DefaultZone is the workspace's IANA zone, for people without one.
	DefaultZone string
	// Fences, where set, are those of near(…) and inside(…), a *geo.Fences: of the rule set that asks,
	// whatever has been loaded since. nil: the planner's.
	Fences FenceSet
	// Parts asks for Answer.Parts: what came of each part of the condition.
	Parts bool
	// Anyway makes With, Since and Profile also of those for whom the condition is not true.
	Anyway bool
}

// FenceSet is a set of geofences; package geo has the only one.
type FenceSet interface {
	// Hash identifies what decides.
	Hash() string
}

// Answer is what a Look says of one person, value and condition.
type Answer struct {
	Who      int // index in Look.Who
	Person   events.PersonID
	Value    string
	Truth    Truth
	Err      error          // with Failed
	Features map[string]any // what the condition read, by its source text; for the ledger and explain
	With     map[string]any // the rule's `with` values; absent = missing
	Since    int64          // exit.since, Unix ms; 0: the default applies
	// SincePos is the position of the occurrence whose time Since is; 0: it is not that of one.
	SincePos events.Position
	Trigger  *Occurrence
	Profile  *Profile
	Stands   bool     // True, and no more is said: Tick.Stands
	Parts    []Clause // with Look.Parts
}

// Change is a merge of Person into Into, or the erasure of Person.
type Change struct {
	Pos    events.Position
	Erased bool
	Person events.PersonID
	Into   events.PersonID
}
