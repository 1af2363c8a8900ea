package segments

import (
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
