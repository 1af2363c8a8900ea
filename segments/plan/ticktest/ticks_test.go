package ticktest_test

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/segments/plan/ticktest"
)

var (
	flagCases = flag.Int("ticks.cases", 300, "how many cases TestTicks tries; 100,000 is its long mode, for an hour or two")
	flagSeed  = flag.Uint64("ticks.seed", 1, "seed of the first pack of TestTicks")
	flagPack  = flag.Int("ticks.pack", 200, "cases that are packed into one store")
)

// Random conditions over random histories, ticked at random instants: the incremental way, a full look
// with prefilters, one without, and a walk over everything in memory give the same answers.
func TestTicks(t *testing.T) {
	r := ticktest.NewRig(t)
	for seed := *flagSeed; r.Stats.Cases < *flagCases && !t.Failed(); seed++ {
		start := time.Now()
		p := ticktest.Draw(seed, ticktest.Shape{Cases: min(*flagPack, *flagCases-r.Stats.Cases), Ticks: 5})
		drawn := time.Since(start)
		differences, err := r.Run(p)
		require.NoError(t, err, "seed %d", seed)
		t.Logf("seed %d: %s (%s to draw); so far %+v", seed, time.Since(start), drawn, r.Stats)
		if len(differences) > 0 {
			t.Logf("seed %d: %d differences", seed, len(differences))
			r.Report(p, differences)
		}
	}
	s := r.Stats
	require.Greater(t, s.Part*10, s.Looks*4, "most looks should be at a part of the people: %+v", s)
	require.Greater(t, s.Reached, 2*s.Judged, "a part should leave most out: %+v", s)
	require.Greater(t, s.Turned, s.Cases/2, "answers should turn: %+v", s)
}
