package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/events/queue"
)

// cutting is a connection that dies at an insert into one table: before it or behind it.
type cutting struct {
	driver.Conn
	table  string
	behind bool
}

var errCut = errors.New("cut")

func (c *cutting) PrepareBatch(ctx context.Context, query string, opts ...driver.PrepareBatchOption) (driver.Batch, error) {
	if !strings.HasPrefix(query, "INSERT INTO "+c.table+" ") {
		return c.Conn.PrepareBatch(ctx, query, opts...)
	}
	if !c.behind {
		return nil, errCut
	}
	b, err := c.Conn.PrepareBatch(ctx, query, opts...)
	return cutBatch{b}, err
}

type cutBatch struct{ driver.Batch }

func (b cutBatch) Send() error { return errors.Join(b.Batch.Send(), errCut) }

// nobody is erased.
type nobody struct{}

func (nobody) Erased(events.PersonID) bool  { return false }
func (nobody) Steady(fn func() error) error { return fn() }

// TestACutCopyIsGoneOnWith: wherever an insert is cut off, and however often, the copier ends with every row
// once: ticks too, whose rows do not say which record they are of, whatever the clock did between them.
func TestACutCopyIsGoneOnWith(t *testing.T) {
	const day = 24 * time.Hour
	for name, steps := range map[string][]time.Duration{ // between ticks
		"close together":      {0, time.Millisecond, time.Second, time.Second},
		"far apart":           {0, 40 * day, 2 * time.Hour, 40 * day},
		"the clock went back": {0, -3 * time.Hour, -2 * day, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
			q, err := queue.Open(t.Context(), queue.Config{Dir: t.TempDir(), NoSync: true, Now: func() time.Time { return now }})
			require.NoError(t, err)
			defer q.Close()
			decisions, err := q.Log(t.Context(), "decisions")
			require.NoError(t, err)
			deliveries, err := q.Log(t.Context(), "deliveries")
			require.NoError(t, err)
			conn := clickhousetest.New(t).Conn()
			count := func(what string) (n uint64) {
				require.NoError(t, conn.QueryRow(t.Context(), "SELECT "+what).Scan(&n))
				return n
			}
			n := 0
			put := func(log *queue.Log, shard int, rs ...ledger.Record) {
				data, err := ledger.EncodeChunk(rs)
				require.NoError(t, err)
				_, err = log.Append(t.Context(), shard, data)
				require.NoError(t, err)
			}
			tick := func(more int) ledger.Record {
				return ledger.Record{Tick: &ledger.Tick{
					ID: fmt.Sprintf("a-%d", n), Kind: ledger.TickArrival, T1: now.UnixMilli(), P1: events.Position(n + more), Rules: []string{"r"},
				}}
			}
			write := func() {
				n++
				for shard := range 3 {
					put(decisions, shard, tick(0), ledger.Record{Decision: decision(events.PersonID(shard+1), "r", int64(n), ledger.Send)})
					put(deliveries, shard, ledger.Record{Delivery: &ledger.Delivery{Entry: "e", Channel: "push", Status: ledger.Accepted, At: now.UnixMilli()}})
				}
			}
			again := func() { // a tick at the same instant, of what has arrived since
				for shard := range 3 {
					put(decisions, shard, tick(1000))
				}
			}
			flush := func(conn driver.Conn) error {
				return ledger.NewReader(ledger.NewStore(conn), decisions, deliveries, nobody{}, slog.New(slog.DiscardHandler)).Flush(t.Context())
			}
			for _, step := range steps { // the first cut finds all tables empty
				now = now.Add(step)
				for _, table := range []string{"ticks", "shard_log", "decisions", "deliveries"} {
					write()
					for _, behind := range []bool{false, false, true} {
						require.ErrorIs(t, flush(&cutting{conn, table, behind}), errCut, table)
					}
					again()
					if table == "shard_log" {
						continue // what follows is written beside it
					}
					require.NoError(t, flush(conn))
				}
				running := ledger.NewReader(ledger.NewStore(conn), decisions, deliveries, nobody{}, slog.New(slog.DiscardHandler))
				for range 2 { // one that goes on after its start
					write()
					again()
					require.NoError(t, running.Flush(t.Context()))
				}
				for table, place := range map[string]string{
					"ticks": "id, shard, p1", "shard_log": "seq, index", "decisions": "seq, index", "deliveries": "seq, index",
				} {
					each := uint64(3 * n)
					if table == "ticks" || table == "shard_log" {
						each *= 2
					}
					require.Equal(t, each, count("count() FROM "+table), table)
					require.Equal(t, each, count("uniqExact("+place+") FROM "+table), table)
				}
			}
		})
	}
}
