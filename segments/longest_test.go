package segments

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

func TestLongest(t *testing.T) {
	name := strings.Repeat("x", LongestText)
	many := func(n int, v any) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = v
		}
		return out
	}
	for _, c := range []struct {
		name, with string
		want       any
	}{
		{"declared text", `event("Product Added").last.properties.name`, name},
		{"of an enum its longest", `event("Product Added").last.properties.category`, "shirts"},
		{"a number", `event("Product Added").last.properties.price`, 99999.99},
		{"a count", `event("Product Added").count`, 99999.99},
		{"a time", `event("Product Added").last.at`, "2026-12-31T23:59:59.000Z"},
		{"an array", `event("Product Added").last.properties.tags`, many(LongestList, name)},
		{"the most frequent", `event("Product Added").top("category")`, "shirts"},
		{"a list of values", `map(event("Product Added").list(3), .properties.category)`, many(3, "shirts")},
		{"a list with no end", `map(event("Product Added").list(10000), .properties.category)`, many(LongestList, "shirts")},
		{"a part of a list", `filter(event("Product Added").list(2), .properties.price > 3) | map(.properties.name)`, many(2, name)},
		{"the first of a list", `first(map(event("Product Added").list(2), .properties.category))`, "shirts"},
		{"text put together", `"To " + event("Product Added").last.properties.category`, "xxxxxxxxx"},
		{"either", `user.traits.age > 3 ? "yes" : "perhaps"`, "perhaps"},
		{"or else", `event("Product Added").last.properties.category ?? "nothing at all"`, "nothing at all"},
		{"a trait", `user.traits.plan`, name},
		{"part of an object", `user.traits.address.city`, name},
	} {
		t.Run(c.name, func(t *testing.T) {
			schema := testSchema()
			w, problems := Compile(WhoSpec{When: `did("Product Added")`, With: []NamedExpr{{"x", c.with}, {"y", "x"}}}, schema)
			require.False(t, HasErrors(problems), "%v", problems)
			got := w.Longest(schema.plan)
			require.Equal(t, c.want, got["x"])
			require.Equal(t, c.want, got["y"], "by its name")
		})
	}
	t.Run("an occurrence", func(t *testing.T) {
		w := mustCompile(t, WhoSpec{When: `did("Product Added")`, With: []NamedExpr{{"x", `event("Product Added").last`}}})
		got := w.Longest(testSchema().plan)["x"].(map[string]any)["properties"].(map[string]any)
		require.Equal(t, name, got["name"])
		require.Equal(t, map[string]any{"city": name}, got["address"])
	})
	t.Run("undeclared", func(t *testing.T) {
		w, _ := Compile(WhoSpec{When: `did("A")`, With: []NamedExpr{{"x", `event("A").last.properties.y`}}}, NewSchema(SchemaOptions{}))
		require.Equal(t, name, w.Longest(nil)["x"])
	})
	t.Run("doubled for ever", func(t *testing.T) {
		with := []NamedExpr{{"x0", `"x" + user.traits.plan`}}
		for i := range 40 {
			with = append(with, NamedExpr{fmt.Sprintf("x%d", i+1), fmt.Sprintf("x%d + x%d", i, i)})
		}
		w := mustCompile(t, WhoSpec{When: `did("Product Added")`, With: with})
		require.Len(t, w.Longest(testSchema().plan)["x40"], maxText>>4)
	})
	require.Equal(t, "bbb", LongestOf(events.Property{Type: events.TypeString, Enum: []string{"a", "bbb", "cc"}}))
}
