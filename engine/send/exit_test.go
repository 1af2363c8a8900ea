package send_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/events/queue"
)

// oracle is an exit check that knows nothing of the rule "cart" while it is blind, and else takes its
// time.
type oracle struct {
	mu     sync.Mutex
	sees   chan struct{} // closed: it knows
	takes  time.Duration
	exited map[string]bool // by entry
	halted atomic.Bool     // the rule "cart"
}

func (o *oracle) halts(rule string) (halted, waits bool) {
	return (rule == "cart" || rule == "sale") && o.halted.Load(), rule == "sale"
}

func (o *oracle) check(ctx context.Context, d *ledger.Decision, _ int64) (bool, error) {
	if d.Rule != "cart" {
		return false, nil
	}
	select {
	case <-o.sees:
	default:
		select {
		case <-o.sees:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	if o.takes > 0 {
		select {
		case <-time.After(o.takes):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.exited[d.Entry], nil
}

// asked runs a sender with the oracle for d over decisions that expire after an hour; during happens
// meanwhile. It returns the delivery records.
func asked(t *testing.T, o *oracle, route send.Route, d time.Duration, ds []ledger.Decision, during func()) (out []ledger.Delivery) {
	t.Helper()
	decisions, deliveries := newMemory(), newMemory()
	s, err := send.New(send.Options{
		Decisions: decisions, Deliveries: deliveries, Events: newMemory(), Notes: newMemory(), Shards: []int{0},
		Routes: map[string]send.Route{"webhook": route}, Render: renderTitle, Now: time.Now, Exited: o.check, Halted: o.halts,
	})
	require.NoError(t, err)
	records := make([]ledger.Record, len(ds))
	for i := range ds {
		ds[i].At = time.Now().UnixMilli()
		if ds[i].Expires == t0+24*hour { // as decision makes it
			ds[i].Expires = time.Now().Add(time.Hour).UnixMilli()
		}
		records[i].Decision = &ds[i]
	}
	data, err := ledger.EncodeChunk(records)
	require.NoError(t, err)
	_, err = decisions.Publish(t.Context(), 0, data, 0)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	during()
	require.ErrorIs(t, <-done, context.DeadlineExceeded)
	require.NoError(t, deliveries.Replay(t.Context(), 0, 0, func(r queue.Record) error {
		chunk, err := ledger.DecodeChunk(r.Data)
		for _, rec := range chunk.Records {
			out = append(out, *rec.Delivery)
		}
		return err
	}))
	return out
}

// TestAnExitThatCannotBeKnownHoldsUpNoOtherMessage has one slow provider for everybody.
func TestAnExitThatCannotBeKnownHoldsUpNoOtherMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &channeltest.Recorder{}
		route := one("hook", hook, func(s *channels.Spec) { s.Batch, s.Concurrency = 1, 1 })
		o := &oracle{sees: make(chan struct{}), exited: map[string]bool{"cart-7": true}}
		ds := many(200, "cart", "webhook")
		ds[3].Expires = time.Now().Add(5 * time.Minute).UnixMilli()
		for i := range 3 {
			receipt, news := decision(fmt.Sprintf("receipt-%d", i), "webhook"), decision(fmt.Sprintf("news-%d", i), "webhook")
			receipt.Rule, receipt.Category, news.Rule = "receipt", "transactional", "news"
			ds = append(ds, receipt, news)
		}
		var early, late []channels.Message
		var attempts int
		records := asked(t, o, route, 20*time.Minute, ds, func() {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			early = hook.Accepted()
			time.Sleep(10 * time.Minute)
			attempts = len(hook.Attempts())
			close(o.sees)
			time.Sleep(31 * time.Second)
			synctest.Wait()
			late = hook.Accepted()
		})
		got := map[string]bool{}
		for _, m := range early {
			got[m.Text("title")] = true
		}
		require.Equal(t, map[string]bool{
			"receipt-0": true, "receipt-1": true, "receipt-2": true, "news-0": true, "news-1": true, "news-2": true,
		}, got, "at once, while nothing is known of 200 carts")
		require.Equal(t, 6, attempts, "nothing is sent while its exit is unknown")
		require.Len(t, late, 6+198, "all but the expired and the exited one, within half a minute of knowing")
		ends := map[ledger.Status]int{}
		for _, d := range records {
			if d.Status.Final() {
				ends[d.Status]++
			}
			if d.Status == ledger.StoppedExpired {
				require.Equal(t, ds[3].Entry, d.Entry)
				require.Contains(t, d.Error, "exit_unknown")
			}
		}
		want := map[ledger.Status]int{ledger.Accepted: 204, ledger.StoppedExpired: 1, ledger.StoppedExited: 1}
		require.True(t, maps.Equal(want, ends), "%v", ends)
		require.Len(t, records, 204*2+2, "an intent and an outcome for each that was sent, one record for the others: being put aside writes nothing")
	})
}

// TestAnswersThatTakeTheirTimeKeepTheRate is the normal case under load: something has always been
// acknowledged that is not resolved yet.
func TestAnswersThatTakeTheirTimeKeepTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		hook := &channeltest.Recorder{Answer: timed(&at, func(int) error { return nil })}
		route := one("hook", hook)
		route.Rate = 4 // and as many at once after a pause
		o := &oracle{sees: make(chan struct{}), takes: 20 * time.Millisecond}
		close(o.sees)
		asked(t, o, route, time.Minute, many(40, "cart", "webhook"), func() {})
		require.Len(t, at, 40)
		for i, when := range at {
			due := time.Duration(max(i-3, 0)) * 250 * time.Millisecond
			require.InDelta(t, due.Seconds(), when.Seconds(), 0.1, "message %d", i)
		}
		require.Len(t, hook.Accepted(), 40)
	})
}

// TestADrainWaitsForNoExit ends at once although nothing is known.
func TestADrainWaitsForNoExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &channeltest.Recorder{}
		o := &oracle{sees: make(chan struct{})}
		decisions := newMemory()
		s, err := send.New(send.Options{
			Decisions: decisions, Deliveries: newMemory(), Events: newMemory(), Notes: newMemory(), Shards: []int{0}, Exited: o.check,
			Routes: map[string]send.Route{"webhook": one("hook", hook)}, Render: renderTitle, Now: time.Now,
		})
		require.NoError(t, err)
		d := decision("e1", "webhook")
		d.Expires = time.Now().Add(time.Hour).UnixMilli()
		data, err := ledger.EncodeChunk([]ledger.Record{{Decision: &d}})
		require.NoError(t, err)
		_, err = decisions.Publish(t.Context(), 0, data, 0)
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- s.Run(t.Context()) }()
		synctest.Wait()
		began := time.Now()
		require.NoError(t, s.Drain(t.Context()))
		require.NoError(t, <-done)
		require.Zero(t, time.Since(began))
		require.Empty(t, hook.Attempts())
	})
}

// TestWhatIsQueuedOfAPausedRuleIsStopped pauses a rule while most of its messages wait for the channel's rate.
func TestWhatIsQueuedOfAPausedRuleIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &channeltest.Recorder{}
		route := one("hook", hook, func(s *channels.Spec) { s.Batch, s.Concurrency = 1, 4 })
		route.Rate, route.Burst = 10, 1
		o := &oracle{sees: make(chan struct{})}
		close(o.sees)
		ds := many(200, "cart", "webhook")
		news := decision("news", "webhook")
		news.Rule = "news"
		ds = append(ds, news)
		var before int
		records := asked(t, o, route, 2*time.Minute, ds, func() {
			time.Sleep(5 * time.Second)
			synctest.Wait()
			before = len(hook.Accepted())
			o.halted.Store(true)
			time.Sleep(30 * time.Second)
			synctest.Wait()
			o.halted.Store(false) // what has been stopped does not come back
		})
		require.InDelta(t, 50, before, 2)
		behind := map[string]int{}
		for _, m := range hook.Accepted()[before:] {
			behind[m.About["rule"]]++
		}
		require.Zero(t, behind["cart"], "none is sent behind the pause")
		all := map[string]int{}
		for _, m := range hook.Accepted() {
			all[m.About["rule"]]++
		}
		require.Equal(t, 1, all["news"], "the others go on")
		ends := map[ledger.Status]int{}
		for _, d := range records {
			if d.Status.Final() {
				ends[d.Status]++
			}
		}
		require.Equal(t, map[ledger.Status]int{ledger.Accepted: all["cart"] + 1, ledger.StoppedPaused: 200 - all["cart"]}, ends)
	})
}

// TestWhatIsQueuedOfAPausedBroadcastWaits pauses a broadcast in the middle and lets it go on.
func TestWhatIsQueuedOfAPausedBroadcastWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &channeltest.Recorder{}
		route := one("hook", hook, func(s *channels.Spec) { s.Batch, s.Concurrency = 1, 4 })
		route.Rate, route.Burst = 10, 1
		o := &oracle{sees: make(chan struct{})}
		close(o.sees)
		var before, behind int
		records := asked(t, o, route, 2*time.Minute, many(200, "sale", "webhook"), func() {
			time.Sleep(5 * time.Second)
			synctest.Wait()
			before = len(hook.Accepted())
			o.halted.Store(true)
			time.Sleep(30 * time.Second)
			synctest.Wait()
			behind = len(hook.Accepted())
			o.halted.Store(false)
		})
		require.InDelta(t, 50, before, 2)
		require.InDelta(t, before, behind, 1, "none is sent while it is paused, but for what was on its way")
		keys := map[string]int{}
		for _, m := range hook.Accepted() {
			keys[m.Key]++
		}
		require.Len(t, keys, 200, "everybody has got it")
		require.Len(t, hook.Accepted(), 200, "and nobody twice")
		for _, d := range records {
			require.NotEqual(t, ledger.StoppedPaused, d.Status)
		}
	})
}
