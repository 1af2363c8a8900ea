package ruletest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/ruletest"
)

// Conditions over time: who is in a rule, and from when, as windows slide, events come late, people are merged
// and clocks are changed. Each case is a test as people write it. Edited rules are in engine/reload_test.go.
func TestBehaviour(t *testing.T) {
	ws, tests := folder(t, "testdata/behaviour")
	require.GreaterOrEqual(t, len(tests), 30)
	branches, err := ruletest.NewBranches(ws.Rules)
	require.NoError(t, err)
	for _, c := range ruletest.Cover(ws.Rules, passes(t, ws, tests), branches).Rules {
		require.True(t, c.Fires, "%s is never seen to fire", c.Rule)
	}
}
