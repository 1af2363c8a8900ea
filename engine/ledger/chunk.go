package ledger

import (
	"encoding/json"
	"fmt"

	"nudge/events"
)

// MaxChunk is the size in bytes at which a chunk of records is published.
const MaxChunk = 512 << 10

// Tick is one look at people: what was asked, and as of which instant and position. It is written
// to a shard's stream before anything is judged, so that a tick is repeated with the same answers:
// the newest one of each kind is, at every start, since nothing says that it was completed.
type Tick struct {
	ID    string          `json:"id"`
	Kind  string          `json:"kind"` // TickSchedule, TickFirst, TickArrival
	T1    int64           `json:"t1"`
	P0    events.Position `json:"p0"`
	P1    events.Position `json:"p1"`
	Hash  string          `json:"hash"`  // of rules, segments and fences
	Rules []string        `json:"rules"` // those whose schedule fell due
	// Zones restricts a rule to people of these zones, for schedules on the person's own clock.
	Zones map[string][]string `json:"zones,omitempty"` // by rule
	// Idle: nobody was judged. It stands on one shard, so that it is not run again, and may wait in the
	// stream for something to be copied with.
	Idle bool `json:"idle,omitempty"`
	// Looks says how each rule decides who is in it (a hash), by rule: one without was not looked at.
	Looks map[string]string `json:"looks,omitempty"`
	// From is where each rule's look begins, by rule: its last one that was carried through. A rule without
	// one, or whose last look decided otherwise, looks at everybody.
	From map[string]Base `json:"from,omitempty"`
}

// Base is a look at people: as of when, and how it decided (Tick.Looks).
type Base struct {
	At   int64           `json:"at"`
	UpTo events.Position `json:"up_to"`
	Hash string          `json:"hash"`
	Idle bool            `json:"idle,omitempty"` // nobody was judged: Tick.Idle
}

// Pause says that a rule decides nothing any more. What pauses it says how it ends: one by the store until its file
// says something else than under Hash, all by a Resume. On a schedule the rule then begins with a first look; of an
// `on:` rule a Resume is written in both cases.
type Pause struct {
	Rule   string  `json:"rule"`
	Hash   string  `json:"hash,omitempty"`
	Reason string  `json:"reason"`
	At     int64   `json:"at"`
	By     PauseBy `json:"by,omitempty"`
	Who    string  `json:"who,omitempty"`   // of one by a person
	Asked  int64   `json:"asked,omitempty"` // of one by a person: Request.At
}

// PauseBy is what pauses a rule.
type PauseBy string

// What pauses a rule: the store that cannot compute its condition, its pause_when, or a person.
const (
	PauseByStore  PauseBy = ""
	PauseByGuard  PauseBy = "pause_when"
	PauseByPerson PauseBy = "person"
)

// Stands says that the pause does not end by itself.
func (p Pause) Stands() bool { return p.By != PauseByStore }

// Resume says that a paused rule goes on although nothing of it has changed: somebody wants it to. On a schedule it
// does so with a first look, at its first instant after At; an `on:` rule hears what comes from then on.
type Resume struct {
	Rule   string `json:"rule"`
	At     int64  `json:"at"`
	Who    string `json:"who,omitempty"`
	Reason string `json:"reason,omitempty"`
	Asked  int64  `json:"asked,omitempty"` // Request.At
}

// Counted says from when on the messages of a rule count for its pause_when: a version of it has gone live.
type Counted struct {
	Rule    string `json:"rule"`
	Version string `json:"version"`
	From    int64  `json:"from"` // that came to an end then or later
}

// Unsubscribed says that a message was followed by a consent withdrawn, for the rule's pause_when. It names nobody,
// so that it stays when somebody who unsubscribes is erased.
type Unsubscribed struct {
	Rule    string          `json:"rule"`
	Entry   string          `json:"entry"`
	Channel string          `json:"channel"`
	Sent    int64           `json:"sent"` // when a provider took the message
	At      int64           `json:"at"`   // when the consent was withdrawn
	Pos     events.Position `json:"pos"`  // of that
}

// Overrun says that the next tick of rules was due before one of theirs had ended. It is a note for reports.
type Overrun struct {
	Tick  string   `json:"tick"`
	Rules []string `json:"rules"`
	At    int64    `json:"at"`   // for when the tick was planned
	Done  int64    `json:"done"` // when it had ended
}

// Kinds of tick. A schedule tick also takes along what fell due by itself. A first tick is of rules whose schedule fell
// due and whose look at everybody only notes people: others go on while it is under way.
const (
	TickSchedule = "schedule"
	TickFirst    = "first"
	TickArrival  = "arrival"
)

// Flip says that the condition of a slot was false at a look.
type Flip struct {
	Rule   string          `json:"rule"`
	Person events.PersonID `json:"person"`
	Value  string          `json:"value,omitempty"`
	At     int64           `json:"at"`
}

// Looked says that the first look of a rule as it decides now (Hash) is complete on this shard.
type Looked struct {
	Rule string `json:"rule"`
	Hash string `json:"hash"`
	At   int64  `json:"at"`
}

// Move hands what a shard knows of a person to the person they were merged into. The losing shard
// writes it with Out set, then the winning shard writes the same without; where one shard has both,
// it is written once, without. It is harmless when repeated.
type Move struct {
	From  events.PersonID `json:"from"`
	To    events.PersonID `json:"to"`
	Pos   events.Position `json:"pos"` // of the merge in the event stream
	Out   bool            `json:"out,omitempty"`
	State *PersonState    `json:"state,omitempty"`
	// Part counts the records of one that is too large for one, from 0, which begins a series anew; More
	// says that another follows. It counts when all are there (Split).
	Part int  `json:"part,omitempty"`
	More bool `json:"more,omitempty"`
}

// Forget drops everything about an erased person.
type Forget struct {
	Person events.PersonID `json:"person"`
	Pos    events.Position `json:"pos"`
}

// Record is one of its fields.
type Record struct {
	Tick     *Tick     `json:"tick,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
	Flip     *Flip     `json:"flip,omitempty"`
	Looked   *Looked   `json:"looked,omitempty"`
	Pause    *Pause    `json:"pause,omitempty"`
	Resume   *Resume   `json:"resume,omitempty"`
	Counted  *Counted  `json:"counted,omitempty"`
	Overrun  *Overrun  `json:"overrun,omitempty"`
	Move     *Move     `json:"move,omitempty"`
	Forget   *Forget   `json:"forget,omitempty"`
	Delivery *Delivery `json:"delivery,omitempty"` // only on the deliveries stream

	Unsubscribed *Unsubscribed `json:"unsubscribed,omitempty"`
}

// Chunk is the payload of one message of a decision or delivery stream.
type Chunk struct {
	V       int      `json:"v"`
	Records []Record `json:"records"`
}

// EncodeChunk encodes records as one message.
func EncodeChunk(records []Record) ([]byte, error) {
	data, err := json.Marshal(Chunk{V: 1, Records: records})
	if err != nil {
		return nil, fmt.Errorf("encode %d ledger records: %w", len(records), err)
	}
	return data, nil
}

// unfolded makes the items of digests rows of their own.
func unfolded(records []Record) []Record {
	items := 0
	for i := range records {
		if d := records[i].Decision; d != nil {
			items += len(d.Items)
		}
	}
	if items == 0 {
		return records
	}
	out := make([]Record, 0, len(records)+items)
	for _, r := range records {
		if d := r.Decision; d != nil {
			for _, item := range d.Items {
				out = append(out, Record{Decision: item})
			}
			d.Items = nil
		}
		out = append(out, r)
	}
	return out
}
