package writer

import (
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/column"

	"nudge/events"
)

// eventRow is one row of the events table.
type eventRow struct {
	*events.Resolved

	name, source any // strings, boxed once for all rows that share them

	strs  pairs[string]
	nums  pairs[float64]
	bools pairs[bool]
	bigs  pairs[int64]
}

// nameOf is the event's name in the store: what `event("…")` in a condition asks for.
func nameOf(ev *events.Event) string {
	switch ev.Kind {
	case events.KindPage:
		return events.PageViewed
	case events.KindScreen:
		return events.ScreenViewed
	case events.KindTrack, events.KindMessage:
		return ev.Name
	default:
		return ""
	}
}

// kept says whether the events table keeps rows of a kind.
func kept(k events.Kind) bool {
	switch k {
	case events.KindTrack, events.KindPage, events.KindScreen, events.KindMessage,
		events.KindIdentify, events.KindGroup, events.KindAlias:
		return true
	default:
		return false
	}
}

// exactly is the largest integer up to which float64 holds every one.
const exactly = 1 << 53

// flattener fills the maps of event rows. It is for one goroutine.
type flattener struct {
	walk  events.Flattener
	boxes map[string]any // boxed strings, so that a key costs no allocation for each row
	row   *eventRow
	leaf  func(string, events.Leaf)

	// Room for the pairs of many rows.
	strs  arena[string]
	nums  arena[float64]
	bools arena[bool]
	bigs  arena[int64]
}

func newFlattener() *flattener {
	f := &flattener{boxes: map[string]any{}}
	f.leaf = f.add
	return f
}

// maxBoxes bounds what is remembered, against senders that put ids into keys.
const maxBoxes = 8192

func (f *flattener) box(s string) any {
	if b, ok := f.boxes[s]; ok {
		return b
	}
	if len(f.boxes) >= maxBoxes {
		clear(f.boxes)
	}
	s = strings.Clone(s) // not a part of a whole message
	b := any(s)
	f.boxes[s] = b
	return b
}

func (f *flattener) fill(r *eventRow) {
	r.name, r.source = f.box(nameOf(&r.Event)), f.box(r.Source)
	f.row = r
	f.strs.lend(&r.strs)
	f.nums.lend(&r.nums)
	f.bools.lend(&r.bools)
	f.bigs.lend(&r.bigs)
	f.walk.Walk(r.Properties, f.leaf)
	f.strs.settle(&r.strs)
	f.nums.settle(&r.nums)
	f.bools.settle(&r.bools)
	f.bigs.settle(&r.bigs)
	f.row = nil
}

func (f *flattener) add(path string, v events.Leaf) {
	key := f.box(path)
	switch v.Kind {
	case events.LeafString:
		f.row.strs.add(key, v.Str)
	case events.LeafFloat:
		f.row.nums.add(key, v.Num)
	case events.LeafInt:
		f.row.nums.add(key, v.Num)
		if v.Int > exactly || v.Int < -exactly {
			f.row.bigs.add(key, v.Int)
		}
	case events.LeafBool:
		f.row.bools.add(key, v.Bool)
	}
}

// arena is memory for the pairs of many rows, so that a row costs no allocation.
type arena[V any] struct {
	keys []any
	vals []V
}

// arenaSize is in pairs; arenaRow is what a row is lent at least. A row with more allocates.
const arenaSize, arenaRow = 8192, 64

func (a *arena[V]) lend(p *pairs[V]) {
	if cap(a.keys)-len(a.keys) < arenaRow {
		a.keys, a.vals = make([]any, 0, arenaSize), make([]V, 0, arenaSize)
	}
	p.keys, p.vals = a.keys[len(a.keys):], a.vals[len(a.vals):]
}

// settle takes back what the row did not need.
func (a *arena[V]) settle(p *pairs[V]) {
	n := len(p.keys)
	if n > cap(a.keys)-len(a.keys) {
		return // it has moved out
	}
	a.keys, a.vals = a.keys[:len(a.keys)+n], a.vals[:len(a.vals)+n]
	p.keys, p.vals = p.keys[:n:n], p.vals[:n:n]
}

// pairs is a map column's value that the driver reads in order and without reflection.
type pairs[V any] struct {
	keys []any
	vals []V
	next int
}

var (
	_ column.IterableOrderedMap = (*pairs[string])(nil)
	_ column.MapIterator        = (*pairs[string])(nil)
)

func (p *pairs[V]) add(key any, v V) {
	p.keys = append(p.keys, key)
	p.vals = append(p.vals, v)
}

// Put is not used: the driver calls it only to scan.
func (p *pairs[V]) Put(key, value any) { p.add(key, value.(V)) }

// Iterator, Next, Key and Value are how the driver reads.
func (p *pairs[V]) Iterator() column.MapIterator { p.next = 0; return p }

// Next moves on.
func (p *pairs[V]) Next() bool { p.next++; return p.next <= len(p.keys) }

// Key is the current key.
func (p *pairs[V]) Key() any { return p.keys[p.next-1] }

// Value is a pointer to the current value: boxing it allocates nothing.
func (p *pairs[V]) Value() any { return &p.vals[p.next-1] }
