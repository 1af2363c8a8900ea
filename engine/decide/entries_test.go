package decide_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

// TestAnErrorLetsNobodyIn asks a condition that could not be evaluated once.
func TestAnErrorLetsNobodyIn(t *testing.T) {
	w := newWorld(t)
	r := rule("r")
	yes := decide.Contender{Rule: r, Answer: segments.Answer{Truth: segments.True, Profile: &w.profile}}
	failed := decide.Contender{Rule: r, Answer: segments.Answer{Truth: segments.Failed, Err: errors.New("out of memory"), Profile: &w.profile}}
	first := yes
	first.FirstLook = true
	require.Equal(t, []ledger.Reason{ledger.AlreadyTrue}, reasons(w.decide(noon, first)))
	require.Empty(t, w.decide(noon+hour, failed), "who waits for a false answer has no entry that could fail")
	require.Empty(t, w.decide(noon+2*hour, yes), "an error is no false answer")
}

// TestStands says that nothing comes of a condition that is true exactly where deciding brings nothing.
func TestStands(t *testing.T) {
	for name, again := range map[string]rules.Again{
		"never": {Mode: rules.AgainNever}, "each time": {Mode: rules.AgainEachTime}, "every tick": {Mode: rules.AgainEveryTick},
		"after": {Mode: rules.AgainAfter, After: 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := rule("r", func(r *rules.Rule) { r.Again = again })
			require.False(t, decide.Stands(r, nil, noon), "who was never in it")
			for _, at := range []int64{noon, noon, noon + hour, noon + 3*hour, noon + 4*hour} {
				stands := decide.Stands(r, w.state.Person(w.person).Slot("r", ""), at)
				require.Equal(t, stands, len(w.at(at, r)) == 0, at)
			}
		})
	}
}

func on(r *rules.Rule) {
	r.Schedule, r.On = nil, &rules.On{Event: "Parcel", MaxAge: time.Hour}
	r.Again, r.WhileHeld = rules.Again{Mode: rules.AgainEachTime}, rules.Keep
}

func TestEveryOccurrenceThatFailsIsAnswered(t *testing.T) {
	w := newWorld(t)
	r := rule("r", on)
	failed := func(pos events.Position) decide.Contender {
		return decide.Contender{Rule: r, Answer: segments.Answer{
			Truth: segments.Failed, Err: errors.New("boom"), Profile: &w.profile, Trigger: &segments.Occurrence{Pos: pos, Time: noon},
		}}
	}
	require.Equal(t, []ledger.Reason{ledger.ConditionError}, reasons(w.decide(noon, failed(1))))
	require.Empty(t, w.decide(noon, failed(1)), "a tick that is repeated")
	require.Equal(t, []ledger.Reason{ledger.ConditionError}, reasons(w.decide(noon+1, failed(2))))
}

// TestShadowUsesUpNothing drops an entry of a rule in shadow: once live, it has its once in a lifetime.
func TestShadowUsesUpNothing(t *testing.T) {
	w := newWorld(t)
	w.policy.Quiet = []decide.Quiet{{From: 11 * 60, To: 14 * 60, Zone: rules.ZoneWorkspace}}
	drop := func(r *rules.Rule) { r.WhenBlocked.QuietHours = rules.Drop }
	shadow := rule("r", drop, func(r *rules.Rule) { r.Shadow = true })
	got := w.at(noon, shadow)
	require.Equal(t, []ledger.Reason{ledger.Shadow}, reasons(got))
	require.Equal(t, "quiet_hours", got[0].By)
	require.Empty(t, w.at(noon+1, shadow), "one row, not one a tick")
	require.Equal(t, []ledger.Reason{ledger.Send}, reasons(w.at(noon+3*hour, rule("r", drop))))
}
