package send_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/events"
	"nudge/events/queue"
)

// memory is a queue in memory, for the one thing that the real one cannot be in: a bubble of
// testing/synctest (its server reads and writes files and has clocks of its own).
type memory struct {
	mu      sync.Mutex
	records []queue.Record
	grown   chan struct{}
	notes   map[string][]byte
}

func newMemory() *memory { return &memory{grown: make(chan struct{}), notes: map[string][]byte{}} }

func (m *memory) Publish(_ context.Context, shard int, data []byte, expect uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last(shard) != expect {
		return 0, queue.ErrFenced
	}
	seq := uint64(len(m.records) + 1)
	m.records = append(m.records, queue.Record{Shard: shard, Seq: seq, Data: data})
	close(m.grown)
	m.grown = make(chan struct{})
	return seq, nil
}

func (m *memory) last(shard int) (seq uint64) {
	for _, r := range m.records {
		if shard == queue.AllShards || r.Shard == shard {
			seq = r.Seq
		}
	}
	return seq
}

func (m *memory) Last(_ context.Context, shard int) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last(shard), nil
}

func (m *memory) Replay(_ context.Context, shard int, after uint64, fn func(queue.Record) error) error {
	m.mu.Lock()
	records := slices.Clone(m.records)
	m.mu.Unlock()
	for _, r := range records {
		if r.Seq > after && (shard == queue.AllShards || r.Shard == shard) {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Read(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error {
	for {
		m.mu.Lock()
		grown := m.grown
		m.mu.Unlock()
		err := m.Replay(ctx, shard, after, func(r queue.Record) error { after = r.Seq; return fn(r) })
		if err != nil {
			return err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *memory) Append(context.Context, []events.Event) (uint64, error) { return 1, nil }

func (m *memory) SetNote(_ context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes[name] = value
	return nil
}

func (m *memory) Note(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.notes[name], nil
}

// flaky fails every third write: half of those after it was written.
type flaky struct {
	*memory
	mu sync.Mutex
	n  int
}

var errAway = errors.New("the queue is away")

func (f *flaky) Publish(ctx context.Context, shard int, data []byte, expect uint64) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	switch f.n % 6 {
	case 2:
		return 0, errAway
	case 5:
		if _, err := f.memory.Publish(ctx, shard, data, expect); err != nil {
			return 0, err
		}
		return 0, errAway
	default:
		return f.memory.Publish(ctx, shard, data, expect)
	}
}

func TestWritesThatSeemToFailDoubleNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &channeltest.Recorder{Answer: func(m channels.Message, attempt int) error {
			if strings.HasSuffix(m.Text("title"), "7") && attempt < 3 {
				return failed(channels.ClassTemporary, 0)
			}
			return nil
		}}
		deliveries := &flaky{memory: newMemory()}
		liveOn(t, deliveries, one("hook", hook, func(s *channels.Spec) { s.Batch = 3 }), time.Hour, many(40, "cart", "webhook")...)
		require.Len(t, hook.Accepted(), 40)
		require.Greater(t, deliveries.n, 12)
		seen := map[string]int{}
		require.NoError(t, deliveries.Replay(t.Context(), 0, 0, func(r queue.Record) error {
			chunk, err := ledger.DecodeChunk(r.Data)
			for _, rec := range chunk.Records {
				seen[fmt.Sprint(rec.Delivery.Entry, rec.Delivery.Status, rec.Delivery.Attempt)]++
			}
			return err
		}))
		require.Len(t, seen, 2*len(hook.Attempts()), "an intent and a result for each attempt")
		require.Len(t, hook.Attempts(), 40+2*4)
		for what, n := range seen {
			require.Equal(t, 1, n, what)
		}
	})
}

// live runs the sender's own loop on the bubble's clock with one decision, for d.
func live(t *testing.T, route send.Route, d time.Duration, ds ...ledger.Decision) {
	liveOn(t, newMemory(), route, d, ds...)
}

func liveOn(t *testing.T, deliveries send.DeliveryLog, route send.Route, d time.Duration, ds ...ledger.Decision) {
	decisions := newMemory()
	s, err := send.New(send.Options{
		Decisions: decisions, Deliveries: deliveries, Events: newMemory(), Notes: newMemory(), Shards: []int{0},
		Routes: map[string]send.Route{"webhook": route}, Render: renderTitle, Now: time.Now,
	})
	require.NoError(t, err)
	records := make([]ledger.Record, len(ds))
	for i := range ds {
		ds[i].At, ds[i].Expires = time.Now().UnixMilli(), time.Now().Add(time.Hour).UnixMilli()
		records[i].Decision = &ds[i]
	}
	data, err := ledger.EncodeChunk(records)
	require.NoError(t, err)
	_, err = decisions.Publish(t.Context(), 0, data, 0)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.ErrorIs(t, s.Run(ctx), context.DeadlineExceeded)
}

// timed is a recorder's answer that notes when it was asked.
func timed(at *[]time.Duration, answer func(attempt int) error) func(channels.Message, int) error {
	var mu sync.Mutex
	begin := time.Now()
	return func(_ channels.Message, attempt int) error {
		mu.Lock()
		defer mu.Unlock()
		*at = append(*at, time.Since(begin))
		return answer(attempt)
	}
}

func TestRunRetriesWhenItIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		hook := &channeltest.Recorder{Answer: timed(&at, func(attempt int) error {
			if attempt < 5 {
				return failed(channels.ClassTemporary, 0)
			}
			return nil
		})}
		live(t, one("hook", hook), 10*time.Minute, decision("e1", "webhook"))
		require.Len(t, at, 5)
		require.Zero(t, at[0])
		for i := 1; i < len(at); i++ {
			wait, full := at[i]-at[i-1], time.Second<<(i-1)
			require.GreaterOrEqual(t, wait, full/2, "attempt %d", i+1)
			require.LessOrEqual(t, wait, full, "attempt %d", i+1)
		}
		require.Len(t, hook.Accepted(), 1)
	})
}

func TestRunKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		hook := &channeltest.Recorder{Answer: timed(&at, func(int) error { return nil })}
		route := one("hook", hook)
		route.Rate, route.Burst = 4, 1
		live(t, route, time.Minute, many(20, "cart", "webhook")...)
		require.Len(t, at, 20)
		for i, when := range at {
			require.Equal(t, time.Duration(i)*250*time.Millisecond, when)
		}
	})
}

func TestRunAsksADeadProviderMoreAndMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		hook := &channeltest.Recorder{Answer: timed(&at, func(int) error { return failed(channels.ClassCredential, 0) })}
		live(t, one("hook", hook, func(s *channels.Spec) { s.Batch = 1; s.Concurrency = 1 }), 16*time.Minute, many(50, "cart", "webhook")...)
		require.Equal(t, []time.Duration{0, time.Minute, 3 * time.Minute, 7 * time.Minute, 12 * time.Minute}, at)
	})
}
