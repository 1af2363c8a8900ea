package engine_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/events"
)

const (
	minute = enginetest.Minute
	hour   = enginetest.Hour
	day    = enginetest.Day
)

const config = `
zone: UTC
salt: test
channels:
  log: {adapter: stdout}
keys:
  - {name: web, write_key: key-of-the-web}
`

// rule is a rule file with a message that names the rule.
func rule(name, rest string) string {
	return "rule: " + name + "\n" + rest + "\nmessage: {log: {title: " + name + "}}\n"
}

func world(t *testing.T, rules map[string]string, more ...string) *enginetest.World {
	t.Helper()
	files := map[string]string{"nudge.yaml": config}
	for _, m := range more {
		files["nudge.yaml"] += m
	}
	for name, rest := range rules {
		files["rules/"+name+".yaml"] = rule(name, rest)
	}
	return enginetest.New(t, files)
}

func answers(w *enginetest.World) []string {
	var out []string
	for _, a := range w.Answers() {
		out = append(out, fmt.Sprintf("%s %s%s %s", a.Rule, a.User, a.Value, a.Reason))
	}
	slices.Sort(out)
	return out
}

func TestFirstLookNotesAndLaterEntriesSend(t *testing.T) {
	w := world(t, map[string]string{"seen": "schedule: \"0 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never"})
	w.Track("old", "Seen", nil)
	w.To(hour)
	w.Track("new", "Seen", nil)
	w.To(3 * hour)
	require.Equal(t, []string{"new: seen"}, w.Accepted())
	require.Equal(t, []string{"seen new send", "seen old already_true"}, answers(w))

	w.Write(map[string]string{"rules/seen.yaml": rule("seen", "schedule: \"0 * * * *\"\nwhen: event(\"Seen\").count > 0 or event(\"Met\").count > 0\nagain: never")})
	w.Track("met", "Met", nil)
	w.Reload()
	w.To(4 * hour)
	require.Equal(t, []string{"seen met already_true", "seen new send", "seen old already_true"}, answers(w), "a changed condition begins with a look")
}

func TestMissedTicksAreCaughtUpOnce(t *testing.T) {
	w := world(t, map[string]string{"digest": "schedule: \"0 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: every_tick\nbackfill: true"})
	w.Track("ann", "Seen", nil)
	w.To(2*hour + minute)
	require.Len(t, w.Accepted(), 2)
	w.Clock.Set(enginetest.Start() + 10*hour + minute) // nobody stepped in between
	w.To(10*hour + 2*minute)
	require.Len(t, w.Accepted(), 3, "eight missed ticks are one")
	w.To(11 * hour)
	require.Len(t, w.Accepted(), 4)
}

func TestOnArrivalWithBy(t *testing.T) {
	w := world(t, map[string]string{"parcel": "category: transactional\non: {event: Parcel, by: id}\nagain: never\nwith: {id: trigger.properties.id}"})
	w.Track("ann", "Parcel", map[string]any{"id": "p1"})
	w.Track("ann", "Parcel", map[string]any{"id": "p1"})
	w.Track("ann", "Parcel", map[string]any{"id": "p2"})
	w.Send(events.Event{Kind: events.KindTrack, UserID: "ann", Name: "Parcel", Time: enginetest.Start() - 2*hour, Properties: []byte(`{"id":"late"}`)})
	w.Send(events.Event{Kind: events.KindTrack, UserID: "ann", Name: "Parcel", Flags: events.Imported, Properties: []byte(`{"id":"imported"}`)})
	require.Equal(t, []string{"parcel annp1 send", "parcel annp2 send"}, answers(w))
}

func TestHeldAndExitedWhileHeld(t *testing.T) {
	w := world(t, map[string]string{
		"digest": "schedule: \"0 10 * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never\nsend_at: \"18:00\"\nexit: {event: Left}",
	})
	w.Track("ann", "Seen", nil)
	w.Track("bob", "Seen", nil)
	w.To(1) // before the first look at 10:00
	w.Write(map[string]string{"rules/digest.yaml": rule("digest", "schedule: \"0 10 * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never\nsend_at: \"18:00\"\nexit: {event: Left}")})
	w.Reload()
	w.To(2 * hour)
	require.Equal(t, []string{"digest ann held", "digest bob held"}, answers(w))
	w.Track("bob", "Left", nil)
	w.Restart()
	w.To(9*hour - 1)
	require.Empty(t, w.Accepted())
	w.To(9 * hour)
	require.Equal(t, []string{"ann: digest"}, w.Accepted())
	require.Equal(t, []string{"digest ann send", "digest bob exited"}, answers(w))
}

func TestAnAddressWakesWhoWaits(t *testing.T) {
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":   "zone: UTC\nsalt: test\nchannels:\n  push: {adapter: fcm, config: {credentials: \"env:NONE\"}}\nkeys: [{name: web, write_key: k}]\n",
		"rules/r.yaml": "rule: hello\nschedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never\nmessage: {push: {title: hello, body: there}}\n",
	})
	w.Track("ann", "Seen", nil)
	w.To(hour)
	require.Equal(t, []string{"hello ann no_address"}, answers(w))
	w.To(90 * minute)
	w.Device("ann", "token", "android")
	require.Equal(t, []string{"ann: hello"}, w.Accepted(), "at once, not at the next tick")
}

func TestMergesUniteWhatIsRemembered(t *testing.T) {
	w := world(t, map[string]string{
		"seen": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
	}, "caps: [{name: one, max: 1, per: 24h, window: rolling, scope: all, at_cap: retry}]\n")
	w.Together(func() {
		for i := range 20 { // so that some pairs are on two shards
			w.Send(events.Event{Kind: events.KindTrack, AnonymousID: fmt.Sprintf("anon%d", i), Name: "Seen"})
		}
	})
	w.To(10 * minute)
	require.Len(t, w.Accepted(), 20)
	w.Together(func() {
		for i := range 20 {
			w.Identify(fmt.Sprintf("user%d", i), "", map[string]any{"a": 1})
		}
	})
	for i := range 20 {
		w.Identify(fmt.Sprintf("user%d", i), fmt.Sprintf("anon%d", i), nil)
	}
	w.To(2 * hour)
	require.Len(t, w.Accepted(), 20, "who was messaged before the merge has had their once in a lifetime")
	before := w.App.Engine.Snapshot()
	w.Restart()
	require.Equal(t, before, w.App.Engine.Snapshot())
}

func TestErasedPeopleAreForgotten(t *testing.T) {
	w := world(t, map[string]string{"seen": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never"})
	w.Track("ann", "Seen", nil)
	w.To(10 * minute)
	require.NotEmpty(t, w.App.Engine.Snapshot())
	w.Send(events.Event{Kind: events.KindErase, UserID: "ann"})
	w.To(20 * minute)
	require.Empty(t, w.App.Engine.Snapshot())
}

func TestCapsOverRulesAndRetries(t *testing.T) {
	w := world(t, map[string]string{
		"a": "priority: 10\nschedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
		"b": "priority: 20\nschedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
	}, "caps: [{name: one, max: 1, per: 1h, window: rolling, scope: all, at_cap: retry}]\n")
	w.Track("ann", "Seen", nil)
	w.To(10 * minute)
	require.Equal(t, []string{"a ann outranked", "b ann send"}, answers(w))
	w.To(70*minute - 1)
	require.Len(t, w.Accepted(), 1)
	w.To(70 * minute)
	require.Equal(t, []string{"ann: b", "ann: a"}, w.Accepted(), "when the cap frees, between two ticks or at one")
}

func TestAFailedConditionStopsNobodyElse(t *testing.T) {
	w := world(t, map[string]string{"fine": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never"})
	w.Track("ann", "Seen", nil)
	w.To(10 * minute)
	require.Equal(t, []string{"fine ann send"}, answers(w))
}

func TestPersonsOwnClock(t *testing.T) {
	w := world(t, map[string]string{"nine": "schedule: {cron: \"0 9 * * *\", zone: person}\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: every_tick"})
	w.Identify("berlin", "", map[string]any{"timezone": "Europe/Berlin"})
	w.Identify("york", "", map[string]any{"timezone": "America/New_York"})
	for _, u := range []string{"berlin", "york", "nowhere"} {
		w.Track(u, "Seen", nil)
	}
	var at []string
	seen := 0
	require.NoError(t, w.Advance(t.Context(), enginetest.Start()+day, func(now int64) {
		for _, m := range w.Accepted()[seen:] {
			at = append(at, fmt.Sprintf("%s at +%dh", m, (now-enginetest.Start())/hour))
			seen++
		}
	}))
	require.Equal(t, []string{"york: nine at +5h", "berlin: nine at +23h", "nowhere: nine at +24h"}, at)
}

func TestAFirstLookOnPersonsOwnClockNotesEverybody(t *testing.T) {
	w := world(t, map[string]string{"nine": "schedule: {cron: \"0 9 * * *\", zone: person}\nwhen: event(\"Seen\").count > 0\nagain: never"})
	w.Identify("berlin", "", map[string]any{"timezone": "Europe/Berlin"})
	w.Identify("york", "", map[string]any{"timezone": "America/New_York"})
	for _, u := range []string{"berlin", "york"} {
		w.Track(u, "Seen", nil)
	}
	w.To(2 * day)
	require.Equal(t, []string{"nine berlin already_true", "nine york already_true"}, answers(w))
}

// TestARestartChangesNothing plays random histories twice, once with restarts in between, and wants
// the same answers; each restart finds the memory as it was.
func TestARestartChangesNothing(t *testing.T) {
	play := func(seed uint64, restarts bool) ([]string, []string) {
		w := world(t, map[string]string{
			"each":  "schedule: \"*/20 * * * *\"\nwhen: event(\"Seen\").last.ago < minutes(30)\nagain: each_time\nexit: {event: Left}",
			"after": "priority: 60\nschedule: \"*/30 * * * *\"\nwhen: event(\"Seen\").count > 1\nagain: {after: 3h}\nwhen_blocked: {frequency_cap: hold}",
			"value": "priority: 70\nschedule: \"*/20 * * * *\"\nfor_each: event(\"Seen\").by(\"id\")\nwhen: it.last.ago >= minutes(20)\nagain: never\nholdout: 30%",
			"on":    "priority: 40\non: {event: Left}\nagain: {after: 1h}",
		}, "caps: [{name: two, max: 2, per: 3h, window: rolling, scope: all, at_cap: retry}]\nquiet_hours: [{from: \"12:00\", to: \"13:00\", zone: UTC}]\n")
		w.Together(func() {
			for i := range 5 { // ids, and with them arms, come from where people are first named
				w.Identify(fmt.Sprintf("u%d", i), "", nil)
			}
		})
		r := rand.New(rand.NewPCG(seed, 1))
		for step := range 20 {
			w.To(int64(step) * 20 * minute)
			for range r.IntN(3) {
				u := fmt.Sprintf("u%d", r.IntN(5))
				if r.IntN(4) == 0 {
					w.Track(u, "Left", nil)
				} else {
					w.Track(u, "Seen", map[string]any{"id": fmt.Sprintf("v%d", r.IntN(3))})
				}
			}
			if restarts && step%7 == 5 {
				before := w.App.Engine.Snapshot()
				w.Restart()
				require.Equal(t, before, w.App.Engine.Snapshot())
			}
		}
		w.To(10 * hour)
		accepted := w.Accepted()
		slices.Sort(accepted)
		return accepted, answers(w)
	}
	accepted, reasons := play(1, false)
	again, reasonsAgain := play(1, true)
	require.NotEmpty(t, accepted)
	require.Equal(t, accepted, again)
	require.Equal(t, reasons, reasonsAgain)
}

// TestASecondProcessIsFenced runs two engines on one pair of streams: whatever they do, nobody is
// messaged twice and no cap is exceeded.
func TestASecondProcessIsFenced(t *testing.T) {
	w := world(t, map[string]string{
		"a": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
		"b": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
	}, "caps: [{name: one, max: 1, per: 24h, window: rolling, scope: all, at_cap: drop}]\n")
	w.Together(func() {
		for i := range 50 {
			w.Track(fmt.Sprintf("u%d", i), "Seen", nil)
		}
	})
	second, err := w.App.SecondEngine(t.Context())
	require.NoError(t, err)
	now := enginetest.Start() + 10*minute
	w.Clock.Set(now)
	errs := make(chan error, 2)
	for _, e := range []*engine.Engine{w.App.Engine, second} {
		go func() { errs <- e.Step(t.Context(), now) }()
	}
	require.NoError(t, cmp.Or(<-errs, <-errs))
	require.NoError(t, w.App.Sender.Settle(t.Context(), now))
	require.Len(t, w.Accepted(), 50)
	sends := 0
	for _, a := range w.Answers() {
		if a.Reason == ledger.Send {
			sends++
		}
	}
	require.Equal(t, 50, sends)
}

// TestArrivalsThatNobodyHeardAreHeardAfterARestart stops after events were stored and before the
// engine looked at them.
func TestArrivalsThatNobodyHeardAreHeardAfterARestart(t *testing.T) {
	w := world(t, map[string]string{"parcel": "category: transactional\non: {event: Parcel, by: id}\nagain: each_time"})
	store := func(id string) {
		seq, err := w.App.Append(t.Context(), []events.Event{{
			Kind: events.KindTrack, UserID: "ann", Name: "Parcel", MessageID: id, Source: "web",
			Time: enginetest.Start(), ReceivedAt: enginetest.Start(), Properties: []byte(`{"id":"` + id + `"}`), Raw: []byte(`{}`),
		}})
		require.NoError(t, err)
		require.NoError(t, w.App.Writer.WaitFor(t.Context(), events.EndOf(seq)))
	}
	store("before the first arrival")
	w.Restart()
	w.Track("ann", "Parcel", map[string]any{"id": "heard"})
	store("after one")
	w.Write(map[string]string{"rules/new.yaml": rule("new", "category: transactional\non: {event: Parcel, by: id}\nagain: each_time")})
	w.Restart()
	w.Track("bob", "Something Else", nil) // the clock alone lets nothing arrive
	w.Restart()
	w.Track("bob", "Something Else", nil)
	require.Equal(t, []string{"parcel annafter one send", "parcel annbefore the first arrival send", "parcel annheard send"}, answers(w),
		"each once, and none by a rule that came later")
}

// TestARepeatedTickKnowsWhoWasMerged stops after a merge that came behind the last tick: the tick that
// is repeated at the start still finds two people.
func TestARepeatedTickKnowsWhoWasMerged(t *testing.T) {
	w := world(t, map[string]string{
		"seen": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
		"ping": "on: {event: Ping}\nagain: each_time",
	})
	w.Together(func() {
		for i := range 8 { // so that some pairs are on two shards
			w.Send(events.Event{Kind: events.KindTrack, AnonymousID: fmt.Sprintf("anon%d", i), Name: "Seen"})
		}
	})
	w.To(10 * minute)
	for i := range 8 {
		w.Identify(fmt.Sprintf("user%d", i), "", nil)
		w.Identify(fmt.Sprintf("user%d", i), fmt.Sprintf("anon%d", i), nil)
		w.Track(fmt.Sprintf("user%d", i), "Ping", nil) // brings the merge to the shards
	}
	require.Len(t, w.Accepted(), 16)
	w.Restart()
	w.To(20 * minute)
	require.Len(t, w.Accepted(), 16, "nobody twice")
}

// TestALongerCapCountsWhatWasBefore reloads a cap whose window is longer than any before.
func TestALongerCapCountsWhatWasBefore(t *testing.T) {
	on := func(event string) string { return "on: {event: " + event + "}\nagain: each_time" }
	w := world(t, map[string]string{"a": on("A"), "b": on("B"), "c": on("C")})
	w.Track("ann", "A", nil)
	w.To(2 * day)
	w.Track("ann", "B", nil)
	w.Write(map[string]string{"nudge.yaml": config + "caps: [{name: two, max: 2, per: 7d, window: rolling, scope: all, at_cap: drop}]\n"})
	w.Reload()
	w.To(3 * day)
	w.Track("ann", "C", nil)
	require.Equal(t, []string{"a ann send", "b ann send", "c ann frequency_cap"}, answers(w))
}

// TestAFallbackPrintsWhatTheOccurrenceHad fails the first channel for good: the second prints the values
// of an entry whose condition is not asked again, also after a restart.
func TestAFallbackPrintsWhatTheOccurrenceHad(t *testing.T) {
	for name, restart := range map[string]bool{"at once": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			w := enginetest.New(t, map[string]string{
				"nudge.yaml": strings.Replace(config, "channels:\n", "channels:\n  first: {adapter: stdout}\n", 1),
				"rules/parcel.yaml": "rule: parcel\non: {event: Parcel}\nagain: each_time\nwith: {id: trigger.properties.id}\n" +
					"message: {first: {title: \"1 {{ id }}\"}, log: {title: \"2 {{ id }}\"}}\n",
			})
			w.Sent.Answer = func(m channels.Message, _ int) error {
				if m.About["channel"] == "first" {
					return &channels.DeliveryError{Class: channels.ClassMessage, Err: errors.New("not this way")}
				}
				return nil
			}
			w.Track("ann", "Something Else", nil)
			if restart {
				// Decided and written to the ledger, and nobody has sent it yet.
				seq, err := w.App.Append(t.Context(), []events.Event{{
					Kind: events.KindTrack, UserID: "ann", Name: "Parcel", MessageID: "p", Source: "web", Time: enginetest.Start(),
					ReceivedAt: enginetest.Start(), Properties: []byte(`{"id":"p1"}`), Raw: []byte(`{}`),
				}})
				require.NoError(t, err)
				require.NoError(t, w.App.Writer.WaitFor(t.Context(), events.EndOf(seq)))
				require.NoError(t, w.App.Engine.Arrived(t.Context(), enginetest.Start()))
				w.Restart()
				w.Track("ann", "Something Else", nil)
			} else {
				w.Track("ann", "Parcel", map[string]any{"id": "p1"})
			}
			require.Equal(t, []string{"ann: 2 p1"}, w.Accepted())
		})
	}
}
