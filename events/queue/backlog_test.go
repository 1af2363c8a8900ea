package queue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/queue"
)

func appendN(t *testing.T, q *queue.Queue, n int) (last uint64) {
	t.Helper()
	for range n {
		seq, err := q.Append(t.Context(), batch(3, "a"))
		require.NoError(t, err)
		last = seq
	}
	return last
}

func TestBacklogIsWhatIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	q := open(t, queue.Config{Dir: dir})
	appendN(t, q, 10)
	one := q.Backlog() / 10
	require.Positive(t, one)
	q.Written(4)
	require.Equal(t, 6*one, q.Backlog())
	q.Written(4)
	require.Equal(t, 6*one, q.Backlog())
	q.Close()

	q = open(t, queue.Config{Dir: dir})
	require.Equal(t, 6*one, q.Backlog(), "right at start, before the store has said anything")
	q.Written(2) // a store restored from an older backup
	require.NoError(t, q.Tidy(t.Context()))
	require.Equal(t, 8*one, q.Backlog())
	q.Written(10)
	require.Zero(t, q.Backlog())
}

func TestAFullBacklogRefusesUntilTheStoreHasCaughtUp(t *testing.T) {
	probe := open(t, queue.Config{})
	appendN(t, probe, 1)
	one := probe.Backlog()

	q := open(t, queue.Config{MaxBacklog: 3*one + 1})
	appendN(t, q, 3)
	_, err := q.Append(t.Context(), batch(3, "a"))
	require.ErrorIs(t, err, queue.ErrBacklog)
	require.Equal(t, 3*one, q.Backlog())
	q.Written(1)
	require.EqualValues(t, 4, appendN(t, q, 1), "the refused message left no gap")
	_, err = q.Append(t.Context(), batch(3, "a"))
	require.ErrorIs(t, err, queue.ErrBacklog)
}

func TestTidyPurges(t *testing.T) {
	cases := []struct {
		name    string
		advance time.Duration
		written uint64
		first   uint64
	}{
		{"nothing that is not written", 2 * time.Hour, 0, 1},
		{"nothing younger than keep", 0, 10, 1},
		{"what is older and written", 55 * time.Minute, 4, 4},
		{"only as far as is written", 2 * time.Hour, 4, 5},
		{"never the last message", 2 * time.Hour, 10, 10},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := newClock()
			q := open(t, queue.Config{Now: c.Now, Keep: time.Hour})
			for range 10 { // messages at 0, 2, 4, … minutes; the last at 18
				appendN(t, q, 1)
				c.Advance(2 * time.Minute)
			}
			c.Advance(-20 * time.Minute)
			c.Advance(tc.advance + 10*time.Minute)
			q.Written(tc.written)
			require.NoError(t, q.Tidy(t.Context()))
			first, err := q.FirstSeq(t.Context())
			require.NoError(t, err)
			require.Equal(t, tc.first, first)
			require.EqualValues(t, 11, appendN(t, q, 1), "sequences go on")
		})
	}
}

func TestTheKeptTailIsBoundedByBytes(t *testing.T) {
	q := open(t, queue.Config{KeepBytes: 4_000})
	last := appendN(t, q, 40)
	q.Written(last)
	require.NoError(t, q.Tidy(t.Context()))
	first, err := q.FirstSeq(t.Context())
	require.NoError(t, err)
	require.Greater(t, first, uint64(20))
	require.Less(t, first, last)
}
