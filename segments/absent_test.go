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
