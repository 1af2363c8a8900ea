package clickhouse_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/clickhousetest"
)

// BenchmarkInsertByRow is what clickhouse-go's own batches do, for the tables that are written with
// them and, for comparison with BenchmarkInsertEvents, for events.
func BenchmarkInsertByRow(b *testing.B) {
	for _, c := range []struct {
		table  string
		query  string
		append func(batch driver.Batch, i int) error
	}{
		{"traits", "INSERT INTO traits (person, key, value, num, str, time, pos)", func(batch driver.Batch, i int) error {
			num := float64(i)
			return batch.Append(uint64(i), "age", strconv.Itoa(i), &num, nil, time.UnixMilli(t0+int64(i)), uint64(i))
		}},
		{"dedup", "INSERT INTO dedup (hash, check, pos, day)", func(batch driver.Batch, i int) error {
			return batch.Append(uint64(i)*0x9E3779B97F4A7C15, uint64(i), uint64(i), time.UnixMilli(t0))
		}},
		{"decisions", "INSERT INTO decisions (entry, rule, version, person, user_id, value, entered, at, tick, reason, due, category, channels, features, `with`, profile, shard, seq, `index`)", func(batch driver.Batch, i int) error {
			at := time.UnixMilli(t0 + int64(i))
			return batch.Append(fmt.Sprintf("%016x", i), "cart-abandoned", "0123456789abcdef", uint64(i), fmt.Sprintf("user-%d", i), fmt.Sprintf("cart-%d", i), at, at, "tick-1", "send", at,
				"promotional", []string{"push", "email"}, `{"it.last.ago":3600000}`, `{"product":"Shoes"}`, `{"user":{"id":"u","traits":{"plan":"gold"}}}`, uint16(i%16), uint64(i), uint32(0))
		}},
		{"events", "INSERT INTO events (person, time, pos, kind, event, source, user_id, anonymous_id, message_id, received_at, flags, violations, strs, nums, bools, bigs, properties, context, raw)", func(batch driver.Batch, i int) error {
			at := time.UnixMilli(t0 + int64(i))
			return batch.Append(uint64(i), at, uint64(i), uint8(1), "Product Viewed", "web", fmt.Sprintf("user-%d", i), fmt.Sprintf("b1946ac9-%012d", i), fmt.Sprintf("ajs-next-%032x", i), at, uint32(0), []string{},
				map[string]string{"product_id": "p-1", "name": "Product number 1", "category": "category-1", "cart_id": "cart-1"}, map[string]float64{"price": 1, "quantity": 2, "position": 3}, map[string]bool{"in_stock": true}, map[string]int64{},
				`{"product_id":"p-1","name":"Product number 1","category":"category-1","cart_id":"cart-1","price":1,"quantity":2,"position":3,"in_stock":true}`, `{"ip":"10.1.2.3","locale":"en-GB"}`, "")
		}},
	} {
		b.Run(c.table, func(b *testing.B) {
			s := clickhousetest.New(b)
			const n = 50_000
			for b.Loop() {
				batch, err := s.Conn().PrepareBatch(context.Background(), c.query)
				require.NoError(b, err)
				for i := range n {
					require.NoError(b, c.append(batch, i))
				}
				require.NoError(b, batch.Send())
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
