package segments

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What is called never true is true of nobody at any time.
func TestNeverTrueIsNever(t *testing.T) {
	schema := instantsSchema()
	parts := []string{
		`event("A").last.ago < hours(2)`, `event("A").last.ago >= hours(2)`, `hours(5) > event("A").last.ago`, `event("A").last.ago == hours(3)`,
		`did("A").within(hours(2))`, `did("A").within(days(2))`, `event("A").within(hours(5)).count >= 2`, `event("A").count < 2`, `event("A").count == 1`,
		`event("A").count > 2`, `event("A").count <= 0`, `event("A").last == nil`, `event("A").within(hours(5)).last == nil`, `did("A")`,
		`event("A", 'properties.x > 1').count > 0`, `event("A", 'properties.x > 1').last.ago < hours(1)`, `event("B").count == 0`, `event("B").last.ago > hours(1)`,
		`event("A").sum("x") > 3`, `event("A").sum("x") < 2`, `local.hour >= 18`, `local.hour < 9`,
		`event("A").within(days(2)).count < 2`, `event("A").within(hours(5)).count >= 3`, `event("A").within(days(2)).count <= 1`, `event("A").within(hours(1)).count > 1`,
		`local.hour > 23`, `local.month <= 12`, `local.day < 1`, `1 > 2`, `user.id in ["ann", "bob"]`, `user.id == "ann"`, `user.id in ["cat"]`,
	}
	never, truths := 0, 0
	check(t, 3000, func(t *rapid.T) {
		var chosen []string
		for range rapid.IntRange(2, 4).Draw(t, "parts") {
			p := rapid.SampledFrom(parts).Draw(t, "part")
			if rapid.IntRange(0, 2).Draw(t, "denied") == 0 {
				p = "not (" + p + ")"
			}
			chosen = append(chosen, p)
		}
		who, problems := Compile(WhoSpec{When: strings.Join(chosen, " and ")}, schema)
		require.False(t, HasErrors(problems))
		said := slices.ContainsFunc(problems, func(p Problem) bool { return p.ID == idNeverTrue })
		if said {
			never++
		}
		someone := drawPerson().Draw(t, "person")
		for range 6 {
			at := now + rapid.Int64Range(-2*msDay, 4*msDay).Draw(t, "instant")
			truth, err := who.Judge(at, someone.at(who, at))
			require.NoError(t, err)
			if truth == True {
				truths++
				require.False(t, said, "%s is true, and should never be: %v", who.source, problems)
			}
		}
	})
	require.Greater(t, never, 300)
	require.Greater(t, truths, 300)
}
