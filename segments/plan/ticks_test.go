package plan

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// The example at the end of docs/planning.md.
func TestExampleByHand(t *testing.T) {
	const noon, five = t0, t0 + 5*minute
	clock := func(hours, minutes int64) int64 { return noon + (hours-12)*hour + minutes*minute }
	const ann, bob, cem, dee, eve, fay, gus, hal, others = 1, 2, 3, 4, 5, 6, 7, 8, 9
	w := newWorld(t)
	pos := uint64(0)
	add := func(person uint64, at int64) happening {
		pos++
		return happening{person: person, time: at, pos: pos, event: "Product Added", props: map[string]any{"cart_id": fmt.Sprint("cart of ", person)}}
	}
	sent := func(person uint64, at int64) happening {
		pos++
		return happening{person: person, time: at, pos: pos, kind: events.KindMessage, event: events.MessageSent, props: map[string]any{"rule": "r"}}
	}
	w.events(
		add(cem, clock(11, 2)), add(dee, clock(11, 4)), add(dee, clock(11, 40)), add(eve, clock(12, 3)-2*day),
		add(fay, clock(10, 0)), sent(fay, clock(12, 2)-day), sent(fay, clock(9, 0)), sent(fay, clock(9, 30)),
		add(gus, clock(12, 1)-90*day), add(gus, clock(9, 0)-3*day), add(hal, clock(12, 2)),
	)
	for i := range uint64(50) {
		w.events(add(others+i, clock(9, 0)))
	}
	pos = 1000
	w.events(add(ann, clock(12, 3)), add(bob, clock(10, 30)))

	who := compile(t, segments.WhoSpec{
		ForEach: `event("Product Added").by("cart_id")`,
		When:    `it.last.ago >= hours(1) and it.last.ago < days(2) and event("Message Sent").within(days(1)).count < 3`,
	})
	p := w.planner(Options{})
	q := segments.Tick{
		At: five, UpTo: 1400, Retention: 90 * day, Who: []*segments.Who{who}, From: []segments.Baseline{{At: noon, UpTo: 1000}},
	}
	got := doTick(t, p, q)
	require.Equal(t, "1 2 3 4 5 6 7 8", got.judged[0])
	require.Equal(t, []string{"0 2 cart of 2", "0 3 cart of 3", "0 6 cart of 6"}, got.answers)
}

// A tick for which nothing arrived asks the store nothing while nothing crosses or falls due.
func TestNothingIsAskedWhenIdle(t *testing.T) {
	w := newWorld(t)
	w.known("user", "u1", 1, 1, t0-day)
	w.trait(1, "interval", "2", 2, t0-day)
	crossAt := t0 + 3*hour + minute
	w.events(
		happening{person: 1, time: crossAt - hour, pos: 3, event: "A"}, // dated ahead: two hours from now
		happening{person: 2, time: t0 + 9*hour + minute - 2*day, pos: 4, event: "B"},
	)
	w.trait(2, "interval", "2", 5, t0-day)
	p := w.planner(Options{Changed: func() events.Position { return 5 }})
	q := segments.Tick{At: t0, UpTo: 100, Who: []*segments.Who{
		when1(t, `event("A").last.ago >= hours(1) and event("A").count > 0`), when1(t, `event("B").last.ago > days(user.traits.interval) and event("B").count > 0`),
	}}
	doTick(t, p, q)
	tick := func(upTo uint64) (asked int64, answers []string) {
		q.From = []segments.Baseline{{At: q.At, UpTo: q.UpTo}, {At: q.At, UpTo: q.UpTo}}
		q.At, q.UpTo = q.At+5*minute, events.Position(upTo)
		before := p.Queries()
		got := doTick(t, p, q)
		require.Equal(t, 1, got.parts)
		return p.Queries() - before, got.answers
	}
	asked, _ := tick(100)
	require.Positive(t, asked, "the first to look for crossings")
	something := map[int64][]string{}
	for range 12 * 12 {
		if asked, answers := tick(100); asked > 0 {
			something[q.At-t0] = answers
		}
	}
	// One first begins to be seen, and two cross.
	require.Equal(t, map[int64][]string{2*hour + 5*minute: {}, 3*hour + 5*minute: {"0 1"}, 9*hour + 5*minute: {"1 2"}}, something)

	// What arrives is found, and then it is quiet again, but for what that row crosses.
	w.events(happening{person: 3, time: q.At - hour + 8*minute, pos: 101, event: "A"})
	asked, answers := tick(200)
	require.Positive(t, asked)
	require.Empty(t, answers)
	asked, answers = tick(200)
	require.Positive(t, asked)
	require.Equal(t, []string{"0 3"}, answers)
	for range 100 {
		asked, _ = tick(200)
		require.Zero(t, asked, "at +%d min", (q.At-t0)/minute)
	}
}

// Where very much will cross only later, that is not read now, and is found in its time.
func TestWhatCrossesMuchLaterIsNotRead(t *testing.T) {
	const n = manyRows + 10_000
	w := newWorld(t)
	w.exec(fmt.Sprintf("INSERT INTO events (person, time, pos, kind, event) SELECT number + 1, fromUnixTimestamp64Milli(toInt64(%d + intDiv(number, 100))), number + 1, 1, 'A' FROM numbers(%d)", t0-day, n))
	p := w.planner(Options{})
	who := when1(t, `event("A").last.ago > days(30)`)
	q := segments.Tick{At: t0, UpTo: n, Who: []*segments.Who{who}, From: []segments.Baseline{{At: t0 - 5*minute, UpTo: n}}}
	require.Equal(t, []string{""}, doTick(t, p, q).judged)
	k := p.ahead.known[crossing{stream{ofApp, "A"}, 30 * day}]
	require.Empty(t, k.rows)
	require.Less(t, k.to, t0+29*day)

	q.From[0].At = t0 + 29*day - 1
	q.At = q.From[0].At + 2
	require.Len(t, strings.Fields(doTick(t, p, q).judged[0]), 200, "those of the first two milliseconds")
}

func TestAsks(t *testing.T) {
	w := newWorld(t)
	add := func(person, pos uint64, cart string) happening {
		return happening{person: person, time: t0 - hour, pos: pos, event: "Product Added", props: map[string]any{"cart_id": cart}}
	}
	w.events(add(1, 1, "a"), add(1, 2, "a"), add(1, 3, "b"), add(2, 4, "c"), add(3, 5, "d"), add(3, 6, "d"))
	w.merged(4, 3, 10)
	p := w.planner(Options{})
	keyed := compile(t, segments.WhoSpec{ForEach: `event("Product Added").by("cart_id")`, When: `it.count >= 2`})
	q := segments.Tick{
		At: t0, UpTo: 100, Who: []*segments.Who{keyed, when1(t, `event("Product Added").count > 2`)},
		From: []segments.Baseline{{At: t0 - minute, UpTo: 100}, {At: t0 - minute, UpTo: 100}},
		Asks: []segments.Ask{{Who: 0, Person: 1, Value: "b"}, {Who: 0, Person: 1, Value: "gone"}, {Who: 0, Person: 2}, {Who: 0, Person: 4}, {Who: 1, Person: 2}, {Who: 1, Person: 9}},
	}
	want := []string{"0 1 a", "0 1 b false", "0 1 gone false", "0 2 c false", "1 2 false", "0 3 d", "1 9 false"}
	got := doTick(t, p, q)
	require.Equal(t, want, got.answers)
	require.Equal(t, []string{"1 2 3", "2 9"}, got.judged)

	q.From = nil // nobody is told twice
	want = []string{"0 1 a", "0 1 b false", "0 1 gone false", "1 1", "0 2 c false", "1 2 false", "0 3 d", "1 9 false"}
	got = doTick(t, p, q)
	require.Equal(t, want, got.answers)
	require.Equal(t, []string{"all", "all"}, got.judged)
}

// Of those in a rule already it is said that they are, and nothing is read for their messages.
func TestStands(t *testing.T) {
	w := newWorld(t)
	for person := uint64(1); person <= 3; person++ {
		w.known("user", fmt.Sprint("u", person), person, person, t0-day)
		w.events(happening{person: person, time: t0 - hour, pos: 10 + person, event: "A"}, happening{person: person, time: t0 - 2*hour, pos: 20 + person, event: "B"})
	}
	who := compile(t, segments.WhoSpec{When: `did("A")`, With: []segments.NamedExpr{
		{Name: "bs", Expr: `event("B").count`}, {Name: "others", Expr: `everyone.event("B").within(days(1)).people`},
	}})
	p := w.planner(Options{})
	q := segments.Tick{
		At: t0, UpTo: 100, Who: []*segments.Who{who}, From: []segments.Baseline{{At: t0 - minute, UpTo: 1}},
		Asks: []segments.Ask{{Who: 0, Person: 3}},
	}
	answers := func() []segments.Answer {
		var out []segments.Answer
		require.NoError(t, p.Tick(context.Background(), q, func(part *segments.Part) error {
			out = append(out, part.Answers...)
			return nil
		}))
		return out
	}
	answers()
	before := p.Queries()
	answers()
	whole := p.Queries() - before

	var asked []events.PersonID
	q.Stands = func(who int, person events.PersonID, value string) bool {
		require.Zero(t, who)
		require.Empty(t, value)
		asked = append(asked, person)
		return person == 1
	}
	got := answers()
	require.Equal(t, []string{"0 1", "0 2", "0 3"}, brief(got))
	require.Equal(t, segments.Answer{Person: 1, Truth: segments.True, Stands: true}, got[0])
	require.False(t, got[1].Stands || got[2].Stands)
	require.Equal(t, map[string]any{"bs": 1.0, "others": 3.0}, got[1].With)
	require.Equal(t, got[1].With, got[2].With)
	require.Equal(t, []events.PersonID{1, 2}, asked, "not of whom is asked for")

	q.Asks, q.Stands = nil, func(int, events.PersonID, string) bool { return true }
	before = p.Queries()
	require.Len(t, answers(), 3)
	require.Less(t, p.Queries()-before, whole)
}

func TestRefusedAlone(t *testing.T) {
	w := newWorld(t)
	w.known("user", "u", 1, 1, t0-day)
	w.events(happening{person: 1, time: t0 - hour, pos: 2, event: "A", props: map[string]any{"name": "x"}})
	good := when1(t, `did("A")`)
	// The store's RE2 refuses a pattern that compiles to so much; Go's regexp does not, so that it is only a look
	// at everybody, where the store filters, that cannot be computed.
	bad := when1(t, `did("A") and event("A", 'properties.name matches "\\\\p{L}{1000}"').count >= 0`)
	p := w.planner(Options{})
	q := segments.Tick{At: t0, UpTo: 100, Who: []*segments.Who{good, bad, good}}
	got := doTick(t, p, q)
	require.Equal(t, []string{"0 1", "2 1"}, got.answers)
	require.Equal(t, []int{1}, got.refused)
	require.Empty(t, got.judged[1])

	q.From = []segments.Baseline{{At: t0 - minute, UpTo: 1}, {At: t0 - minute, UpTo: 1}, {At: t0 - minute, UpTo: 1}}
	got = doTick(t, p, q)
	require.Equal(t, []string{"0 1", "1 1", "2 1"}, got.answers)
	require.Empty(t, got.refused)
}

// A look at everybody is cut into parts by ranges of people, however they merged.
func TestParts(t *testing.T) {
	tw := newTown(3, 400)
	w := newWorld(t)
	tw.fill(w)
	fences, problems := geo.Load(fstest.MapFS{"fences/stores.json": {Data: []byte(twoStores)}}, "fences")
	require.Empty(t, problems)
	schema := segments.NewSchema(segments.SchemaOptions{Fences: []string{"stores/1", "stores/2"}})
	var q segments.Tick
	for _, spec := range []segments.WhoSpec{
		{When: `event("A").count > 1`},
		{When: `event("B").count == 0 and user.traits.plan != "free"`},
		{When: `it.count > 0`, ForEach: `event("A").by("cart")`},
		{When: `has(user.id) and not did("C")`},
		{When: `near("stores/*", meters(500)) or event("A").count > 2`},
	} {
		who, problems := segments.Compile(spec, schema)
		require.False(t, segments.HasErrors(problems), "%v", problems)
		q.Who = append(q.Who, who)
	}
	q.At, q.UpTo = t0, 1<<40
	o := Options{Fences: func() *geo.Fences { return fences }}
	whole := doTick(t, w.planner(o), q)
	require.Equal(t, 1, whole.parts)
	require.Greater(t, len(whole.answers), 300)
	o.Part, o.Chunk = 30, 16
	parts := doTick(t, w.planner(o), q)
	require.Greater(t, parts.parts, 10)
	require.Equal(t, whole.answers, parts.answers)

	// With what changed beside it.
	q.From = []segments.Baseline{{}, {At: t0 - hour, UpTo: 1}, {At: t0 - hour, UpTo: 1}, {}, {}}
	mixed := doTick(t, w.planner(o), q)
	require.Equal(t, parts.parts, mixed.parts)
	require.Equal(t, "all", mixed.judged[0])
	require.NotEqual(t, "all", mixed.judged[1])

	// All read at once, or the last days first, some people apart from others, and part of it later, all that changed since the beginning are judged, and whoever was asked for.
	beginning := segments.Baseline{At: t0 - hour, UpTo: 1}
	q.From = []segments.Baseline{beginning, beginning, beginning, beginning, beginning}
	q.Asks = []segments.Ask{{Who: 0, Person: events.PersonID(tw.people[7])}, {Who: 2, Person: events.PersonID(tw.people[9]), Value: "never"}}
	p, later := w.planner(o), w.planner(o)
	p.atOnce, later.atOnce = 1<<40, 0
	p.recentFrom, later.recentFrom = 1<<40, 0
	p.apartFrom, later.apartFrom = 1<<40, 0
	plain := doTick(t, p, q)
	require.Greater(t, len(plain.answers), 100)
	require.Equal(t, plain, doTick(t, later, q))

	for _, err := range []error{nil, errors.New("stop")} {
		calls := 0
		got := w.planner(o).Tick(context.Background(), q, func(*segments.Part) error { calls++; return err })
		require.ErrorIs(t, got, err)
		require.True(t, err == nil || calls == 1)
	}
}

// What falls due by itself is written down before the part is handed on, and again when it is judged again.
func TestDues(t *testing.T) {
	w := newWorld(t)
	w.known("user", "u1", 1, 1, t0-day)
	w.trait(1, "interval", "2", 2, t0-day)
	w.events(happening{person: 1, time: t0 - day, pos: 3, event: "A"})
	who := when1(t, `event("A").last.ago > days(user.traits.interval)`)
	p := w.planner(Options{})
	dues := func() []string {
		var at []string
		require.NoError(t, w.store.Conn().QueryRow(context.Background(),
			"SELECT groupArray(toString(toUnixTimestamp64Milli(at))) FROM dues WHERE person = 1 AND cond = ?", who.Hash()).Scan(&at))
		return at
	}
	q := segments.Tick{At: t0, UpTo: 100, Who: []*segments.Who{who}}
	require.NoError(t, p.Tick(context.Background(), q, func(*segments.Part) error {
		require.Equal(t, []string{strconv.FormatInt(t0+day, 10)}, dues(), "before anybody is told")
		return nil
	}))
	q.From = []segments.Baseline{{At: t0, UpTo: 100}}
	q.At = t0 + 2*day
	for _, p := range []*Planner{p, w.planner(Options{})} { // another process knows as well
		require.Equal(t, []string{"0 1"}, doTick(t, p, q).answers)
	}
	q.At = t0 + 41*day // what was due so long ago is not kept: everybody is looked at
	require.Equal(t, "all", doTick(t, p, q).judged[0])
}

// Whoever comes to a place, stays there, or is not heard of any more.
func TestPlacesChange(t *testing.T) {
	fences, problems := geo.Load(fstest.MapFS{"fences/stores.json": {Data: []byte(twoStores)}}, "fences")
	require.Empty(t, problems)
	who, found := segments.Compile(segments.WhoSpec{When: `near("stores/1", meters(100)) and near("stores/1", meters(100)).entered < now - minutes(7)`},
		segments.NewSchema(segments.SchemaOptions{Fences: []string{"stores/1", "stores/2"}}))
	require.False(t, segments.HasErrors(found), "%v", found)
	require.Empty(t, who.Changes().Full)
	w := newWorld(t)
	fix := func(person, pos uint64, at int64) {
		w.insert("fixes", "person, time, pos, lat, lon, accuracy", []any{person, when(at), pos, 0.0, 0.0, 10.0})
	}
	fix(1, 1, t0-minute)
	fix(2, 2, t0+20*minute-second) // dated ahead
	p := w.planner(Options{Fences: func() *geo.Fences { return fences }})
	q := segments.Tick{At: t0, UpTo: 100, Who: []*segments.Who{who}}
	require.Empty(t, doTick(t, p, q).answers)
	var turned []string
	for range 10 {
		q.From = []segments.Baseline{{At: q.At, UpTo: q.UpTo}}
		q.At += 5 * minute
		got := doTick(t, p, q)
		turned = append(turned, fmt.Sprint((q.At-t0)/minute, ": ", got.judged[0], " → ", got.answers))
	}
	require.Equal(t, []string{
		"5:  → []", "10: 1 → [0 1]", "15: 1 → []", "20: 2 → []", "25:  → []", "30: 2 → [0 2]", "35: 2 → []", "40:  → []", "45:  → []", "50:  → []",
	}, turned)
}

// What a tick reads to find people does not grow with what is stored: a granule or two (8192 rows) for each range.
func TestFindingReadsLittle(t *testing.T) {
	const n, granule = 400_000, 8192
	w := newWorld(t)
	w.exec(fmt.Sprintf("INSERT INTO events (person, time, pos, kind, event) SELECT intHash64(number) %% 40000 + 1, "+
		"fromUnixTimestamp64Milli(toInt64(%d + number * 6480)), number + 1, 1, ['A', 'B', 'C', 'D'][number %% 4 + 1] FROM numbers(%d)", t0-30*day, n))
	w.exec("OPTIMIZE TABLE events FINAL")
	p := w.planner(Options{})
	q := segments.Tick{At: t0, UpTo: n, Retention: 30 * day, Who: []*segments.Who{when1(t, `event("A").last.ago > days(1) and event("B").count > 0`)}}
	q.From = []segments.Baseline{{At: t0 - 5*minute, UpTo: n - 40}}
	queries, err := p.ExplainTick(context.Background(), q)
	require.NoError(t, err)
	rows := map[string]uint64{}
	for _, x := range queries {
		require.True(t, x.Known, x.SQL)
		rows[x.For] += x.Rows
	}
	require.LessOrEqual(t, rows["arrivals"], uint64(2*granule), "%v", rows)
	require.LessOrEqual(t, rows["crossings"], uint64(2*5*2*granule), "five ranges in two months: %v", rows)
	got := doTick(t, p, q)
	require.NotEmpty(t, got.judged[0])
}
