package writer

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"nudge/events"
)

func TestHold(t *testing.T) {
	full, idle := 20*runtime.GOMAXPROCS(0), 0
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type step struct {
		runnable int
		looks    int           // so often, every holdEvery
		read     time.Duration // then a message of this age is read; 0: none
		on       bool          // and then it holds or not
	}
	long := int(holdFor / holdEvery)
	for _, c := range []struct {
		name  string
		steps []step
		held  time.Duration // at least
	}{
		{"idle", []step{{runnable: idle, looks: 100}}, 0},
		{"busy, not full", []step{{runnable: holdAbove * runtime.GOMAXPROCS(0), looks: 1000}}, 0},
		{"one crowded moment", []step{{runnable: full, looks: 2}, {runnable: idle, looks: 20}}, 0},
		{"full", []step{{runnable: full, looks: 20, on: true}}, 0},
		{"full, then merely busy", []step{{runnable: full, looks: 20, on: true}, {runnable: 3 * runtime.GOMAXPROCS(0), looks: 200, on: true}}, 0},
		{"ends with the burst", []step{{runnable: full, looks: 100, on: true}, {runnable: idle, looks: 100}}, time.Second / 2},
		{"ends after its time", []step{{runnable: full, looks: long - 1, on: true}, {runnable: full, looks: 20}}, holdFor},
		{"not again before it has caught up", []step{
			{runnable: full, looks: long + 20}, {runnable: full, looks: long, read: 2 * caughtUp}, {runnable: full, looks: 100},
		}, holdFor},
		{"again once it has", []step{
			{runnable: full, looks: long + 20, read: caughtUp / 2}, {runnable: full, looks: 20, on: true},
		}, holdFor},
		{"a burst that ended early is caught up with first", []step{
			{runnable: full, looks: 50, on: true}, {runnable: idle, looks: 100}, {runnable: full, looks: 100},
		}, time.Second / 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h hold
			at, held := start, time.Duration(0)
			for i, s := range c.steps {
				for range s.looks {
					at = at.Add(holdEvery)
					held += h.look(at, s.runnable)
				}
				if s.read > 0 {
					h.read(s.read)
				}
				require.Equal(t, s.on, h.on(), "after step %d", i)
			}
			require.GreaterOrEqual(t, held, c.held)
			require.LessOrEqual(t, held, holdFor+holdEvery)
			if c.held == 0 {
				require.Zero(t, held)
			}
		})
	}
}

// TestHoldWrites: what came during a burst is stored after it.
func TestHoldWrites(t *testing.T) {
	var runnable atomic.Int64
	runnable.Store(1000)
	looks := make(chan struct{})
	done := make(chan struct{})
	r := newRig(t, func(o *Options) {
		o.Runnable = func() int {
			select {
			case looks <- struct{}{}:
			case <-done:
			}
			return int(runnable.Load())
		}
	})
	defer close(done)
	<-r.w.Ready()
	for range holdOver {
		<-looks
	}
	before := r.w.Position()
	pos := r.send(events.Event{Kind: events.KindTrack, Name: "Shoes Bought", MessageID: "m1", UserID: "ann"})
	for range holdOver {
		<-looks
	}
	require.Equal(t, before, r.w.Position())
	runnable.Store(0)
	go func() {
		for {
			select {
			case <-looks:
			case <-done:
				return
			}
		}
	}()
	require.NoError(t, r.w.WaitFor(t.Context(), pos))
	require.Positive(t, testutil.ToFloat64(r.w.metrics.held))
}
