package plan

import (
	"slices"
	"strings"
	"sync"

	"nudge/events"
)

// DefaultTail is how many bytes of events a Tail keeps.
const DefaultTail = 32 << 20

// Tail keeps the newest events that `on` conditions are judged for, as the writer resolved them, so that a look at
// what has just arrived need not read it back from the store. It keeps what it was asked for once, from then on; what
// it has not, or not any more, is read from the store. It is safe for concurrent use.
type Tail struct {
	mu      sync.Mutex
	most    int               // bytes
	watched map[stream]uint64 // positions after which it has all rows of a stream
	rows    []row             // by position; what is beyond the end of a slice that was handed out may grow, nothing in it changes
	bytes   int
	dropped uint64 // up to here rows were left out again, or never came
	upTo    uint64
}

// NewTail makes a Tail that keeps so many bytes; 0: DefaultTail.
func NewTail(most int) *Tail {
	if most <= 0 {
		most = DefaultTail
	}
	return &Tail{most: most, watched: map[stream]uint64{}}
}

// Add takes in events in stream order, and the position that they reach up to, and reports whether a look will ask for one
// of them. Nothing of the batch is kept.
func (t *Tail) Add(batch []events.Resolved, upTo events.Position) (awaited bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.upTo == 0 { // what came before the first batch is in the store alone
		t.dropped = uint64(upTo)
	}
	for i := range batch {
		e := &batch[i]
		if len(t.watched) == 0 || !t.watches(rowOf(e.Kind, e.StoredName())) {
			continue
		}
		r := row{}
		r.set(uint64(e.Person), e)
		r.of.Event = strings.Clone(r.of.Event) // a part of the message that it came in
		r.of.Properties, r.of.Context = slices.Clone(r.of.Properties), slices.Clone(r.of.Context)
		t.rows = append(t.rows, r)
		t.bytes += r.size()
		awaited = true
	}
	t.upTo = max(t.upTo, uint64(upTo))
	n := 0
	for ; n < len(t.rows) && t.bytes > t.most; n++ {
		t.bytes -= t.rows[n].size()
	}
	t.drop(n)
	return awaited
}

func (t *Tail) watches(s stream) bool {
	for _, of := range append(s.wider(), s) {
		if _, is := t.watched[of]; is {
			return true
		}
	}
	return false
}

// rowCost is what a row takes beside its texts, about.
const rowCost = 256

func (r *row) size() int { return rowCost + len(r.of.Properties) + len(r.of.Context) }

// drop leaves out the first n rows.
func (t *Tail) drop(n int) {
	if n > 0 {
		t.dropped = t.rows[n-1].pos
		t.rows = slices.Clone(t.rows[n:])
	}
}

// arrived are the rows in (after, upTo] of streams, and perhaps of others, unless it has not all of them. What lies
// before them is not asked for again.
func (t *Tail) arrived(streams map[stream]bool, after, upTo uint64) (rows []row, all bool) {
	if t == nil {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all = after >= t.dropped && upTo <= t.upTo
	for s := range streams {
		from, is := t.watched[s]
		if !is {
			from, t.watched[s] = t.upTo, t.upTo
		}
		all = all && after >= from
	}
	if !all {
		return nil, false
	}
	first := t.find(after)
	rows = t.rows[first:t.find(upTo)]
	for _, r := range t.rows[:first] {
		t.bytes -= r.size()
	}
	t.drop(first)
	return rows, true
}

// find is the index of the first row beyond a position.
func (t *Tail) find(pos uint64) int {
	i, _ := slices.BinarySearchFunc(t.rows, pos, func(r row, pos uint64) int {
		if r.pos <= pos {
			return -1
		}
		return 1
	})
	return i
}
