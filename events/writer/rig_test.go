package writer

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/events/queue"
)

// rig is a real queue, a real store and a writer between them.
type rig struct {
	t     testing.TB
	dir   string
	q     *queue.Queue
	store *clickhouse.Store
	w     *Writer
	stop  func()

	mu       sync.Mutex
	resolved []events.Resolved
	stored   []Stored
	now      time.Time
}

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), store: clickhousetest.New(t), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	// The rig's clock is not the engine's, whose retention would take the rows away.
	require.NoError(t, r.store.Conn().Exec(context.Background(), "ALTER TABLE dedup REMOVE TTL"))
	r.openQueue()
	r.start(change...)
	return r
}

func (r *rig) openQueue() {
	r.t.Helper()
	q, err := queue.Open(context.Background(), queue.Config{Dir: r.dir, Now: r.clock})
	require.NoError(r.t, err)
	r.q = q
	r.t.Cleanup(q.Close)
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) later(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// start runs a writer until stop.
func (r *rig) start(change ...func(*Options)) {
	r.t.Helper()
	opts := Options{
		Queue: r.q, Store: r.store, Now: r.clock, FlushEvery: 10 * time.Millisecond, Registerer: prometheus.NewRegistry(),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		OnResolved: func(rs []events.Resolved, _ events.Position) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.resolved = append(r.resolved, rs...)
			return false
		},
		OnStored: func(s Stored) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.stored = append(r.stored, s)
		},
	}
	for _, c := range change {
		c(&opts)
	}
	w, err := New(opts)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	var once sync.Once
	r.w = w
	r.stop = func() {
		once.Do(func() {
			cancel()
			require.ErrorIs(r.t, <-ended, context.Canceled)
		})
	}
	r.t.Cleanup(r.stop)
}

// send appends one message.
func (r *rig) send(evs ...events.Event) events.Position {
	r.t.Helper()
	for i := range evs {
		ev := &evs[i]
		if ev.Source == "" {
			ev.Source = "app"
		}
		if ev.Time == 0 {
			ev.Time = r.clock().UnixMilli()
		}
		if ev.ReceivedAt == 0 {
			ev.ReceivedAt = ev.Time
		}
	}
	seq, err := r.q.Append(context.Background(), evs)
	require.NoError(r.t, err)
	return events.EndOf(seq)
}

// flush waits until the store has everything that was sent.
func (r *rig) flush() {
	r.t.Helper()
	last, err := r.q.LastSeq(context.Background())
	require.NoError(r.t, err)
	r.wait(events.EndOf(last))
}

func (r *rig) wait(pos events.Position) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(r.t, r.w.WaitFor(ctx, pos))
}

// rows are the results of a query, a line each.
func (r *rig) rows(query string) []string {
	r.t.Helper()
	return rowsOf(r.t, r.store, query)
}

func rowsOf(t testing.TB, store *clickhouse.Store, query string) []string {
	t.Helper()
	out := []string{}
	rows, err := store.Conn().Query(context.Background(), "SELECT concatWithSeparator(' ', "+columnsAsText(query)+") FROM "+query[strings.Index(query, " FROM ")+6:])
	require.NoError(t, err, query)
	defer rows.Close()
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		out = append(out, line)
	}
	require.NoError(t, rows.Err())
	return out
}

// columnsAsText wraps the columns of "SELECT a; b FROM …" into toString; columns are parted by ";".
func columnsAsText(query string) string {
	head, _, _ := strings.Cut(query, " FROM ")
	list := strings.TrimPrefix(head, "SELECT ")
	var cols []string
	for c := range strings.SplitSeq(list, ";") {
		cols = append(cols, "ifNull(toString("+strings.TrimSpace(c)+"), 'NULL')")
	}
	return strings.Join(cols, ", ")
}

// rowsCount is the number that a query answers.
func (r *rig) rowsCount(query string) (n int) {
	r.t.Helper()
	_, err := fmt.Sscan(r.rows(query)[0], &n)
	require.NoError(r.t, err)
	return n
}

func (r *rig) count(table string) (n uint64) {
	r.t.Helper()
	require.NoError(r.t, r.store.Conn().QueryRow(context.Background(), "SELECT count() FROM "+table).Scan(&n))
	return n
}

// until polls the store for something that happens beside the stream.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	require.Eventually(r.t, ok, time.Minute, 20*time.Millisecond, what)
}

// call is a track call with a message id of its own.
func call(n int, user, name string, properties string) events.Event {
	return events.Event{
		Kind: events.KindTrack, MessageID: fmt.Sprintf("m%d", n), UserID: user, Name: name,
		Properties: []byte(properties), Raw: []byte(properties),
	}
}
