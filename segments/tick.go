package segments

import (
	"errors"
	"slices"

	"nudge/events"
)

// Changes says what can change a condition's answer about a person between two looks: docs/planning.md has
// the whitelist of conditions and why the list is complete.
type Changes struct {
	// Sources are the histories that the condition reads.
	Sources []ChangeSource
	// Traits, by name, and the rest of a profile: rows of these that arrive may change the answer.
	Traits  []string
	UserID  bool // user.id
	Created bool // user.created_at, which any event that comes late may set back
	Zone    bool // user.timezone, user.locale
	// Anybody: the condition can be true of somebody who did nothing that it names, so that whoever
	// appears may be in it.
	Anybody bool
	// Places: fixes that arrive, and that become too old to count.
	Places bool
	// Dues: there are instants known for each candidate only; Who.Due tells them.
	Dues bool
	// Full are the parts for which there is no such list: with one, every look is at everybody.
	Full []FullReason
}

// ChangeSource is one history: an occurrence of it that arrives may change the answer, and so may one
// whose age becomes one of Ages.
type ChangeSource struct {
	Event, Message string // as in Feature
	Keyed          bool
	Filter         *Pred // narrows the occurrences; nil is all
	// Ages in ms, sorted, each once, and always with 0: an occurrence dated ahead begins to be seen.
	Ages []int64
	// AgeOnly: all that the condition asks of this history is how old its newest occurrence is, against Ages. One
	// that arrives is no news then where there was one before whose age lies between the same two of them.
	AgeOnly bool
}

// FullReason is why a condition needs a look at everybody at every tick.
type FullReason struct {
	Part     string // "when", "for_each"
	From, To int    // byte offsets in the text of that part
	Why      string // a sentence for the rule's author
}

// Baseline is when a condition was last answered for everybody: as of an instant (Unix ms) and a position.
type Baseline struct {
	At   int64
	UpTo events.Position
}

// Tick asks for whom conditions are true as of an instant and a position, given that they were answered
// for everybody before: what cannot have changed since is not read.
type Tick struct {
	At          int64           // t1, Unix ms
	UpTo        events.Position // p1
	Retention   int64           // as in Look
	DefaultZone string          // as in Look
	Fences      FenceSet        // as in Look

	Who []*Who // about people and values: none of them has On
	// From has the baseline (t0, p0) of each condition. The zero one, or one of a condition with Full
	// reasons, means a look at everybody.
	From []Baseline
	// OwnClock says of each condition, where it is set, that it was answered at the baseline for people of some
	// zones only, so that whoever's zone changes is judged too: schedules on people's own clocks.
	OwnClock []bool
	// Asks are judged whatever has changed, and answered whether true or not.
	Asks []Ask
	// Stands, where it is set, says of somebody for whom a condition is true (with for_each, for a value) that nothing
	// comes of it, because they are in the rule. Of them it is only said that it is. It is not asked about Asks. It may
	// be called concurrently with whatever the caller does.
	Stands func(who int, person events.PersonID, value string) bool
}

// Ask names somebody whom a condition is judged for in any case.
type Ask struct {
	Who    int
	Person events.PersonID
	Value  string // with for_each: this value; "" is all that the person has
}

// Part is what a Tick says of the people with After < id ≤ To. The parts of a Tick come in order and
// leave nobody out: the first starts after 0, the last ends with the largest id there can be.
type Part struct {
	After, To events.PersonID
	// Answers by person, condition and value: those that are True or Failed, and of Asks all.
	Answers []Answer
	// Judged has, for each condition, who of this part was judged, sorted; nil with Everybody.
	Judged [][]events.PersonID
	// Everybody says of each condition whether this part was judged whole.
	Everybody []bool
	// Refused are conditions that the store could not compute: of them nothing is known, in this part and
	// in the ones that follow, and they have no answers in it.
	Refused []Refused
}

// ErrRefused is what errors are of conditions that the store could not compute (memory, time, a type), as
// opposed to what fails of what is known of somebody.
var ErrRefused = errors.New("the store refused a query")

// Refused is a condition that the store could not compute, with the reason: an ErrRefused.
type Refused struct {
	Who int
	Err error
}

// Has says whether the person was judged for the condition in this part: one who was and has no answer is
// not in it.
func (p *Part) Has(who int, person events.PersonID) bool {
	if person <= p.After || person > p.To {
		return false
	}
	if p.Everybody[who] {
		return true
	}
	_, ok := slices.BinarySearch(p.Judged[who], person)
	return ok
}
