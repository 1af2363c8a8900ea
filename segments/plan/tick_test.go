package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/segments"
)

// said is what the parts of a tick say together: answers as in brief, and who was judged ("all", or
// people) for each condition.
type said struct {
	answers []string
	judged  []string
	refused []int
	parts   int
}

func doTick(t require.TestingT, p *Planner, q segments.Tick) said {
	out := said{answers: []string{}, judged: make([]string, len(q.Who))}
	var last events.PersonID
	require.NoError(t, p.Tick(context.Background(), q, func(part *segments.Part) error {
		require.Equal(t, last, part.After, "parts leave nobody out")
		last = part.To
		out.parts++
		require.True(t, slices.IsSortedFunc(part.Answers, func(a, b segments.Answer) int {
			return strings.Compare(fmt.Sprintf("%20d %4d %s", a.Person, a.Who, a.Value), fmt.Sprintf("%20d %4d %s", b.Person, b.Who, b.Value))
		}))
		for _, a := range part.Answers {
			require.True(t, part.Has(a.Who, a.Person))
		}
		out.answers = append(out.answers, brief(part.Answers)...)
		out.refused = nil
		for _, r := range part.Refused {
			require.Error(t, r.Err)
			out.refused = append(out.refused, r.Who)
		}
		for w := range q.Who {
			if part.Everybody[w] {
				out.judged[w] = "all"
				continue
			}
			for _, person := range part.Judged[w] {
				out.judged[w] = strings.TrimSpace(out.judged[w] + fmt.Sprint(" ", person))
			}
		}
		return nil
	}))
	require.Equal(t, ^events.PersonID(0), last, "the last part ends with the largest id")
	return out
}

// Each row of the tables in docs/planning.md: what is there at a first look at t0 and position 100, what comes, and
// who is judged at a look t1 for whom.
func TestWhatChanges(t *testing.T) {
	const before, t1 = 100, t0 + 5*minute
	a := func(person, pos uint64, at int64) happening {
		return happening{person: person, time: at, pos: pos, event: "A"}
	}
	cart := func(person, pos uint64, at int64, cart string) happening {
		return happening{person: person, time: at, pos: pos, event: "A", props: map[string]any{"cart": cart}}
	}
	w := newWorld(t)
	for _, c := range []struct {
		name      string
		when      string
		forEach   string
		retention int64
		fill      func(w *world)
		judged    string
		want      []string
	}{
		{
			name: "an event that it names arrives", when: `event("A").count == 2`,
			fill: func(w *world) {
				w.events(a(1, 1, t0-hour), a(2, 2, t0-hour), a(1, 101, t0+minute), happening{person: 2, time: t0, pos: 102, event: "B"})
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "any event arrives", when: `event("*").count == 2`,
			fill: func(w *world) {
				w.events(a(1, 1, t0-hour), a(2, 2, t0-hour), a(1, 101, t0+minute), happening{person: 2, time: t0, pos: 102, event: "B"},
					happening{person: 3, time: t0, pos: 103, event: events.LocationUpdated}, happening{person: 4, time: t0, pos: 104, kind: events.KindMessage, event: events.MessageSent})
			},
			judged: "1 2", want: []string{"0 1", "0 2"},
		},
		{
			name: "one of our messages arrives", when: `message("r").count == 1`,
			fill: func(w *world) {
				w.events(happening{person: 1, time: t0, pos: 101, kind: events.KindMessage, event: events.MessageSent, props: map[string]any{"rule": "r"}},
					happening{person: 2, time: t0, pos: 102, event: events.MessageSent, props: map[string]any{"rule": "r"}})
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "one that happened long ago arrives late", when: `event("A").first.ago > days(3)`,
			fill:   func(w *world) { w.events(a(1, 1, t0-hour), a(1, 101, t0-4*day)) },
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "one older than the retention arrives", when: `event("A").count == 2`, retention: 3 * day,
			fill:   func(w *world) { w.events(a(1, 1, t0-hour), a(1, 101, t0-4*day)) },
			judged: "1", want: []string{},
		},
		{
			name: "one dated ahead begins to be seen", when: `event("A").count == 1`,
			fill: func(w *world) {
				w.events(a(1, 1, t0+minute), a(2, 2, t0+10*minute), a(3, 101, t0+10*minute), a(4, 3, t1), a(5, 4, t1+1))
			},
			judged: "1 4", want: []string{"0 1", "0 4"},
		},
		{
			name: "one becomes so old", when: `event("A").last.ago >= hours(1)`,
			fill: func(w *world) {
				w.events(a(1, 1, t0-hour+minute), a(2, 2, t0-hour+10*minute), a(3, 3, t0-2*hour), a(4, 4, t1-hour), a(5, 5, t1-hour+1))
			},
			judged: "1 4", want: []string{"0 1", "0 4"},
		},
		{
			name: "one becomes older than that", when: `event("A").last.ago > hours(1)`,
			fill:   func(w *world) { w.events(a(1, 1, t0-hour), a(2, 2, t1-hour), a(3, 3, t0-hour-2)) },
			judged: "1 2", want: []string{"0 1"},
		},
		{
			name: "one leaves a window", when: `event("A").within(days(1)).count == 1`,
			fill:   func(w *world) { w.events(a(1, 1, t0-day+minute), a(1, 2, t0-hour), a(2, 3, t0-hour)) },
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "one of our messages leaves a window", when: `message("r").within(days(1)).count < 1 and did("A")`,
			fill: func(w *world) {
				w.events(a(1, 1, t0-hour), happening{person: 1, time: t0 - day + minute, pos: 2, kind: events.KindMessage, event: events.MessageSent, props: map[string]any{"rule": "r"}})
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "one becomes as old as the retention", when: `event("A").count == 1`, retention: 3 * day,
			fill:   func(w *world) { w.events(a(1, 1, t0-3*day+minute), a(1, 2, t0-hour), a(2, 3, t0-hour)) },
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "ages of two events", when: `event("A").last.ago > event("B").last.ago`,
			fill: func(w *world) {
				w.events(a(1, 1, t0-hour), happening{person: 1, time: t0 - minute, pos: 2, event: "B"}, a(2, 3, t0-hour))
			},
			judged: "", want: []string{},
		},
		{
			name: "a trait arrives", when: `user.traits.plan == "pro"`,
			fill: func(w *world) {
				w.events(happening{person: 1, time: t0, pos: 101, kind: events.KindIdentify}, a(2, 102, t0))
				w.trait(1, "plan", `"pro"`, 101, t0)
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "a trait dated ahead begins to be seen", when: `user.traits.plan == "pro"`,
			fill: func(w *world) {
				w.events(happening{person: 1, time: t0 + minute, pos: 1, kind: events.KindIdentify})
				w.trait(1, "plan", `"pro"`, 1, t0+minute)
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "a user id arrives", when: `has(user.id)`,
			fill: func(w *world) {
				w.known("anonymous", "a1", 1, 1, t0-day)
				w.known("user", "u1", 1, 101, t0+minute)
				w.known("anonymous", "a2", 2, 102, t0+minute)
				w.known("user", "u3", 3, 2, t0+minute)
			},
			judged: "1 3", want: []string{"0 1", "0 3"},
		},
		{
			name: "somebody appears", when: `event("A").count == 0`,
			fill: func(w *world) {
				w.known("user", "u1", 1, 1, t0-day)
				w.known("user", "u2", 2, 101, t0+minute)
				w.known("user", "u3", 3, 2, t0+minute)
				w.known("user", "u4", 4, 102, t0+hour)
			},
			judged: "2 3", want: []string{"0 2", "0 3"},
		},
		{
			name: "an event that comes late is the first", when: `user.created_at < now - days(5) and did("A")`,
			fill: func(w *world) {
				w.known("user", "u1", 1, 1, t0-day)
				w.events(a(1, 2, t0-hour), happening{person: 1, time: t0 - 6*day, pos: 101, event: "B"})
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "a time zone arrives", when: `user.timezone == "Asia/Tokyo"`,
			fill: func(w *world) {
				w.known("user", "u1", 1, 1, t0-day)
				w.insert("zones", "person, zone, time, pos", []any{uint64(1), "Asia/Tokyo", when(t0), uint64(101)})
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "a merge", when: `event("A").count == 2`,
			fill: func(w *world) {
				w.events(a(1, 1, t0-hour), a(2, 2, t0-hour), a(3, 3, t0-hour), a(4, 4, t0-hour))
				w.merged(4, 3, 50)
				w.merged(2, 1, 101)
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "what crosses for who was merged", when: `event("A").last.ago >= hours(1)`,
			fill: func(w *world) {
				w.events(a(2, 2, t0-hour+minute))
				w.merged(2, 1, 50)
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "who has been erased", when: `event("A").last.ago >= hours(1) or event("A").count == 0`,
			fill: func(w *world) {
				w.known("user", "u1", 1, 1, t0-hour+minute)
				w.events(a(1, 1, t0-hour+minute))
				w.insert("erasures", "hash, person, time, pos, done_at", []any{"h", uint64(1), when(t0), uint64(101), when(0)})
			},
			judged: "", want: []string{},
		},
		{
			name: "all values of a person", forEach: `event("A").by("cart")`, when: `it.last.ago >= hours(1)`,
			fill: func(w *world) {
				w.events(cart(1, 1, t0-hour+minute, "x"), cart(1, 2, t0-2*hour, "y"), cart(1, 3, t0-minute, "z"), cart(2, 4, t0-2*hour, "x"))
			},
			judged: "1", want: []string{"0 1 x", "0 1 y"},
		},
		{
			name: "the last of a value passes retention", forEach: `event("A").by("cart")`, when: `it.count > 0`, retention: 3 * day,
			fill:   func(w *world) { w.events(cart(1, 1, t0-3*day+minute, "x")) },
			judged: "1", want: []string{},
		},
		{
			name: "a date in a trait", when: `user.traits.trial_ends < now`,
			fill: func(w *world) {
				w.known("user", "u1", 1, 1, t0-day)
				w.trait(1, "trial_ends", fmt.Sprintf("%q", when(t0+minute).Format("2006-01-02T15:04:05Z07:00")), 1, t0-day)
				w.known("user", "u2", 2, 2, t0-day)
				w.trait(2, "trial_ends", fmt.Sprintf("%q", when(t0+hour).Format("2006-01-02T15:04:05Z07:00")), 2, t0-day)
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "a duration in a trait", when: `event("A").last.ago > days(user.traits.interval)`,
			fill: func(w *world) {
				w.events(a(1, 1, t0-2*day+minute), a(2, 2, t0-2*day+minute))
				w.trait(1, "interval", "2", 3, t0-day)
				w.trait(2, "interval", "3", 4, t0-day)
			},
			judged: "1", want: []string{"0 1"},
		},
		{
			name: "long after somebody was first seen", when: `now - user.created_at > days(1)`,
			fill: func(w *world) {
				w.known("user", "u1", 1, 1, t0-day+minute)
				w.known("user", "u2", 2, 2, t0-hour)
			},
			judged: "1", want: []string{"0 1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			w.clear()
			c.fill(w)
			who, problems := segments.Compile(segments.WhoSpec{When: c.when, ForEach: c.forEach},
				segments.NewSchema(segments.SchemaOptions{Plan: &events.Plan{Traits: map[string]events.Property{"trial_ends": {Type: events.TypeTime}}}}))
			require.False(t, segments.HasErrors(problems), "%v", problems)
			require.Empty(t, who.Changes().Full)
			p := w.planner(Options{})
			q := segments.Tick{At: t0, UpTo: before, Retention: c.retention, Who: []*segments.Who{who}}
			first := doTick(t, p, q)
			require.Equal(t, "all", first.judged[0])

			q.From = []segments.Baseline{{At: t0, UpTo: before}}
			q.At, q.UpTo = t1, 200
			for range 2 { // the second time from what is remembered
				got := doTick(t, p, q)
				require.Equal(t, c.judged, got.judged[0])
				require.Equal(t, c.want, got.answers)
			}
			// Whoever is true now and was not is among them.
			q.From = nil
			for _, answer := range doTick(t, w.planner(Options{}), q).answers {
				if !slices.Contains(first.answers, answer) {
					require.Contains(t, c.want, answer)
				}
			}
		})
	}
}
