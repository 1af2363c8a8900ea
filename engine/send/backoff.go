package send

import (
	"hash/fnv"
	"math"
	"strconv"
	"time"

	"nudge/channels"
)

// First and longest wait between two attempts of one message.
const (
	firstWait      = time.Second
	firstWaitSetup = time.Minute // our own set-up is wrong: no hurry
	longestWait    = 10 * time.Minute
)

// backoff is how long to wait after the given failed attempt (1 is the first): doubling, with a
// jitter that depends on the key and the attempt alone, so that a run can be repeated. What the
// provider asks for is kept and never shortened.
func backoff(key string, attempt int, failed *channels.DeliveryError) time.Duration {
	share := jitter(key, attempt)
	if failed.RetryAfter > 0 {
		return failed.RetryAfter + time.Duration(share*float64(failed.RetryAfter)/10)
	}
	first := firstWait
	if failed.Class == channels.ClassCredential {
		first = firstWaitSetup
	}
	wait := min(float64(first)*math.Pow(2, float64(attempt-1)), float64(longestWait))
	return time.Duration(wait * (0.5 + share/2)).Truncate(time.Millisecond)
}

// jitter is a number in [0, 1).
func jitter(key string, attempt int) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	_, _ = h.Write(strconv.AppendInt([]byte{0}, int64(attempt), 10))
	// FNV's high bits hardly move with the last byte; one multiplication mixes them.
	return float64((h.Sum64()*0x9e3779b97f4a7c15)>>11) / (1 << 53)
}
