package check_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/check"
)

const heldOut = `rule: win-back
schedule: "0 9 * * *"
when: did("Order Completed") and event("Order Completed").last.ago > days(60)
again: {after: 90d}
holdout: 10%
message:
  push: {title: We miss you, body: Come back}
`

func TestSilence(t *testing.T) {
	const id = "rule/holdout-without-goal"
	for _, c := range []struct {
		name, silence string
		there         bool // the finding is
		other         string
		suggest       string
	}{
		{"none", "", true, "", ""},
		{"silenced", "silence: [{check: rule/holdout-without-goal, reason: measured elsewhere}]\n", false, "", ""},
		{"until later", "silence: [{check: rule/holdout-without-goal, reason: measured elsewhere, until: 2026-06-02}]\n", false, "", ""},
		{"until today", "silence: [{check: rule/holdout-without-goal, reason: measured elsewhere, until: 2026-06-01}]\n", false, "", ""},
		{"until yesterday", "silence: [{check: rule/holdout-without-goal, reason: measured elsewhere, until: 2026-05-31}]\n", true, "silence/expired", ""},
		{"another check", "silence: [{check: rule/no-exit, reason: none}]\n", true, "silence/unused", ""},
		{"a word that is nearly one", "silence: [{check: rule/holdout-without-gaol, reason: none}]\n", true, "silence/unused", id},
		{"twice", "silence: [{check: rule/holdout-without-goal, reason: a}, {check: rule/holdout-without-goal, reason: b}]\n", false, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := found(t, check.Example(heldOut+c.silence))
			if c.there {
				require.Len(t, got[id], 1)
			} else {
				require.Empty(t, got[id])
			}
			delete(got, id)
			if c.other == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got[c.other], 1, "%v", got)
			require.Equal(t, c.suggest, got[c.other][0].Suggest)
			require.Equal(t, 8, got[c.other][0].Line)
		})
	}
}

// What one file silences, another does not.
func TestSilenceIsOfItsFile(t *testing.T) {
	got := found(t, check.Example("-- rules/a.yaml --\n"+heldOut+"-- nudge.yaml --\nsilence: [{check: rule/holdout-without-goal, reason: everywhere}]\n"))
	require.Len(t, got["rule/holdout-without-goal"], 1)
	require.Len(t, got["silence/unused"], 1)
	require.Equal(t, "nudge.yaml", got["silence/unused"][0].File)
}
