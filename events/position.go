package events

import "fmt"

// Position is the place of an arrival in the event stream: stream sequence × 65,536 plus the
// event's index in its message. It orders arrivals totally and never repeats; it says nothing
// about when something happened (that is Event.Time).
type Position uint64

// MaxPerMessage is the number of events that one stream message may hold. The last index is never
// used, so that the end of a message is greater than every position in it.
const MaxPerMessage = 65_535

// At is the position of the event with the given index (0 ≤ index < MaxPerMessage) in message seq.
func At(seq uint64, index int) Position {
	return Position(seq<<16 | uint64(index))
}

// EndOf is the position after everything in message seq and before everything in seq+1.
func EndOf(seq uint64) Position { return Position(seq<<16 | 0xffff) }

// Seq is the stream sequence of the message.
func (p Position) Seq() uint64 { return uint64(p) >> 16 }

// Index is the index within the message.
func (p Position) Index() int { return int(p & 0xffff) }

// String prints "seq.index", for people.
func (p Position) String() string { return fmt.Sprintf("%d.%d", p.Seq(), p.Index()) }
