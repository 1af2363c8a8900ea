package ticktest_test

import (
	"flag"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/segments/plan/ticktest"
)

var (
	flagCases    = flag.Int("ticks.cases", 250, "how many cases TestTicks tries; 100,000 is its long mode, for an hour or two")
	flagInMemory = flag.Int("ticks.inmemory", 1000, "how many cases TestTicksInMemory tries")
	flagSeed     = flag.Uint64("ticks.seed", 1, "seed of the first pack of TestTicks")
	flagPack     = flag.Int("ticks.pack", 125, "cases that are packed into one store")
)

// lanes are how many stores are ticked at once.
const lanes = 2

// Random conditions over random histories, ticked at random instants: the incremental way, a full look
// with prefilters, one without, and a walk over everything in memory give the same answers.
func TestTicks(t *testing.T) {
	all := make([]ticktest.Stats, lanes)
	t.Run("lanes", func(t *testing.T) {
		for lane := range lanes {
			t.Run(strconv.Itoa(lane), func(t *testing.T) {
				t.Parallel()
				all[lane] = tick(t, ticktest.NewRig(t), *flagSeed+uint64(lane), *flagCases/lanes)
			})
		}
	})
	var s ticktest.Stats
	for _, one := range all {
		s.Add(one)
	}
	require.Greater(t, s.Part*10, s.Looks*4, "most looks should be at a part of the people: %+v", s)
	require.Greater(t, s.Reached, 2*s.Judged, "a part should leave most out: %+v", s)
	require.Greater(t, s.Turned, s.Cases/2, "answers should turn: %+v", s)
}

// A history in memory gives the same answers, in every way of asking.
func TestTicksInMemory(t *testing.T) {
	t.Parallel()
	s := tick(t, ticktest.NewRigInMemory(t), *flagSeed, *flagInMemory)
	require.Greater(t, s.Turned, s.Cases/2, "answers should turn: %+v", s)
}

// tick tries so many cases, from packs of every other seed.
func tick(t *testing.T, r *ticktest.Rig, seed uint64, cases int) ticktest.Stats {
	t.Helper()
	for ; r.Stats.Cases < cases && !t.Failed(); seed += lanes {
		start := time.Now()
		p := ticktest.Draw(seed, ticktest.Shape{Cases: min(*flagPack, cases-r.Stats.Cases), Ticks: 5})
		differences, err := r.Run(p)
		require.NoError(t, err, "seed %d", seed)
		t.Logf("seed %d: %s; so far %+v", seed, time.Since(start), r.Stats)
		if len(differences) > 0 {
			t.Logf("seed %d: %d differences", seed, len(differences))
			r.Report(p, differences)
		}
	}
	return r.Stats
}
