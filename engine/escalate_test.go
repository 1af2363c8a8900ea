package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/events"
)

// escalating is a workspace with three channels, of which the first is always quiet in the evening, and a rule that
// goes from one to the next where nobody opens it.
func escalating(more, rest string) map[string]string {
	return map[string]string{
		"nudge.yaml": strings.Replace(config, "log: {adapter: stdout}", "log: {adapter: stdout}\n"+
			"  mail: {adapter: file, needs: email, config: {path: mail.ndjson}}\n  post: {adapter: file, config: {path: post.ndjson}}", 1) + more,
		"rules/r.yaml": "rule: r\non: {event: Begun, max_age: 24h}\nagain: each_time\ndeliver: {escalate: 2h}\n" + rest +
			"\nmessage: {log: {title: one}, mail: {title: two}, post: {title: three}}\n",
	}
}

// sentAt lists "when user channel" of everything that is sent while the world goes on to an instant.
func sentAt(t *testing.T, w *enginetest.World, until int64) []string {
	t.Helper()
	out := []string{}
	seen := len(w.Sent.Accepted())
	require.NoError(t, w.Advance(t.Context(), enginetest.Start()+until, func(now int64) {
		for _, m := range w.Sent.Accepted()[seen:] {
			out = append(out, fmt.Sprint(time.Duration(now-enginetest.Start())*time.Millisecond, " ", m.About["user_id"], " ", m.About["channel"]))
			seen++
		}
	}))
	return out
}

// escalated are the rows of the ledger in their order, "user reason by channels left".
func escalated(t *testing.T, w *enginetest.World) []string {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	rows, err := w.Store.Conn().Query(t.Context(), "SELECT user_id, reason, `by`, channels, fallback FROM decisions ORDER BY entry, attempt")
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var user, reason, by string
		var to, left []string
		require.NoError(t, rows.Scan(&user, &reason, &by, &to, &left))
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %v%v", user, reason, by, to, left)))
	}
	return out
}

// entryOf is the id of the one entry.
func entryOf(t *testing.T, w *enginetest.World) string {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	var id string
	require.NoError(t, w.Store.Conn().QueryRow(t.Context(), "SELECT any(entry) FROM decisions").Scan(&id))
	return id
}

// answer is what the person does with the message, as a receipt tells it.
func answer(t *testing.T, w *enginetest.World, user, name string, flags events.Flags) {
	t.Helper()
	w.Send(events.Event{Kind: events.KindMessage, UserID: user, Name: name, Flags: flags, Properties: fmt.Appendf(nil, `{"rule":"r","entry":%q,"channel":"log"}`, entryOf(t, w))})
}

// What needs no failing channel, restart or pause is in engine/ruletest/testdata/behaviour.
func TestEscalation(t *testing.T) {
	type step struct {
		at int64
		do func(w *enginetest.World)
	}
	begun := step{0, func(w *enginetest.World) { w.Track("ann", "Begun", nil) }}
	mail := step{0, func(w *enginetest.World) { w.Identify("ann", "", map[string]any{"email": "ann@example.com"}) }}
	opens := func(name string, flags events.Flags) func(w *enginetest.World) {
		return func(w *enginetest.World) { answer(t, w, "ann", name, flags) }
	}
	for name, c := range map[string]struct {
		more, rest string
		steps      []step
		answer     func(channels.Message, int) error
		until      int64
		sent       []string
		rows       []string
	}{
		"never opened: all, two hours apart": {
			steps: []step{mail, begun}, sent: []string{"0s ann log", "2h0m0s ann mail", "4h0m0s ann post"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation [mail][post]", "ann send escalation [post][]"},
		},
		"opened by a machine alone": {
			steps: []step{mail, begun, {hour, opens(events.MessageOpened, events.MachineOpen)}}, until: 3 * hour, sent: []string{"0s ann log", "2h0m0s ann mail"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation [mail][post]"},
		},
		"the goal is reached": {
			rest: "goal: {event: Paid, where: properties.amount > 5}", steps: []step{
				mail, begun,
				{hour, func(w *enginetest.World) { w.Track("ann", "Paid", map[string]any{"amount": 1}) }},
				{3 * hour, func(w *enginetest.World) { w.Track("ann", "Paid", map[string]any{"amount": 9}) }},
			}, sent: []string{"0s ann log", "2h0m0s ann mail"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation [mail][post]", "ann send escalation: goal [][]"},
		},
		"the address comes meanwhile": {
			steps: []step{begun, {hour, mail.do}}, until: 3 * hour, sent: []string{"0s ann log", "2h0m0s ann mail"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation [mail][post]"},
		},
		"consent is withdrawn meanwhile": {
			more: "categories: {promotional: {consent: opt_out}}\n", rest: "when_blocked: drop",
			steps: []step{mail, begun, {hour, func(w *enginetest.World) { w.Consent("ann", "", "", false) }}}, sent: []string{"0s ann log"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation: no_consent [][]"},
		},
		"nobody to write to until it expires": {
			more: "categories: {promotional: {consent: opt_out}}\n", rest: "expire: 5h", until: day,
			steps: []step{mail, begun, {hour, func(w *enginetest.World) { w.Consent("ann", "", "", false) }}}, sent: []string{"0s ann log"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation: no_consent [][mail post]", "ann send escalation: expired [][]"},
		},
		"quiet hours, behind which it goes": {
			more:  "quiet_hours: [{from: \"10:00\", to: \"15:00\", zone: workspace}]\n",
			steps: []step{mail, begun}, until: 7 * hour, sent: []string{"0s ann log", "6h0m0s ann mail"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation: quiet_hours [][mail post]", "ann send escalation [mail][post]"},
		},
		"a cap counts every channel": {
			more:  "caps: [{name: two, max: 2, per: 12h, window: rolling, scope: all, at_cap: retry}]\n",
			steps: []step{mail, begun}, until: 13 * hour, sent: []string{"0s ann log", "2h0m0s ann mail", "12h0m0s ann post"},
			rows: []string{
				"ann send  [log][mail post]", "ann send escalation [mail][post]", "ann send escalation: frequency_cap: two [][post]", "ann send escalation [post][]",
			},
		},
		"a failure is followed at once, and the next two hours behind that": {
			steps: []step{mail, begun}, until: 3 * hour, sent: []string{"0s ann mail", "2h0m0s ann post"},
			answer: func(m channels.Message, _ int) error { return refuses(m, "log") },
			rows:   []string{"ann send  [log][mail post]", "ann held fallback [mail post][]", "ann send  [mail][post]", "ann send escalation [post][]"},
		},
		"the second fails": {
			steps: []step{mail, begun}, until: 3 * hour, sent: []string{"0s ann log", "2h0m0s ann post"},
			answer: func(m channels.Message, _ int) error { return refuses(m, "mail") },
			rows: []string{
				"ann send  [log][mail post]", "ann send escalation [mail][post]", "ann send escalation: fallback [][post]", "ann send escalation [post][]",
			},
		},
		"the second expires in the queue, and the person has got the first": {
			rest: "expire: 3h", steps: []step{mail, begun}, until: 12 * hour, sent: []string{"0s ann log"},
			answer: func(m channels.Message, _ int) error { return later(m, "mail") },
			rows:   []string{"ann send  [log][mail post]", "ann send escalation [mail][post]", "ann send escalation: expired [][]"},
		},
		"the second waits in the queue while the first is opened": {
			steps: []step{mail, begun, {2*hour + 10*minute, opens(events.MessageOpened, 0)}}, until: 12 * hour, sent: []string{"0s ann log"},
			answer: func(m channels.Message, _ int) error { return later(m, "mail") },
			rows:   []string{"ann send  [log][mail post]", "ann send escalation [mail][post]", "ann send escalation: exited [][]"},
		},
		"the rule pauses": {
			steps: []step{mail, begun, {hour, func(w *enginetest.World) {
				require.NoError(t, w.Flush(t.Context()))
				ask(t, w, ledger.Request{Rule: "r", Action: ledger.AskPause})
				wake(t, w)
			}}}, sent: []string{"0s ann log"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation: paused [][]"},
		},
		"the rule goes": {
			steps: []step{mail, begun, {hour, func(w *enginetest.World) {
				w.Write(map[string]string{"rules/r.yaml": "rule: another\non: {event: Nothing}\nagain: never\nmessage: {log: {title: x}}\n"})
				w.Reload()
			}}}, sent: []string{"0s ann log"},
			rows: []string{"ann send  [log][mail post]", "send escalation: paused [][]"},
		},
		"a restart at every turn": {
			steps: []step{
				mail, begun,
				{minute, (*enginetest.World).Restart},
				{2*hour - 1, (*enginetest.World).Restart},
				{2*hour + 1, (*enginetest.World).Restart},
				{3 * hour, opens(events.MessageOpened, 0)},
				{3*hour + 1, (*enginetest.World).Restart},
			}, sent: []string{"0s ann log", "2h0m0s ann mail"},
			rows: []string{"ann send  [log][mail post]", "ann send escalation [mail][post]", "ann send escalation: opened [][]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := enginetest.New(t, escalating(c.more, c.rest))
			w.Sent.Answer = c.answer
			sent := []string{}
			for _, s := range c.steps {
				sent = append(sent, sentAt(t, w, s.at)...)
				before := len(w.Sent.Accepted())
				s.do(w)
				for _, m := range w.Sent.Accepted()[before:] {
					sent = append(sent, fmt.Sprint(time.Duration(s.at)*time.Millisecond, " ", m.About["user_id"], " ", m.About["channel"]))
				}
			}
			if c.until == 0 {
				c.until = 20 * hour
			}
			sent = append(sent, sentAt(t, w, c.until)...)
			require.Equal(t, c.sent, sent)
			require.Equal(t, c.rows, escalated(t, w))

			// However far it went, it is one entry that was sent.
			r, err := report.Run(t.Context(), w.Store.Conn(), w.App.Planner, w.App.Workspace(), report.Query{From: enginetest.Start()})
			require.NoError(t, err)
			require.Len(t, r.Rows, 1)
			require.Equal(t, int64(1), r.Rows[0].Matched)
			require.Equal(t, int64(1), r.Rows[0].Reasons["send"], "%v", r.Rows[0].Reasons)
			require.Equal(t, int64(len(sent)), r.Rows[0].Sent)
			before := w.App.Engine.Snapshot()
			w.Restart()
			require.Equal(t, before, w.App.Engine.Snapshot())
		})
	}
}

func refuses(m channels.Message, channel string) error {
	if m.About["channel"] != channel {
		return nil
	}
	return &channels.DeliveryError{Class: channels.ClassMessage, Code: "no", Err: errors.New("not this one")}
}

func later(m channels.Message, channel string) error {
	if m.About["channel"] != channel {
		return nil
	}
	return &channels.DeliveryError{Class: channels.ClassTemporary, RetryAfter: time.Hour, Err: errors.New("not now")}
}

// TestAnEscalationDoesNotAskAgain has a condition that the message itself makes false, on a schedule: the second channel
// is used all the same, the entry counts once for `again`, and nobody enters anew while it waits.
func TestAnEscalationDoesNotAskAgain(t *testing.T) {
	files := escalating("", "")
	files["rules/r.yaml"] = "rule: r\nschedule: \"*/10 * * * *\"\nbackfill: true\nwhen: did(\"Begun\") and message(\"r\").within(hours(1)).count == 0\nagain: each_time\n" +
		"deliver: {escalate: 90m}\nwith: {n: event(\"Begun\").count}\nmessage: {log: {title: \"one {{ n }}\"}, post: {title: \"two {{ n }}\"}}\n"
	w := enginetest.New(t, files)
	w.Track("ann", "Begun", nil)
	require.Equal(t, []string{"10m0s ann log", "1h40m0s ann post"}, sentAt(t, w, 100*minute))
	require.Equal(t, []string{"ann: one 1", "ann: two 1"}, w.Accepted(), "with the values of the entry")
	// It was true again when the first was an hour old, and the entry was open; it is again an hour behind the second.
	require.Equal(t, []string{"2h40m0s ann log"}, sentAt(t, w, 3*hour))
}

// TestAnEscalationCountsFromWhenTheMessageWasTaken has the first provider down for a while.
func TestAnEscalationCountsFromWhenTheMessageWasTaken(t *testing.T) {
	w := enginetest.New(t, escalating("", ""))
	w.Sent.Answer = func(m channels.Message, attempt int) error {
		if attempt == 1 {
			return later(m, "log")
		}
		return nil
	}
	var at []int64
	w.Track("ann", "Begun", nil)
	require.NoError(t, w.Advance(t.Context(), enginetest.Start()+5*hour, func(now int64) {
		if len(w.Sent.Accepted()) > len(at) {
			at = append(at, now)
		}
	}))
	require.Len(t, at, 2)
	require.GreaterOrEqual(t, at[0], enginetest.Start()+hour)
	require.Equal(t, 2*hour, at[1]-at[0])
}

// TestAnUrgentMessageToTheLatestDevice has somebody with three devices, of which they used the first again an hour later.
func TestAnUrgentMessageToTheLatestDevice(t *testing.T) {
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": "zone: UTC\nsalt: test\nchannels:\n  log: {adapter: stdout}\n  push: {adapter: fcm, config: {credentials: \"env:NONE\"}}\nkeys: [{name: web, write_key: k}]\n",
		"rules/one.yaml": "rule: one\non: {event: Begun}\nagain: each_time\nurgent: true\ndevices: latest\ndeliver: {escalate: 2h}\n" +
			"message: {log: {title: hello}, push: {title: hello, body: there}}\n",
		"rules/many.yaml": "rule: many\non: {event: Begun}\nagain: each_time\nmessage: {push: {title: hi, body: all}}\n",
	})
	for _, token := range []string{"phone", "pad", "watch"} {
		w.Device("ann", token, "android")
		w.To(w.Clock.Now().UnixMilli() - enginetest.Start() + minute)
	}
	w.To(hour)
	w.Send(events.Event{Kind: events.KindTrack, UserID: "ann", Name: "Seen", Context: []byte(`{"device":{"token":"phone","type":"android"}}`)})
	w.To(hour + minute)
	w.Track("ann", "Begun", nil)
	w.To(4 * hour)
	var got []string
	for _, m := range w.Sent.Accepted() {
		got = append(got, fmt.Sprint(m.About["rule"], " ", m.About["channel"], " ", m.Address.Token, " ", m.Urgent))
	}
	slices.Sort(got)
	require.Equal(t, []string{"many push pad false", "many push phone false", "many push watch false", "one log  true", "one push phone true"}, got)
}

// TestMergesOfEscalations has two people with a message each, who turn out to be one: the older goes on, the newer is
// sent and done.
func TestMergesOfEscalations(t *testing.T) {
	files := escalating("", "")
	files["rules/r.yaml"] = "rule: r\nschedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Begun\").count > 0\nagain: never\ndeliver: {escalate: 2h}\n" +
		"message: {log: {title: one}, post: {title: two}}\n"
	w := enginetest.New(t, files)
	const pairs = 12 // so that some are on two shards
	w.Together(func() {
		for i := range pairs {
			w.Identify(fmt.Sprintf("u%d", i), "", map[string]any{"a": 1})
			w.Send(events.Event{Kind: events.KindTrack, AnonymousID: fmt.Sprintf("a%d", i), Name: "Begun"})
		}
	})
	w.To(10 * minute)
	for i := range pairs {
		w.Track(fmt.Sprintf("u%d", i), "Begun", nil)
	}
	w.To(20 * minute)
	require.Len(t, w.Accepted(), 2*pairs)
	for i := range pairs {
		w.Identify(fmt.Sprintf("u%d", i), fmt.Sprintf("a%d", i), nil)
	}
	w.To(hour)
	w.Restart()
	w.To(day)
	require.Len(t, w.Accepted(), 3*pairs, "one goes on")
	var got []string
	for _, a := range w.Answers() {
		got = append(got, string(a.Reason)+" "+a.By)
	}
	slices.Sort(got)
	require.Equal(t, slices.Concat(slices.Repeat([]string{"send escalation"}, pairs), slices.Repeat([]string{"send escalation: merged"}, pairs)), got)
}

// TestAnErasedPersonIsNotEscalated forgets somebody whose message waits for an answer.
func TestAnErasedPersonIsNotEscalated(t *testing.T) {
	w := enginetest.New(t, escalating("", ""))
	w.Track("ann", "Begun", nil)
	w.To(hour)
	w.Send(events.Event{Kind: events.KindErase, UserID: "ann"})
	w.To(day)
	require.Len(t, w.Accepted(), 1)
	require.Empty(t, w.App.Engine.Snapshot())
}
