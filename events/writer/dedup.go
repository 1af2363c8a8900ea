package writer

import (
	"context"
	"fmt"
	"time"

	"nudge/events"
)

// Deduplication: by message id within a source, first arrival wins. The table of what was seen is
// in the store; in memory is a filter before it, which answers nearly every new event, and the
// exact keys of what is not stored yet and of the last that was, since a client that repeats a request
// mostly does so at once.
//
// What an event is compared with depends on the stream only (its position and the day on which its
// message was appended), never on when this process looks, so that writing again after the
// checkpoint refuses nothing and admits nothing else.

// dedupDays is how long a live event is remembered. The table keeps a day more.
const dedupDays = 7

// importDay is the day under which imported events are remembered: so far ahead that no retention
// reaches it. An import stays idempotent for ever.
const importDay int32 = 47482 // 2100-01-01

// dedupRow is one row of the dedup table: a key that came, where, and on which day.
type dedupRow struct {
	key idKey
	pos events.Position
	day int32
}

// before says whether r makes a duplicate of a. Imported events are compared with everything, live
// ones with live ones of the last days only: what was imported does not hide what happens.
func (r dedupRow) before(a *arrival) bool {
	if r.day == importDay {
		return a.imported && r.pos < a.pos
	}
	return r.pos < a.pos && r.day >= a.day-dedupDays
}

// lookup asks the store for the rows of keys.
type lookup func(ctx context.Context, keys []idKey) (map[idKey][]dedupRow, error)

// dedup decides which events came before. Not safe for concurrent use, except where said.
type dedup struct {
	salt salt
	buf  []byte
	look lookup

	live     filter
	imported *filter // nil until an imported event comes; see loadImported
	// loadImported adds all imported keys of the store up to the checkpoint.
	loadImported func(ctx context.Context, add func(k idKey)) error

	// recent holds what is not yet stored, and what is on the shelf: the newest live and the newest
	// imported row of a key.
	recent struct{ live, imported map[idKey]dedupRow }
	// shelf is a ring of the rows that were stored last, shelved the number of those that ever were.
	shelf   []dedupRow
	shelved int
	room    int // of the shelf
	asked   []idKey
}

// shelfRows bounds what of the store is kept at hand, about 100 bytes each.
const shelfRows = 1 << 17

func newDedup(s salt, look lookup, loadImported func(context.Context, func(idKey)) error) *dedup {
	d := &dedup{salt: s, look: look, loadImported: loadImported, room: shelfRows}
	d.recent.live, d.recent.imported = map[idKey]dedupRow{}, map[idKey]dedupRow{}
	return d
}

// dayOf is the UTC day of an instant in Unix milliseconds.
func dayOf(ms int64) int32 { return int32(ms / (24 * time.Hour).Milliseconds()) }

func (d *dedup) key(source, messageID string) idKey {
	d.buf = append(append(append(append(d.buf[:0], 'm'), source...), 0), messageID...)
	return d.salt.hash(d.buf)
}

// arrival is one event to be judged.
type arrival struct {
	key      idKey
	pos      events.Position
	day      int32
	imported bool
	none     bool // it has no message id and is never a duplicate
}

// judge marks the duplicates among arrivals, which must be in stream order, and appends the rows of
// all others to rows. It asks the store at most once. On an error nothing is remembered.
func (d *dedup) judge(ctx context.Context, as []arrival, duplicate []bool, rows []dedupRow) ([]dedupRow, error) {
	d.asked = d.asked[:0]
	for i := range as {
		a := &as[i]
		if a.none {
			continue
		}
		if a.imported && d.imported == nil {
			if err := d.startImport(ctx); err != nil {
				return rows, err
			}
		}
		if d.isRecent(a) {
			continue // answered without asking
		}
		if d.live.has(a.key) || a.imported && d.imported.has(a.key) {
			d.asked = append(d.asked, a.key)
		}
	}
	var stored map[idKey][]dedupRow
	if len(d.asked) > 0 {
		var err error
		if stored, err = d.look(ctx, d.asked); err != nil {
			return rows, fmt.Errorf("look for duplicates in the store: %w", err)
		}
	}
	for i := range as {
		a := &as[i]
		duplicate[i] = false
		if a.none {
			continue
		}
		duplicate[i] = d.isRecent(a)
		for _, r := range stored[a.key] {
			duplicate[i] = duplicate[i] || r.before(a)
		}
		if !duplicate[i] {
			rows = append(rows, d.remember(a))
		}
	}
	return rows, nil
}

// isRecent says whether what is at hand makes a duplicate of a.
func (d *dedup) isRecent(a *arrival) bool {
	if r, ok := d.recent.live[a.key]; ok && r.before(a) {
		return true
	}
	r, ok := d.recent.imported[a.key]
	return ok && r.before(a)
}

func (d *dedup) remember(a *arrival) dedupRow {
	row := dedupRow{key: a.key, pos: a.pos, day: a.day}
	if a.imported {
		row.day = importDay
		d.imported.add(a.key, 0)
		d.recent.imported[a.key] = row
	} else {
		d.live.add(a.key, a.day)
		d.recent.live[a.key] = row
	}
	return row
}

// startImport builds the filter of imported keys. It is kept while imports come: live traffic does
// not pay for history that was imported once.
func (d *dedup) startImport(ctx context.Context) error {
	f := &filter{}
	if err := d.loadImported(ctx, func(k idKey) { f.add(k, 0) }); err != nil {
		return fmt.Errorf("read the keys of what was imported before: %w", err)
	}
	d.imported = f
	return nil
}

// stored puts rows that the table has now on the shelf, and forgets the exact keys of those that were
// there longest.
func (d *dedup) stored(rows []dedupRow) {
	for _, r := range rows {
		switch {
		case d.room == 0:
			d.forget(r)
		case len(d.shelf) < d.room:
			d.shelf = append(d.shelf, r)
		default:
			oldest := &d.shelf[d.shelved%d.room]
			d.forget(*oldest)
			*oldest = r
		}
		d.shelved++
	}
}

func (d *dedup) forget(r dedupRow) {
	recent := d.recent.live
	if r.day == importDay {
		recent = d.recent.imported
	}
	if recent[r.key].pos == r.pos {
		delete(recent, r.key)
	}
}

// advance drops what is too old at a day.
func (d *dedup) advance(day int32) { d.live.forget(day - dedupDays) }
