package plan

import (
	"math/rand/v2"
	"strconv"

	"nudge/events"
	"nudge/segments/geo"
)

const twoStores = `{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": "1", "geometry": {"type": "Point", "coordinates": [0, 0]}},
  {"type": "Feature", "id": "2", "properties": {"radius": 400}, "geometry": {"type": "Point", "coordinates": [0, 0.01]}}]}`

// town is many people who the store is filled with.
type town struct {
	people   []uint64
	rows     []happening
	traits   []traitRow
	ids      []idRow
	fixes    []fixRow
	merges   []merge
	erasures map[uint64]uint64
}

type traitRow struct {
	person, pos uint64
	key, token  string
	time        int64
}

type idRow struct {
	kind, id    string
	person, pos uint64
	time        int64
}

type fixRow struct {
	person uint64
	geo.Fix
}

var (
	eventNames = []string{"A", "B", "C"}
	categories = []any{"x", "y", "it's", 7.0, true, "z.z"}
	prices     = []any{0.0, 1.25, 10.0, 19.99, 0.1, 0.2, "10", 100.5, nil}
	carts      = []any{"c1", "c2", 3.0, "ünï", nil}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// newTown makes people with short, dense histories, so that windows, ties and merges matter.
func newTown(seed uint64, n int) *town {
	r := rand.New(rand.NewPCG(seed, 7))
	tw := &town{erasures: map[uint64]uint64{}}
	pos := uint64(0)
	next := func() uint64 { pos++; return pos }
	ago := func() int64 {
		switch r.IntN(6) {
		case 0:
			return t0 - r.Int64N(3)*hour // on the edges of windows, and ties
		case 1:
			return t0 + r.Int64N(2)*minute // now, and not due yet
		case 2:
			return t0 - r.Int64N(40)*day
		}
		return t0 - r.Int64N(4*hour)
	}
	for range n {
		person := next()
		tw.people = append(tw.people, person)
		first := t0
		for range r.IntN(9) {
			h := happening{person: person, time: ago(), pos: next(), event: pick(r, eventNames), context: map[string]any{"app": pick(r, []any{"ios", "web"})}}
			h.props = map[string]any{"price": pick(r, prices), "category": pick(r, categories), "cart": pick(r, carts)}
			switch r.IntN(12) {
			case 0:
				h.kind, h.event = events.KindPage, "Page Viewed"
			case 1:
				h.kind, h.event = events.KindIdentify, ""
			case 2:
				h.event = events.LocationUpdated
			case 3:
				h.kind, h.event = events.KindMessage, pick(r, []string{events.MessageSent, events.MessageOpened})
				h.props["rule"] = pick(r, []any{"r1", "r2"})
				if r.IntN(3) == 0 {
					h.flags = events.MachineOpen
				}
			}
			first = min(first, h.time)
			tw.rows = append(tw.rows, h)
		}
		for range r.IntN(4) {
			x := traitRow{person, next(), pick(r, []string{"plan", "age", "vip"}), pick(r, []string{`"pro"`, `"free"`, `30`, `17.5`, `true`, `null`, `"30"`}), ago()}
			first = min(first, x.time)
			tw.traits = append(tw.traits, x)
		}
		for range r.IntN(5) {
			f := geo.Fix{Time: t0 - r.Int64N(90)*minute, Pos: events.Position(next()), Lat: r.Float64() * 0.02, Accuracy: pick(r, []float64{0, 20, 500})}
			first = min(first, f.Time)
			tw.fixes = append(tw.fixes, fixRow{person, f})
		}
		kind := pick(r, []string{"user", "anonymous"})
		tw.ids = append(tw.ids, idRow{kind, kind + strconv.FormatUint(person, 10), person, person, first})
	}
	// Some merge, some of them on; a few are erased.
	canonical := func(p uint64) uint64 {
		for _, m := range tw.merges {
			if m.loser == p {
				p = m.winner
			}
		}
		return p
	}
	for range n / 4 {
		a, b := canonical(pick(r, tw.people)), canonical(pick(r, tw.people))
		if a != b {
			tw.merges = append(tw.merges, merge{a, b, next()})
		}
	}
	for range n / 30 {
		tw.erasures[canonical(pick(r, tw.people))] = next() - r.Uint64N(pos/2)
	}
	// What arrives after the merges, under the old ids and the new.
	for range n / 2 {
		p := pick(r, tw.people)
		if r.IntN(2) == 0 {
			p = canonical(p)
		}
		tw.rows = append(tw.rows, happening{person: p, time: ago(), pos: next(), event: pick(r, eventNames), props: map[string]any{"price": 1.25, "cart": "c1"}})
	}
	return tw
}

// fill writes the town into the store.
func (tw *town) fill(w *world) {
	w.events(tw.rows...)
	w.insert("traits", "person, key, value, time, pos", rowsOf(tw.traits, traitRow.row)...)
	w.insert("identities", "kind, id, person, pos, time", rowsOf(tw.ids, idRow.row)...)
	w.insert("merges", "loser, winner, pos, time", rowsOf(tw.merges, merge.row)...)
	w.insert("fixes", "person, time, pos, lat, lon, accuracy", rowsOf(tw.fixes, fixRow.row)...)
	for person, pos := range tw.erasures {
		w.insert("erasures", "hash, person, time, pos, done_at", []any{"h", person, when(t0), pos, when(0)})
	}
}

func (x traitRow) row() []any { return []any{x.person, x.key, x.token, when(x.time), x.pos} }
func (x idRow) row() []any    { return []any{x.kind, x.id, x.person, x.pos, when(x.time)} }
func (x merge) row() []any    { return []any{x.loser, x.winner, x.pos, when(t0)} }
func (x fixRow) row() []any {
	return []any{x.person, when(x.Time), uint64(x.Pos), x.Lat, x.Lon, x.Accuracy}
}

func rowsOf[T any](from []T, row func(T) []any) [][]any {
	out := make([][]any, len(from))
	for i, x := range from {
		out[i] = row(x)
	}
	return out
}
