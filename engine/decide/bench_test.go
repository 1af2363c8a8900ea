package decide_test

import (
	"fmt"
	"testing"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/segments"
)

// BenchmarkManyEntries decides about one person who has 5,000 open entries of a rule with for_each, all
// due at once, and folds the answers.
func BenchmarkManyEntries(b *testing.B) {
	const values = 5000
	r := rule("r")
	r.WhenBlocked.NoAddress = "retry"
	channels("push")(r)
	profile := &segments.Profile{UserID: "u7"}
	var yes []decide.Contender
	for v := range values {
		yes = append(yes, decide.Contender{Rule: r, Answer: segments.Answer{Person: 7, Value: fmt.Sprintf("value-%d", v), Truth: segments.True, Profile: profile}})
	}
	for b.Loop() {
		state := ledger.NewState(hour)
		at := noon
		for range 2 {
			in := decide.Input{At: at, Person: 7, State: state.Person(7), Contenders: yes, Policy: policy()}
			records, defers := decide.Person(in)
			for _, rec := range records {
				state.Apply(rec)
			}
			for _, d := range defers {
				state.Defer(d.Open, d.Due)
			}
			for i := range yes {
				yes[i].Open = state.Person(7).Slot("r", yes[i].Answer.Value).Open[0]
			}
			at += hour
		}
		for i := range yes {
			yes[i].Open = nil
		}
	}
}
