package clickhouse_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
)

const t0 = int64(1_760_000_000_000) // 2025-10-09T08:53:20Z

// fill adds n realistic rows, from position 65536·(first+1) on.
func fill(b *clickhouse.EventBatch, first, n, people int) {
	names := []string{"Product Viewed", "Product Added", "Product Removed", "Checkout Started", "Order Completed"}
	for i := range n {
		k := first + i
		product := k * 7919 % 5000
		b.Str("product_id", fmt.Sprintf("p-%d", product))
		b.Str("name", fmt.Sprintf("Product number %d", product))
		b.Str("category", fmt.Sprintf("category-%d", product%40))
		b.Str("cart_id", fmt.Sprintf("cart-%d", k%people))
		b.Num("price", float64(product%10000)/100)
		b.Num("quantity", float64(k%3+1))
		b.Num("position", float64(k%20))
		b.Bool("in_stock", k%2 == 0)
		if k%100 == 0 {
			b.Num("ean", 9.007199254740993e15)
			b.Big("ean", 9_007_199_254_740_993)
		}
		user := k * 31 % people
		b.Append(&clickhouse.EventRow{
			Person: events.PersonID(user<<16 + 1), Time: t0 + int64(k)*200, Pos: events.At(uint64(k/100+1), k%100), Kind: events.KindTrack,
			Event: names[k%len(names)], Source: "web", UserID: fmt.Sprintf("user-%d", user), AnonymousID: fmt.Sprintf("b1946ac9-%012d", user),
			MessageID: fmt.Sprintf("ajs-next-1760000000-%016x", uint64(k)*0x9E3779B97F4A7C15), ReceivedAt: t0 + int64(k)*200 + 37,
			Properties: fmt.Appendf(nil, `{"product_id":"p-%d","name":"Product number %d","category":"category-%d","cart_id":"cart-%d","price":%d.%02d,"quantity":%d,"position":%d,"in_stock":%t}`,
				product, product, product%40, k%people, product%10000/100, product%100, k%3+1, k%20, k%2 == 0),
			Context: fmt.Appendf(nil, `{"ip":"10.%d.%d.1","userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","locale":"en-GB","page":{"path":"/p/%d","url":"https://shop.example/p/%d"},"library":{"name":"analytics.js","version":"2.1.0"}}`, user%250, k%250, product, product),
		})
	}
}

// What raw is without, the column call has again.
func TestCallsAreKeptByteForByte(t *testing.T) {
	s := clickhousetest.New(t)
	calls := []struct{ raw, properties, context, stored string }{
		{`{"type":"track", "properties" : {"a":1},"context":{"ip":"::"}}`, `{"a":1}`, `{"ip":"::"}`, "{\"type\":\"track\", \"properties\" : \x01,\"context\":\x02}"},
		{`{"context":{"ip":"::"},"properties":{"a":1},"n":2}`, `{"a":1}`, `{"ip":"::"}`, "{\"context\":\x02,\"properties\":\x01,\"n\":2}"},
		{`{"properties":{"a":1},"properties":{"a":1}}`, `{"a":1}`, "", "{\"properties\":\x01,\"properties\":{\"a\":1}}"},
		{`{"context":{"ip":"::"}}`, "", `{"ip":"::"}`, "{\"context\":\x02}"},
		{`{"properties":{"price":"1.5"}}`, `-{"price":1.5}`, "-{}", `{"properties":{"price":"1.5"}}`}, // "-": written anew
		{`{"properties":{"a":{"b":1}}}`, `{"a":{"b":1}}`, `{"b":1}`, `{"properties":{"a":{"b":1}}}`},
		{"", "", "", ""},
	}
	b := clickhouse.NewEventBatch()
	for i, c := range calls {
		raw := []byte(c.raw)
		part := func(text string) []byte {
			if anew, is := strings.CutPrefix(text, "-"); is {
				return []byte(anew)
			}
			from := strings.Index(c.raw, text)
			return raw[from : from+len(text)]
		}
		b.Append(&clickhouse.EventRow{Pos: events.Position(i + 1), Properties: part(c.properties), Context: part(c.context), Raw: raw})
	}
	require.NoError(t, s.InsertEvents(t.Context(), b))
	var rows []struct {
		Raw  string `ch:"raw"`
		Call string `ch:"call"`
	}
	require.NoError(t, s.Conn().Select(t.Context(), &rows, "SELECT raw, call FROM events ORDER BY pos"))
	require.Len(t, rows, len(calls))
	for i, c := range calls {
		require.Equal(t, c.stored, rows[i].Raw)
		require.Equal(t, c.raw, rows[i].Call)
	}
}

func TestEventBatchRoundTrip(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	b := clickhouse.NewEventBatch()
	b.Str("name", "naïve ☕\n\x00'")
	b.Str("address.city", "")
	b.Num("price", math.MaxFloat64)
	b.Bool("yes", true)
	b.Bool("no", false)
	b.Big("id", math.MinInt64)
	b.Append(&clickhouse.EventRow{
		Person: 1 << 63, Time: t0 + 1, Pos: events.EndOf(1<<47 - 1), Kind: events.KindScreen, Event: "Screen Viewed", Source: "ios", UserID: "u", AnonymousID: "a",
		MessageID: "m", ReceivedAt: t0 + 2, Flags: events.Imported | events.MachineOpen, Violations: []string{"one", "two"},
		Properties: []byte(`{"a":{"b":1},"ü":"\n"}`), Context: []byte("{}"), Raw: []byte("\xff\x00raw"),
	})
	b.Append(&clickhouse.EventRow{Time: -1, Pos: 7})
	require.Equal(t, 2, b.Rows())
	require.NoError(t, s.InsertEvents(ctx, b))

	type row struct {
		Person      uint64             `ch:"person"`
		Time        time.Time          `ch:"time"`
		Pos         uint64             `ch:"pos"`
		Kind        uint8              `ch:"kind"`
		Event       string             `ch:"event"`
		Source      string             `ch:"source"`
		UserID      string             `ch:"user_id"`
		AnonymousID string             `ch:"anonymous_id"`
		MessageID   string             `ch:"message_id"`
		ReceivedAt  time.Time          `ch:"received_at"`
		Flags       uint32             `ch:"flags"`
		Violations  []string           `ch:"violations"`
		Strs        map[string]string  `ch:"strs"`
		Nums        map[string]float64 `ch:"nums"`
		Bools       map[string]bool    `ch:"bools"`
		Bigs        map[string]int64   `ch:"bigs"`
		Properties  string             `ch:"properties"`
		Context     string             `ch:"context"`
		Raw         string             `ch:"raw"`
	}
	var rows []row
	require.NoError(t, s.Conn().Select(ctx, &rows, "SELECT * FROM events ORDER BY person DESC"))
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	require.Equal(t, []row{
		{
			Person: 1 << 63, Time: at(t0 + 1), Pos: 1<<63 - 1, Kind: 4, Event: "Screen Viewed", Source: "ios", UserID: "u", AnonymousID: "a",
			MessageID: "m", ReceivedAt: at(t0 + 2), Flags: 9, Violations: []string{"one", "two"},
			Strs: map[string]string{"name": "naïve ☕\n\x00'", "address.city": ""}, Nums: map[string]float64{"price": math.MaxFloat64},
			Bools: map[string]bool{"yes": true, "no": false}, Bigs: map[string]int64{"id": math.MinInt64},
			Properties: `{"a":{"b":1},"ü":"\n"}`, Context: "{}", Raw: "\xff\x00raw",
		},
		{
			Time: at(-1), Pos: 7, ReceivedAt: at(0), Violations: []string{}, Strs: map[string]string{}, Nums: map[string]float64{},
			Bools: map[string]bool{}, Bigs: map[string]int64{},
		},
	}, rows)

	var got string
	require.NoError(t, s.Conn().QueryRow(ctx, "SELECT JSONExtractInt(properties, 'a', 'b') || strs['name'] FROM events WHERE event = 'Screen Viewed'").Scan(&got))
	require.Equal(t, "1naïve ☕\n\x00'", got)
}

func TestEventBatchManyKeys(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	for _, keys := range []int{1, 255, 256, 257, 65_535, 65_536} {
		b := clickhouse.NewEventBatch()
		for round := range 2 { // the second uses the batch's memory again
			b.Reset()
			for i := range keys {
				b.Num(fmt.Sprintf("key %d", i), float64(i))
				b.Append(&clickhouse.EventRow{Time: t0, Pos: events.Position(i), Event: fmt.Sprintf("event %d", i%300)})
			}
			require.NoError(t, s.Conn().Exec(ctx, "TRUNCATE TABLE events"))
			require.NoError(t, s.InsertEvents(ctx, b))
			var rows, right uint64
			require.NoError(t, s.Conn().QueryRow(ctx, "SELECT count(), countIf(mapKeys(nums) = ['key ' || toString(pos)] AND nums['key ' || toString(pos)] = pos AND event = 'event ' || toString(pos % 300)) FROM events").Scan(&rows, &right))
			require.Equal(t, []uint64{uint64(keys), uint64(keys)}, []uint64{rows, right}, "%d keys, round %d", keys, round)
		}
	}
}

func BenchmarkInsertEvents(b *testing.B) {
	s := clickhousetest.New(b)
	ctx := context.Background()
	batch := clickhouse.NewEventBatch()
	const n = 50_000
	k := 0
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		batch.Reset()
		fill(batch, k, n, 100_000)
		k += n
		b.StartTimer()
		require.NoError(b, s.InsertEvents(ctx, batch))
	}
	b.ReportMetric(float64(k)/b.Elapsed().Seconds(), "rows/s")
}
