package engine_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/writer"
	"nudge/segments"
)

// fence is a file of one fence around a latitude, far from every other.
func fence(lat float64) string {
	return fmt.Sprintf(`{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "one", "properties": {}, `+
		`"geometry": {"type": "Point", "coordinates": [7, %f]}}]}`, lat)
}

// places has ann at 50° and bob at 51°, and a fence at a latitude.
func places(t *testing.T, lat float64, rest string) *enginetest.World {
	t.Helper()
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":            config,
		"fences/stores.geojson": fence(lat),
		"rules/near.yaml":       rule("near", "schedule: \"*/5 * * * *\"\nwhen: near(\"stores/*\", meters(200))\nagain: each_time\n"+rest),
	})
	for i, user := range []string{"ann", "bob"} {
		w.Track(user, "Location Updated", map[string]any{"latitude": 50 + i, "longitude": 7, "accuracy": 5})
	}
	return w
}

// TestAChangedFenceBeginsWithALook moves a fence to where somebody stands already.
func TestAChangedFenceBeginsWithALook(t *testing.T) {
	w := places(t, 52, "")
	w.To(5 * minute)
	require.Empty(t, answers(w))
	w.Write(map[string]string{"fences/stores.geojson": fence(51)})
	w.Reload()
	w.To(10 * minute)
	require.Equal(t, []string{"near bob already_true"}, answers(w))
}

// everybody is the identity writer, of whom nobody knows when people last changed.
type everybody struct{ *writer.Writer }

func (everybody) Changed() events.Position { return ^events.Position(0) }

// reloading loads another workspace in the middle of a tick, before it looks.
type reloading struct {
	engine.Planner
	now func()
}

func (p *reloading) Look(ctx context.Context, look segments.Look, fn func([]segments.Answer) error) error {
	p.now()
	return p.Planner.Look(ctx, look, fn) //nolint:wrapcheck // stands in for the planner
}

// TestATickHasOneRuleSet loads other fences while a tick is under way: it goes on with those that it began
// with, and the next one has the others.
func TestATickHasOneRuleSet(t *testing.T) {
	w := places(t, 50, "backfill: true")
	now := enginetest.Start() + 5*minute
	w.Clock.Set(now)
	w.Write(map[string]string{"fences/stores.geojson": fence(51)})
	other := w.Load()
	decisions, err := w.App.Queue.Log(t.Context(), "decisions")
	require.NoError(t, err)
	deliveries, err := w.App.Queue.Log(t.Context(), "deliveries")
	require.NoError(t, err)
	planner := &reloading{Planner: w.App.Planner}
	e, err := engine.New(t.Context(), engine.Options{
		Planner: planner, People: everybody{w.App.Writer}, Ledger: ledger.NewStore(w.Store.Conn()), Decisions: decisions,
		Deliveries: deliveries, Workspace: w.App.Workspace(), Since: enginetest.Start(), From: w.App.Writer.Position(),
	})
	require.NoError(t, err)
	planner.now = func() {
		planner.now = func() {}
		require.NoError(t, w.App.Reload(t.Context(), other))
		require.NoError(t, e.Reload(other))
	}
	require.NoError(t, e.Step(t.Context(), now))
	require.Equal(t, []string{"near ann send"}, answers(w))
	require.NoError(t, e.Step(t.Context(), now+5*minute))
	require.Equal(t, []string{"near ann send", "near bob send"}, answers(w))
}
