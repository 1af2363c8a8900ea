package plan

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/segments"
)

func TestCart(t *testing.T) {
	w := newWorld(t)
	cart := func(id string) map[string]any { return map[string]any{"cart_id": id, "price": 10.5} }
	w.events(
		happening{person: 1, time: t0 - 3*hour, pos: 1, event: "Product Added", props: cart("a")},
		happening{person: 1, time: t0 - 2*hour, pos: 2, event: "Product Added", props: cart("a")},
		happening{person: 1, time: t0 - 10*minute, pos: 3, event: "Product Added", props: cart("b")}, // too fresh
		happening{person: 2, time: t0 - 5*hour, pos: 4, event: "Product Added", props: cart("c")},
		happening{person: 2, time: t0 - 4*hour, pos: 5, event: "Order Completed", props: map[string]any{"cart_id": "c"}},
		happening{person: 3, time: t0 - 3*day, pos: 6, event: "Product Added", props: cart("d")}, // too old
		happening{person: 4, time: t0 - 3*hour, pos: 7, event: "Product Added"},                  // no cart
		happening{person: 5, time: t0 - 3*hour, pos: 8, event: "Product Added", props: map[string]any{"cart_id": 17.0}},
	)
	who := compile(t, segments.WhoSpec{
		ForEach: `event("Product Added").by("cart_id")`,
		When:    `it.last.ago >= hours(1) and it.last.ago < days(2) and not did("Order Completed").since(it.last.at)`,
		With:    []segments.NamedExpr{{Name: "price", Expr: `it.last.properties.price`}, {Name: "times", Expr: `it.count`}},
	})
	p := w.planner(Options{})
	answers := ask(t, p, segments.Look{Who: []*segments.Who{who}})
	require.Equal(t, []string{"0 1 a", "0 5 17"}, brief(answers))
	require.Equal(t, map[string]any{"price": 10.5, "times": 2.0}, answers[0].With)
	require.Equal(t, map[string]any{"times": 1.0}, answers[1].With)
}

func TestArrivals(t *testing.T) {
	w := newWorld(t)
	parcel := func(id any) map[string]any { return map[string]any{"parcel_id": id, "late": true} }
	w.known("user", "u1", 1, 1, t0-day)
	w.merged(2, 1, 50)
	w.events(
		happening{person: 1, time: t0 - 5*day, pos: 2, event: "Order Completed"},
		happening{person: 1, time: t0 - 10*minute, pos: 11, event: "Parcel Delivered", props: parcel("p2")},
		happening{person: 2, time: t0 - 20*minute, pos: 12, event: "Parcel Delivered", props: parcel("p1")},
		happening{person: 1, time: t0 - 2*hour, pos: 13, event: "Parcel Delivered", props: parcel("old")},
		happening{person: 1, time: t0 - minute, pos: 14, event: "Parcel Delivered", props: parcel("import"), flags: events.Imported},
		happening{person: 1, time: t0 - minute, pos: 15, event: "Parcel Delivered", props: map[string]any{"late": true}}, // no parcel
		happening{person: 1, time: t0 - minute, pos: 16, event: "Parcel Delivered", props: map[string]any{"parcel_id": "p3", "late": false}},
		happening{person: 3, time: t0 - minute, pos: 17, event: "Parcel Delivered", props: parcel(5.0)}, // never ordered
		happening{person: 1, time: t0 - minute, pos: 60, event: "Parcel Delivered", props: parcel("next")},
	)
	who := compile(t, segments.WhoSpec{
		When: `did("Order Completed")`, OnEvent: "Parcel Delivered", OnWhere: "properties.late", OnBy: "parcel_id",
		With: []segments.NamedExpr{{Name: "parcel", Expr: "trigger.properties.parcel_id"}},
	})
	p := w.planner(Options{})
	q := segments.Look{Who: []*segments.Who{who}, After: 10, UpTo: 55}
	answers := ask(t, p, q)
	require.Equal(t, []string{"0 1 p1", "0 1 p2"}, brief(answers), "in order of time")
	require.Equal(t, map[string]any{"parcel": "p1"}, answers[0].With)
	require.Equal(t, events.Position(12), answers[0].Trigger.Pos)
	require.Equal(t, "u1", answers[0].Profile.UserID)
	require.Zero(t, answers[0].Profile.CreatedAt, "nothing asks for it")

	said := compile(t, segments.WhoSpec{When: `did("Order Completed")`, OnEvent: "Parcel Delivered", OnWhere: "properties.late", OnBy: "parcel_id", SaysCreated: true})
	answers = ask(t, p, segments.Look{Who: []*segments.Who{said}, After: 10, UpTo: 55})
	require.Equal(t, t0-5*day, answers[0].Profile.CreatedAt)

	q.After = 11
	require.Equal(t, []string{"0 1 p1"}, brief(ask(t, p, q)))

	q.People, q.Triggers = []events.PersonID{1, 2, 3}, []events.Position{13, 16, 17}
	require.Equal(t, []string{"0 1 p3 false", "0 1 old", "0 3 5 false"}, brief(ask(t, p, q)), "held entries are judged whatever their age")
}

func TestGivenPeopleAndValues(t *testing.T) {
	w := newWorld(t)
	add := func(person, pos uint64, cart string) happening {
		return happening{person: person, time: t0 - hour, pos: pos, event: "Product Added", props: map[string]any{"cart_id": cart}}
	}
	w.events(add(1, 1, "a"), add(1, 2, "a"), add(1, 3, "b"), add(2, 4, "c"))
	p := w.planner(Options{})
	who := compile(t, segments.WhoSpec{ForEach: `event("Product Added").by("cart_id")`, When: `it.count >= 2`})
	q := segments.Look{Who: []*segments.Who{who}, People: []events.PersonID{1, 2, 9}}
	require.Equal(t, []string{"0 1 a", "0 1 b false", "0 2 c false"}, brief(ask(t, p, q)))
	q.Values = map[events.PersonID][]string{1: {"b", "never"}}
	require.Equal(t, []string{"0 1 b false", "0 1 never false"}, brief(ask(t, p, q)))
	q.People = nil
	require.Empty(t, brief(ask(t, p, q)))
	q.Values = map[events.PersonID][]string{1: {"a"}, 2: {"a"}}
	require.Equal(t, []string{"0 1 a"}, brief(ask(t, p, q)))
}

func TestEveryone(t *testing.T) {
	w := newWorld(t)
	view := func(person, pos uint64, product string, ago int64) happening {
		return happening{person: person, time: t0 - ago, pos: pos, event: "Product Viewed", props: map[string]any{"product_id": product}}
	}
	w.merged(3, 2, 20)
	w.events(
		view(1, 1, "it's", hour), view(2, 2, "it's", hour), view(3, 3, "it's", hour), view(4, 4, "it's", 2*day), view(5, 5, "it's", hour),
		view(6, 6, "lonely", hour), view(6, 7, "lonely", minute),
		happening{person: 7, time: t0 - hour, pos: 8, event: "Product Viewed"},
	)
	who := compile(t, segments.WhoSpec{
		When: `did("Product Viewed")`,
		With: []segments.NamedExpr{
			{Name: "product", Expr: `event("Product Viewed").last.properties.product_id`},
			{Name: "others", Expr: `everyone.event("Product Viewed", 'properties.product_id == $product').within(days(1)).people`},
		},
	})
	p := w.planner(Options{})
	answers := ask(t, p, segments.Look{Who: []*segments.Who{who}})
	others := map[events.PersonID]any{}
	for _, a := range answers {
		others[a.Person] = a.With["others"]
	}
	// 3 has become 2; one person alone is below the minimum, and so says nothing; 7 viewed nothing that has a name.
	require.Equal(t, map[events.PersonID]any{1: 3.0, 2: 3.0, 4: 3.0, 5: 3.0, 6: nil, 7: nil}, others)

	before := p.Queries()
	ask(t, p, segments.Look{Who: []*segments.Who{who}})
	require.LessOrEqual(t, p.Queries()-before, int64(10), "both products are counted by one query")
}

// A condition that the store cannot compute fails alone.
func TestFailureIsIsolated(t *testing.T) {
	w := newWorld(t)
	w.known("user", "u", 1, 1, t0-day)
	w.events(happening{person: 1, time: t0 - hour, pos: 2, event: "A", props: map[string]any{"name": "x"}})
	good := when1(t, `did("A")`)
	// The store's RE2 refuses a pattern that compiles to so much; Go's regexp does not.
	bad := when1(t, `did("A") and event("A", 'properties.name matches "\\\\p{L}{1000}"').count >= 0`)
	p := w.planner(Options{})
	answers := ask(t, p, segments.Look{Who: []*segments.Who{bad, good}})
	require.Equal(t, []string{"0 0 failed", "1 1"}, brief(stripped(answers)))
	require.Error(t, answers[0].Err)
	// Histories of given people are filtered by Go; it is a count of everybody that the store cannot make.
	counts := compile(t, segments.WhoSpec{When: `did("A")`, With: []segments.NamedExpr{
		{Name: "others", Expr: `everyone.event("A", 'properties.name matches "\\\\p{L}{1000}"').within(days(1)).people`},
	}})
	answers = ask(t, p, segments.Look{Who: []*segments.Who{bad, good, counts}, People: []events.PersonID{1}})
	require.Equal(t, []string{"0 1", "1 1", "2 1 failed"}, brief(stripped(answers)))
}

func stripped(answers []segments.Answer) []segments.Answer {
	out := append([]segments.Answer(nil), answers...)
	for i := range out {
		out[i].Err = nil
	}
	return out
}

// Many conditions take few queries, and nothing is asked twice.
func TestQueries(t *testing.T) {
	w := newWorld(t)
	w.known("user", "u", 1, 1, t0-day)
	w.events(happening{person: 1, time: t0 - hour, pos: 2, event: "A"})
	q := segments.Look{At: t0, UpTo: 100}
	for range 70 {
		q.Who = append(q.Who, when1(t, `event("A").count > 5`), compile(t, segments.WhoSpec{ForEach: `event("A").by("x")`, When: "it.count > 0"}))
	}
	p := w.planner(Options{})
	require.Empty(t, ask(t, p, q))
	require.Equal(t, int64(6), p.Queries(), "merges, how much is stored, and twice two candidate queries for 70 conditions")
	require.Empty(t, ask(t, p, q))
	require.Equal(t, int64(10), p.Queries(), "merges are known by now")

	texts, err := p.Explain(context.Background(), q)
	require.NoError(t, err)
	require.Equal(t, int64(10), p.Queries())
	require.Len(t, texts, 5)
	for _, sql := range texts {
		w.exec("EXPLAIN SYNTAX " + sql)
	}
}

func TestContextEnds(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := w.planner(Options{}).Look(ctx, segments.Look{At: t0, UpTo: 1, Who: []*segments.Who{when1(t, `did("A")`)}}, nil)
	require.ErrorIs(t, err, context.Canceled)
}
