package ledger_test

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
)

// BenchmarkStart is what a start reads of a ledger of a million decisions: 40,000 people with five rules, who
// entered each four times, once held over night (two rows); each send with an intent and an outcome; 100,000 false
// answers and a million records of ticks (62,500 on each of 16 shards: a day of one in 1.4 s).
func BenchmarkStart(b *testing.B) {
	const shards = 16
	conn := clickhousetest.New(b).Conn()
	ctx := b.Context()
	for _, q := range []string{
		"INSERT INTO decisions (entry, attempt, rule, version, person, user_id, entered, at, tick, reason, due, expires, category, channels, watch, zone, " +
			"features, `with`, profile, devices, shard, seq, index) SELECT hex(MD5(toString(intDiv(number, 5) * 4 + least(number % 5, 3)))), number % 5 = 4, " +
			"concat('rule-', toString(intDiv(number, 5) % 5)), 'c0ffee', intDiv(number, 25) * 65536 + 1 AS person, concat('user-', toString(intDiv(number, 25))), " +
			"toDateTime64(1760000000 + number * 2, 3), toDateTime64(1760000000 + number * 2, 3), 's-20260302T090000.000Z', if(number % 5 = 3, 'held', 'send'), " +
			"if(number % 5 = 3, toDateTime64(1760030000 + number * 2, 3), toDateTime64(0, 3)), toDateTime64(0, 3), 'promotional', ['push'], true, 'Europe/Berlin', " +
			"concat('{\"it.last.ago\":', toString(number), ',\"it.count\":3,\"it.last.properties.name\":\"A thing to wear\"}'), " +
			"'{\"product\":\"A thing to wear\",\"price\":12.5}', concat('{\"user_id\":\"user\",\"traits\":{\"first_name\":\"Ann\",\"plan\":\"gold\"}', repeat(' ', 200), '}'), " +
			"['{\"token\":\"4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e\",\"platform\":\"ios\"}'], " +
			"bitShiftRight(person * 11400714819323198485, 32) % 16, number + 1, 0 FROM numbers(1000000)",
		"INSERT INTO deliveries (entry, channel, adapter, rule, person, status, at, text, shard, seq, index) SELECT entry, 'push', 'apns', rule, person, " +
			"s, at, '{\"title\":\"Still thinking about it?\"}', shard, seq, s = 'accepted' FROM (SELECT * FROM decisions WHERE reason = 'send') ARRAY JOIN ['intent', 'accepted'] AS s",
		"INSERT INTO shard_log (shard, seq, index, kind, person, data, at) SELECT bitShiftRight(person * 11400714819323198485, 32) % 16, 2000000 + number, 0, 'flip', " +
			"(number * 2) * 65536 + 1 AS person, concat('{\"flip\":{\"rule\":\"rule-1\",\"person\":', toString(person), ',\"at\":1760000000000}}'), now64(3) FROM numbers(100000)",
		"INSERT INTO shard_log (shard, seq, index, kind, person, data, at) SELECT number % 16, 3000000 + number, 0, 'tick', 0, " +
			"concat('{\"tick\":{\"id\":\"a-20260302T090000.000Z\",\"kind\":\"', if(intDiv(number, 16) % 10 = 0, 'schedule', 'arrival'), '\",\"t1\":', toString(1760000000000 + number), " +
			"',\"p0\":', toString(number), ',\"p1\":', toString(number + 65535), ',\"hash\":\"0123456789abcdef0123456789abcdef\",\"rules\":[\"rule-1\",\"rule-2\"]}}'), " +
			"now64(3) - INTERVAL 9 DAY + INTERVAL number SECOND FROM numbers(1000000)",
	} {
		require.NoError(b, conn.Exec(ctx, q), q)
	}
	var sizes []string
	require.NoError(b, conn.QueryRow(ctx, "SELECT groupArray(concat(table, ' ', toString(rows), ' rows, ', toString(round(bytes / rows)), ' bytes each')) FROM (SELECT table, sum(rows) AS rows, sum(data_compressed_bytes) AS bytes "+
		"FROM system.parts WHERE active AND database = currentDatabase() AND table IN ('decisions', 'deliveries', 'shard_log') GROUP BY table ORDER BY table)").Scan(&sizes))
	b.Log(strings.Join(sizes, "; "))
	store := ledger.NewStore(conn)
	numbers := make([]int, shards)
	for i := range numbers {
		numbers[i] = i
	}
	load := func(together bool) []*ledger.State {
		states := make([]*ledger.State, shards)
		for i := range states {
			states[i] = ledger.NewState((24 * time.Hour).Milliseconds())
		}
		apply := func(shard int, r ledger.Record) { states[shard].Apply(r) }
		if together {
			require.NoError(b, store.Load(ctx, numbers, 1<<40, apply))
		} else {
			for _, n := range numbers {
				require.NoError(b, store.Load(ctx, []int{n}, 1<<40, apply))
			}
		}
		require.NoError(b, store.LoadDeliveries(ctx, 1<<40, func(r ledger.Record) {
			states[uint64(r.Delivery.Person)*0x9E3779B97F4A7C15>>32%shards].Apply(r)
		}))
		return states
	}
	// The processor's time, since others may use it meanwhile: of this process, and of queries in the engine's.
	cpu := func() (here, engine float64) {
		var use syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &use))
		var micros uint64
		require.NoError(b, conn.QueryRow(ctx, "SELECT sum(value) FROM system.events WHERE event IN ('UserTimeMicroseconds', 'SystemTimeMicroseconds')").Scan(&micros))
		return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds(), float64(micros) / 1e6
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	for _, way := range []string{"each shard by itself", "together", "pruned"} {
		if way == "pruned" {
			var now time.Time
			require.NoError(b, conn.QueryRow(ctx, "SELECT now64(3)").Scan(&now))
			require.NoError(b, store.Prune(ctx, now, 24*time.Hour))
		}
		b.Run(way, func(b *testing.B) {
			before := heap()
			here, engine := cpu()
			var states []*ledger.State
			for b.Loop() {
				states = load(way != "each shard by itself")
			}
			here2, engine2 := cpu()
			b.ReportMetric((here2-here)/float64(b.N), "cpu-s/op")
			b.ReportMetric((engine2-engine)/float64(b.N), "engine-cpu-s/op")
			b.ReportMetric(heap()-before, "MB")
			people := 0
			for _, s := range states {
				s.Each(func(events.PersonID, *ledger.PersonState) { people++ })
			}
			b.ReportMetric(float64(people), "people")
		})
	}
}
