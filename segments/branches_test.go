package segments

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// of is whose traits a to e are true where the bits of n are, and false else.
func of(n int) *Candidate {
	traits := map[string]json.RawMessage{}
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		traits[name] = json.RawMessage(strconv.FormatBool(n>>i&1 == 1))
	}
	return &Candidate{Profile: &Profile{Traits: traits}}
}

// Where each part is named once, a part decides exactly when the answer would be another if it were.
func TestBranchesDecideWhereFlippingThemFlipsTheAnswer(t *testing.T) {
	for _, when := range []string{
		`user.traits.a == true`,
		`user.traits.a == true and user.traits.b == true and user.traits.c == true`,
		`user.traits.a == true or user.traits.b == true or user.traits.c == true`,
		`(user.traits.a == true or user.traits.b == true) and not (user.traits.c == true and user.traits.d == true)`,
		`user.traits.a == true and (user.traits.b == true or not (user.traits.c == true or user.traits.d == true)) or user.traits.e == true`,
	} {
		t.Run(when, func(t *testing.T) {
			w, problems := Compile(WhoSpec{When: when}, testSchema())
			require.False(t, HasErrors(problems))
			b, err := w.Branches()
			require.NoError(t, err)
			is := func(n int) bool {
				truth, err := w.Judge(now, of(n))
				require.NoError(t, err)
				return truth == True
			}
			for n := range 32 {
				for i, decided := range b.Decide(now, of(n)) {
					leaf := b.Leaves()[i]
					require.Equal(t, fmt.Sprintf("user.traits.%c == true", 'a'+i), leaf.Text)
					require.Equal(t, is(n) != is(n^1<<i), decided != Masked, "%05b: %s", n, leaf.Text)
					if decided != Masked {
						require.Equal(t, n>>i&1 == 1, decided == Held, "%05b: %s", n, leaf.Text)
					}
				}
			}
		})
	}
}

// What is unknown is not true, and masks nothing; what follows from another part does not stand in its way.
func TestBranchesThatAreUnknown(t *testing.T) {
	w := mustCompile(t, WhoSpec{When: `did("Order Completed") and event("Order Completed").last.ago > hours(1)`})
	b, err := w.Branches()
	require.NoError(t, err)
	completed := func(ago int64) map[string]any {
		return map[string]any{`event("Order Completed").count`: int64(1), `event("Order Completed").last`: occ(ago, `{}`)}
	}
	for name, c := range map[string]struct {
		values map[string]any
		want   []Decided
	}{
		"never happened":    {nil, []Decided{HeldNot, Masked}},
		"happened just now": {completed(1000), []Decided{Masked, HeldNot}},
		"happened long ago": {completed(2 * msHour), []Decided{Held, Held}},
	} {
		require.Equal(t, c.want, b.Decide(now, world{values: c.values}.candidate(t, w)), name)
	}

	traits, problems := Compile(WhoSpec{When: `user.traits.a == true and user.traits.b == true`}, testSchema())
	require.False(t, HasErrors(problems))
	b, err = traits.Branches()
	require.NoError(t, err)
	require.Equal(t, []Decided{HeldNot, HeldNot}, b.Decide(now, &Candidate{Profile: &Profile{}}))
	require.Equal(t, []Decided{Held, HeldNot}, b.Decide(now, &Candidate{Profile: &Profile{Traits: map[string]json.RawMessage{"a": json.RawMessage("true")}}}))
}

// TestRequires says without which trait nobody can be in a rule.
func TestRequires(t *testing.T) {
	for when, want := range map[string]bool{
		`has(user.traits.plan)`: true, `user.traits.plan != nil`: true, `not has(user.traits.plan)`: false, `user.traits.plan == "Ann"`: true, `user.traits.plan != "Ann"`: true,
		`not (user.traits.plan == "Ann")`: true, `user.traits.plan in ["Ann", "Bob"]`: true, `user.traits.plan startsWith "A"`: true, `event("Order Completed").count > 0`: false,
		`user.traits.plan == "Ann" and event("Order Completed").count > 0`: true, `user.traits.plan == "Ann" or event("Order Completed").count > 0`: false,
		`event("Order Completed").count > 0 ? has(user.traits.plan) : user.traits.plan == "Ann"`: true, `event("Order Completed").count > 0 ? has(user.traits.plan) : true`: false,
		`(user.traits.plan ?? "Ann") == "Ann"`: false, `lower(user.traits.plan) == "ann"`: true, `user.traits.address.city == "Ann"`: false,
		`event("Order Completed").last.at > user.traits.birthday and user.traits.plan contains "x"`: true,
	} {
		require.Equal(t, want, mustCompile(t, WhoSpec{When: when}).Requires("plan"), when)
	}
}
