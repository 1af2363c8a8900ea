package fcm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/fcmd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/fcm"

	"github.com/stretchr/testify/require"
)

// BenchmarkSend measures pushes a second with the local server in the same process, which shares
// the machine's cores.
func BenchmarkSend(b *testing.B) {
	for _, delay := range []time.Duration{0, 50 * time.Millisecond} {
		b.Run(fmt.Sprintf("answers after %s", delay), func(b *testing.B) {
			server, config := start(b, fcmd.Config{Now: time.Now})
			server.Keep = false
			if delay > 0 {
				server.Script(func(provider.Request) provider.Fault { return provider.Fault{Delay: delay} })
			}
			raw, err := json.Marshal(config)
			require.NoError(b, err)
			spec := fcm.Spec()
			channel, err := spec.New(channels.Options{Config: raw, Now: time.Now})
			require.NoError(b, err)
			defer func() { require.NoError(b, channel.(channels.Closer).Close()) }()
			batch := make([]channels.Message, spec.Batch)
			for i := range batch {
				batch[i] = message(i)
			}
			for _, r := range channel.Send(b.Context(), batch) { // connections stand
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
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pushes/s")
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/push")
			b.ReportMetric(float64(server.Connections()), "connections")
			require.EqualValues(b, b.N+len(batch), server.Accepted())
		})
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
