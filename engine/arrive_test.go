package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/events"
)

// TestArrivalsAreJudgedAsOfWhenTheyCame has an event received after the caller of Arrived has read its
// clock: it is no event of the future, and its person has the id that came with it.
func TestArrivalsAreJudgedAsOfWhenTheyCame(t *testing.T) {
	w := world(t, map[string]string{"hot": "on: {event: Hot}\nwhen: event(\"Hot\").count == 1\nagain: each_time\n"})
	at := enginetest.Start() + 8
	require.NoError(t, w.Feed(t.Context(), []events.Event{{
		Kind: events.KindTrack, Name: "Hot", UserID: "ann", MessageID: "1", Source: "web", Time: at, ReceivedAt: at, Raw: []byte(`{}`),
	}}))
	w.To(minute)
	require.Equal(t, []string{"ann: hot"}, w.Accepted())
}
