package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/segments"
)

// tooMuch is a filter that the store refuses: its regular expressions may not compile to so much, those of Go may.
const tooMuch = `properties.name matches "\\p{L}{1000}"`

// tooMuchOfAll has the store count people under it. (Histories of given people are filtered by Go.)
var tooMuchOfAll = "with:\n  others: everyone.event(\"Seen\", '" + strings.ReplaceAll(tooMuch, `\`, `\\`) + "').within(days(1)).people\n"

// paused are the rules that a report shows as paused, each with when and the beginning of why.
func paused(t *testing.T, w *enginetest.World) []string {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	list, err := report.PausedRules(t.Context(), w.Store.Conn(), w.App.Workspace(), 0)
	require.NoError(t, err)
	out := []string{}
	for _, p := range list {
		require.GreaterOrEqual(t, p.Since.UnixMilli(), enginetest.Start())
		require.Contains(t, p.Reason, "cannot compile re2")
		out = append(out, p.Rule)
	}
	return out
}

// resume is nudge resume, and what a running nudge makes of it.
func resume(t *testing.T, w *enginetest.World, rule string) {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	list, err := report.PausedRules(t.Context(), w.Store.Conn(), w.App.Workspace(), 0)
	require.NoError(t, err)
	at := slices.IndexFunc(list, func(p report.Paused) bool { return p.Rule == rule })
	require.GreaterOrEqual(t, at, 0, "%s is not paused", rule)
	ask(t, w, ledger.Request{Rule: rule, Action: ledger.AskResume, About: list[at].Since.UnixMilli()})
}

// ask is what nudge pause and nudge resume write.
func ask(t *testing.T, w *enginetest.World, r ledger.Request) {
	t.Helper()
	r.At, r.Who = w.Clock.Now().UnixMilli(), "ann@shop"
	require.NoError(t, ledger.NewStore(w.Store.Conn()).Ask(t.Context(), r))
}

// wake lets the engine look at what it was asked for.
func wake(t *testing.T, w *enginetest.World) {
	t.Helper()
	require.NoError(t, w.App.Engine.Requests(t.Context()))
	now := w.Clock.Now().UnixMilli()
	require.NoError(t, w.App.Engine.Arrived(t.Context(), now))
	require.NoError(t, w.App.Engine.Step(t.Context(), now))
}

// TestAnOnRuleThatCannotBeComputedIsPaused has the store refuse to count the people that two `on:` rules tell of.
func TestAnOnRuleThatCannotBeComputedIsPaused(t *testing.T) {
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":        config,
		"rules/found.yaml":  rule("found", "on: {event: Ping}\n"+tooMuchOfAll+"again: each_time"),
		"rules/judged.yaml": rule("judged", "on: {event: Ping}\n"+tooMuchOfAll+"again: each_time"),
		"rules/good.yaml":   rule("good", "on: {event: Ping}\nagain: each_time"),
		"rules/held.yaml":   rule("held", "on: {event: Ping}\nagain: each_time\nsend_at: \"10:00\"\nwhile_held: recheck"),
	})
	w.Track("ann", "Seen", map[string]any{"name": "x"})
	w.To(minute)
	w.Track("ann", "Ping", map[string]any{"name": "x"})
	require.Equal(t, []string{"good ann send", "held ann held"}, answers(w), "the others go on")
	require.Equal(t, []string{"found", "judged"}, paused(t, w))
	require.NoError(t, testutil.GatherAndCompare(w.Metrics, strings.NewReader(`
# HELP nudge_rule_paused 1 for a rule that is paused.
# TYPE nudge_rule_paused gauge
nudge_rule_paused{rule="found"} 1
nudge_rule_paused{rule="judged"} 1
`), "nudge_rule_paused"))

	asked := 0
	l := &hearing{Planner: w.App.Planner, look: func(q segments.Look) { asked = len(q.Who) }}
	w.App.Engine.Plan(func(engine.Planner) engine.Planner { return l })
	w.Track("bob", "Ping", map[string]any{"name": "x"})
	require.Equal(t, []string{"good ann send", "good bob send", "held ann held", "held bob held"}, answers(w))
	require.Equal(t, 2, asked, "they are not asked for")

	// Over a start with another file: the one goes on behind what came meanwhile, the other stays paused.
	w.Write(map[string]string{"rules/found.yaml": rule("found", "on: {event: Ping, where: 'properties.name == \"x\"'}\nagain: each_time")})
	w.Restart()
	wake(t, w)
	require.Equal(t, []string{"judged"}, paused(t, w))
	w.Track("cyd", "Ping", map[string]any{"name": "x"})
	require.Equal(t, []string{
		"found cyd send", "good ann send", "good bob send", "good cyd send", "held ann held", "held bob held", "held cyd held",
	}, answers(w))

	// And without one.
	w.Write(map[string]string{"rules/judged.yaml": rule("judged", "on: {event: Ping}\nwith:\n  others: everyone.event(\"Seen\").within(days(1)).people\nagain: each_time")})
	w.Reload()
	wake(t, w)
	require.Empty(t, paused(t, w))
	w.Track("dan", "Ping", nil)
	w.Restart()
	wake(t, w)
	var judged []string
	for _, a := range answers(w) {
		if strings.HasPrefix(a, "judged") {
			judged = append(judged, a)
		}
	}
	require.Equal(t, []string{"judged dan send"}, judged)
}

// hearing stands between the engine and its planner, and is told of looks.
type hearing struct {
	engine.Planner
	look   func(q segments.Look)
	refuse error // of arrivals
}

func (h *hearing) Look(ctx context.Context, q segments.Look, fn func([]segments.Answer) error) error {
	if h.look != nil {
		h.look(q)
	}
	if h.refuse != nil && q.Triggers == nil && q.People == nil {
		return fn([]segments.Answer{{Who: 0, Truth: segments.Failed, Err: h.refuse}})
	}
	return h.Planner.Look(ctx, q, fn) //nolint:wrapcheck // stands in for the planner
}

var errBusy = errors.New("cannot compile re2: too much memory") // as any other

// TestResume lets rules go on that were paused while the store was too busy, in a running nudge and by a start.
func TestResume(t *testing.T) {
	w := world(t, map[string]string{
		"often": "schedule: \"*/10 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never",
		"other": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
		"ping":  "on: {event: Ping}\nagain: each_time",
	})
	w.To(10 * minute)
	h := &hearing{Planner: w.App.Planner}
	l := &looking{Planner: h}
	w.App.Engine.Plan(func(engine.Planner) engine.Planner { return l })
	busy := func(is bool) {
		l.part, h.refuse = nil, nil
		if !is {
			return
		}
		h.refuse = errBusy
		l.part = func(p *segments.Part) error {
			p.Refused = []segments.Refused{{Who: 0, Err: errBusy}}
			p.Answers = slices.DeleteFunc(p.Answers, func(a segments.Answer) bool { return a.Who == 0 })
			return nil
		}
	}
	busy(true)
	w.Track("ann", "Seen", nil)
	w.Track("ann", "Ping", nil)
	w.To(25 * minute)
	require.Equal(t, []string{"other ann send"}, answers(w))
	require.Equal(t, []string{"often", "ping"}, paused(t, w))

	busy(false)
	w.Track("bob", "Ping", nil)
	resume(t, w, "often")
	resume(t, w, "ping")
	require.Equal(t, []string{"often", "ping"}, paused(t, w))
	wake(t, w)
	require.Empty(t, paused(t, w))
	require.NoError(t, testutil.GatherAndCompare(w.Metrics, strings.NewReader(""), "nudge_rule_paused"))
	w.Track("cyd", "Ping", nil)
	require.Equal(t, []string{"other ann send", "ping cyd send"}, answers(w), "what came meanwhile is not heard")
	l.asked = nil
	w.To(30 * minute)
	require.Len(t, l.asked, 2)
	require.Equal(t, []segments.Baseline{{}}, l.asked[1], "it begins with a first look, at the next instant, behind the other")
	w.Track("dan", "Seen", nil)
	w.To(40 * minute)
	want := []string{"often ann already_true", "often dan send", "other ann send", "other dan send", "ping cyd send"}
	require.Equal(t, want, answers(w))

	// A later pause stands until it is asked for again; a start finds what was asked.
	busy(true)
	w.Track("eve", "Ping", nil)
	w.To(50 * minute)
	wake(t, w)
	require.Equal(t, []string{"often", "ping"}, paused(t, w))
	resume(t, w, "often")
	resume(t, w, "ping")
	w.Track("fay", "Ping", nil)
	w.Restart()
	w.Track("gus", "Ping", nil)
	w.To(60 * minute)
	w.Track("hal", "Ping", nil)
	require.Empty(t, paused(t, w))
	require.Equal(t, append(want, "ping hal send"), answers(w))
	w.Restart() // and so does one that repeats what came last
	require.Equal(t, append(want, "ping hal send"), answers(w))
}

// TestWhatIsAskedAgainCannotBeComputed has open entries fall due whose rules have conditions by now that the store
// refuses: of a rule on arrival, and of one whose schedule is not due.
func TestWhatIsAskedAgainCannotBeComputed(t *testing.T) {
	refused := "when: event(\"Seen\").count > 0\n" + tooMuchOfAll
	seen := "when: event(\"Seen\").count > 0\n"
	held := "again: each_time\nsend_at: \"10:00\"\nwhile_held: recheck"
	w := world(t, map[string]string{
		"arrival": "on: {event: Seen}\n" + seen + held,
		"good":    "on: {event: Seen}\n" + seen + held,
		"daily":   "schedule: \"10 9 * * *\"\nbackfill: true\n" + seen + held,
	})
	w.Track("ann", "Seen", map[string]any{"name": "x"})
	w.To(20 * minute)
	require.Equal(t, []string{"arrival ann held", "daily ann held", "good ann held"}, answers(w))
	w.Write(map[string]string{
		"rules/arrival.yaml": rule("arrival", "on: {event: Seen}\n"+refused+held),
		"rules/daily.yaml":   rule("daily", "schedule: \"10 9 * * *\"\nbackfill: true\n"+refused+held),
	})
	w.Reload()
	w.To(2 * hour)
	require.Equal(t, []string{"arrival ann paused", "daily ann paused", "good ann send"}, answers(w))
	require.Equal(t, []string{"arrival", "daily"}, paused(t, w))
}
