package send

import "math"

// bucket is a channel's rate limit: rate tokens a second, at most burst saved up. Time is passed in
// (Unix milliseconds); a rate of 0 has no limit. It is not safe for concurrent use.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          int64
}

func newBucket(rate float64, burst int) *bucket {
	b := &bucket{rate: rate, burst: float64(burst)}
	if b.burst < 1 {
		b.burst = max(1, math.Ceil(rate))
	}
	b.tokens = b.burst
	return b
}

func (b *bucket) fill(now int64) {
	if now > b.at && b.at != 0 {
		b.tokens = min(b.burst, b.tokens+float64(now-b.at)*b.rate/1000)
	}
	b.at = max(b.at, now)
}

// take takes up to n tokens and says how many.
func (b *bucket) take(now int64, n int) int {
	if b.rate <= 0 {
		return n
	}
	b.fill(now)
	// The smallest of errors of floating point must not cost a millisecond.
	n = min(n, int(b.tokens+1e-9))
	b.tokens -= float64(n)
	return n
}

func (b *bucket) giveBack(n int) {
	if b.rate > 0 {
		b.tokens = min(b.burst, b.tokens+float64(n))
	}
}

// next is when a token will be there.
func (b *bucket) next(now int64) int64 {
	if b.rate <= 0 {
		return now
	}
	b.fill(now)
	if b.tokens+1e-9 >= 1 {
		return now
	}
	return now + int64(math.Ceil((1-b.tokens-1e-9)*1000/b.rate))
}
