package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/report"
	"nudge/events"
	"nudge/segments"
)

// looking stands between the engine and its planner.
type looking struct {
	engine.Planner
	everybody bool                         // forgets where looks begin
	before    func(q *segments.Tick)       // a tick is asked
	part      func(p *segments.Part) error // before a part of one person is handed on
	asked     [][]segments.Baseline        // by tick
}

func (l *looking) Tick(ctx context.Context, q segments.Tick, fn func(*segments.Part) error) error {
	if l.before != nil {
		l.before(&q)
	}
	if l.everybody {
		q.From = make([]segments.Baseline, len(q.From))
	}
	l.asked = append(l.asked, q.From)
	if l.part == nil {
		return l.Planner.Tick(ctx, q, fn) //nolint:wrapcheck // stands in for the planner
	}
	return l.Planner.Tick(ctx, q, func(p *segments.Part) error { //nolint:wrapcheck // stands in for the planner
		for _, small := range pieces(p) {
			if err := l.part(small); err != nil {
				return err
			}
			if err := fn(small); err != nil {
				return err
			}
		}
		return nil
	})
}

// pieces cuts a part behind each of its people.
func pieces(p *segments.Part) []*segments.Part {
	var people []events.PersonID
	for _, a := range p.Answers {
		people = append(people, a.Person)
	}
	for _, list := range p.Judged {
		people = append(people, list...)
	}
	slices.Sort(people)
	people = slices.Compact(people)
	if len(people) == 0 || people[len(people)-1] != p.To {
		people = append(people, p.To)
	}
	var out []*segments.Part
	after := p.After
	for _, to := range people {
		in := func(id events.PersonID) bool { return id > after && id <= to }
		small := &segments.Part{After: after, To: to, Everybody: p.Everybody, Refused: p.Refused}
		for _, a := range p.Answers {
			if in(a.Person) {
				small.Answers = append(small.Answers, a)
			}
		}
		for _, list := range p.Judged {
			var some []events.PersonID
			for _, id := range list {
				if in(id) {
					some = append(some, id)
				}
			}
			small.Judged = append(small.Judged, some)
		}
		out, after = append(out, small), to
	}
	return out
}

func between(w *enginetest.World) *looking {
	l := &looking{}
	w.App.Engine.Plan(func(p engine.Planner) engine.Planner {
		l.Planner = p
		return l
	})
	return l
}

// rows are all answers, each with its instant.
func rows(t *testing.T, w *enginetest.World) []string {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	rows, err := w.Store.Conn().Query(t.Context(), "SELECT rule, person, value, entry, attempt, toString(at), reason, `by` FROM decisions")
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var rule, value, entry, at, reason, by string
		var person uint64
		var attempt uint32
		require.NoError(t, rows.Scan(&rule, &person, &value, &entry, &attempt, &at, &reason, &by))
		out = append(out, fmt.Sprintf("%s %s person %d %q %s#%d: %s %s", at, rule, person, value, entry[:8], attempt, reason, by))
	}
	require.NoError(t, rows.Err())
	slices.Sort(out)
	return out
}

var errCutShort = errors.New("cut short")

// TestWhoIsAskedIsEnough plays random histories with ticks that judge whose answer can have changed, with ticks
// that judge everybody, and with ticks that are cut short between two people and repeated: they have the
// same answers at the same instants. The rules have every `again`, holds that are not asked again, entries that expire
// or are stopped, messages whose values fail, and people who move between zones.
func TestWhoIsAskedIsEnough(t *testing.T) {
	rules := map[string]string{
		"each":   "schedule: \"*/20 * * * *\"\nwhen: event(\"Seen\").last.ago < minutes(50)\nagain: each_time\nexit: {event: Left}",
		"kept":   "schedule: \"*/20 * * * *\"\nwhen: event(\"Seen\").last.ago < minutes(30)\nagain: each_time\nwhen_blocked: hold\nwhile_held: keep",
		"ends":   "priority: 20\nschedule: \"*/10 * * * *\"\nwhen: event(\"Seen\").within(minutes(40)).count > 1\nagain: each_time\nwhen_blocked: hold\nexpire: 30m",
		"after":  "priority: 60\nschedule: \"*/30 * * * *\"\nwhen: event(\"Seen\").count > 1\nagain: {after: 2h}\nwhen_blocked: {frequency_cap: drop}",
		"tick":   "priority: 30\nschedule: \"0 * * * *\"\nwhen: event(\"Seen\").within(hours(3)).count > 0\nagain: every_tick",
		"value":  "priority: 70\nschedule: \"*/20 * * * *\"\nfor_each: event(\"Seen\").by(\"id\")\nwhen: it.last.ago >= minutes(20) and it.last.ago < hours(2)\nagain: {after: 1h}",
		"own":    "priority: 80\ncategory: transactional\nschedule: {cron: \"30 * * * *\", zone: person}\nwhen: event(\"Seen\").count > 0\nagain: {after: 150m}",
		"local":  "priority: 10\nschedule: \"*/30 * * * *\"\nwhen: local.hour >= 12 and event(\"Seen\").count > 0\nagain: each_time",
		"digest": "priority: 75\ncategory: transactional\nschedule: {cron: \"15 * * * *\", zone: person}\nwhen: event(\"Seen\").within(hours(4)).count > 0\nagain: every_tick",
	}
	play := func(t *testing.T, seed uint64, arrange func(l *looking)) []string {
		w := world(t, rules, "caps: [{name: two, max: 2, per: 3h, window: rolling, scope: all, at_cap: retry}]\nquiet_hours: [{from: \"12:00\", to: \"13:00\", zone: UTC}]\n")
		arrange(between(w))
		advance := func(to int64) {
			for tries := 0; ; tries++ {
				err := w.Advance(t.Context(), enginetest.Start()+to, nil)
				if err == nil {
					return
				}
				require.ErrorIs(t, err, errCutShort)
				require.Less(t, tries, 500)
			}
		}
		w.Together(func() {
			for i := range 6 {
				w.Identify(fmt.Sprintf("u%d", i), "", nil)
			}
		})
		advance(minute)
		r := rand.New(rand.NewPCG(seed, 1))
		for step := range 16 {
			advance(int64(step)*15*minute + 7*minute)
			for range r.IntN(4) {
				u := fmt.Sprintf("u%d", r.IntN(6))
				switch r.IntN(8) {
				case 0:
					w.Track(u, "Left", nil)
				case 1:
					w.Identify(u, "", map[string]any{"timezone": []string{"Europe/Berlin", "Asia/Kolkata", "America/New_York"}[r.IntN(3)]})
				default:
					w.Track(u, "Seen", map[string]any{"id": fmt.Sprintf("v%d", r.IntN(3))})
				}
			}
		}
		advance(8 * hour)
		return rows(t, w)
	}
	for seed := range uint64(1) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			var few, whole int
			changed := play(t, seed, func(l *looking) {
				l.before = func(q *segments.Tick) {
					for _, b := range q.From {
						if b == (segments.Baseline{}) {
							whole++
						} else {
							few++
						}
					}
				}
			})
			require.Greater(t, few, 5*whole, "looks that begin where the last one ended")
			require.Equal(t, play(t, seed, func(l *looking) { l.everybody = true }), changed, "of everybody")
			cut, r := 0, rand.New(rand.NewPCG(seed, 2))
			require.Equal(t, changed, play(t, seed, func(l *looking) {
				l.part = func(*segments.Part) error {
					if r.IntN(6) == 0 {
						cut++
						return errCutShort
					}
					return nil
				}
			}), "cut short")
			require.Greater(t, cut, 5)
		})
	}
}

// TestALookBeginsWhereTheLastEnded stops for long, after the ledger was pruned and the streams are empty: each rule, and
// each zone of one on people's own clocks, knows where its look begins.
func TestALookBeginsWhereTheLastEnded(t *testing.T) {
	w := world(t, map[string]string{
		"often":  "schedule: \"0 */2 * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never",
		"seldom": "schedule: \"0 10 * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never",
		"own":    "schedule: {cron: \"0 12 * * *\", zone: person}\nwhen: event(\"Seen\").count > 0\nagain: never",
	})
	w.Identify("berlin", "", map[string]any{"timezone": "Europe/Berlin"})
	w.Identify("york", "", map[string]any{"timezone": "America/New_York"})
	for step := range 30 {
		w.To(int64(step) * 2 * hour)
		w.Track("berlin", "Seen", nil)
	}
	require.NoError(t, w.Flush(t.Context()))
	require.NoError(t, purge(t.Context(), w))
	w.To(20 * day)
	require.NoError(t, w.Flush(t.Context()))
	require.NoError(t, w.App.Ledger.Prune(t.Context(), w.Clock.Now(), 0))
	w.Restart()
	l := between(w)
	w.Track("york", "Seen", nil)
	w.To(21*day + hour)
	require.Greater(t, len(l.asked), 12)
	for _, from := range l.asked {
		for _, b := range from {
			require.Greater(t, b.At, enginetest.Start()+18*day)
		}
	}
	require.Contains(t, answers(w), "own york send")
	l.asked = nil
	w.Write(map[string]string{"rules/often.yaml": rule("often", "priority: 51\nschedule: \"0 */2 * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never")})
	w.Reload()
	w.To(21*day + 5*hour)
	require.NotEqual(t, segments.Baseline{}, l.asked[0][0]) // of Berlin
	require.Equal(t, segments.Baseline{}, l.asked[1][0], "a rule that has changed looks at everybody")
	require.NotEqual(t, segments.Baseline{}, l.asked[1][1])
}

// TestAnArrivalIsDecidedWithinATick has somebody arrive between two parts of a tick.
func TestAnArrivalIsDecidedWithinATick(t *testing.T) {
	w := world(t, map[string]string{
		"seen": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
		"ping": "on: {event: Ping}\nagain: each_time",
	})
	for i := range 5 {
		w.Track(fmt.Sprintf("u%d", i), "Seen", nil)
	}
	w.To(9 * minute)
	l, parts := between(w), 0
	l.part = func(*segments.Part) error {
		if parts++; parts == 3 {
			now := w.Clock.Now().UnixMilli()
			ev := events.Event{Kind: events.KindTrack, UserID: "u4", Name: "Ping", MessageID: "ping", Source: "web", ReceivedAt: now, Time: now, Raw: []byte(`{}`)}
			_, err := w.App.Append(t.Context(), []events.Event{ev})
			require.NoError(t, err)
			last, err := w.App.Queue.LastSeq(t.Context())
			require.NoError(t, err)
			require.NoError(t, w.App.Writer.WaitFor(t.Context(), events.EndOf(last)))
			require.NoError(t, w.App.Engine.Arrived(t.Context(), now))
			require.Contains(t, answers(w), "ping u4 send")
			require.NotContains(t, answers(w), "seen u4 send")
		}
		return nil
	}
	w.To(10 * minute)
	require.Greater(t, parts, 4)
	require.Contains(t, answers(w), "seen u4 send")
}

// TestWhatCannotBeComputedIsPaused has the store refuse one rule's condition.
func TestWhatCannotBeComputedIsPaused(t *testing.T) {
	bad := "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: each_time\nsend_at: \"09:25\"\n"
	w := world(t, map[string]string{
		"bad":  bad,
		"good": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
	})
	refuse := func() *looking {
		l := between(w)
		l.part = func(p *segments.Part) error {
			if p.Everybody == nil || len(p.Judged) < 2 { // not both rules
				return nil
			}
			p.Refused = []segments.Refused{{Who: 0, Err: errors.New("too much memory")}}
			p.Answers = slices.DeleteFunc(p.Answers, func(a segments.Answer) bool { return a.Who == 0 })
			return nil
		}
		return l
	}
	w.Track("ann", "Seen", nil)
	w.To(10 * minute)
	require.Equal(t, []string{"bad ann held", "good ann send"}, answers(w))
	refuse()
	w.Track("bob", "Seen", nil)
	w.To(20 * minute)
	require.Equal(t, []string{"bad ann held", "good ann send", "good bob send"}, answers(w), "the other goes on")
	told := func() []report.Paused {
		r, err := report.Run(t.Context(), w.Store.Conn(), w.App.Planner, w.App.Workspace(), report.Query{})
		require.NoError(t, err)
		return r.Paused
	}
	require.Equal(t, []report.Paused{{Rule: "bad", Since: time.UnixMilli(enginetest.Start() + 20*minute).In(w.App.Workspace().Zone), By: report.ByStore, Reason: "too much memory"}}, told())
	w.Restart()
	l := between(w)
	w.Track("cyd", "Seen", nil)
	w.To(30 * minute)
	require.Equal(t, []string{"bad ann paused", "good ann send", "good bob send", "good cyd send"}, answers(w), "what falls due is answered, behind a start too")
	for _, from := range l.asked {
		require.Len(t, from, 1)
	}
	w.Write(map[string]string{"rules/bad.yaml": rule("bad", "priority: 51\n"+bad)})
	w.Reload()
	w.To(50 * minute)
	require.Equal(t, []string{"bad ann paused", "bad bob held", "bad cyd held", "good ann send", "good bob send", "good cyd send"}, answers(w))
	require.Equal(t, segments.Baseline{}, l.asked[len(l.asked)-2][0], "and begins with a look at everybody")
	require.Len(t, l.asked[len(l.asked)-1], 2)
	require.Empty(t, told())
}
