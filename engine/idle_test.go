package engine_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/events"
	"nudge/events/writer"
	"nudge/segments"
)

// counting is a connection that counts what it is asked.
type counting struct {
	driver.Conn
	asked int
}

func (c *counting) Query(ctx context.Context, query string, args ...any) (driver.Rows, error) {
	c.asked++
	return c.Conn.Query(ctx, query, args...)
}

func (c *counting) QueryRow(ctx context.Context, query string, args ...any) driver.Row {
	c.asked++
	return c.Conn.QueryRow(ctx, query, args...)
}

func (c *counting) Exec(ctx context.Context, query string, args ...any) error {
	c.asked++
	return c.Conn.Exec(ctx, query, args...)
}

func (c *counting) PrepareBatch(ctx context.Context, query string, opts ...driver.PrepareBatchOption) (driver.Batch, error) {
	c.asked++
	return c.Conn.PrepareBatch(ctx, query, opts...)
}

// unmerged is the identity writer, of whom it is known that nobody was merged.
type unmerged struct{ *writer.Writer }

func (unmerged) Changed() events.Position { return 0 }

// TestIdleIsFree has ticks for which nothing has arrived and nothing is due: neither the planner nor the engine nor
// the ledger asks or tells the store anything.
func TestIdleIsFree(t *testing.T) {
	w := world(t, map[string]string{
		"often": "schedule: \"*/5 * * * *\"\nwhen: event(\"Seen\").last.ago > days(2)\nagain: each_time",
		"after": "schedule: \"*/5 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: {after: 10h}",
		"value": "schedule: \"*/10 * * * *\"\nfor_each: event(\"Seen\").by(\"id\")\nwhen: it.count > 1\nagain: never",
		"own":   "schedule: {cron: \"*/10 * * * *\", zone: person}\nwhen: message(\"after\").count > 3\nagain: never",
	})
	w.Identify("ann", "", map[string]any{"timezone": "Europe/Berlin"})
	w.Track("ann", "Seen", map[string]any{"id": "x"})
	w.To(minute)
	decisions, err := w.App.Queue.Log(t.Context(), "decisions")
	require.NoError(t, err)
	deliveries, err := w.App.Queue.Log(t.Context(), "deliveries")
	require.NoError(t, err)
	conn := &counting{Conn: w.Store.Conn()}
	e, err := engine.New(t.Context(), engine.Options{
		Planner: w.App.Planner, People: unmerged{w.App.Writer}, Ledger: ledger.NewStore(conn), Decisions: decisions, Deliveries: deliveries,
		Workspace: w.App.Workspace(), Since: enginetest.Start(), From: w.App.Writer.Position(),
	})
	require.NoError(t, err)
	reader := ledger.NewReader(ledger.NewStore(conn), decisions, deliveries, w.App.Writer, slog.New(slog.DiscardHandler))
	step := func(at int64) (planner int64, others int) {
		before, had := w.App.Planner.Queries(), conn.asked
		require.NoError(t, e.Step(t.Context(), enginetest.Start()+at))
		require.NoError(t, reader.Flush(t.Context()))
		return w.App.Planner.Queries() - before, conn.asked - had
	}
	asked, told := step(5 * minute)
	require.Positive(t, asked)
	require.Positive(t, told)
	for at := 10 * minute; at <= 20*minute; at += 5 * minute {
		step(at) // the others look at everybody, and then for what crosses
	}
	for at := 25 * minute; at < 10*hour; at += 5 * minute {
		asked, told = step(at)
		require.Zero(t, asked, "the planner, at +%d min", at/minute)
		require.Zero(t, told, "the engine and the ledger, at +%d min", at/minute)
	}
	asked, told = step(11 * hour)
	require.Positive(t, asked, "its time has come")
	require.Positive(t, told)
}

// TestATickThatTakesTooLongIsTold has ticks that end after the next was due.
func TestATickThatTakesTooLongIsTold(t *testing.T) {
	w := world(t, map[string]string{
		"often":  "schedule: \"*/5 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
		"seldom": "schedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
	})
	w.Track("ann", "Seen", nil)
	l := between(w)
	l.before = func(q *segments.Tick) {
		w.Clock.Set(q.At + 12*minute)
		l.before = nil
	}
	w.To(61 * minute)
	require.Equal(t, []string{"often ann send", "seldom ann send"}, answers(w))
	require.Len(t, l.asked, 11, "one tick covers the two that were missed")
	r, err := report.Run(t.Context(), w.Store.Conn(), w.App.Planner, w.App.Workspace(), report.Query{})
	require.NoError(t, err)
	require.Equal(t, []report.Overruns{{Rule: "often", Ticks: 1, Longest: 12 * 60, Last: time.UnixMilli(enginetest.Start() + 5*minute).In(w.App.Workspace().Zone)}}, r.Overruns)
	require.Empty(t, r.Paused)
}
