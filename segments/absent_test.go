package segments

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAbsent(t *testing.T) {
	for _, c := range []struct {
		name, when string
		absent     []string
	}{
		{"nothing denied", `event("A").last.ago > days(1)`, nil},
		{"not since", `event("A").last.ago > hours(1) and not did("B").since(event("A").last.at)`, []string{"B"}},
		{"not within", `did("A").within(days(1)) and not did("B").within(days(1))`, []string{"B"}},
		{"a count of none", `did("A") and event("B").count == 0`, []string{"B"}},
		{"a count of none, turned", `did("A") and 0 >= event("B").within(days(7)).count`, []string{"B"}},
		{"never", `event("B").last == nil`, []string{"B"}},
		{"there is one", `event("B").last != nil`, nil},
		{"not none", `did("A") and not (event("B").count == 0)`, nil},
		{"has one", `has(event("B").last) and not did("C")`, []string{"C"}},
		{"either of two", `did("A") and not (did("C") or did("B"))`, []string{"B", "C"}},
		{"denied, but asked for as well", `did("A") and not did("A").within(hours(1))`, nil},
		{"only perhaps denied", `did("A") or not did("B")`, nil},
		{"a trait", `did("A") and not (user.traits.plan == "pro")`, nil},
		{"our messages", `did("A") and not (message("r").within(days(1)).count > 0)`, nil},
		{"anything", `did("A") and not did("*").within(days(1))`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, problems := Compile(WhoSpec{When: c.when}, NewSchema(SchemaOptions{Rules: []string{"r"}}))
			require.Empty(t, problems)
			require.Equal(t, c.absent, who.Absent())
		})
	}
}

func TestNever(t *testing.T) {
	for _, c := range []struct {
		name, when string
		never      []string
	}{
		{"longer ago", `event("A").last.ago > days(60)`, []string{"A"}},
		{"the other way round", `days(60) <= event("A").last.ago and did("B")`, []string{"A"}},
		{"and it was done", `did("A") and event("A").last.ago > days(60)`, nil},
		{"done often", `event("A").count >= 3 and event("A").last.ago > days(60)`, nil},
		{"done, as a younger age says", `event("A").last.ago > days(60) and event("A").last.ago < days(90)`, nil},
		{"done otherwise", `did("A", 'properties.x > 1') and event("A").last.ago > days(60)`, []string{"A"}},
		{"not so long ago", `event("A").last.ago < days(60)`, nil},
		{"denied", `not (event("A").last.ago < days(60))`, nil},
		{"no age", `event("A").last.ago > days(0)`, nil},
		{"the first", `event("A").first.ago > days(60)`, nil},
		{"anything", `event("*").last.ago > days(60)`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, problems := Compile(WhoSpec{When: c.when}, NewSchema(SchemaOptions{}))
			require.False(t, HasErrors(problems))
			require.Equal(t, c.never, who.Never())
		})
	}
}
