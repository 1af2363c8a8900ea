package plan

import (
	"testing"

	"github.com/stretchr/testify/require"

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
