package app_test

import (
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/engine/ledger"
)

const nudgeYAML = `
zone: UTC
salt: test
channels:
  log: {adapter: stdout}
keys:
  - {name: web, write_key: key-of-the-web}
`

const cartRule = `
rule: cart-abandoned
category: promotional
schedule: "*/5 * * * *"
for_each: event("Product Added").by("cart_id")
when: it.last.ago >= hours(1) and it.last.ago < days(2)
again: never
exit: {event: Order Completed}
with:
  product: it.last.properties.name
message:
  log: {title: "Still thinking about {{ product }}?", body: "It is waiting."}
`

func TestACartIsRemindedOnceAndAnOrderStopsIt(t *testing.T) {
	w := enginetest.New(t, map[string]string{"nudge.yaml": nudgeYAML, "rules/cart.yaml": cartRule})
	w.To(2 * enginetest.Minute)
	w.Track("ann", "Product Added", map[string]any{"cart_id": "a", "name": "Tea"})
	w.Track("bob", "Product Added", map[string]any{"cart_id": "b", "name": "Pot"})
	w.To(30 * enginetest.Minute)
	w.Track("bob", "Order Completed", map[string]any{"revenue": 12.5})
	w.To(61 * enginetest.Minute)
	require.Empty(t, w.Accepted(), "an hour has not passed")
	w.To(2 * enginetest.Hour)
	require.Equal(t, []string{"ann: Still thinking about Tea?"}, w.Accepted())
	require.Equal(t, []enginetest.Answer{
		{Rule: "cart-abandoned", User: "ann", Value: "a", Reason: ledger.Send},
		{Rule: "cart-abandoned", User: "bob", Value: "b", Reason: ledger.Exited},
	}, sorted(w.Answers()))
}

func sorted(as []enginetest.Answer) []enginetest.Answer {
	slices.SortFunc(as, func(a, b enginetest.Answer) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.User, b.User), cmp.Compare(a.Value, b.Value))
	})
	return as
}
