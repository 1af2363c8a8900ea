package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/explain"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/events"
	"nudge/segments"
)

// reasons are which rules are paused, by what, and why.
func reasons(t *testing.T, w *enginetest.World) []string {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	list, err := report.PausedRules(t.Context(), w.Store.Conn(), w.App.Workspace(), 0)
	require.NoError(t, err)
	out := []string{}
	for _, p := range list {
		by := string(p.By)
		if p.Who != "" {
			by = p.Who
		}
		out = append(out, fmt.Sprintf("%s by %s: %s%s", p.Rule, by, p.Reason, strings.Repeat(" (asked: "+string(p.Asked)+")", min(1, len(p.Asked)))))
	}
	return out
}

// failing makes messages to people whose names begin with "bad" fail for good.
func failing(w *enginetest.World) {
	w.Sent.Answer = func(m channels.Message, _ int) error {
		if strings.HasPrefix(m.Address.UserID, "bad") {
			return &channels.DeliveryError{Class: channels.ClassMessage, Code: "refused", Err: errors.New("refused")}
		}
		return nil
	}
}

// resumeByHand is nudge resume.
func resumeByHand(t *testing.T, w *enginetest.World, rule string) {
	t.Helper()
	resume(t, w, rule)
	wake(t, w)
	require.Empty(t, reasons(t, w))
}

// sent are to whom the rule decided to send.
func sent(w *enginetest.World) string {
	var out []string
	for _, a := range w.Answers() {
		if a.Reason == ledger.Send {
			out = append(out, a.User)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

const hi = "on: {event: Hi}\nagain: each_time\n"

// TestARulePausesItself has a rule pass the limit of its failures, in one run and with a start behind each message:
// what is counted is the same.
func TestARulePausesItself(t *testing.T) {
	for name, behind := range map[string]func(*enginetest.World){
		"in one run": func(*enginetest.World) {}, "started again each time": func(w *enginetest.World) { w.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"hi": hi + "pause_when: {failures: \"> 25%\", min: 4}", "other": hi}
			w := world(t, files)
			failing(w)
			at := int64(0)
			say := func(users ...string) {
				for _, u := range users {
					at += minute
					w.To(at)
					w.Track(u, "Hi", nil)
					behind(w)
				}
			}
			say("ann", "bad-a", "bob")
			require.Empty(t, reasons(t, w), "a third of 3 has failed, and 4 are the least")
			say("cyd")
			require.Empty(t, reasons(t, w), "a quarter is not more than a quarter")
			say("bad-b")
			why := "hi by pause_when: 2 of its newest 5 messages failed for good (40.00%), and pause_when says > 25%"
			require.Equal(t, []string{why}, reasons(t, w))
			require.NoError(t, testutil.GatherAndCompare(w.Metrics, strings.NewReader(`
# HELP nudge_rule_paused 1 for a rule that is paused.
# TYPE nudge_rule_paused gauge
nudge_rule_paused{rule="hi"} 1
`), "nudge_rule_paused"))
			say("dan")
			require.Equal(t, "ann ann bad-a bad-a bad-b bad-b bob bob cyd cyd dan", sent(w), "the other rule goes on")

			// It stays paused over starts, and whatever becomes of its file.
			w.Write(map[string]string{"rules/hi.yaml": rule("hi", "on: {event: Hi, max_age: 2h}\nagain: each_time\npause_when: {failures: \"> 90%\", min: 4}")})
			w.Reload()
			wake(t, w)
			w.Restart()
			say("eve")
			require.Equal(t, []string{why}, reasons(t, w))
			w.Write(map[string]string{"rules/hi.yaml": rule("hi", files["hi"])})
			w.Reload()
			say("fay")
			require.Equal(t, []string{why}, reasons(t, w))
			require.Equal(t, "ann ann bad-a bad-a bad-b bad-b bob bob cyd cyd dan eve fay", sent(w))

			// Behind it, it counts anew.
			resumeByHand(t, w, "hi")
			say("bad-c", "bad-d", "bad-e")
			require.Empty(t, reasons(t, w))
			say("gus")
			require.Equal(t, []string{"hi by pause_when: 3 of its newest 4 messages failed for good (75.00%), and pause_when says > 25%"}, reasons(t, w))
		})
	}
}

// TestUnsubscribesPauseARule counts messages that were followed by a consent withdrawn.
func TestUnsubscribesPauseARule(t *testing.T) {
	for name, behind := range map[string]func(*enginetest.World){
		"in one run": func(*enginetest.World) {}, "started again each time": func(w *enginetest.World) { w.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, map[string]string{
				"hi":     hi + "pause_when: {unsubscribes: \"> 25%\", min: 4}",
				"parcel": "category: transactional\n" + hi + "pause_when: {unsubscribes: \"> 0%\", min: 1}",
			})
			for _, u := range []string{"ann", "bob", "cyd", "dan"} {
				w.Track(u, "Hi", nil)
				w.Track(u, "Hi", nil) // twice: 8 messages
			}
			w.To(hour)
			withdraw := func(user, channel, category string) {
				w.Consent(user, channel, category, false)
				behind(w)
			}
			withdraw("ann", "log", "newsletter") // it is about another category
			withdraw("ann", "email", "")         // and this about another channel
			w.Consent("ann", "", "", true)
			w.Send(events.Event{Kind: events.KindConsent, UserID: "bob", Flags: events.Imported, Properties: []byte(`{"granted":false}`)})
			withdraw("eve", "", "")
			withdraw("ann", "", "")
			withdraw("ann", "", "promotional") // the same message once more
			withdraw("ann", "log", "")         // and the parcel's: it is refused by the channel's name
			require.Equal(t, []string{"parcel by pause_when: 1 of its newest 8 messages were followed by an unsubscribe (12.50%), and pause_when says > 0%"}, reasons(t, w))
			w.Send(events.Event{Kind: events.KindErase, UserID: "ann"}) // the unsubscribe stays counted
			behind(w)
			withdraw("bob", "", "promotional")
			require.Len(t, reasons(t, w), 1, "2 of 8")
			w.To(day + 1)
			withdraw("cyd", "", "promotional")
			require.Len(t, reasons(t, w), 1, "a day later it is about something else")
			w.Send(events.Event{Kind: events.KindConsent, UserID: "dan", Time: enginetest.Start() + day, Properties: []byte(`{"category":"promotional","granted":false}`)})
			require.Contains(t, reasons(t, w), "hi by pause_when: 3 of its newest 8 messages were followed by an unsubscribe (37.50%), and pause_when says > 25%")
		})
	}
}

// TestWhatCounts has messages of other versions and of long ago, and limits that change.
func TestWhatCounts(t *testing.T) {
	for name, behind := range map[string]func(*enginetest.World){
		"in one run": func(*enginetest.World) {}, "started again each time": func(w *enginetest.World) { w.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, map[string]string{"hi": hi + "pause_when: {failures: \"> 50%\", min: 3}"})
			failing(w)
			say := func(users ...string) {
				for _, u := range users {
					w.Track(u, "Hi", nil)
					behind(w)
				}
			}
			write := func(rest string) {
				w.Write(map[string]string{"rules/hi.yaml": rule("hi", hi+rest)})
				w.Reload()
				wake(t, w)
				behind(w)
			}
			say("bad-a", "bad-b")
			w.To(minute)
			write("priority: 60\npause_when: {failures: \"> 50%\", min: 3}")
			say("bad-c", "bad-d")
			require.Empty(t, reasons(t, w), "a version counts for itself")
			w.To(7*day + 2*hour)
			say("bad-e", "bad-f")
			require.Empty(t, reasons(t, w), "what is older than seven days does not count")
			write("priority: 60\npause_when: {failures: \"> 50%\", min: 2}")
			require.Equal(t, []string{"hi by pause_when: 2 of its newest 2 messages failed for good (100.00%), and pause_when says > 50%"}, reasons(t, w),
				"another limit is held against what was counted")
		})
	}
}

// TestDevicesOfAMessage has messages that go to several devices: each counts once, and has failed where all of them have.
func TestDevicesOfAMessage(t *testing.T) {
	for name, behind := range map[string]func(*enginetest.World){
		"in one run": func(*enginetest.World) {}, "started again each time": func(w *enginetest.World) { w.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			w := enginetest.New(t, map[string]string{
				"nudge.yaml":    "zone: UTC\nchannels:\n  push: {adapter: fcm, config: {credentials: \"env:NONE\"}}\nkeys: [{name: web, write_key: k}]\n",
				"rules/hi.yaml": "rule: hi\n" + hi + "pause_when: {failures: \"> 30%\", min: 3}\nmessage: {push: {title: hi, body: there}}\n",
			})
			w.Sent.Answer = func(m channels.Message, _ int) error {
				if strings.HasPrefix(m.Address.Token, "bad") {
					return &channels.DeliveryError{Class: channels.ClassMessage, Code: "refused", Err: errors.New("refused")}
				}
				return nil
			}
			for user, tokens := range map[string][]string{"ann": {"a1", "a2"}, "bob": {"bad-b1", "bad-b2"}, "cyd": {"c1", "bad-c2"}} {
				for _, token := range tokens {
					w.Device(user, token, "android")
				}
			}
			for _, user := range []string{"ann", "bob", "cyd"} {
				require.Empty(t, reasons(t, w))
				w.Track(user, "Hi", nil)
				behind(w)
			}
			require.Equal(t, []string{"hi by pause_when: 1 of its newest 3 messages failed for good (33.33%), and pause_when says > 30%"}, reasons(t, w))
		})
	}
}

// TestPauseByHand pauses rules beside a running nudge and while there is none, and lets them go on.
func TestPauseByHand(t *testing.T) {
	often := "schedule: \"*/10 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never"
	w := world(t, map[string]string{"often": often, "hi": hi, "held": "on: {event: Hi}\nagain: each_time\nsend_at: \"09:30\""})
	w.To(10 * minute)
	w.Track("ann", "Hi", nil)
	for _, r := range []string{"often", "hi", "held"} {
		ask(t, w, ledger.Request{Rule: r, Action: ledger.AskPause, Reason: "the shop is down"})
	}
	require.Equal(t, []string{
		"held by ann@shop: the shop is down (asked: pause)", "hi by ann@shop: the shop is down (asked: pause)", "often by ann@shop: the shop is down (asked: pause)",
	}, reasons(t, w))
	wake(t, w)
	all := []string{"held by ann@shop: the shop is down", "hi by ann@shop: the shop is down", "often by ann@shop: the shop is down"}
	require.Equal(t, all, reasons(t, w))
	w.Track("bob", "Hi", nil)
	w.Track("bob", "Seen", nil)
	w.To(40 * minute)
	require.Equal(t, []string{"held ann paused", "hi ann send"}, answers(w))

	w.Write(map[string]string{"rules/often.yaml": rule("often", strings.Replace(often, "> 0", "> 0 and true", 1)), "rules/hi.yaml": rule("hi", hi+"priority: 3")})
	w.Reload()
	w.To(60 * minute)
	w.Restart()
	w.To(70 * minute)
	require.Equal(t, all, reasons(t, w))
	x, err := explain.Explain(t.Context(), explain.Options{
		Conn: w.Store.Conn(), Workspace: w.App.Workspace(), Rules: w.App.Workspace().Rules[:1], Person: "ann", At: w.Clock.Now().UnixMilli(),
	})
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, x.Write(&text, "text", time.UTC))
	require.Contains(t, text.String(), "held is paused since 2026-03-02 09:10:00, by ann@shop, because: the shop is down\n")
	x, err = explain.Explain(t.Context(), explain.Options{
		Conn: w.Store.Conn(), Workspace: w.App.Workspace(), Rules: w.App.Workspace().Rules[:1], Person: "ann", At: enginetest.Start() + 9*minute,
	})
	require.NoError(t, err)
	require.Nil(t, x.Rules[0].Paused, "it was not by then")

	for _, r := range []string{"often", "hi", "held"} {
		ask(t, w, ledger.Request{Rule: r, Action: ledger.AskResume})
	}
	require.Equal(t, []string{
		"held by ann@shop: the shop is down (asked: resume)", "hi by ann@shop: the shop is down (asked: resume)", "often by ann@shop: the shop is down (asked: resume)",
	}, reasons(t, w))
	w.Restart() // nudge resume while none runs
	wake(t, w)
	require.Empty(t, reasons(t, w))
	w.Track("cyd", "Hi", nil)
	w.To(80 * minute)
	w.Track("dan", "Seen", nil)
	w.To(90 * minute)
	require.Equal(t, []string{
		"held ann paused", "held cyd held", "hi ann send", "hi cyd send", "often bob already_true", "often dan send",
	}, answers(w), "it begins with a first look")

	// Both, while nobody looks: the later counts.
	ask(t, w, ledger.Request{Rule: "hi", Action: ledger.AskPause})
	ask(t, w, ledger.Request{Rule: "hi", Action: ledger.AskResume})
	wake(t, w)
	require.Empty(t, reasons(t, w))
}

// TestPausedWhileQueued pauses a rule whose messages wait for a provider.
func TestPausedWhileQueued(t *testing.T) {
	w := world(t, map[string]string{"hi": hi}, "caps: [{name: one, max: 1, per: 24h, scope: all, at_cap: drop}]\n")
	away := true
	w.Sent.Answer = func(channels.Message, int) error {
		if away {
			return &channels.DeliveryError{Class: channels.ClassTemporary, Code: "away", Err: errors.New("away")}
		}
		return nil
	}
	w.Track("ann", "Hi", nil)
	require.Equal(t, []string{"hi ann send"}, answers(w))
	ask(t, w, ledger.Request{Rule: "hi", Action: ledger.AskPause})
	require.NoError(t, w.App.Engine.Requests(t.Context()))
	away = false
	w.To(2 * hour)
	require.Empty(t, w.Accepted())
	require.Equal(t, []string{"hi ann paused"}, answers(w))
	resumeByHand(t, w, "hi")
	w.Track("ann", "Hi", nil)
	require.Equal(t, []string{"ann: hi"}, w.Accepted(), "the cap has been given back")
}

// TestPausedWhileLookedAt pauses a rule while a tick of it is under way: what is not decided by then is not.
func TestPausedWhileLookedAt(t *testing.T) {
	w := world(t, map[string]string{
		"often": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
		"other": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
	})
	w.Track("ann", "Seen", nil)
	l := &looking{Planner: w.App.Planner}
	w.App.Engine.Plan(func(engine.Planner) engine.Planner { return l })
	l.part = func(*segments.Part) error {
		ask(t, w, ledger.Request{Rule: "often", Action: ledger.AskPause})
		return w.App.Engine.Requests(t.Context())
	}
	w.To(10 * minute)
	require.Equal(t, []string{"other ann send"}, answers(w))
	require.Equal(t, []string{"often by ann@shop: "}, reasons(t, w))
	l.part = nil
	w.To(30 * minute)
	w.Restart()
	w.To(50 * minute)
	require.Equal(t, []string{"other ann send"}, answers(w))
	require.Equal(t, []string{"often by ann@shop: "}, reasons(t, w), "also not by the end of the tick")
	resumeByHand(t, w, "often")
	w.To(60 * minute)
	require.Equal(t, []string{"often ann send", "other ann send"}, answers(w), "its first look is still to come")
}

// TestPausedWhileFirstLookedAt pauses a rule while its first look, which notes people, is under way: it is not complete.
func TestPausedWhileFirstLookedAt(t *testing.T) {
	w := world(t, map[string]string{"noted": "schedule: \"*/10 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never"})
	w.Track("ann", "Seen", nil)
	l := &looking{Planner: w.App.Planner}
	w.App.Engine.Plan(func(engine.Planner) engine.Planner { return l })
	l.part = func(*segments.Part) error {
		ask(t, w, ledger.Request{Rule: "noted", Action: ledger.AskPause})
		return w.App.Engine.Requests(t.Context())
	}
	w.To(10 * minute)
	require.Empty(t, answers(w))
	l.part = nil
	resumeByHand(t, w, "noted")
	w.To(20 * minute)
	w.Track("bob", "Seen", nil)
	w.To(30 * minute)
	require.Equal(t, []string{"noted ann already_true", "noted bob send"}, answers(w))
}

// TestAnUnsubscribeJustBeforeAStopCounts has the store get withdrawn consents that the engine does not hear of any
// more: one of somebody who is merged with whoever got the message in the same breath.
func TestAnUnsubscribeJustBeforeAStopCounts(t *testing.T) {
	w := world(t, map[string]string{"hi": hi + "pause_when: {unsubscribes: \"> 60%\", min: 3}"})
	w.Track("ann", "Hi", nil)
	w.Track("bob", "Hi", nil)
	w.Send(events.Event{Kind: events.KindTrack, AnonymousID: "visitor", Name: "Hi"})
	w.To(minute)
	evs := []events.Event{
		{Kind: events.KindIdentify, UserID: "cyd", AnonymousID: "visitor"},
		{Kind: events.KindConsent, UserID: "cyd", Properties: []byte(`{"granted":false}`)},
		{Kind: events.KindConsent, UserID: "bob", Properties: []byte(`{"granted":false}`)},
		{Kind: events.KindConsent, UserID: "ann", Properties: []byte(`{"granted":true}`)},
	}
	for i := range evs {
		now := w.Clock.Now().UnixMilli()
		evs[i].MessageID, evs[i].Source, evs[i].Time, evs[i].ReceivedAt, evs[i].Raw = fmt.Sprintf("last%d", i), "web", now, now, []byte(`{}`)
	}
	seq, err := w.App.Append(t.Context(), evs)
	require.NoError(t, err)
	require.NoError(t, w.App.Writer.WaitFor(t.Context(), events.EndOf(seq)))
	want := []string{"hi by pause_when: 2 of its newest 3 messages were followed by an unsubscribe (66.67%), and pause_when says > 60%"}
	for range 2 { // a start more counts none of them twice
		w.Restart()
		wake(t, w)
		require.Equal(t, want, reasons(t, w))
	}
}
