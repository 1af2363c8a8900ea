package webhook_test

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/webhook"

	"github.com/stretchr/testify/require"
)

// BenchmarkSend measures signed posts a second over TLS with the local endpoint in the same process.
func BenchmarkSend(b *testing.B) {
	server, config := start(b, time.Now)
	server.Keep = false
	channel := open(b, config, time.Now())
	spec := webhook.Spec()
	batch := make([]channels.Message, spec.Batch)
	for i := range batch {
		batch[i] = channeltest.Message(i)
	}
	for _, r := range channel.Send(b.Context(), batch) {
		require.NoError(b, r.Err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	before := cpuTime()
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "posts/s")
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/post")
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
