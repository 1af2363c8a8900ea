package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/events"
)

// couple names somebody anonymous who is on the same shard as the user, or on another.
func couple(t *testing.T, w *enginetest.World, user string, together bool) (anonymous string, from, to events.PersonID) {
	t.Helper()
	to, ok := w.App.Writer.Resolve(user, "")
	require.True(t, ok)
	for i := 0; ; i++ {
		anonymous = fmt.Sprintf("anon%d-of-%s", i, user)
		w.Send(events.Event{Kind: events.KindTrack, AnonymousID: anonymous, Name: "Came"})
		from, ok := w.App.Writer.Resolve("", anonymous)
		require.True(t, ok)
		if (engine.ShardOf(from, engine.Shards) == engine.ShardOf(to, engine.Shards)) == together {
			return anonymous, from, to
		}
	}
}

// seen is a history of many values.
func seen(who events.Event, values int) []events.Event {
	out := make([]events.Event, 0, values)
	for v := range values {
		ev := who
		ev.Kind, ev.Name, ev.Source, ev.Raw = events.KindTrack, "Seen", "web", []byte(`{}`)
		ev.MessageID = fmt.Sprintf("%s%s-%d", ev.AnonymousID, ev.UserID, v)
		ev.Time, ev.ReceivedAt = enginetest.Start(), enginetest.Start()
		ev.Properties = fmt.Appendf(nil, `{"id":"value-%d"}`, v)
		out = append(out, ev)
	}
	return out
}

const eachSeen = "schedule: \"*/10 * * * *\"\nbackfill: true\nfor_each: event(\"Seen\").by(\"id\")\nwhen: it.count > 0\nagain: never"

const oneADay = "caps: [{name: one, max: 1, per: 24h, window: rolling, scope: all, at_cap: retry}]\n"

// TestLargeMerges unites two people of more open entries than one message may carry: their memory goes
// with them, and of two entries about one thing one ends.
func TestLargeMerges(t *testing.T) {
	const values = 3000
	for name, together := range map[string]bool{"on one shard": true, "on two shards": false} {
		t.Run(name, func(t *testing.T) {
			w := world(t, map[string]string{"each": eachSeen}, oneADay)
			w.Track("ann", "Came", nil)
			anonymous, _, _ := couple(t, w, "ann", together)
			require.NoError(t, w.Feed(t.Context(), seen(events.Event{UserID: "ann"}, values)))
			require.NoError(t, w.Feed(t.Context(), seen(events.Event{AnonymousID: anonymous}, values)))
			w.To(10 * minute)
			require.Len(t, w.Accepted(), 2)
			w.Identify("ann", anonymous, nil)
			w.To(20 * minute)
			merged := 0
			for _, a := range w.Answers() {
				if a.Reason == ledger.Merged {
					merged++
				}
			}
			require.GreaterOrEqual(t, merged, values-2)
			require.Len(t, w.App.Engine.Snapshot(), 1)
			before := w.App.Engine.Snapshot()
			w.Restart()
			require.Equal(t, before, w.App.Engine.Snapshot())
		})
	}
}

// TestAStopBetweenAMergeAndItsEnds stops after the record of a merge was written, and before the ends of
// what then stood side by side.
func TestAStopBetweenAMergeAndItsEnds(t *testing.T) {
	w := world(t, map[string]string{"each": eachSeen}, oneADay)
	w.Track("ann", "Came", nil)
	anonymous, from, to := couple(t, w, "ann", true)
	require.NoError(t, w.Feed(t.Context(), seen(events.Event{UserID: "ann"}, 2)))
	require.NoError(t, w.Feed(t.Context(), seen(events.Event{AnonymousID: anonymous}, 2)))
	w.To(10 * minute)
	seq, err := w.App.Append(t.Context(), []events.Event{{
		Kind: events.KindIdentify, UserID: "ann", AnonymousID: anonymous, MessageID: "i", Source: "web", Traits: []byte(`{}`),
		Time: w.Clock.Now().UnixMilli(), ReceivedAt: w.Clock.Now().UnixMilli(), Raw: []byte(`{}`),
	}})
	require.NoError(t, err)
	require.NoError(t, w.App.Writer.WaitFor(t.Context(), events.EndOf(seq)))
	decisions, err := w.App.Queue.Log(t.Context(), "decisions")
	require.NoError(t, err)
	data, err := ledger.EncodeChunk([]ledger.Record{{Move: &ledger.Move{From: from, To: to, Pos: events.EndOf(seq) - 1}}})
	require.NoError(t, err)
	shard := engine.ShardOf(to, engine.Shards)
	last, err := decisions.Last(t.Context(), shard)
	require.NoError(t, err)
	_, err = decisions.Publish(t.Context(), shard, data, last)
	require.NoError(t, err)
	w.Restart()
	w.To(20 * minute)
	require.Len(t, w.Accepted(), 2, "the tick that is repeated finds two people, who are one by now")
	reasons := map[ledger.Reason]int{}
	for _, a := range w.Answers() {
		reasons[a.Reason]++
	}
	require.Equal(t, 2, reasons[ledger.Send], "before the merge")
	require.Equal(t, 1, reasons[ledger.Merged])
	require.Equal(t, 1, reasons[ledger.Outranked]+reasons[ledger.FrequencyCap])
	for _, p := range w.App.Engine.Snapshot() {
		require.NotRegexp(t, `"open":\[\{[^\]]*\},\{`, p, "no two open entries about one thing")
	}
}
