package ticktest_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/segments"
	"nudge/segments/plan/ticktest"
)

// Of random conditions over random histories, every change that is said to flip an answer flips it: a plain walk over the
// events with the change made says so.
func TestNearestFlips(t *testing.T) {
	all := ticktest.Claims{Kinds: map[segments.NeedKind]int{}}
	rapid.Check(t, func(rt *rapid.T) {
		p := ticktest.Draw(rapid.Uint64Range(0, 1<<38).Draw(rt, "seed"), ticktest.Shape{Cases: 2, Ticks: 3})
		c, err := p.Nearest()
		require.NoError(rt, err)
		require.Empty(rt, c.Refuted)
		all.Asked, all.Answered, all.Flips, all.ByTime, all.Both = all.Asked+c.Asked, all.Answered+c.Answered, all.Flips+c.Flips, all.ByTime+c.ByTime, all.Both+c.Both
		for k, n := range c.Kinds {
			all.Kinds[k] += n
		}
	})
	t.Logf("%+v", all)
	require.Greater(t, all.Answered*10, all.Asked*6, "most answers can be flipped: %+v", all)
	require.NotZero(t, all.ByTime)
	require.NotZero(t, all.Both)
	for _, kind := range []segments.NeedKind{segments.NeedEvent, segments.NeedWithout, segments.NeedTrait, segments.NeedPlace} {
		require.NotZero(t, all.Kinds[kind], kind)
	}
}
