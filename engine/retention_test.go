package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/events/clickhouse"
)

// TestRetentionForgetsNoAgain: what an entry used up stays used up when its values have gone with the
// retention, and what waits goes on waiting.
func TestRetentionForgetsNoAgain(t *testing.T) {
	const often = "schedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\n"
	w := world(t, map[string]string{
		"once":   often + "again: never",
		"yearly": often + "again: {after: 400d}",
		"noted":  "schedule: \"0 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: each_time",
		"digest": often + "again: every_tick",
		"late":   "on: {event: Seen}\nagain: never\nsend_at: \"06:00\"\nexpire: 30h",
	})
	w.Track("ann", "Seen", nil)
	w.To(4 * hour)
	require.Equal(t, []string{"ann: digest", "ann: once", "ann: yearly", "ann: digest", "ann: digest", "ann: digest"}, w.Accepted())
	require.Contains(t, answers(w), "late ann held")

	// Two months pass for the store, whose clock is its own.
	ctx, conn := t.Context(), w.Store.Conn()
	exec := func(q string) { require.NoError(t, conn.Exec(ctx, q), q) }
	ago := "now64(3) - INTERVAL 60 DAY AS at"
	never := "toDateTime64(0, 3, 'UTC')"
	for table, replace := range map[string]string{
		"decisions": ago + ", if(reason = 'held', due, " + never + ") AS due, if(reason = 'held', expires, " + never + ") AS expires", "deliveries": ago,
	} {
		exec("CREATE TABLE aside ENGINE = Memory AS SELECT * REPLACE (" + replace + ") FROM " + table)
		exec("TRUNCATE TABLE " + table)
		exec("INSERT INTO " + table + " SELECT * FROM aside")
		exec("DROP TABLE aside")
	}
	var now time.Time
	require.NoError(t, conn.QueryRow(ctx, "SELECT now64(3)").Scan(&now))
	require.NoError(t, w.Store.Migrate(ctx, clickhouse.Layout{Retention: 30 * 24 * time.Hour}))
	exec("OPTIMIZE TABLE decisions FINAL")
	exec("OPTIMIZE TABLE deliveries FINAL")
	require.NoError(t, ledger.NewStore(conn).Prune(ctx, now, 30*24*time.Hour))
	var values, digests uint64
	require.NoError(t, conn.QueryRow(ctx, "SELECT countIf(features != '' AND reason != 'held'), countIf(rule = 'digest') FROM decisions").Scan(&values, &digests))
	require.Zero(t, values, "values have gone")
	require.EqualValues(t, 3, digests, "what was replaced has gone, but for the newest two and the first")

	w.Restart()
	w.To(22 * hour)
	require.NotContains(t, w.Accepted()[6:], "ann: once")
	require.NotContains(t, w.Accepted()[6:], "ann: yearly")
	require.NotContains(t, w.Accepted(), "ann: noted", "it was true when the rule began")
	require.Contains(t, w.Accepted()[6:], "ann: late")
	require.Contains(t, w.Accepted()[6:], "ann: digest")
}
