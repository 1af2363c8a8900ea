package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/events"
	"nudge/events/queue"
)

// TestArrivalsAreJudgedAsOfWhenTheyCame has an event received after the caller of Arrived has read its
// clock: it is no event of the future, and its person has the id that came with it.
func TestArrivalsAreJudgedAsOfWhenTheyCame(t *testing.T) {
	for name, test := range map[string]struct {
		ahead int64 // of the event's clock
		rule  string
	}{
		"received just now":           {0, "when: event(\"Hot\").count == 1\n"},
		"its own clock runs ahead":    {10 * minute, "when: event(\"Hot\").count == 0\n"},
		"ahead, and nothing is asked": {10 * minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := world(t, map[string]string{"hot": "on: {event: Hot}\nagain: each_time\n" + test.rule})
			at := enginetest.Start() + 8
			require.NoError(t, w.Feed(t.Context(), []events.Event{{
				Kind: events.KindTrack, Name: "Hot", UserID: "ann", MessageID: "1", Source: "web", Time: at + test.ahead, ReceivedAt: at, Raw: []byte(`{}`),
			}}))
			w.To(minute)
			require.Equal(t, []string{"ann: hot"}, w.Accepted())
		})
	}
}

// TestAnotherClockMovesNobodysTime has an import say that it was received in a week: what triggers meanwhile
// is judged as of now.
func TestAnotherClockMovesNobodysTime(t *testing.T) {
	w := world(t, map[string]string{"hot": "on: {event: Hot}\nagain: each_time\n"})
	require.NoError(t, w.Feed(t.Context(), []events.Event{{
		Kind: events.KindTrack, Name: "Hot", UserID: "ann", MessageID: "1", Source: "web", Time: enginetest.Start() - day,
		ReceivedAt: enginetest.Start() + 7*day, Raw: []byte(`{}`), Flags: events.Imported,
	}}))
	w.Track("bob", "Hot", nil)
	require.Equal(t, []string{"bob: hot"}, w.Accepted())
}

// TestAnArrivalIsOneMessage has somebody trigger a rule: the record of that look and the decision are one message, on the
// shard of that person, and a look that finds nobody is one as well.
func TestAnArrivalIsOneMessage(t *testing.T) {
	w := world(t, map[string]string{"hot": "on: {event: Hot}\nagain: {after: 1h}\nwhen: event(\"Hot\").count < 3\n"})
	w.To(minute)
	decisions, err := w.App.Queue.Log(t.Context(), "decisions")
	require.NoError(t, err)
	for range 3 {
		before, err := decisions.Last(t.Context(), queue.AllShards)
		require.NoError(t, err)
		w.Track("ann", "Hot", nil)
		after, err := decisions.Last(t.Context(), queue.AllShards)
		require.NoError(t, err)
		require.Equal(t, before+1, after)
	}
	require.Equal(t, []string{"ann: hot"}, w.Accepted())
}
