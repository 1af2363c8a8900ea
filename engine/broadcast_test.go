package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/segments"
)

// broadcast is a broadcast's file that is due at an instant after the start of the world, Unix ms.
func broadcast(name string, at int64, more ...string) map[string]string {
	when := time.UnixMilli(enginetest.Start() + at).UTC().Format(time.RFC3339)
	return map[string]string{"broadcasts/" + name + ".yaml": rule(name, strings.Join(append([]string{"at: " + when, "when: event(\"Seen\").count > 0"}, more...), "\n"))}
}

// crowd lets n people be those of whom the condition is true.
func crowd(w *enginetest.World, n int) {
	w.Together(func() {
		for i := range n {
			w.Track(fmt.Sprintf("u%02d", i), "Seen", nil)
		}
	})
}

// TestWhenABroadcastIsSent has files that are there before their time, that come behind it, and that come too late.
func TestWhenABroadcastIsSent(t *testing.T) {
	for name, c := range map[string]struct {
		at    int64 // after the file has come at +10 min
		more  string
		until int64
		want  []string
	}{
		"later":                     {at: hour, until: hour, want: []string{"sale u00 send", "sale u01 send"}},
		"not yet":                   {at: hour, until: hour - minute},
		"now":                       {at: 0, until: minute, want: []string{"sale u00 send", "sale u01 send"}},
		"a little late":             {at: -9 * minute, until: minute, want: []string{"sale u00 send", "sale u01 send"}},
		"before nudge ran":          {at: -23 * hour, until: minute, want: []string{"sale u00 send", "sale u01 send"}},
		"too late":                  {at: -24 * hour, until: day},
		"later than it says":        {at: -2 * hour, more: "expire: 2h", until: day},
		"not later than it says":    {at: -2 * hour, more: "expire: 3h", until: minute, want: []string{"sale u00 send", "sale u01 send"}},
		"for a share of the people": {at: 0, more: "holdout: 100%", until: minute, want: []string{"sale u00 holdout", "sale u01 holdout"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, nil)
			crowd(w, 2)
			w.To(10 * minute)
			w.Write(broadcast("sale", 10*minute+c.at, c.more))
			w.Reload()
			w.To(10*minute + c.until)
			require.Equal(t, c.want, answers(w))
			// Whoever becomes one of them afterwards is none of them.
			if c.want != nil {
				crowd(w, 3)
				w.Restart()
				w.To(3 * day)
				require.Equal(t, c.want, answers(w))
			}
		})
	}
}

// TestABroadcastOnPeoplesOwnClocks sends at the same time of day to everybody, also where that has passed.
func TestABroadcastOnPeoplesOwnClocks(t *testing.T) {
	w := world(t, nil)
	for user, zone := range map[string]string{"ann": "Asia/Tokyo", "bob": "Europe/Berlin", "cyd": "America/New_York"} {
		w.Identify(user, "", map[string]any{"timezone": zone})
		w.Track(user, "Seen", nil)
	}
	w.To(minute) // 09:01 in UTC, 18:01 in Tokyo, 10:01 in Berlin, 04:01 in New York
	w.Write(map[string]string{"broadcasts/sale.yaml": rule("sale", "at: {time: 2026-03-02 11:00, zone: person}\nwhen: event(\"Seen\").count > 0")})
	w.Reload()
	w.To(2 * minute)
	require.Equal(t, []string{"sale ann send"}, answers(w), "her eleven has passed")
	w.To(hour)
	require.Equal(t, []string{"sale ann send", "sale bob send"}, answers(w))
	w.To(7 * hour)
	require.Equal(t, []string{"sale ann send", "sale bob send", "sale cyd send"}, answers(w))
}

// TestABroadcastThatIsStoppedGoesOn stops a broadcast in the middle, by an end of nudge and by nudge pause: in the end
// everybody has got it once, and a cap holds.
func TestABroadcastThatIsStoppedGoesOn(t *testing.T) {
	const people, capped = 12, 4
	for _, how := range []string{"restart", "restart much later", "pause", "pause, restart", "failure"} {
		t.Run(how, func(t *testing.T) {
			w := world(t, map[string]string{"hello": "on: {event: Hello}\nagain: each_time\nholdout: 0%"},
				"caps: [{name: one, max: 1, per: 48h, window: rolling, scope: all, at_cap: drop}]\n")
			crowd(w, people)
			for i := range capped { // they have had their message
				w.Track(fmt.Sprintf("u%02d", i), "Hello", nil)
			}
			w.To(10 * minute)
			w.Write(broadcast("sale", 10*minute))
			w.Reload()
			l := between(w)
			parts := 0
			l.part = func(*segments.Part) error {
				parts++
				switch {
				case parts != people/2:
					return nil
				case strings.HasPrefix(how, "pause"):
					ask(t, w, ledger.Request{Rule: "sale", Action: ledger.AskPause})
					return w.App.Engine.Requests(t.Context())
				default:
					return errCutShort
				}
			}
			err := w.Advance(t.Context(), enginetest.Start()+10*minute, nil)
			if !strings.HasPrefix(how, "pause") {
				require.ErrorIs(t, err, errCutShort)
			}
			l.part = nil
			some := sales(answers(w))
			require.NotEmpty(t, some)
			require.Less(t, len(some), people)
			later := 11 * minute
			switch how {
			case "restart":
				w.Restart()
			case "restart much later":
				later = 20 * hour
				w.Clock.Set(enginetest.Start() + later - minute)
				w.Restart()
			case "pause", "pause, restart":
				w.To(30 * minute)
				require.Equal(t, some, sales(answers(w)), "while it is paused nothing comes of it")
				if how != "pause" {
					w.Restart()
					w.To(40 * minute)
				}
				later = 50 * minute
				w.Clock.Set(enginetest.Start() + later - minute)
				resume(t, w, "sale")
				wake(t, w)
			}
			w.To(later)
			w.Track("zoe", "Nothing", nil) // what was decided at the start is sent
			var want []string
			for i := range people {
				want = append(want, fmt.Sprintf("sale u%02d %s", i, map[bool]ledger.Reason{true: ledger.FrequencyCap, false: ledger.Send}[i < capped]))
			}
			require.Equal(t, want, sales(answers(w)))
			got := slices.DeleteFunc(w.Accepted(), func(m string) bool { return !strings.HasSuffix(m, ": sale") })
			slices.Sort(got)
			require.Len(t, got, people-capped)
			require.Len(t, slices.Compact(got), people-capped, "nobody twice")
			if how == "restart much later" { // as of then: quiet hours may be others by now
				require.Contains(t, strings.Join(rows(t, w), "\n"), "2026-03-03 04:5")
			}
		})
	}
}

func sales(all []string) []string {
	return slices.DeleteFunc(all, func(a string) bool { return !strings.HasPrefix(a, "sale ") })
}

// TestWaitingOfABroadcast has people wait for the end of quiet hours while it is paused, and for an address that never
// comes.
func TestWaitingOfABroadcast(t *testing.T) {
	w := world(t, nil, "quiet_hours: [{from: \"08:00\", to: \"12:00\", zone: workspace}]\n")
	w.Track("ann", "Seen", nil)
	w.To(minute)
	w.Write(broadcast("sale", minute))
	w.Reload()
	w.To(2 * minute)
	require.Equal(t, []string{"sale ann quiet_hours"}, answers(w))
	ask(t, w, ledger.Request{Rule: "sale", Action: ledger.AskPause})
	wake(t, w)
	w.To(4 * hour)
	require.Equal(t, []string{"sale ann quiet_hours"}, answers(w), "she waits for it to go on")
	resume(t, w, "sale")
	wake(t, w)
	w.To(4*hour + 2*minute)
	require.Equal(t, []string{"sale ann send"}, answers(w))
}

// TestABroadcastWaitsForNobodyLongerThanItSays has somebody get an address when it is over.
func TestABroadcastWaitsForNobodyLongerThanItSays(t *testing.T) {
	for name, c := range map[string]struct {
		at   int64
		want []string
	}{
		"in time":  {2 * hour, []string{"sale ann send"}},
		"too late": {4 * hour, []string{"sale ann expired"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := enginetest.New(t, map[string]string{"nudge.yaml": strings.Replace(config, "{adapter: stdout}", "{adapter: stdout, needs: email}", 1)})
			w.Track("ann", "Seen", nil)
			w.To(minute)
			w.Write(broadcast("sale", minute, "expire: 3h"))
			w.Reload()
			w.To(minute + 1)
			require.Equal(t, []string{"sale ann no_address"}, answers(w))
			w.To(c.at)
			w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
			w.To(day)
			require.Equal(t, c.want, answers(w))
		})
	}
}

// TestOnlyOneRule sends a broadcast with an engine that looks at nothing else: what the other rules have to do waits for
// one that does.
func TestOnlyOneRule(t *testing.T) {
	w := world(t, map[string]string{
		"often": "schedule: \"*/5 * * * *\"\nbackfill: true\nwhen: event(\"Met\").count > 0\nagain: never",
		"waits": "schedule: \"*/5 * * * *\"\nbackfill: true\nwhen: event(\"Bought\").count > 0\nagain: never\nsend_at: \"09:30\"",
	})
	w.Track("bob", "Bought", nil)
	w.To(10 * minute)
	require.Equal(t, []string{"waits bob held"}, answers(w))
	w.Track("ann", "Met", nil)
	crowd(w, 2)
	w.Write(broadcast("sale", 10*minute))
	w.RestartOnly("sale")
	w.Clock.Set(enginetest.Start() + 2*hour)
	require.NoError(t, w.App.Engine.Step(t.Context(), w.Clock.Now().UnixMilli()))
	require.NoError(t, w.App.Engine.Step(t.Context(), w.Clock.Now().UnixMilli()))
	require.Equal(t, []string{"sale u00 send", "sale u01 send", "waits bob held"}, answers(w))
	w.RestartOnly("")
	w.To(3 * hour)
	require.Equal(t, []string{"often ann send", "sale u00 send", "sale u01 send", "waits bob send"}, answers(w))
	got := w.Accepted()
	slices.Sort(got)
	require.Equal(t, []string{"ann: often", "bob: waits", "u00: sale", "u01: sale"}, got)
}
