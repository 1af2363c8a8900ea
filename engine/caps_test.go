package engine_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/enginetest"
)

// refuse makes the recorder refuse messages of a rule for good.
func refuse(w *enginetest.World, rules ...string) {
	w.Sent.Answer = func(m channels.Message, _ int) error {
		if slices.Contains(rules, m.About["rule"]) {
			return &channels.DeliveryError{Class: channels.ClassMessage, Err: errors.New("not this one")}
		}
		return nil
	}
}

// TestWhatAFailureGivesBackIsTakenAtOnce fills a cap, has the send fail for good, and wants whoever
// waits there to go at that very moment: by priority, one of them.
func TestWhatAFailureGivesBackIsTakenAtOnce(t *testing.T) {
	each := "schedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never\n"
	for name, test := range map[string]struct{ caps, blocked string }{
		"retry at a rolling cap":  {"{name: one, max: 1, per: 24h, window: rolling, scope: all, at_cap: retry}", ""},
		"retry at a calendar cap": {"{name: one, max: 1, per: day, window: calendar, clock: workspace, scope: all, at_cap: retry}", ""},
		"hold": {
			"{name: one, max: 1, per: 24h, window: rolling, scope: all, at_cap: retry}",
			"when_blocked: {frequency_cap: hold, outranked: hold}",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, map[string]string{
				"first": "priority: 30\n" + each,
				"last":  "priority: 10\n" + each + test.blocked,
				"next":  "priority: 20\n" + each + test.blocked,
			}, "caps: ["+test.caps+"]\n")
			refuse(w, "first")
			w.Track("ann", "Seen", nil)
			w.To(hour)
			require.Equal(t, []string{"ann: next"}, w.Accepted(), "at once, and the one of higher priority")
			w.To(14 * hour)
			require.Len(t, w.Accepted(), 1, "the cap is full again")
		})
	}
}

// TestWhatAFailureGivesBackOutlivesAStop stops nudge after the failure and before anybody heard of it.
func TestWhatAFailureGivesBackOutlivesAStop(t *testing.T) {
	each := "schedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never\n"
	w := world(t, map[string]string{"first": "priority: 20\n" + each, "next": "priority: 10\n" + each},
		"caps: [{name: one, max: 1, per: 24h, window: rolling, scope: all, at_cap: retry}]\n")
	refuse(w, "first")
	w.Track("ann", "Seen", nil)
	now := enginetest.Start() + hour
	w.Clock.Set(now)
	require.NoError(t, w.App.Engine.Step(t.Context(), now))
	require.NoError(t, w.App.Sender.Settle(t.Context(), now))
	w.Clock.Set(now + 5*minute)
	w.Restart()
	w.Track("bob", "Something Else", nil)
	require.Equal(t, []string{"ann: next"}, w.Accepted())
}
