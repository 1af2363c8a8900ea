package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
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

func (p *reloading) Tick(ctx context.Context, tick segments.Tick, fn func(*segments.Part) error) error {
	p.now()
	return p.Planner.Tick(ctx, tick, fn) //nolint:wrapcheck // stands in for the planner
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
		require.NoError(t, e.Reload(t.Context(), other))
	}
	require.NoError(t, e.Step(t.Context(), now))
	require.Equal(t, []string{"near ann send"}, answers(w))
	require.NoError(t, e.Step(t.Context(), now+5*minute))
	require.Equal(t, []string{"near ann send", "near bob send"}, answers(w))
}

// TestExitsOfChangedRules gives a rule an exit that has come already, before anybody watched for it: it
// ends what is queued and what is held, in the person's own history only.
func TestExitsOfChangedRules(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "restarted before": true} {
		t.Run(name, func(t *testing.T) {
			queued := func(exit string) string {
				return rule("queued", "on: {event: Begun}\nagain: each_time\nexpire: 10h\n"+exit)
			}
			held := func(exit string) string {
				return rule("held", "on: {event: Begun}\nagain: each_time\nsend_at: \"12:00\"\n"+exit)
			}
			w := enginetest.New(t, map[string]string{
				"nudge.yaml":        config,
				"rules/queued.yaml": queued("exit: {event: Left}"),
				"rules/held.yaml":   held(""),
				"rules/other.yaml":  rule("other", "on: {event: Something Else}\nagain: each_time\nexit: {event: Gone}"), // so that Gone is watched
			})
			down := true
			w.Sent.Answer = func(channels.Message, int) error {
				if down {
					return &channels.DeliveryError{Class: channels.ClassTemporary, RetryAfter: 30 * time.Minute, Err: errors.New("not now")}
				}
				return nil
			}
			for _, user := range []string{"ann", "bob", "cyd", "dan"} {
				w.Track(user, "Begun", nil)
			}
			w.To(minute)
			w.Track("ann", "Finished", map[string]any{"amount": 1})
			w.Track("bob", "Finished", map[string]any{"amount": 0})
			w.Track("dan", "Gone", nil)
			if restart {
				w.Restart()
				w.Track("eve", "Something", nil)
			}
			w.To(2 * minute)
			exits := "exit: [{event: Finished, where: properties.amount > 0}, {event: Gone}]"
			w.Write(map[string]string{"rules/queued.yaml": queued(exits), "rules/held.yaml": held(exits)})
			w.Reload()
			down = false
			w.To(4 * hour)
			require.Equal(t, []string{
				"held ann exited", "held bob send", "held cyd send", "held dan exited",
				"queued ann exited", "queued bob send", "queued cyd send", "queued dan exited",
			}, answers(w))
			accepted := w.Accepted()
			slices.Sort(accepted)
			require.Equal(t, []string{"bob: held", "bob: queued", "cyd: held", "cyd: queued"}, accepted)
		})
	}
}
