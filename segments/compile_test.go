package segments

import (
	"encoding/json"
	"testing"

	"nudge/events"

	"github.com/stretchr/testify/require"
)

const now = int64(1_700_000_000_000)

func prop(t events.Type) events.Property { return events.Property{Type: t} }

func testSchema() *Schema {
	return NewSchema(SchemaOptions{
		Plan: &events.Plan{
			Events: map[string]events.Declared{
				"Product Added": {Name: "Product Added", Properties: map[string]events.Property{
					"cart_id": prop(events.TypeString), "product_id": prop(events.TypeString), "name": prop(events.TypeString),
					"price": prop(events.TypeDecimal), "quantity": prop(events.TypeInteger), "gift": prop(events.TypeBoolean),
					"expires": prop(events.TypeTime), "tags": {Type: events.TypeArray, Items: events.TypeString},
					"category": {Type: events.TypeString, Enum: []string{"shoes", "shirts", "hats"}}, "address.city": prop(events.TypeString),
				}},
				"Order Completed": {Name: "Order Completed", Properties: map[string]events.Property{
					"order_id": prop(events.TypeString), "revenue": prop(events.TypeDecimal), "number": prop(events.TypeInteger),
				}},
				"Product Viewed":   {Name: "Product Viewed", Properties: map[string]events.Property{"product_id": prop(events.TypeString), "category": prop(events.TypeString)}},
				"Parcel Delivered": {Name: "Parcel Delivered", Properties: map[string]events.Property{"parcel_id": prop(events.TypeString), "weight": prop(events.TypeNumber)}},
			},
			Traits: map[string]events.Property{
				"plan": prop(events.TypeString), "birthday": prop(events.TypeTime), "age": prop(events.TypeInteger), "newsletter": prop(events.TypeBoolean),
				"interval_days": prop(events.TypeNumber), "address.city": prop(events.TypeString),
			},
		},
		Rules:    []string{"cart-abandoned", "welcome"},
		Goals:    map[string]Goal{"cart-abandoned": {Event: "Order Completed", Within: 3 * msDay}},
		Segments: map[string]string{"vip": `event("Order Completed").sum("revenue") > 1000`, "vip here": `segment("vip") and local.hour in 9..17`, "not here": `not (local.hour in 9..17)`, "a": `segment("b")`, "b": `segment("a")`, "broken": `user.traits.plann == "x"`},
		Fences:   []string{"stores/berlin", "stores/paris", "mall"},
	})
}

func mustCompile(t testing.TB, spec WhoSpec) *Who {
	t.Helper()
	w, problems := Compile(spec, testSchema())
	require.Empty(t, problems)
	return w
}

func occ(ago int64, props string) *Occurrence {
	return &Occurrence{Time: now - ago, Event: "Product Added", Properties: json.RawMessage(props), Context: json.RawMessage(`{}`)}
}

func TestCart(t *testing.T) {
	w := mustCompile(t, WhoSpec{
		ForEach:   `event("Product Added").by("cart_id")`,
		When:      "it.last.ago >= hours(1) and it.last.ago < days(2)\n  and not did(\"Order Completed\").since(it.last.at)",
		ExitSince: "it.last.at",
		With: []NamedExpr{
			{"product", `it.last.properties.name`},
			{"others", `everyone.event("Product Viewed", 'properties.product_id == $it.last.properties.product_id').within(days(1)).people`},
		},
	})
	require.Len(t, w.Features(), 2)
	c := &Candidate{Value: "c1", Values: []any{occ(2*msHour, `{"name":"Boots","product_id":"p1"}`), (*Occurrence)(nil)}}
	got, err := w.Judge(now, c)
	require.NoError(t, err)
	require.Equal(t, True, got)
	got, err = w.Judge(now-2*msHour+1, c)
	require.NoError(t, err)
	require.Equal(t, False, got)
	with, err := w.With(now, c, func(i int, args map[string]any) (int64, bool) {
		require.Equal(t, map[string]any{"$it.last.properties.product_id": "p1"}, args)
		return 17, true
	})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"product": "Boots", "others": 17.0}, with)
	since, _, ok := w.Since(c)
	require.True(t, ok)
	require.Equal(t, now-2*msHour, since)
	t.Log(w.Prefilter(), w.Values(c), w.Hash())
}
