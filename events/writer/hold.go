package writer

import (
	"runtime"
	"time"
)

// hold leaves the processors to those who wait for an answer. While a process answers more requests
// than it has processors for, each event that is written takes time from two that could be safe; what
// waits in the queue is safe already. So a burst is written after it, or after holdFor at the latest,
// and then the writer holds back no more until it has caught up. The store is therefore never later
// for it than by holdFor, and load that lasts is written as if there was no hold.
type hold struct {
	crowded float64   // goroutines that wait for a processor, for each one; smoothed
	began   time.Time // of the hold; zero: there is none
	spent   bool      // has held back, and not caught up since
}

const (
	holdFor = 10 * time.Second
	// holdAbove is how many goroutines wait for each processor when requests come faster than they are
	// answered, and holdBelow when that is over. Measured with two processors: a machine half busy has less
	// than one; one that is full of looks and inserts, but answers each request as it comes, around 2; one that
	// is sent batches by 32 connections, or single events by 64, as fast as it answers, 6 to 18.
	holdAbove, holdBelow = 3, 2
	// holdEvery is how often the load is looked at, and holdOver over how many looks it is smoothed.
	holdEvery = 10 * time.Millisecond
	holdOver  = 25
	// caughtUp is how old the newest message may be for the writer to have caught up.
	caughtUp = 500 * time.Millisecond
)

// look notes how many goroutines wait for a processor, and reports how long a hold that ends now took.
func (h *hold) look(now time.Time, runnable int) (held time.Duration) {
	h.crowded += (float64(runnable)/float64(runtime.GOMAXPROCS(0)) - h.crowded) / holdOver
	switch {
	case h.began.IsZero():
		if h.crowded > holdAbove && !h.spent {
			h.began = now
		}
	case h.crowded < holdBelow || now.Sub(h.began) >= holdFor:
		held = now.Sub(h.began)
		h.began, h.spent = time.Time{}, true
	}
	return held
}

// on says whether nothing more is to be read from the queue.
func (h *hold) on() bool { return !h.began.IsZero() }

// read notes the age of a message that was read.
func (h *hold) read(age time.Duration) {
	if age < caughtUp {
		h.spent = false
	}
}
