package plan

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// Who is at no place costs nothing: the queries of a look at a shop's rules are one for places and
// one for candidates, and more only for those who are found.
func TestQueriesOfPlaces(t *testing.T) {
	fences, problems := geo.Load(fstest.MapFS{"fences/stores.json": {Data: []byte(twoStores)}}, "fences")
	require.Empty(t, problems)
	schema := segments.NewSchema(segments.SchemaOptions{Fences: []string{"stores/1", "stores/2"}})
	condition := func(source string) *segments.Who {
		who, problems := segments.Compile(segments.WhoSpec{When: source}, schema)
		require.Empty(t, problems)
		return who
	}
	near := condition(`near("stores/*", meters(150)).dwell >= minutes(5) and event("Order Completed").last.ago > hours(12)`)
	cart := condition(`event("Product Added").last.ago >= hours(1) and event("Product Added").last.ago < days(2)`)
	either := condition(`inside("stores/2") or did("Order Completed")`)

	w := newWorld(t)
	for person := range uint64(9) {
		w.known("user", string(rune('a'+person)), 1+person, 1+person, t0-40*day)
	}
	w.events(
		happening{person: 1, time: t0 - day, pos: 20, event: "Product Added"},
		happening{person: 2, time: t0 - hour, pos: 21, event: "Order Completed"},
	)
	fix := func(person uint64, ago int64, lat, accuracy float64, pos uint64) []any {
		return []any{person, when(t0 - ago), pos, lat, 0.0, accuracy}
	}
	w.insert("fixes", "person, time, pos, lat, lon, accuracy",
		fix(3, 12*minute, 0, 10, 30), fix(3, 2*minute, 0, 10, 31), // at store 1
		fix(2, 12*minute, 0, 10, 32), fix(2, 2*minute, 0, 10, 33), // has bought
		fix(4, 12*minute, 0, 10, 34), fix(4, 2*minute, 0.5, 10, 35), // left
		fix(5, 40*minute, 0, 10, 36), fix(5, 20*minute, 0, 10, 37), // too old
		fix(6, 12*minute, 0, 500, 38), fix(6, 2*minute, 0, 500, 39), // who knows
		fix(7, 2*minute, 0.01, 10, 40),                                 // at store 2
		fix(8, 12*minute, 0, 10, 41), fix(8, 2*minute, 0.0016, 10, 42), // just left the radius
	)
	p := w.planner(Options{Fences: func() *geo.Fences { return fences }})
	for _, c := range []struct {
		name    string
		who     []*segments.Who
		upTo    uint64
		want    []string
		queries int64
	}{
		{"nobody anywhere", []*segments.Who{near}, 19, []string{}, 1},
		{"nobody anywhere, no cart", []*segments.Who{near, cart}, 19, []string{}, 2},
		{"a cart", []*segments.Who{near, cart}, 29, []string{"1 1"}, 4},
		{"at a store", []*segments.Who{near}, 99, []string{"0 3", "0 8"}, 4},
		{"both", []*segments.Who{near, cart}, 99, []string{"1 1", "0 3", "0 8"}, 5},
		{"without a place", []*segments.Who{either}, 29, []string{"0 2"}, 4},
		{"with or without", []*segments.Who{either}, 99, []string{"0 2", "0 7"}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			look := segments.Look{At: t0, UpTo: events.Position(c.upTo), Who: c.who}
			ask(t, p, look) // who was merged by then is asked once
			before := p.Queries()
			require.Equal(t, c.want, brief(ask(t, p, look)))
			require.Equal(t, c.queries, p.Queries()-before)
		})
	}
}
