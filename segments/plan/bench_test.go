package plan

import (
	"context"
	"flag"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/segments"
)

// benchEvents is how many events BenchmarkLook makes: a tenth as many people.
var benchEvents = flag.Int64("plan.events", 200_000, "events of BenchmarkLook")

// BenchmarkLook is one look at everybody for four rules of a shop.
func BenchmarkLook(b *testing.B) {
	w := newWorld(b)
	n := *benchEvents
	for at := int64(0); at < n; at += 1_000_000 {
		w.exec(fmt.Sprintf(`INSERT INTO events (person, time, pos, kind, event, source, strs, nums, bools, properties, context)
			SELECT bitShiftLeft(1 + cityHash64(number) %% %d, 16), %s - toIntervalSecond(cityHash64(number, 1) %% (86400 * 90)),
				bitShiftLeft(1000000 + intDiv(number, 100), 16) + number %% 100, 1,
				['Product Viewed','Product Viewed','Product Viewed','Product Viewed','Product Viewed','Product Added','Product Added','Order Completed','Page Viewed','Page Viewed'][1 + cityHash64(number, 2) %% 10], 'web',
				map('product_id', toString(cityHash64(number, 3) %% 5000), 'category', ['shoes', 'hats', 'shirts'][1 + cityHash64(number, 4) %% 3], 'cart_id', toString(cityHash64(number, 6) %% 10)) AS s,
				map('price', (cityHash64(number, 5) %% 10000) / 100) AS m, map('gift', number %% 7 = 0),
				concat('{"product_id":"', s['product_id'], '","category":"', s['category'], '","cart_id":"', s['cart_id'], '","price":', toString(m['price']), '}'),
				'{"ip":"1.2.3.4","library":{"name":"analytics.js","version":"1"}}'
			FROM numbers(%d, %d)`, max(n/10, 1), Instant(t0), at, min(1_000_000, n-at)))
	}
	w.exec("INSERT INTO identities (kind, id, person, pos, time) SELECT 'user', toString(person), person, person, min(time) FROM events GROUP BY person")
	w.exec("OPTIMIZE TABLE events FINAL")

	rules := map[string]segments.WhoSpec{
		"cart":     {ForEach: `event("Product Added").by("cart_id")`, When: `it.last.ago >= hours(1) and it.last.ago < days(2) and not did("Order Completed").since(it.last.at)`},
		"browsing": {When: `event("Product Viewed").within(days(1)).count >= 3 and not did("Product Added").since(now - days(7))`},
		"inactive": {When: `event("*").last.ago > days(30) and event("*").last.ago < days(31)`},
		"loyal":    {When: `event("Order Completed").within(days(60)).sum("price") > 300 and event("Order Completed").top("category") == "shoes"`},
	}
	look := func(names ...string) func(*testing.B) {
		return func(b *testing.B) {
			q := segments.Look{At: t0, UpTo: math.MaxInt64}
			for _, name := range names {
				q.Who = append(q.Who, compile(b, rules[name]))
			}
			p := w.planner(Options{})
			answers := 0
			before := p.Queries()
			for b.Loop() {
				require.NoError(b, p.Look(context.Background(), q, func(a []segments.Answer) error { answers += len(a); return nil }))
			}
			b.ReportMetric(float64(answers)/float64(b.N), "answers/op")
			b.ReportMetric(float64(p.Queries()-before)/float64(b.N), "queries/op")
			b.ReportMetric(float64(n/10)*float64(len(names))*float64(b.N)/b.Elapsed().Seconds(), "judged/s")
		}
	}
	b.Run("cart", look("cart"))
	b.Run("inactive", look("inactive"))
	b.Run("all", look("cart", "browsing", "inactive", "loyal"))
}
