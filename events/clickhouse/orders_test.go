package clickhouse_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/clickhousetest"
)

// The queries of ticks are read in the orders made for them: by the many parts that inserts leave, and by
// the one that they become.
func TestOrders(t *testing.T) {
	s := clickhousetest.New(t)
	ctx := context.Background()
	exec := func(q string) { require.NoError(t, s.Conn().Exec(ctx, q), q) }
	exec("SYSTEM STOP MERGES events")
	for _, from := range []string{"0", "10000", "20000", "30000"} {
		exec("INSERT INTO events (person, time, pos, kind, event) SELECT cityHash64(number) % 5000, toDateTime64('2026-02-01 00:00:00', 3) + toIntervalMinute(number), " +
			"65536 * (1 + number), 1, ['Product Viewed', 'Product Added', 'Order Completed'][1 + cityHash64(number, 1) % 3] FROM numbers(" + from + ", 10000)")
	}
	for _, table := range []string{"fixes", "zones"} {
		exec("INSERT INTO " + table + " (person, time, pos) SELECT person, time, pos FROM events")
	}
	exec("INSERT INTO identities (kind, id, person, time, pos) SELECT 'user', hex(cityHash64(pos)), person, time, pos FROM events")
	exec("INSERT INTO devices (person, token, time, pos) SELECT DISTINCT person, toString(person), toDateTime64('2026-02-01 00:00:00', 3), 1 FROM events")
	at := func(minute string) string { return "toDateTime64('2026-02-03 00:" + minute + ":00', 3)" }
	ranges := "(event = 'Product Added' AND time >= " + at("10") + " AND time <= " + at("15") + " OR event = 'Product Viewed' AND time >= " + at("20") + " AND time <= " + at("25") + ")"
	const arrived = "pos > 65536000 AND pos <= 72089600"

	for round, merge := range []string{"", "OPTIMIZE TABLE events FINAL"} {
		if merge != "" {
			exec("SYSTEM START MERGES events")
			exec(merge)
		}
		for name, c := range map[string]struct{ query, order string }{
			"arrivals":            {"SELECT DISTINCT person, event FROM events WHERE " + arrived, "by_pos"},
			"arrivals by name":    {"SELECT person, time, pos, kind, event, flags FROM events WHERE " + arrived + " AND kind IN (1, 3) AND event IN ('Product Added', 'Order Completed')", "by_pos"},
			"crossings":           {"SELECT DISTINCT person, event FROM events WHERE pos <= 99999999999 AND " + ranges, "by_event"},
			"crossings of all":    {"SELECT DISTINCT person FROM events WHERE kind IN (1, 3, 4) AND time >= " + at("10") + " AND time <= " + at("15"), "by_event"},
			"the next crossing":   {"SELECT time FROM events WHERE event = 'Product Added' AND time > " + at("10") + " ORDER BY time LIMIT 1", "by_event"},
			"histories":           {"SELECT person, nums['price'] FROM events WHERE person IN (1, 77, 4000) AND pos <= 99999999999", ".events"},
			"fixes arrived":       {"SELECT DISTINCT person FROM fixes WHERE " + arrived, "by_pos"},
			"fixes that grow old": {"SELECT DISTINCT person FROM fixes WHERE time >= " + at("10") + " AND time <= " + at("15") + " AND pos <= 99999999999", "by_time"},
			"zones":               {"SELECT DISTINCT person FROM zones WHERE " + arrived, "by_pos"},
			"new people":          {"SELECT DISTINCT person FROM identities WHERE " + arrived, "by_pos"},
			"ids of people":       {"SELECT kind, id, person FROM identities WHERE person IN (1, 77, 4000) AND pos <= 99999999999", "by_person"},
			"owners of tokens":    {"SELECT token, person FROM devices WHERE token IN ('1', '77', '4000')", "by_token"},
		} {
			var plan bytes.Buffer
			require.NoError(t, s.SQL(ctx, "EXPLAIN indexes = 1 "+c.query, &plan, "tsv"))
			require.Contains(t, plan.String(), c.order+")", "%s, round %d:\n%s", name, round, plan.String())
		}
	}
}
