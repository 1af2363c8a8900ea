package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/events"
	"nudge/segments"
)

// arrives makes a track call arrive, and lets `on:` rules hear it, without a step.
func arrives(t *testing.T, w *enginetest.World, user, name string) {
	t.Helper()
	now := w.Clock.Now().UnixMilli()
	ev := events.Event{
		Kind: events.KindTrack, UserID: user, Name: name, MessageID: fmt.Sprintf("%s %s %d", user, name, now), Source: "web", ReceivedAt: now, Time: now, Raw: []byte(`{}`),
	}
	_, err := w.App.Append(t.Context(), []events.Event{ev})
	require.NoError(t, err)
	last, err := w.App.Queue.LastSeq(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.App.Writer.WaitFor(t.Context(), events.EndOf(last)))
	require.NoError(t, w.App.Engine.Arrived(t.Context(), now))
}

// firsts has a rule that goes on, one that is new at +10 min and looks at everybody, of whom some have seen it, and
// an `on:` rule.
func firsts(t *testing.T) (*enginetest.World, *looking) {
	t.Helper()
	w := world(t, map[string]string{
		"often": "schedule: \"*/5 * * * *\"\nbackfill: true\nwhen: event(\"Met\").count > 0\nagain: never",
		"ping":  "on: {event: Ping}\nagain: each_time",
	})
	for i := range 4 {
		w.Track(fmt.Sprintf("u%d", i), "Seen", nil)
	}
	w.To(9 * minute)
	w.Write(map[string]string{"rules/fresh.yaml": rule("fresh", "priority: 90\nschedule: \"*/5 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never")})
	w.Reload()
	return w, between(w)
}

// TestAFirstLookHoldsUpNobody has the first look of a new rule take so long that ticks of other rules fall due
// between two of its parts. They are decided there, and so is what arrives.
func TestAFirstLookHoldsUpNobody(t *testing.T) {
	w, l := firsts(t)
	var asked []int // rules that each tick looks for
	everybody := false
	l.before = func(q *segments.Tick) { asked = append(asked, len(q.Who)) }
	parts := 0
	l.part = func(p *segments.Part) error {
		if !slices.Contains(p.Everybody, true) {
			return nil
		}
		everybody = true
		switch parts++; parts {
		case 2:
			w.Clock.Set(enginetest.Start() + 14*minute)
			arrives(t, w, "ann", "Met")
			arrives(t, w, "ann", "Ping")
			arrives(t, w, "bob", "Seen")
			w.Clock.Set(enginetest.Start() + 15*minute)
		case 3:
			require.Contains(t, answers(w), "often ann send", "at 15 min")
			require.Contains(t, answers(w), "ping ann send")
			require.NotContains(t, answers(w), "fresh u3 already_true")
		}
		return nil
	}
	w.To(10 * minute)
	require.True(t, everybody)
	require.Greater(t, parts, 4)
	require.Equal(t, []int{1, 1, 1}, asked[:3], "often at 10 min, fresh, often at 15 min")
	w.To(20 * minute)
	require.Equal(t, []string{
		"fresh bob send", "fresh u0 already_true", "fresh u1 already_true", "fresh u2 already_true", "fresh u3 already_true", "often ann send", "ping ann send",
	}, answers(w), "who became true while it looked is found by the next")
	for _, row := range rows(t, w) {
		if strings.Contains(row, "already_true") {
			require.Contains(t, row, "09:10:00.000", "it is as of when it fell due")
		}
	}
}

// TestAFirstLookIsRepeated cuts a first look short, stops, and starts again: it is repeated as of its own instant, and
// behind the ticks that are due.
func TestAFirstLookIsRepeated(t *testing.T) {
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprintf("stop %t", stop), func(t *testing.T) {
			w, l := firsts(t)
			parts := 0
			l.part = func(p *segments.Part) error {
				if parts++; slices.Contains(p.Everybody, true) && parts > 3 {
					return errCutShort
				}
				return nil
			}
			require.ErrorIs(t, w.Advance(t.Context(), enginetest.Start()+10*minute, nil), errCutShort)
			require.Contains(t, answers(w), "fresh u0 already_true")
			require.NotContains(t, answers(w), "fresh u3 already_true")
			w.Clock.Set(enginetest.Start() + 12*minute)
			if stop {
				w.Restart()
				l = between(w)
			}
			l.part = nil
			var at []int64
			l.before = func(q *segments.Tick) { at = append(at, (q.At-enginetest.Start())/minute) }
			w.Clock.Set(enginetest.Start() + 15*minute)
			w.Track("bob", "Seen", nil)
			w.To(20 * minute)
			require.Equal(t, []string{
				"fresh bob send", "fresh u0 already_true", "fresh u1 already_true", "fresh u2 already_true", "fresh u3 already_true",
			}, answers(w))
			require.Equal(t, []int64{15, 10, 15, 20}, at, "often, fresh as it was, fresh, both")
		})
	}
}

// TestAFirstLookThatContendsIsDecidedWithTheOthers has looks at everybody that may send: they and the others that
// are due at the instant share the caps by priority.
func TestAFirstLookThatContendsIsDecidedWithTheOthers(t *testing.T) {
	seen := "schedule: \"*/5 * * * *\"\nwhen: event(\"Seen\").count > 0\n"
	for name, c := range map[string]struct{ before, after, want string }{
		"backfill":   {"", seen + "backfill: true\nagain: never", "fresh ann send"},
		"was in it":  {seen + "backfill: true\nagain: {after: 5m}", "owner: me\n" + seen + "rollout: 99.99%\nagain: {after: 5m}", "fresh ann send"},
		"only notes": {"", seen + "again: never", "fresh ann already_true"},
	} {
		t.Run(name, func(t *testing.T) {
			rules := map[string]string{"often": "priority: 10\nschedule: \"*/5 * * * *\"\nbackfill: true\nwhen: event(\"Met\").count > 0\nagain: never\nwhen_blocked: {outranked: drop}"}
			if c.before != "" {
				rules["fresh"] = "priority: 90\n" + c.before
			}
			w := world(t, rules, "caps: [{name: one, max: 1, per: 4m, window: rolling, scope: all, at_cap: drop}]\n")
			w.Track("ann", "Seen", nil)
			w.To(9 * minute)
			w.Write(map[string]string{"rules/fresh.yaml": rule("fresh", "priority: 90\n"+c.after)})
			w.Reload()
			w.Track("ann", "Met", nil)
			var who []int
			l := between(w)
			l.before = func(q *segments.Tick) { who = append(who, len(q.Who)) }
			w.To(10 * minute)
			got := answers(w)
			require.Contains(t, got, c.want)
			if name == "only notes" {
				require.Equal(t, []int{1, 1}, who)
				require.Contains(t, got, "often ann send")
				return
			}
			require.Equal(t, []int{2}, who)
			require.Contains(t, got, "often ann outranked")
		})
	}
}
