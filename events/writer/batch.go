package writer

import (
	"nudge/events"
)

// batch is what one round of inserts writes: everything that a run of whole messages led to.
type batch struct {
	first, last uint64 // sequences of the messages, inclusive; 0: empty
	bytes       int    // of the messages
	arrived     int64  // when the first message was appended, Unix ms
	awaited     bool   // somebody waits for it

	rows     []*events.Resolved
	built    block // of rows, by build
	traits   []traitRow
	devices  []deviceRow
	consents []consentRow
	zones    []zoneRow
	fixes    []fixRow
	links    []link
	merges   []merge
	erasures []erasure
	letters  []letter
	dedup    []dedupRow

	accepted, duplicates, dropped int
}

func (b *batch) empty() bool { return b.last == 0 }

// size is what the batch is bounded by.
func (b *batch) size() int {
	return b.accepted + len(b.letters)
}

// end is the position that the store has reached once the batch is in it.
func (b *batch) end() events.Position { return events.EndOf(b.last) }

type traitRow struct {
	person events.PersonID
	pos    events.Position
	time   int64
	key    string
	value  string // JSON
	num    *float64
	str    *string
}

type deviceRow struct {
	person events.PersonID
	pos    events.Position
	time   int64
	events.DeviceChange
}

type consentRow struct {
	person events.PersonID
	pos    events.Position
	time   int64
	events.ConsentChange
}

type zoneRow struct {
	person events.PersonID
	pos    events.Position
	time   int64
	zone   string // "" where the event says only the locale
	locale string // "" where it says only the zone
}

type fixRow struct {
	person events.PersonID
	pos    events.Position
	time   int64
	events.Fix
}

// letter is one row of dead_letters.
type letter struct {
	pos    events.Position
	index  int
	source string
	reason string
	raw    []byte
	at     int64
}
