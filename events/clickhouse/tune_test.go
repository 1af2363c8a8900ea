package clickhouse_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
)

// Tables made by an older nudge get the settings at the next start, and nothing is changed twice.
func TestTuned(t *testing.T) {
	ctx := context.Background()
	s := clickhousetest.New(t)
	settings := func(table string) (text string) {
		require.NoError(t, s.Conn().QueryRow(ctx, "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '"+table+"'").Scan(&text))
		return text
	}
	for _, table := range []string{"events", "dedup"} {
		require.Contains(t, settings(table), "merge_selector_base = 12")
		require.Contains(t, settings(table), "auto_statistics_types = ''")
		require.NoError(t, s.Conn().Exec(ctx, "ALTER TABLE "+table+" RESET SETTING merge_selector_base"))
		require.NotContains(t, settings(table), "merge_selector_base")
	}
	for range 2 {
		require.NoError(t, s.Migrate(ctx, clickhouse.Layout{}))
		require.Contains(t, settings("dedup"), "merge_selector_base = 12")
	}
}

// A look at thousands of people names each of them in several parts of one query.
func TestLongQueries(t *testing.T) {
	ids := strings.Repeat("123456789012345,", 60_000) + "1"
	var n uint64
	require.NoError(t, clickhousetest.New(t).Conn().QueryRow(context.Background(), "SELECT count() FROM events WHERE person IN ("+ids+")").Scan(&n))
	require.Zero(t, n)
}
