package queue_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/queue"
)

// sized is a batch whose message is about the given number of bytes.
func sized(bytes int) []events.Event {
	raw := make([]byte, 900)
	for i := range raw {
		raw[i] = byte(rand.Uint32())
	}
	evs := batch(max(bytes/1000, 1), "b")
	for i := range evs {
		evs[i].Raw = raw
	}
	return evs
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ bytes, publishers int }{{1_000, 1}, {1_000, 64}, {100_000, 1}, {100_000, 16}} {
		b.Run(fmt.Sprintf("%dB/%dpublishers", c.bytes, c.publishers), func(b *testing.B) {
			q, err := queue.Open(b.Context(), queue.Config{Dir: b.TempDir(), Now: newClock().Now})
			require.NoError(b, err)
			defer q.Close()
			evs := sized(c.bytes)
			b.SetParallelism((c.publishers + 1) / 2) // times GOMAXPROCS
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := q.Append(b.Context(), evs); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	q, err := queue.Open(b.Context(), queue.Config{Dir: b.TempDir(), Now: newClock().Now})
	require.NoError(b, err)
	defer q.Close()
	evs := sized(100_000)
	var n atomic.Int64
	for n.Load() < 2_000 {
		_, err := q.Append(b.Context(), evs)
		require.NoError(b, err)
		n.Add(1)
	}
	b.ResetTimer()
	for b.Loop() {
		left := n.Load()
		err := q.Read(b.Context(), 0, func(queue.Message) error {
			if left--; left == 0 {
				return errEnough
			}
			return nil
		})
		require.ErrorIs(b, err, errEnough)
	}
	b.ReportMetric(float64(b.N)*float64(n.Load())/b.Elapsed().Seconds(), "msg/s")
}
