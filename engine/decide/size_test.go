package decide_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/rules"
	"nudge/segments"
)

// TestWhatIsTooLargeEndsAlone gives a rule more values than a decision can hold: it ends, says why, and
// takes nothing from the rule that comes next.
func TestWhatIsTooLargeEndsAlone(t *testing.T) {
	large := strings.Repeat("x", 600<<10)
	escaped := strings.Repeat("\x01", 100<<10) // six bytes each in JSON
	devices := make([]segments.Device, 5000)
	for i := range devices {
		devices[i] = segments.Device{Token: fmt.Sprintf("%0160d", i), Platform: "ios"}
	}
	hold := func(r *rules.Rule) { at := rules.TimeOfDay(18 * 60); r.SendAt = &at }
	for name, test := range map[string]struct {
		answer segments.Answer
		change []func(*rules.Rule)
		by     string
	}{
		"a value": {
			answer: segments.Answer{Features: map[string]any{"small": 1.5, "large": map[string]any{"a": []any{large}}}},
			by:     "too large to decide: what the condition reads (most of it large) has 614423 bytes, and a decision may have 523264 in all",
		},
		"a value that grows when it is written": {
			answer: segments.Answer{Features: map[string]any{"escaped": escaped}},
			by:     "too large to decide: what the condition reads (most of it escaped) has 614409 bytes, and a decision may have 523264 in all",
		},
		"what it prints": {
			answer: segments.Answer{With: map[string]any{"large": large}},
			by:     "too large to decide: what `with` names (most of it large) has 614407 bytes, and a decision may have 523264 in all",
		},
		"held": {
			answer: segments.Answer{With: map[string]any{"large": large}}, change: []func(*rules.Rule){hold},
			by: "too large to decide: what `with` names (most of it large) has 614407 bytes, and a decision may have 523264 in all",
		},
		"the profile": {
			answer: segments.Answer{Profile: &segments.Profile{Traits: map[string]json.RawMessage{"large": json.RawMessage(`"` + large + `"`)}}},
			by:     "too large to decide: the profile has 614528 bytes, and a decision may have 523264 in all",
		},
		"devices": {
			answer: segments.Answer{Profile: &segments.Profile{Devices: devices}}, change: []func(*rules.Rule){channels("push")},
			by: "too large to decide: the profile (with 5000 devices) has 2285117 bytes, and a decision may have 523264 in all",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.policy.Caps = []decide.Cap{{Name: "one", Max: 1, Window: time.Hour, Scope: "all", AtCap: rules.Retry}}
			r := rule("large", append(test.change, func(r *rules.Rule) { r.Priority = 90 })...)
			a := test.answer
			a.Truth = segments.True
			if a.Profile == nil {
				a.Profile = &w.profile
			}
			yes := decide.Contender{Rule: r, Answer: a}
			small := decide.Contender{Rule: rule("small"), Answer: segments.Answer{Truth: segments.True, Profile: &w.profile}}
			got := w.decide(noon, yes, small)
			require.ElementsMatch(t, []ledger.Reason{ledger.ConditionError, ledger.Send}, reasons(got))
			for _, d := range got {
				if d.Rule == "large" {
					require.Equal(t, test.by, d.By)
				}
				size, err := ledger.EncodeChunk([]ledger.Record{{Decision: d}})
				require.NoError(t, err)
				require.LessOrEqual(t, len(size), ledger.MaxChunk)
			}
			w.policy.Caps = nil
			require.Empty(t, w.decide(noon+1, yes), "one row, not one a tick")
			again := yes
			again.Answer.Features, again.Answer.With, again.Answer.Profile = nil, nil, &w.profile
			if len(test.change) == 0 {
				require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.decide(noon+2*hour, again)), "it may enter once it fits")
			}
		})
	}
	t.Run("an entry that is over anyhow", func(t *testing.T) {
		w := newWorld(t)
		got := w.decide(noon, decide.Contender{
			Rule: rule("r"), FirstLook: true, Answer: segments.Answer{Truth: segments.True, Profile: &w.profile, Features: map[string]any{"large": large}},
		})
		require.Equal(t, []ledger.Reason{ledger.AlreadyTrue}, reasons(got))
		require.Empty(t, got[0].Features)
	})
}
