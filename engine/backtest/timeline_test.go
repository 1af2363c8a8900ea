package backtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
)

// TestWhereTheTimeBegins has a tick of an instant before the time that ran in it, as one does for a zone that became
// known late: what it saw was not known when the time began.
func TestWhereTheTimeBegins(t *testing.T) {
	conn := clickhousetest.New(t).Conn()
	start := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO ticks (id, shard, t1, p1, hash, rules, at)")
	require.NoError(t, err)
	for _, x := range []struct {
		minute int
		pos    uint64
	}{{10, 100}, {20, 200}, {12, 300}, {30, 400}} {
		require.NoError(t, batch.Append("s", uint16(0), at(x.minute), x.pos, "", []string{"seen"}, at(x.minute)))
	}
	require.NoError(t, batch.Send())
	r, err := readRecorded(t.Context(), conn, &workspace.Workspace{}, at(15).UnixMilli(), at(60).UnixMilli())
	require.NoError(t, err)
	require.Equal(t, events.Position(100), r.position())
	var ran []instant
	for {
		next, err := r.next(t.Context())
		require.NoError(t, err)
		if next == never {
			break
		}
		r.pass(next, false)
		ran = append(ran, instant{at: next, p1: r.position()})
	}
	require.Equal(t, []instant{
		{at: at(20).UnixMilli(), p1: 200}, {at: at(20).UnixMilli(), p1: 300}, {at: at(30).UnixMilli(), p1: 400},
	}, ran, "what was missed ran behind the tick before it")
}
