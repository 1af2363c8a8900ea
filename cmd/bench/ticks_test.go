package main

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/segments"
)

func TestTickRulesCompile(t *testing.T) {
	require.Len(t, tickRules, 20)
	for name, list := range map[string][]tickRule{"ticks": tickRules, "same": sameRules} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, writeWorkspace(dir, tickWorkspace(list)))
			ws, err := loadWorkspace(dir)
			require.NoError(t, err)
			require.Len(t, ws.Rules, len(list)+1)
		})
	}
}

func TestSmokeTicks(t *testing.T) {
	tables := smoke(t, "ticks", "--events", "10000", "--arrivals", "300", "--ticks", "1", "--peer")
	require.Len(t, tables["ticks"], 3)
	for _, row := range tables["ticks"] {
		for _, key := range []string{"p50_ms", "queries", "rows", "people", "own", "ms_clickhouse"} {
			require.Positive(t, row[key], "%s of %v", key, row)
		}
	}
	full, tick := tables["ticks"][2], tables["ticks"][1]
	require.Less(t, tick["people"], full["people"], "a tick judges fewer people than there are")
	require.Len(t, tables["rules"], len(tickRules))
	in := 0.0
	for _, row := range tables["rules"] {
		in += row["in"].(float64)
	}
	require.Positive(t, in, "some rule is true for somebody")
	require.NotEmpty(t, tables["tick_queries"])
	require.NotEmpty(t, tables["look_queries"])
	require.NotEmpty(t, tables["disk"])
	require.Len(t, tables["peer"], 4)
	for _, row := range tables["same"] {
		// Both know the same people, but for windows that the other design knows roughly and for merges.
		require.InEpsilon(t, row["ours"].(float64)+20, row["theirs"].(float64)+20, 0.2, row)
	}
}

func TestArrivalsAreConsistent(t *testing.T) {
	s := sized(20_000, time.Date(2026, 3, 1, 20, 0, 30, 0, time.UTC))
	require.EqualValues(t, 2000, s.people)
	require.Equal(t, events.EndOf(uint64(s.old+1000+199)), s.upTo(), "the end of the message of the last arrival")
	past, first := s.past(), s.tick(500, 5*time.Minute)
	require.EqualValues(t, 20_000, first.first)
	before := s
	s.pass(500, 5*time.Minute)
	second := s.tick(500, 5*time.Minute)
	require.Equal(t, first.first+first.n, second.first, "no arrival is left out")
	require.Equal(t, before.At+(5*time.Minute).Milliseconds(), s.At)
	require.Equal(t, events.EndOf(uint64(s.old+1000+204)), s.upTo())
	require.Equal(t, s.origin, before.origin, "visits go on from tick to tick")
	for _, x := range []stretch{past, first, second} {
		for _, f := range fillSQL {
			require.NotContains(t, s.sql(f.source, f.text, x), "$", "every name is filled in")
		}
	}
}

func TestStateOfRules(t *testing.T) {
	r := newRuleSet(tickRules[:2], make([]*segments.Who, 2))
	h := newHeard(2)
	yes := func(who int, person events.PersonID, value string) segments.Answer {
		return segments.Answer{Who: who, Person: person, Value: value, Truth: segments.True}
	}
	// A look at everybody, in two parts.
	require.NoError(t, h.part(&segments.Part{To: 10, Everybody: []bool{true, true}, Judged: make([][]events.PersonID, 2), Answers: []segments.Answer{yes(0, 5, "a"), yes(0, 5, "b"), yes(1, 7, "")}}))
	require.NoError(t, h.part(&segments.Part{After: 10, To: 1 << 60, Everybody: []bool{true, true}, Judged: make([][]events.PersonID, 2), Answers: []segments.Answer{yes(0, 20, "a")}}))
	r.apply(h, nil, segments.Baseline{At: 1, UpTo: 1})
	require.Equal(t, 4, r.size())

	// Person 5 is judged and has another value, 7 is judged and out, 20 is merged into 30.
	h = newHeard(2)
	require.NoError(t, h.part(&segments.Part{To: 1 << 60, Everybody: []bool{false, false}, Judged: [][]events.PersonID{{5, 30}, {7}}, Answers: []segments.Answer{yes(0, 5, "b"), yes(0, 5, "c"), yes(0, 30, "a")}}))
	r.apply(h, []uint64{20}, segments.Baseline{At: 2, UpTo: 2})
	want := []truth{{5, hashed("b")}, {5, hashed("c")}, {30, hashed("a")}}
	slices.SortFunc(want, truth.compare)
	require.Equal(t, want, r.in[0])
	require.Empty(t, r.in[1])
	require.Equal(t, []int64{2, 1}, r.judged)
	require.Equal(t, []int64{4, 1}, r.turned)

	other := newRuleSet(r.rules, r.whos)
	require.ErrorContains(t, r.same(other), "cart-abandoned: 3 of 3 only by the ticks, 0 only by the full look")
	other.in = [][]truth{want, nil}
	require.NoError(t, r.same(other))

	require.ErrorContains(t, h.part(&segments.Part{Refused: []segments.Refused{{Who: 1, Err: errors.New("too much memory")}}}), "too much memory")
}

func TestShape(t *testing.T) {
	require.Equal(t, "SELECT p FROM events WHERE pos <= # AND person IN (…) AND c1 = 0",
		shape("SELECT p\n  FROM events WHERE pos <= 123456 AND person IN (65536,131072, 196608) AND c1 = 0"))
}
