package ruletest_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/ruletest"
	"nudge/engine/workspace"
	"nudge/events/clickhouse/clickhousetest"
)

// Conditions over time: who is in a rule, and from when, as windows slide, events come late, people are merged
// and clocks are changed. Each case is a test as people write it. Edited rules are in engine/reload_test.go.
func TestBehaviour(t *testing.T) {
	set, err := all.Set()
	require.NoError(t, err)
	ws, findings := workspace.Load("testdata/behaviour", workspace.Options{Adapters: set, WithoutSecrets: true})
	require.NotNil(t, ws, render(t, findings))
	tests, findings := ruletest.Load(ws)
	require.Empty(t, findings, render(t, findings))
	require.GreaterOrEqual(t, len(tests), 30)
	results, err := ruletest.Run(t.Context(), ruletest.Options{Workspace: ws, Tests: tests, Engine: clickhousetest.Engine(t)})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, ruletest.WriteText(&out, results, false))
	require.False(t, ruletest.Failed(results), out.String())
	for _, c := range ruletest.Cover(ws.Rules, results) {
		require.True(t, c.Fires, "%s is never seen to fire", c.Rule)
	}
}
