package channeltest

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

// Bench sends b.N messages of a series through a channel in full batches, as many at once as its spec allows, after one
// batch by which the connections stand. It reports messages a second, and the CPU of this process, which has the
// provider too, for each.
func Bench(b *testing.B, spec channels.Spec, channel channels.Channel, message func(i int) channels.Message) {
	b.Helper()
	batch := make([]channels.Message, spec.Batch)
	for i := range batch {
		batch[i] = message(i)
	}
	for _, r := range channel.Send(b.Context(), batch) {
		require.NoError(b, r.Err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	before := CPUTime()
	b.ResetTimer()
	var group sync.WaitGroup
	for range spec.Concurrency {
		group.Go(func() {
			for {
				n := min(left.Add(-int64(len(batch)))+int64(len(batch)), int64(len(batch)))
				if n <= 0 {
					return
				}
				for _, r := range channel.Send(context.Background(), batch[:n]) {
					if r.Err != nil {
						b.Error(r.Err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	ReportRate(b, before)
}

// ReportRate reports b.N messages, since the timer ran and this process had used the CPU time of before.
func ReportRate(b *testing.B, before time.Duration) {
	b.Helper()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64((CPUTime()-before).Microseconds())/float64(b.N), "cpu-µs/message")
}

// CPUTime is what this process has used.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
