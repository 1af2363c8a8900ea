package segments

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Closures stand anywhere in an expression and leave nothing behind for what is computed next to them.
func TestLoopsInsideExpressions(t *testing.T) {
	list := []*Occurrence{occ(msHour, `{"x":1}`), occ(2*msHour, `{"x":2}`), occ(3*msHour, `{"x":3}`), occ(4*msHour, `{"x":4}`)}
	for _, c := range []struct {
		when string
		want Truth
	}{
		{`find(l, #.properties.x > 1).ago + hours(1) == hours(3)`, True},
		{`hours(1) + find(l, #.properties.x > 1).ago == hours(3)`, True},
		{`findLast(l, #.properties.x < 4).ago + hours(1) == hours(4)`, True},
		{`hours(1) + findLast(l, #.properties.x < 4).ago == hours(4)`, True},
		{`hours(1) < findLast(l, #.properties.x < 4).ago`, True},
		{`hours(1) > findLast(l, #.properties.x < 4).ago`, False},
		{`findLast(l, #.properties.x < 4).properties.x == findLast(l, #.properties.x < 4).properties.x`, True},
		{`findLast(l, #.properties.x > 9) == nil`, True},
		{`1 < findLast(l, #.properties.x > 9).properties.x`, Unknown},
		{`10 - findIndex(l, #.properties.x > 2) == 8`, True},
		{`10 - findLastIndex(l, #.properties.x < 3) == 9`, True},
		{`10 - findLastIndex(l, #index < 3) == 8`, True},
		{`10 - findLastIndex(l, #.properties.x > 9) == 8`, Unknown},
		{`10 - count(l, #.properties.x > 2) == 8`, True},
		{`10 - len(filter(l, #.properties.x > 2)) == 8`, True},
		{`10 - sum(l, #.properties.x) == 0`, True},
		{`10 - first(sortBy(l, -#.properties.x)).properties.x == 6`, True},
		{`10 - max(map(l, #.properties.x)) == 6`, True},
		{`(any(l, #.properties.x > 3) ? 1 : 2) + (all(l, #.properties.x > 3) ? 1 : 2) + (none(l, #.properties.x > 4) ? 1 : 2) + (one(l, #.properties.x > 3) ? 1 : 2) == 5`, True},
	} {
		t.Run(c.when, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: `let l = event("A").list(4); ` + c.when}, NewSchema(SchemaOptions{}))
			require.Empty(t, problems)
			got, err := w.Judge(now, &Candidate{Values: []any{list}})
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
