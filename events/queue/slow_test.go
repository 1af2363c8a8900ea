package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/queue"
)

// lines is a log that tests may read.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// inTime is enough for a busy machine, and ends before a reader asks anew by itself (after 30 s).
const inTime = 25 * time.Second

// wait lets the server, which has clocks of its own, deliver.
func wait(d time.Duration) { <-time.After(d) }

// TestAReaderThatIsSlowMissesNothing has a reader that takes nothing more, again and again, while more
// is delivered than it asks for at once; afterwards nothing more is appended that could show it a gap.
func TestAReaderThatIsSlowMissesNothing(t *testing.T) {
	var log lines
	q := open(t, queue.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), NoSync: true})
	decisions, err := q.Log(t.Context(), "decisions")
	require.NoError(t, err)
	const n = 2000
	evs := batch(1, "a")
	for range n {
		_, err := q.Append(t.Context(), evs)
		require.NoError(t, err)
		_, err = decisions.Append(t.Context(), 3, []byte("d"))
		require.NoError(t, err)
	}
	got := uint64(0)
	// Around where a reader asks for more, and where it has all of that.
	stalls := map[uint64]bool{1: true, 2: true, 251: true, 252: true, 400: true, 499: true, 500: true, 501: true, 502: true, 1000: true, n - 260: true, n - 3: true}
	take := func(seq uint64) error {
		if seq != got+1 {
			return fmt.Errorf("message %d follows %d", seq, got)
		}
		got = seq
		if stalls[seq] {
			wait(100 * time.Millisecond)
		}
		if seq == n {
			return errEnough
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	require.ErrorIs(t, q.Read(ctx, 0, func(m queue.Message) error { return take(m.Seq) }), errEnough, "%d of %d read", got, n)
	got = 0
	ctx, cancel = context.WithTimeout(t.Context(), inTime)
	defer cancel()
	require.ErrorIs(t, decisions.Read(ctx, 3, 0, func(r queue.Record) error { return take(r.Seq) }), errEnough, "%d of %d read", got, n)
	require.NotContains(t, log.String(), "slow consumer")
	require.NotContains(t, log.String(), "reading again", "there was room for everything")
}

// TestAMessageThatWasDroppedIsReadWithoutTheNext has a reader that stands still for so long that what the
// server says meanwhile takes the room of the last messages. Nothing follows them.
func TestAMessageThatWasDroppedIsReadWithoutTheNext(t *testing.T) {
	q := open(t, queue.Config{NoSync: true})
	q.SetHeartbeat(500 * time.Millisecond)
	const n = 500 // as many as are asked for at once
	appendMore := func(m int) {
		for range m {
			_, err := q.Append(t.Context(), batch(1, "a"))
			require.NoError(t, err)
		}
	}
	appendMore(100)
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	got := uint64(0)
	err := q.Read(ctx, 0, func(m queue.Message) error {
		if m.Seq != got+1 {
			return fmt.Errorf("message %d follows %d", m.Seq, got)
		}
		if got = m.Seq; got == 1 {
			wait(1700 * time.Millisecond)
			appendMore(n - 100)
			wait(100 * time.Millisecond)
		}
		if got == n {
			return errEnough
		}
		return nil
	})
	require.ErrorIs(t, err, errEnough, "%d of %d read", got, n)
}
