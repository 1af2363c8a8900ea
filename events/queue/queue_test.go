package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/queue"
)

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func open(t *testing.T, cfg queue.Config) *queue.Queue {
	t.Helper()
	if cfg.Dir == "" && cfg.URL == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Now == nil {
		cfg.Now = newClock().Now
	}
	q, err := queue.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(q.Close)
	return q
}

func batch(n int, name string) []events.Event {
	evs := make([]events.Event, n)
	for i := range evs {
		evs[i] = events.Event{
			Kind: events.KindTrack, MessageID: fmt.Sprintf("%s-%d", name, i), Source: "web", UserID: "u1",
			Name: name, Time: 1_700_000_000_000, ReceivedAt: 1_700_000_000_500,
			Properties: []byte(`{"price":12.5,"sku":"a"}`),
		}
	}
	return evs
}

// collect reads until it has n messages.
func collect(t *testing.T, q *queue.Queue, after uint64, n int) []queue.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []queue.Message
	if n == 0 {
		return nil
	}
	err := q.Read(ctx, after, func(m queue.Message) error {
		got = append(got, m)
		if len(got) == n {
			return errEnough
		}
		return nil
	})
	require.ErrorIs(t, err, errEnough)
	return got
}

var errEnough = errors.New("enough")

func TestAppendedEventsAreReadInOrder(t *testing.T) {
	c := newClock()
	q := open(t, queue.Config{Now: c.Now})
	for i := range 5 {
		seq, err := q.Append(t.Context(), batch(i+1, fmt.Sprint("e", i)))
		require.NoError(t, err)
		require.EqualValues(t, i+1, seq)
		c.Advance(time.Second)
	}
	got := collect(t, q, 2, 3)
	for i, m := range got {
		require.EqualValues(t, i+3, m.Seq)
		require.Equal(t, batch(i+3, fmt.Sprint("e", i+2)), m.Events)
		require.Equal(t, newClock().Now().Add(time.Duration(i+2)*time.Second).UnixMilli(), m.At)
		require.Positive(t, m.Size)
	}
	last, err := q.LastSeq(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, last)
}

func TestReadFollowsTheTail(t *testing.T) {
	q := open(t, queue.Config{})
	got := make(chan uint64, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- q.Read(ctx, 0, func(m queue.Message) error { got <- m.Seq; return nil })
	}()
	for want := uint64(1); want <= 3; want++ {
		_, err := q.Append(t.Context(), batch(1, "a"))
		require.NoError(t, err)
		require.Equal(t, want, <-got)
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestConcurrentAppendsAllArriveOnce(t *testing.T) {
	q := open(t, queue.Config{})
	const writers, each = 16, 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	want := map[uint64]string{}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("w%d-%d", w, i)
				seq, err := q.Append(t.Context(), batch(1, name))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				want[seq] = name
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, want, writers*each, "every call has its own sequence")
	for _, m := range collect(t, q, 0, writers*each) {
		require.Equal(t, want[m.Seq], m.Events[0].Name)
	}
}

func TestWhatIsRefused(t *testing.T) {
	q := open(t, queue.Config{})
	_, err := q.Append(t.Context(), nil)
	require.ErrorContains(t, err, "no events")
	big := batch(1, "big")
	big[0].Raw = []byte(strings.Repeat("x", queue.MaxPayload))
	_, err = q.Append(t.Context(), big)
	require.ErrorIs(t, err, queue.ErrTooLarge)
	_, err = q.Append(t.Context(), make([]events.Event, events.MaxPerMessage+1))
	require.ErrorIs(t, err, queue.ErrTooLarge)
	require.Zero(t, q.Backlog(), "refused messages take no room")

	for _, name := range []string{"", "events", "a.b", "a b"} {
		_, err := q.Log(t.Context(), name)
		require.ErrorContains(t, err, "the name must be", "name %q", name)
	}
	_, err = queue.Open(t.Context(), queue.Config{Dir: t.TempDir()})
	require.ErrorContains(t, err, "Config.Now")
	_, err = queue.Open(t.Context(), queue.Config{Now: newClock().Now})
	require.ErrorContains(t, err, "neither a folder nor a URL")
	_, err = queue.Open(t.Context(), queue.Config{URL: "nats://user:secret@127.0.0.1:1", Now: newClock().Now})
	require.ErrorContains(t, err, "connect to the queue")
	require.NotContains(t, err.Error(), "secret")
}

func TestTheFolderIsOpenedOnce(t *testing.T) {
	dir := t.TempDir()
	first := open(t, queue.Config{Dir: dir})
	_, err := queue.Open(t.Context(), queue.Config{Dir: dir, Now: newClock().Now})
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, fmt.Sprintf("process %d has", pid()))
	first.Close()
	open(t, queue.Config{Dir: dir})
}
