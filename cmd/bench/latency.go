package main

import (
	"math/bits"
	"sync"
	"time"
)

// latencies is a histogram of durations in buckets at most 1/64 wide, so that its percentiles are
// right to 1.6 % however many there are. It may be used concurrently.
type latencies struct {
	mu      sync.Mutex
	buckets [64 * fine]int64
	n       int64
	most    time.Duration
}

// fine is the number of buckets for each power of two.
const fine = 64

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < fine {
		return int(v)
	}
	shift := bits.Len64(v) - 7 // v>>shift is 64 … 127
	return shift*fine + int(v>>shift)
}

// middle is the middle of a bucket's durations.
func middle(b int) time.Duration {
	if b < fine {
		return time.Duration(b)
	}
	shift := b/fine - 1
	from := uint64(b-shift*fine) << shift
	return time.Duration(from + (uint64(1)<<shift)/2)
}

func (l *latencies) add(d time.Duration) { l.addN(d, 1) }

// addN adds a duration n times.
func (l *latencies) addN(d time.Duration, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[bucket(d)] += n
	l.n += n
	l.most = max(l.most, d)
}

// quantile is the duration that a share q of all does not exceed; 0 of none.
func (l *latencies) quantile(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	rank := int64(q*float64(l.n) + 0.9999999)
	for b, n := range l.buckets {
		if rank -= n; n > 0 && rank <= 0 {
			return min(middle(b), l.most)
		}
	}
	return l.most
}

// ms is a duration in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// merge adds all of another's durations.
func (l *latencies) merge(o *latencies) {
	o.mu.Lock()
	buckets, n, most := o.buckets, o.n, o.most
	o.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for b, k := range buckets {
		l.buckets[b] += k
	}
	l.n += n
	l.most = max(l.most, most)
}
