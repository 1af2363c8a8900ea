package apns_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/provider"

	"github.com/stretchr/testify/require"
)

// TestChaos has Apple be slow, refuse, reset, talk garbage and move connections, all at once, while
// messages are sent until each is accepted or dead. Nothing may be lost. A message may arrive twice
// only where a connection broke after it was taken, and then with the same apns-id, by which a
// device collapses it.
func TestChaos(t *testing.T) {
	server, config := start(t, apnsd.Config{Now: time.Now, MaxStreams: 100})
	server.Script(func(r provider.Request) provider.Fault {
		switch r.N % 53 {
		case 3:
			return provider.Fault{Status: 503, Code: "ServiceUnavailable"}
		case 7:
			return provider.Fault{Status: 429, Code: "TooManyRequests"}
		case 11:
			return provider.Fault{Status: 500, Body: []byte("<html>")}
		case 13:
			return provider.Fault{Delay: 20 * time.Millisecond}
		case 17, 19:
			if r.N%5 == 0 {
				return provider.Fault{Reset: true}
			}
		case 23:
			if r.N%7 == 0 {
				return provider.Fault{Garbage: true}
			}
		case 29:
			if r.N%3 == 0 {
				go server.GoAway("Shutdown")
			}
		case 31:
			return provider.Fault{Endless: true}
		}
		return provider.Fault{}
	})
	channel := open(t, config, time.Now)
	const n, workers = 1000, 4
	var retried atomic.Int64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			var todo []channels.Message
			for i := w; i < n; i += workers {
				todo = append(todo, channeltest.Message(i))
			}
			for round := 0; len(todo) > 0; round++ {
				if round == 50 {
					t.Errorf("%d messages still fail after %d rounds", len(todo), round)
					return
				}
				var again []channels.Message
				for from := 0; from < len(todo); from += apns.Spec().Batch {
					batch := todo[from:min(len(todo), from+apns.Spec().Batch)]
					for i, r := range channel.Send(t.Context(), batch) {
						if r.Err == nil {
							continue
						}
						if !channels.AsDelivery(r.Err).Class.Retryable() {
							t.Errorf("a provider's trouble is no reason to give up: %v", r.Err)
						}
						retried.Add(1)
						again = append(again, batch[i])
					}
				}
				todo = again
			}
		})
	}
	group.Wait()
	accepted := map[string]int{}
	for _, r := range server.Received() {
		if r.Accepted {
			accepted[r.ID]++
		}
	}
	require.Equal(t, n, len(accepted)) //nolint:testifylint // the map itself would fill the screen
	doubled := 0
	for _, times := range accepted {
		doubled += times - 1
	}
	t.Logf("%d messages, %d retries, %d connections, %d accepted again after a break", n, retried.Load(), server.Connections(), doubled)
}

// TestMemoryOfASlowProvider fills the adapter with a provider that does not answer: what waits is
// bounded, and it all goes when the provider is given up.
func TestMemoryOfASlowProvider(t *testing.T) {
	server, config := start(t, apnsd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	batch := make([]channels.Message, apns.Spec().Batch)
	for i := range batch {
		batch[i] = channeltest.Message(i)
	}
	for _, r := range channel.Send(t.Context(), batch) {
		require.NoError(t, r.Err)
	}
	server.Keep = false
	before := inUse()
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Hang: true} })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range apns.Spec().Concurrency {
		group.Go(func() { channel.Send(ctx, batch) })
	}
	inFlight := 0
	for range apns.Spec().Concurrency * 250 {
		<-server.Hung()
		inFlight++
	}
	held := inUse() - before
	cancel()
	group.Wait()
	t.Logf("%d pushes in flight hold %d KB, both sides", inFlight, held>>10)
	require.Less(t, held, int64(200<<20))
}

// inUse is the memory of heap and stacks.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
