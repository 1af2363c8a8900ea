package segments

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	const when = `it.last.ago >= hours(1) and
  not did("Order Completed").since(it.last.at) and
  (user.traits.plan == "pro" or segment("vip"))`
	w := mustCompile(t, WhoSpec{ForEach: `event("Product Added").by("cart_id")`, When: when})
	c := world{values: map[string]any{`it.of("Product Added").last`: occ(2*msHour, `{}`), completed + `sum("revenue")`: 7.0}}.candidate(t, w)
	type line struct {
		depth          int
		operator, text string
		truth          Truth
		values         map[string]any
	}
	var got []line
	for _, cl := range w.Explain(now, c) {
		require.NoError(t, cl.Err)
		got = append(got, line{cl.Depth, cl.Operator, cl.Text, cl.Truth, cl.Values})
	}
	at := instantText(instant(now - 2*msHour))
	require.Equal(t, []line{
		{0, "and", when, Unknown, nil},
		{1, "", "it.last.ago >= hours(1)", True, map[string]any{"it.last.at": at}},
		{1, "", `not did("Order Completed").since(it.last.at)`, True, map[string]any{"it.last.at": at, "event(\"Order Completed\").last.at": nil}},
		{1, "or", `user.traits.plan == "pro" or segment("vip")`, Unknown, nil},
		{2, "", `user.traits.plan == "pro"`, Unknown, map[string]any{"user.traits.plan": nil}},
		{2, "", `segment("vip")`, False, map[string]any{`event("Order Completed").sum("revenue")`: 7.0}},
	}, got)
}
