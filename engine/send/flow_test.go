package send_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/engine/ledger"
	"nudge/engine/send"
)

// many are n decisions of a rule on a channel, with entries "rule-0" and on.
func many(n int, rule, channel string) []ledger.Decision {
	ds := make([]ledger.Decision, n)
	for i := range ds {
		ds[i] = decision(fmt.Sprintf("%s-%d", rule, i), channel)
		ds[i].Rule = rule
	}
	return ds
}

func TestTheRateOfAChannelIsKept(t *testing.T) {
	hook := &channeltest.Recorder{}
	route := one("hook", hook)
	route.Rate, route.Burst = 10, 5
	b := newBench(t, map[string]send.Route{"webhook": route})
	ds := many(30, "cart", "webhook")
	for i := range ds {
		ds[i].Expires = t0 + 2*second
	}
	b.decide(0, ds...)
	b.settle(t0)
	require.Len(t, hook.Accepted(), 5, "the burst")
	for next, ok := b.sender.Next(); ok; next, ok = b.sender.Next() {
		b.settle(next)
		require.LessOrEqual(t, len(hook.Accepted()), 5+int((next-t0)/100))
	}
	require.Len(t, hook.Accepted(), 24, "5 at once, one every 100 ms before 2 s")
	expired := 0
	for _, st := range b.final() {
		if st == ledger.StoppedExpired {
			expired++
		}
	}
	require.Equal(t, 6, expired, "what the rate keeps waiting past its expiry")
}

func TestRulesTakeTurns(t *testing.T) {
	hook := &channeltest.Recorder{}
	route := one("hook", hook, func(s *channels.Spec) { s.Batch, s.Concurrency = 1, 1 })
	route.Rate, route.Burst = 1, 1
	b := newBench(t, map[string]send.Route{"webhook": route})
	b.decide(0, many(100, "big", "webhook")...)
	b.decide(1, many(3, "small", "webhook")...)
	urgent := decision("urgent", "webhook")
	urgent.Category = "transactional"
	b.decide(1, urgent)
	for i := range int64(8) {
		b.settle(t0 + i*second)
	}
	got := titles(hook.Accepted())
	require.Equal(t, "urgent", got[0], "transactional messages have their own lane")
	require.Equal(t, []string{"big-0", "small-0", "big-1", "small-1", "big-2", "small-2", "big-3"}, got[1:])
}

func TestABreakerLeavesADeadProviderAlone(t *testing.T) {
	dead := true
	hook := &channeltest.Recorder{Answer: func(channels.Message, int) error {
		if dead {
			return failed(channels.ClassTemporary, 0)
		}
		return nil
	}}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook, func(s *channels.Spec) { s.Batch, s.Concurrency = 1, 1 })})
	b.decide(0, many(200, "cart", "webhook")...)
	for at := t0; at < t0+2*minute; {
		b.settle(at)
		next, ok := b.sender.Next()
		require.True(t, ok)
		at = next
	}
	require.Less(t, len(hook.Attempts()), 15, "one probe at a time once it is open")
	dead = false
	for next, ok := b.sender.Next(); ok && len(hook.Accepted()) < 200; next, ok = b.sender.Next() {
		b.settle(next)
	}
	require.Len(t, hook.Accepted(), 200, "nothing is lost meanwhile")
}

func TestAFullLineIsReadAgainFromTheStream(t *testing.T) {
	hook, mail := &channeltest.Recorder{}, &channeltest.Recorder{}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook), "email": one("mail", mail)})
	b.opts.Hold = 10
	b.start()
	const chunks, each = 8, 25
	var want []string
	for c := range chunks {
		ds := make([]ledger.Decision, each)
		for i := range ds {
			ds[i] = decision(fmt.Sprintf("e%d", c*each+i), "webhook", "email")
			ds[i].Rule = fmt.Sprintf("rule%d", i%2)
			want = append(want, ds[i].Entry)
		}
		b.decide(c%2, ds...)
	}
	b.settle(t0)
	for name, rec := range map[string]*channeltest.Recorder{"hook": hook, "mail": mail} {
		got := titles(rec.Accepted())
		slices.Sort(got)
		slices.Sort(want)
		require.Equal(t, want, got, "%s: each once", name)
	}
	require.Len(t, b.final(), 2*chunks*each)
}

// TestDecisionsThatComeWhileALineCatchesUp has lines fall behind and catch up all the time, between decisions that come.
func TestDecisionsThatComeWhileALineCatchesUp(t *testing.T) {
	hook, mail := &channeltest.Recorder{}, &channeltest.Recorder{}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook), "email": one("mail", mail)})
	b.opts.Hold = 3
	b.opts.Now = func() time.Time { return time.UnixMilli(t0) }
	b.start()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.sender.Run(ctx) }()
	const chunks, each = 150, 4
	var want []string
	for c := range chunks {
		ds := make([]ledger.Decision, each)
		for i := range ds {
			ds[i] = decision(fmt.Sprintf("e%d", c*each+i), "webhook")
			if i%3 == 0 {
				ds[i].Channels = []string{"webhook", "email"}
			}
			want = append(want, ds[i].Entry)
		}
		b.decide(c%2, ds...)
	}
	require.Eventually(t, func() bool { return len(hook.Accepted()) >= chunks*each && len(mail.Accepted()) >= chunks*2 }, time.Minute, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	got := titles(hook.Accepted())
	slices.Sort(got)
	slices.Sort(want)
	require.Equal(t, want, got, "each once")
	require.Len(t, mail.Accepted(), chunks*2)
}

// TestALineHoldsWhatItsProviderCanDoWith bounds what is in memory of a provider that hangs: twice what it may have under
// way, where that is more than a line's own share.
func TestALineHoldsWhatItsProviderCanDoWith(t *testing.T) {
	for name, c := range map[string]struct{ batch, concurrency, held int }{
		"a narrow provider": {10, 2, 1024},
		"a wide provider":   {200, 4, 1600},
	} {
		t.Run(name, func(t *testing.T) {
			route := one("hook", &channeltest.Recorder{Gate: make(chan struct{})})
			route.Providers[0].Spec.Batch, route.Providers[0].Spec.Concurrency = c.batch, c.concurrency
			b := newBench(t, map[string]send.Route{"webhook": route})
			b.opts.Now = func() time.Time { return time.UnixMilli(t0) }
			reg := prometheus.NewRegistry()
			b.opts.Registerer = reg
			b.opts.Decisions, b.opts.Deliveries, b.opts.Events, b.opts.Notes = b.decisions, b.deliveries, b.q, b.q
			sender, err := send.New(b.opts)
			require.NoError(t, err)
			for n := range 10 {
				ds := make([]ledger.Decision, 200)
				for i := range ds {
					ds[i] = decision(fmt.Sprintf("e%d-%d", n, i), "webhook")
				}
				b.decide(n%2, ds...)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- sender.Run(ctx) }()
			want := fmt.Sprintf(`
# HELP nudge_send_behind Lines of messages that were left in the stream for want of room.
# TYPE nudge_send_behind gauge
nudge_send_behind 1
# HELP nudge_send_held Messages (entry and channel) in memory.
# TYPE nudge_send_held gauge
nudge_send_held %d
`, c.held)
			require.EventuallyWithT(t, func(t *assert.CollectT) {
				require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(want), "nudge_send_behind", "nudge_send_held"))
			}, time.Minute, 5*time.Millisecond)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		})
	}
}

func TestADeadChannelDelaysNoOther(t *testing.T) {
	gate := make(chan struct{}) // never opened: the provider hangs
	hook, mail := &channeltest.Recorder{Gate: gate}, &channeltest.Recorder{}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook), "email": one("mail", mail)})
	b.opts.Hold = 10
	b.opts.Now = func() time.Time { return time.UnixMilli(t0) }
	reg := prometheus.NewRegistry()
	b.start()
	b.opts.Registerer = reg
	sender, err := send.New(b.opts)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- sender.Run(ctx) }()
	for c := range 4 {
		ds := make([]ledger.Decision, 50)
		for i := range ds {
			ds[i] = decision(fmt.Sprintf("e%d-%d", c, i), "webhook", "email")
		}
		b.decide(0, ds...)
	}
	require.Eventually(t, func() bool { return len(mail.Accepted()) == 200 }, time.Minute, 5*time.Millisecond)
	// What hangs is bounded: the rest stays in the stream. The other line has caught up soon after
	// the last of its messages was accepted, not at that instant.
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP nudge_send_behind Lines of messages that were left in the stream for want of room.
# TYPE nudge_send_behind gauge
nudge_send_behind 1
`), "nudge_send_behind"))
	}, time.Minute, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	// The hanging calls were cancelled; the next run delivers everything once, as the adapter's
	// repeat is harmless.
	hook.Gate = nil
	b.start()
	b.settle(t0)
	require.Len(t, hook.Accepted(), 200)
	require.Len(t, mail.Accepted(), 200, "not again")
}

func TestTransactionalMessagesPassASlowProvider(t *testing.T) {
	gate := make(chan struct{})
	hook := &channeltest.Recorder{Gate: gate, Answer: func(channels.Message, int) error { return nil }}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook, func(s *channels.Spec) { s.Batch, s.Concurrency = 1, 4 })})
	b.opts.Now = func() time.Time { return time.UnixMilli(t0) }
	b.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- b.sender.Run(ctx) }()
	b.decide(0, many(50, "cart", "webhook")...)
	require.Eventually(t, func() bool { return len(hook.Attempts()) == 3 }, time.Minute, time.Millisecond, "three of four slots are for everybody")
	urgent := decision("urgent", "webhook")
	urgent.Category = "transactional"
	b.decide(1, urgent)
	require.Eventually(t, func() bool { return slices.Contains(titles(hook.Attempts()), "urgent") }, time.Minute, time.Millisecond,
		"the fourth is kept")
	close(gate)
	require.Eventually(t, func() bool { return len(hook.Accepted()) == 51 }, time.Minute, time.Millisecond)
	require.NoError(t, b.sender.Drain(t.Context()))
	require.NoError(t, <-done)
	require.Len(t, b.final(), 51)
}

func TestASecondSenderIsRefusedBeforeItSends(t *testing.T) {
	first, second := &channeltest.Recorder{}, &channeltest.Recorder{}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", first)})
	b.settle(t0) // the first has read where the shards stand
	opts := b.opts
	opts.Routes = map[string]send.Route{"webhook": one("hook", second)}
	other, err := send.New(opts)
	require.NoError(t, err)
	require.NoError(t, other.Settle(t.Context(), t0))
	b.decide(0, decision("e1", "webhook"))
	b.settle(t0)
	err = other.Settle(t.Context(), t0)
	require.ErrorContains(t, err, "another sender is delivering shard 0")
	require.Len(t, first.Accepted(), 1)
	require.Empty(t, second.Attempts())
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	gate := make(chan struct{})
	hook := &channeltest.Recorder{Gate: gate}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook, func(s *channels.Spec) { s.Batch, s.Concurrency = 1, 2 })})
	b.opts.Now = func() time.Time { return time.UnixMilli(t0) }
	b.start()
	done := make(chan error)
	go func() { done <- b.sender.Run(t.Context()) }()
	b.decide(0, many(10, "cart", "webhook")...)
	require.Eventually(t, func() bool { return len(hook.Attempts()) > 0 }, time.Minute, time.Millisecond)
	drained := make(chan error)
	go func() { drained <- b.sender.Drain(t.Context()) }()
	close(gate)
	require.NoError(t, <-drained)
	require.NoError(t, <-done)
	finals, intents := 0, 0
	for _, d := range b.deliveriesOf() {
		if d.Status == ledger.Intent {
			intents++
		} else {
			finals++
		}
	}
	require.Equal(t, intents, finals, "nothing is left in doubt")
	b.start()
	b.settle(t0)
	require.Len(t, hook.Accepted(), 10, "the rest goes in the next run")
}

func TestPurgingWhatIsDoneSendsNothingAgain(t *testing.T) {
	slow := true
	hook := &channeltest.Recorder{Answer: func(m channels.Message, _ int) error {
		if slow && m.Text("title") == "slow" {
			return failed(channels.ClassTemporary, 0)
		}
		return nil
	}}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
	purge := func() {
		require.NoError(t, b.sender.Save(t.Context()))
		for _, shard := range b.opts.Shards {
			decisions, deliveries := b.sender.Done(shard)
			require.NoError(t, b.decisions.Purge(t.Context(), shard, decisions+1))
			require.NoError(t, b.deliveries.Purge(t.Context(), shard, deliveries+1))
		}
	}
	b.decide(0, many(20, "a", "webhook")...)
	b.decide(1, many(20, "b", "webhook")...)
	b.settle(t0)
	purge()
	b.start()
	b.settle(t0)
	require.Len(t, hook.Accepted(), 40, "the last message of a shard stays and is not sent again")

	b.decide(0, decision("slow", "webhook"))
	b.decide(0, many(20, "c", "webhook")...)
	b.settle(t0)
	decisions, _ := b.sender.Done(0)
	purge()
	after, _ := b.sender.Done(0)
	require.Equal(t, decisions, after, "what is not resolved is not done")
	b.start()
	slow = false
	next := t0 + minute
	b.settle(next)
	require.Len(t, hook.Accepted(), 61)
	require.Len(t, b.final(), 41, "shard 0's older ones are purged, of shard 1 the last message stays")
	purge()
	b.start()
	b.settle(next)
	require.Len(t, hook.Accepted(), 61)
}

func TestMetricsGoOnWithTheNextSender(t *testing.T) {
	hook := &channeltest.Recorder{Answer: func(m channels.Message, _ int) error {
		if m.Text("title") == "bad" {
			return failed(channels.ClassMessage, 0)
		}
		return nil
	}}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
	reg := prometheus.NewRegistry()
	for _, entry := range []string{"good", "bad", "better"} {
		b.opts.Registerer = reg
		var err error
		b.sender, err = send.New(b.opts)
		require.NoError(t, err)
		b.decide(0, decision(entry, "webhook"))
		b.settle(t0)
	}
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP nudge_send_outcomes_total Delivery records written, by status.
# TYPE nudge_send_outcomes_total counter
nudge_send_outcomes_total{channel="webhook",status="accepted"} 2
nudge_send_outcomes_total{channel="webhook",status="failed"} 1
# HELP nudge_send_held Messages (entry and channel) in memory.
# TYPE nudge_send_held gauge
nudge_send_held 0
`), "nudge_send_outcomes_total", "nudge_send_held"))
}

func TestAnExitCheckThatDoesNotKnowHoldsMessagesAndNoStop(t *testing.T) {
	hook := &channeltest.Recorder{}
	b := newBench(t, map[string]send.Route{"webhook": one("hook", hook)})
	asked, know := make(chan struct{}, 100), make(chan struct{})
	b.opts.Exited = func(ctx context.Context, _ *ledger.Decision, _ int64) (bool, error) {
		asked <- struct{}{}
		select {
		case <-know:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	b.opts.Now = func() time.Time { return time.UnixMilli(t0) }
	b.start()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.sender.Run(ctx) }()
	b.decide(0, decision("e1", "webhook"))
	<-asked
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Empty(t, hook.Attempts())
	close(know)
	b.start()
	b.settle(t0)
	require.Len(t, hook.Accepted(), 1)
}
