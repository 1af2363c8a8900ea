package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
)

// TestWhatIsTooLargeStopsNobodyElse has one person of whom a rule reads more than a message of the stream
// may carry, and another on the same shard.
func TestWhatIsTooLargeStopsNobodyElse(t *testing.T) {
	w := world(t, map[string]string{
		"large": "schedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never\nwith: {all: event(\"Seen\").list(100)}",
		"small": "priority: 10\nschedule: \"*/10 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never",
	})
	text := strings.Repeat("x", 30<<10)
	for range 2 {
		w.Together(func() {
			for range 20 {
				w.Track("ann", "Seen", map[string]any{"text": text})
			}
		})
	}
	w.Together(func() {
		for i := range 20 {
			w.Track(fmt.Sprintf("u%d", i), "Seen", nil)
		}
	})
	w.To(20 * minute)
	require.Len(t, w.Accepted(), 41)
	for _, a := range w.Answers() {
		if a.Reason == ledger.Send {
			continue
		}
		require.Equal(t, ledger.ConditionError, a.Reason)
		require.Equal(t, "large ann", a.Rule+" "+a.User)
		require.Regexp(t, `^too large to decide: what .with. names \(most of it all\) has \d+ bytes, and a decision may have 523264 in all$`, a.By)
	}
	w.Restart()
	w.To(40 * minute)
	require.Len(t, w.Accepted(), 41)
}
