package send

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/channels"
	"nudge/channels/inbox"
	"nudge/engine/ledger"
)

func failure(class channels.Class, after time.Duration) *channels.DeliveryError {
	return &channels.DeliveryError{Class: class, RetryAfter: after, Err: errors.New("told so")}
}

func TestBackoffBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, attempt := rapid.String().Draw(t, "key"), rapid.IntRange(1, 60).Draw(t, "attempt")
		wait := backoff(key, attempt, failure(channels.ClassTemporary, 0))
		full := min(float64(time.Second)*float64(uint64(1)<<min(attempt-1, 40)), float64(10*time.Minute))
		if float64(wait) < full/2-1e6 || float64(wait) > full {
			t.Fatalf("attempt %d waits %s of %s", attempt, wait, time.Duration(full))
		}
		if again := backoff(key, attempt, failure(channels.ClassTemporary, 0)); again != wait {
			t.Fatalf("%s, then %s", wait, again)
		}
		asked := time.Duration(rapid.IntRange(1, 3600).Draw(t, "asked")) * time.Second
		if wait := backoff(key, attempt, failure(channels.ClassRateLimit, asked)); wait < asked || wait > asked+asked/10 {
			t.Fatalf("asked for %s, waits %s", asked, wait)
		}
	})
}

func TestJitterSpreads(t *testing.T) {
	var quarters [4]int
	for i := range 4000 {
		quarters[int(4*jitter(channels.UUID(string(rune(i))), 1+i%3))]++
	}
	for _, n := range quarters {
		require.InDelta(t, 1000, n, 150)
	}
}

func TestBucketKeepsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.1, 5000).Draw(t, "rate")
		burst := rapid.IntRange(1, 100).Draw(t, "burst")
		b := newBucket(rate, burst)
		begin, now, taken := int64(1_000_000), int64(1_000_000), 0
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "jump to next") {
				next := b.next(now)
				if next > now && b.take(next-1, 1) != 0 {
					t.Fatalf("a token came before next (%d)", next-now)
				}
				now = next
				if got := b.take(now, 1); got != 1 {
					t.Fatalf("no token at next")
				}
				taken++
			} else {
				now += int64(rapid.IntRange(0, 2000).Draw(t, "ms"))
				taken += b.take(now, rapid.IntRange(0, 200).Draw(t, "n"))
			}
			if most := float64(burst) + float64(now-begin)*rate/1000; float64(taken) > most+1e-6 {
				t.Fatalf("%d taken, at most %f", taken, most)
			}
		}
	})
}

func TestBreaker(t *testing.T) {
	temporary, setup := failure(channels.ClassTemporary, 0), failure(channels.ClassCredential, 0)
	limit := failure(channels.ClassRateLimit, 30*time.Second)
	type step struct {
		at     int64 // seconds
		report any   // *DeliveryError, nil for success, or nothing
		ok     bool  // what allow says after it
		one    bool
	}
	const none = "none"
	cases := map[string][]step{
		"opens after five": {
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, temporary, false, false},
			{4, none, false, false},
			{5, none, true, true},
		},
		"a success in between starts over": {
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, nil, true, false},
			{0, temporary, true, false},
		},
		"a refused message shows that it is alive": {
			{0, temporary, true, false},
			{0, failure(channels.ClassMessage, 0), true, false},
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, temporary, true, false},
			{0, temporary, true, false},
		},
		"credentials at once, for a minute": {{0, setup, false, false}, {59, none, false, false}, {60, none, true, true}},
		"waits double": {
			{0, setup, false, false},
			{60, setup, false, false},
			{179, none, false, false},
			{180, setup, false, false},
			{419, none, false, false},
			{420, setup, false, false},
			{719, none, false, false},
			{720, none, true, true},
		},
		"closes again":                   {{0, setup, false, false}, {60, nil, true, false}, {60, temporary, true, false}},
		"a limit that comes three times": {{0, limit, true, false}, {0, limit, true, false}, {0, limit, false, false}, {30, none, true, true}},
		"cancelled says nothing": {
			{0, setup, false, false}, {60, failure(channels.ClassCancelled, 0), true, true},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			var b breaker
			for i, s := range steps {
				at := s.at*1000 + 1
				if ok, one := b.allow(at); ok && one && s.report != none {
					b.probe()
					ok, _ := b.allow(at)
					require.False(t, ok, "step %d: one probe at a time", i)
				}
				switch r := s.report.(type) {
				case nil:
					b.report(at, nil)
				case *channels.DeliveryError:
					b.report(at, r)
				}
				ok, one := b.allow(at)
				require.Equal(t, [2]bool{s.ok, s.one}, [2]bool{ok, one}, "step %d", i)
			}
		})
	}
}

func TestFairKeepsOrderWithinARuleAndLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fair
		pushed, popped := map[string]int{}, map[string]int{}
		var last string
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if f.n == 0 || rapid.Bool().Draw(t, "push") {
				rule := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "rule")
				f.push(&job{unit: &unit{decision: &ledger.Decision{Rule: rule}}, attempt: pushed[rule]})
				pushed[rule]++
				last = ""
				continue
			}
			others := len(f.turns) > 1
			j := f.pop()
			rule := j.unit.decision.Rule
			if j.attempt != popped[rule] {
				t.Fatalf("%s: %d came for %d", rule, j.attempt, popped[rule])
			}
			if others && rule == last {
				t.Fatalf("%s twice in a row while another waits", rule)
			}
			popped[rule]++
			last = rule
		}
		left := 0
		for rule := range pushed {
			left += pushed[rule] - popped[rule]
		}
		if left != f.n {
			t.Fatalf("%d left, queue says %d", left, f.n)
		}
	})
}

func TestSlowWritesShareACommit(t *testing.T) {
	enter, leave := make(chan int), make(chan struct{})
	g := group[int]{}
	g.write = func(items []int) error { enter <- len(items); <-leave; return nil }
	done := make(chan error, 11)
	add := func(n int) { done <- g.add(t.Context(), make([]int, n)) }
	go add(1)
	require.Equal(t, 1, <-enter)
	for range 10 {
		go add(3)
	}
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.next != nil && len(g.next.items) == 30
	}, time.Minute, time.Millisecond)
	leave <- struct{}{}
	require.Equal(t, 30, <-enter, "what came meanwhile goes together")
	leave <- struct{}{}
	for range 11 {
		require.NoError(t, <-done)
	}
}

func TestTheTextOfAMessageInAnInboxIsAlwaysKept(t *testing.T) {
	require.Less(t, inbox.MaxPayload, longestText, "the record of its acceptance is the message")
}
