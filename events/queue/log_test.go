package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/queue"
)

func pid() int { return os.Getpid() }

func openLog(t *testing.T, q *queue.Queue) *queue.Log {
	t.Helper()
	l, err := q.Log(t.Context(), "decisions")
	require.NoError(t, err)
	return l
}

func replay(t *testing.T, l *queue.Log, shard int, after uint64) (got []string) {
	t.Helper()
	require.NoError(t, l.Replay(t.Context(), shard, after, func(r queue.Record) error {
		got = append(got, fmt.Sprintf("%d/%d %s", r.Shard, r.Seq, r.Data))
		return nil
	}))
	return got
}

func TestTwoPublishersOnOneShard(t *testing.T) {
	q := open(t, queue.Config{})
	a, b := openLog(t, q), openLog(t, q)
	seqA, err := a.Publish(t.Context(), 3, []byte("a1"), 0)
	require.NoError(t, err)
	_, err = b.Publish(t.Context(), 3, []byte("b1"), 0)
	require.ErrorIs(t, err, queue.ErrFenced, "b did not know of a1")
	last, err := b.Last(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, seqA, last)
	_, err = b.Publish(t.Context(), 3, []byte("b2"), last)
	require.NoError(t, err)
	_, err = a.Publish(t.Context(), 3, []byte("a2"), seqA)
	require.ErrorIs(t, err, queue.ErrFenced)
	_, err = a.Publish(t.Context(), 4, []byte("other shard"), 0)
	require.NoError(t, err, "shards do not fence each other")
	require.Equal(t, []string{"3/1 a1", "3/2 b2"}, replay(t, a, 3, 0))
	require.Equal(t, []string{"3/2 b2", "4/3 other shard"}, replay(t, a, queue.AllShards, 1))
	require.Empty(t, replay(t, a, 5, 0))
}

func TestConcurrentFencedPublishersLoseNothingAndDoubleNothing(t *testing.T) {
	q := open(t, queue.Config{})
	const rounds = 60
	done := make(chan int)
	for w := range 2 {
		go func() {
			l, err := q.Log(t.Context(), "decisions")
			if err != nil {
				t.Error(err)
			}
			won, last := 0, uint64(0)
			for last < rounds && err == nil {
				var seq uint64
				seq, err = l.Publish(t.Context(), 0, fmt.Appendf(nil, "w%d after %d", w, last), last)
				switch {
				case errors.Is(err, queue.ErrFenced):
					last, err = l.Last(t.Context(), 0)
				case err == nil:
					won, last = won+1, seq
				}
			}
			if err != nil {
				t.Error(err)
			}
			done <- won
		}()
	}
	total := <-done + <-done
	l := openLog(t, q)
	got := replay(t, l, 0, 0)
	require.Len(t, got, total)
	for i, r := range got {
		require.True(t, strings.HasSuffix(r, fmt.Sprint("after ", i)), "record %d was decided on an older state: %s", i, r)
	}
}

func TestPurgeNeverTakesTheLastRecord(t *testing.T) {
	q := open(t, queue.Config{})
	l := openLog(t, q)
	var last uint64
	for i := range 4 {
		seq, err := l.Append(t.Context(), 1, fmt.Append(nil, i))
		require.NoError(t, err)
		last = seq
		_, err = l.Append(t.Context(), 2, fmt.Append(nil, i))
		require.NoError(t, err)
	}
	require.NoError(t, l.Purge(t.Context(), 1, last+100))
	require.Equal(t, []string{"1/7 3"}, replay(t, l, 1, 0))
	require.Len(t, replay(t, l, 2, 0), 4, "other shards keep theirs")
	_, err := l.Publish(t.Context(), 1, []byte("next"), 0)
	require.ErrorIs(t, err, queue.ErrFenced, "the expected sequence does not start over")
	_, err = l.Publish(t.Context(), 1, []byte("next"), last)
	require.NoError(t, err)
	require.NoError(t, l.Purge(t.Context(), 9, 5), "a shard without records")
}

func TestReplayEndsAndReadGoesOn(t *testing.T) {
	q := open(t, queue.Config{})
	l := openLog(t, q)
	for i := range 3 {
		_, err := l.Append(t.Context(), 0, fmt.Append(nil, i))
		require.NoError(t, err)
	}
	require.Len(t, replay(t, l, 0, 0), 3)
	require.Empty(t, replay(t, l, 0, 3))
	got := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- l.Read(ctx, queue.AllShards, 2, func(r queue.Record) error { got <- string(r.Data); return nil })
	}()
	require.Equal(t, "2", <-got)
	_, err := l.Append(t.Context(), 7, []byte("new"))
	require.NoError(t, err)
	require.Equal(t, "new", <-got)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	stop := errors.New("stop here")
	require.ErrorIs(t, l.Read(t.Context(), 0, 0, func(queue.Record) error { return stop }), stop)
}

func TestPublishRefusesWhatDoesNotFit(t *testing.T) {
	l := openLog(t, open(t, queue.Config{}))
	_, err := l.Append(t.Context(), 0, make([]byte, queue.MaxPayload+1))
	require.ErrorIs(t, err, queue.ErrTooLarge)
	_, err = l.Append(t.Context(), -1, []byte("x"))
	require.ErrorContains(t, err, "no shard -1")
	_, err = l.Append(t.Context(), 0, make([]byte, queue.MaxPayload))
	require.NoError(t, err, "exactly the limit")
}

func TestLease(t *testing.T) {
	c := newClock()
	q := open(t, queue.Config{Now: c.Now})
	take := func(owner string) (*queue.Lease, error) {
		return q.Lease(t.Context(), "shard-3", owner, 10*time.Second)
	}
	a, err := take("a")
	require.NoError(t, err)
	_, err = take("b")
	require.ErrorIs(t, err, queue.ErrHeld)
	require.ErrorContains(t, err, "a, for another 10s")
	c.Advance(9 * time.Second)
	require.NoError(t, a.Renew(t.Context()))
	c.Advance(9 * time.Second)
	_, err = take("b")
	require.ErrorIs(t, err, queue.ErrHeld, "renewed")
	c.Advance(2 * time.Second)
	b, err := take("b")
	require.NoError(t, err, "ran out")
	require.ErrorIs(t, a.Renew(t.Context()), queue.ErrHeld)
	require.NoError(t, a.Release(t.Context()), "what is lost cannot take the new owner's away")
	require.NoError(t, b.Renew(t.Context()))
	require.NoError(t, b.Release(t.Context()))
	require.ErrorIs(t, b.Renew(t.Context()), queue.ErrHeld)
	a, err = take("a")
	require.NoError(t, err, "given back")
	again, err := take("a")
	require.NoError(t, err, "the same owner after a crash")
	require.ErrorIs(t, a.Renew(t.Context()), queue.ErrHeld, "the lease of before the crash")
	require.NoError(t, again.Renew(t.Context()))
}

func TestNotesStay(t *testing.T) {
	dir := t.TempDir()
	q := open(t, queue.Config{Dir: dir})
	got, err := q.Note(t.Context(), "send.3")
	require.NoError(t, err)
	require.Nil(t, got)
	require.NoError(t, q.SetNote(t.Context(), "send.3", []byte("one")))
	require.NoError(t, q.SetNote(t.Context(), "send.3", []byte("two")))
	q.Close()
	got, err = open(t, queue.Config{Dir: dir}).Note(t.Context(), "send.3")
	require.NoError(t, err)
	require.Equal(t, "two", string(got))
}
