package segments

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whoever passes can pass, whatever part of what happened to them has been read.
func TestWhoPassesCanPass(t *testing.T) {
	schema := instantsSchema()
	passed, refuted := 0, 0
	check(t, 2000, func(t *rapid.T) {
		c := drawCondition(schema).Draw(t, "condition")
		whole := drawPerson().Draw(t, "person")
		for range 4 {
			at := now + rapid.Int64Range(-2*msDay, 4*msDay).Draw(t, "instant")
			since := at - rapid.Int64Range(0, 4*msDay).Draw(t, "read")
			part := &person{candidate: whole.candidate}
			for _, h := range whole.history {
				if h.Time > since {
					part.history = append(part.history, h)
				}
			}
			can := c.who.CanPass(at, since, part.at(c.who, at))
			if c.who.Passes(at, whole.at(c.who, at)) {
				passed++
				require.True(t, can, "%s\n%s", c.source, c.who.Prefilter())
			} else if !can {
				refuted++
			}
		}
	})
	require.Greater(t, passed, 100)
	require.Greater(t, refuted, 100)
}

func TestCanPass(t *testing.T) {
	schema := NewSchema(SchemaOptions{})
	since := now - 8*msDay
	occurred := func(ago int64) *Occurrence {
		return &Occurrence{Time: now - ago, Pos: 1, Event: "A", Properties: []byte(`{"x":1}`)}
	}
	for name, c := range map[string]struct {
		when   string
		values []any
		want   bool
	}{
		"the last is known":                   {`event("A").last.ago >= days(3)`, []any{occurred(msDay)}, false},
		"and may be right":                    {`event("A").last.ago >= days(3)`, []any{occurred(4 * msDay)}, true},
		"there may be an older one":           {`event("A").last.ago >= days(30)`, []any{nil}, true},
		"no newer one":                        {`event("A").last.ago < days(8)`, []any{nil}, false},
		"its time":                            {`event("A").last.at > now - days(8)`, []any{nil}, false},
		"a property of it":                    {`event("A").last.properties.x == 2`, []any{occurred(msDay)}, false},
		"a property of an older one":          {`event("A").last.properties.x == 2`, []any{nil}, true},
		"the first may be older":              {`event("A").first.ago > days(20)`, []any{occurred(msDay)}, true},
		"but not newer":                       {`event("A").first.ago < hours(3)`, []any{occurred(msDay)}, false},
		"counted in a window that is read":    {`event("A").within(days(8)).count >= 2`, []any{int64(1)}, false},
		"counted in one that is not":          {`event("A").within(days(9)).count >= 2`, []any{int64(1)}, true},
		"already too many":                    {`event("A").count < 2`, []any{int64(2)}, false},
		"already one too many, of all":        {`event("A").count == 0`, []any{int64(1)}, false},
		"scaled the other way":                {`5 - event("A").count > 3`, []any{int64(2)}, false},
		"a sum may fall":                      {`event("A").sum("x") < 3`, []any{5.0}, true},
		"the largest of some":                 {`event("A").max("x") < 3`, []any{5.0}, false},
		"the smallest of some":                {`event("A").min("x") > 3`, []any{2.0}, false},
		"one of two is enough":                {`event("A").last.ago >= days(3) or event("A").count > 5`, []any{occurred(msDay), int64(1)}, true},
		"a trait may be anything":             {`user.traits.plan == "pro"`, nil, true},
		"that it happened":                    {`event("A").last == nil`, []any{occurred(msDay)}, false},
		"that it never happened, as it seems": {`event("A").last == nil`, []any{nil}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: c.when}, schema)
			require.Empty(t, problems)
			require.Equal(t, c.want, w.CanPass(now, since, &Candidate{Values: c.values}), w.Prefilter())
		})
	}
}

// Of a history of which only the newest age is asked, one more occurrence is no news where the newest before it and
// the newest after it compare alike with all the ages.
func TestWhatIsNoNews(t *testing.T) {
	schema := instantsSchema()
	tried, news := 0, 0
	ago := []string{
		`event("A").last.ago < hours(2)`, `hours(1) <= event("A").last.ago`, `event("B").last.ago > minutes(30)`, `event("*").last.ago >= hours(3)`,
		`event("A").within(hours(2)).last != nil`, `event("*").last == nil`, `event("A").last.ago in [hours(1), hours(2)]`, `event("A").count > 1`,
	}
	check(t, 2000, func(t *rapid.T) {
		a, b := one(t, ago...), one(t, ago...)
		who := mustCompileWith(t, schema, one(t, a, "not ("+a+")", a+" and "+b, a+" or not ("+b+")"))
		p := drawPerson().Draw(t, "person")
		at := now + rapid.Int64Range(-msDay, 3*msDay).Draw(t, "instant")
		arrived := &happened{
			Occurrence: Occurrence{Time: at - rapid.Int64Range(0, 3*msHour).Draw(t, "age"), Pos: 99, Event: one(t, "A", "B"), Properties: []byte(`{"x":1}`)}, cart: "c1",
		}
		var ages []int64
		for _, s := range who.Changes().Sources {
			if !arrived.of(s.Event, s.Message, s.Keyed, nil, p.candidate.Value) {
				continue
			}
			if !s.AgeOnly {
				return
			}
			ages = append(ages, s.Ages...)
		}
		before := int64(-1)
		for _, h := range p.history {
			if h.rule == "" && h.Event == arrived.Event && h.Time <= at {
				before = h.Time
			}
		}
		if len(ages) == 0 || before < 0 {
			return
		}
		newest := max(before, arrived.Time)
		more := &person{candidate: p.candidate, history: append(slices.Clone(p.history), arrived)}
		slices.SortStableFunc(more.history, func(a, b *happened) int { return int(a.Time - b.Time) })
		without, err := who.Judge(at, p.at(who, at))
		require.NoError(t, err)
		with, err := who.Judge(at, more.at(who, at))
		require.NoError(t, err)
		for _, d := range ages {
			if (at-newest < d) != (at-before < d) || (at-newest <= d) != (at-before <= d) {
				if with != without {
					news++
				}
				return
			}
		}
		tried++
		require.Equal(t, without, with, who.source)
	})
	require.Greater(t, tried, 100)
	require.Greater(t, news, 10, "what is news can turn answers")
}

func mustCompileWith(t *rapid.T, schema *Schema, when string) *Who {
	who, problems := Compile(WhoSpec{When: when}, schema)
	if HasErrors(problems) {
		t.Fatalf("%s: %v", when, problems)
	}
	return who
}
