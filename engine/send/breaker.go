package send

import (
	"time"

	"nudge/channels"
)

const (
	failuresToOpen = 5
	limitsToPause  = 3
	shortestBreak  = 5 * time.Second
	longestBreak   = time.Minute // a provider that is back is found within this
	setupBreak     = time.Minute
	longestSetup   = 5 * time.Minute
)

// breaker keeps a provider that is down from being asked by every message that waits for it. It
// opens after five failed batches in a row, or at once when our credentials are refused; then one
// message at a time is tried, after waits that double. It also pauses for a provider that says
// again and again when it wants to be asked next. Time is passed in (Unix milliseconds); it is not
// safe for concurrent use.
type breaker struct {
	failures int
	limits   int
	until    int64 // closed before; 0 is not open
	wait     time.Duration
	probing  bool
}

// allow says whether messages may be sent now, and whether only one of them.
func (b *breaker) allow(now int64) (ok, one bool) {
	switch {
	case b.until == 0:
		return true, false
	case now < b.until || b.probing:
		return false, false
	default:
		return true, true
	}
}

// probe notes that the one message is on its way.
func (b *breaker) probe() { b.probing = true }

// unprobe takes it back: the message was not sent after all.
func (b *breaker) unprobe() { b.probing = false }

// report tells what became of a batch: nil when the provider took or judged any of it, else the
// first error. It says whether the breaker opened.
func (b *breaker) report(now int64, failed *channels.DeliveryError) (opened bool) {
	probed := b.probing
	b.probing = false
	if failed == nil || !failed.Class.Retryable() {
		*b = breaker{}
		return false
	}
	if b.until != 0 && !probed {
		return false // sent before it opened
	}
	switch failed.Class {
	case channels.ClassCancelled:
		return false
	case channels.ClassRateLimit:
		b.limits++
		b.failures = 0
		if failed.RetryAfter > 0 && (b.limits >= limitsToPause || probed) {
			b.until = now + min(failed.RetryAfter, longestSetup).Milliseconds()
			return true
		}
		if probed {
			b.until, b.wait = 0, 0
		}
		return false
	case channels.ClassCredential:
		b.open(now, setupBreak, longestSetup)
		return true
	default:
		b.failures++
		if b.failures >= failuresToOpen || probed {
			b.open(now, shortestBreak, longestBreak)
			return true
		}
		return false
	}
}

func (b *breaker) open(now int64, shortest, longest time.Duration) {
	b.wait = min(max(2*b.wait, shortest), longest)
	b.until = now + b.wait.Milliseconds()
}
