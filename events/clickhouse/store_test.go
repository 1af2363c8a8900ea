package clickhouse_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/clickhousetest"
)

func TestMigrate(t *testing.T) {
	s := clickhousetest.New(t)
	var n uint64
	require.NoError(t, s.Conn().QueryRow(context.Background(), "SELECT count() FROM events").Scan(&n))
	require.Zero(t, n)
}
