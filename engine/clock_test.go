package engine_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/app"
	"nudge/engine/enginetest"
)

// instants lists, for every shard, the instants as of which it decided, in the order of its decisions.
func instants(t *testing.T, w *enginetest.World) map[uint16][]int64 {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	rows, err := w.Store.Conn().Query(t.Context(),
		"SELECT shard, JSONExtractInt(data, 'tick', 't1') FROM shard_log WHERE kind = 'tick' ORDER BY shard, seq, `index`")
	require.NoError(t, err)
	defer rows.Close()
	out := map[uint16][]int64{}
	for rows.Next() {
		var shard uint16
		var t1 int64
		require.NoError(t, rows.Scan(&shard, &t1))
		out[shard] = append(out[shard], t1)
	}
	require.NoError(t, rows.Err())
	return out
}

// TestDecidedTimeNeverGoesBack moves the clock while nudge is down. What waits since before is judged as
// of no earlier instant than it was, when what it is about had not happened yet.
func TestDecidedTimeNeverGoesBack(t *testing.T) {
	for name, by := range map[string]int64{"back by ten minutes": -10 * minute, "forward by ten minutes": 10 * minute, "forward by a day": day} {
		t.Run(name, func(t *testing.T) {
			w := enginetest.New(t, map[string]string{
				"nudge.yaml": "zone: UTC\nsalt: test\nchannels:\n  log: {adapter: stdout}\n  push: {adapter: fcm, config: {credentials: \"env:NONE\"}}\n" +
					"keys: [{name: web, write_key: k}]\n",
				"rules/hello.yaml": "rule: hello\nschedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never\n" +
					"message: {push: {title: hello, body: there}}\n",
				"rules/ping.yaml": rule("ping", "on: {event: Ping}\nagain: each_time"),
			})
			w.To(55 * minute)
			w.Track("ann", "Seen", nil)
			w.To(hour)
			require.Equal(t, []string{"hello ann no_address"}, answers(w))

			w.Write(map[string]string{"rules/new.yaml": rule("new", "schedule: \"*/5 * * * *\"\nbackfill: true\nwhen: event(\"Seen\").count > 0\nagain: never")})
			w.Clock = app.NewClock(enginetest.Start() + hour + by)
			w.Restart()
			w.Track("bob", "Ping", nil)
			w.Device("ann", "token", "android")
			w.To(hour + max(by, 0) + 6*minute)

			accepted := w.Accepted()
			slices.Sort(accepted)
			require.Equal(t, []string{"ann: hello", "ann: new", "bob: ping"}, accepted)
			for shard, at := range instants(t, w) {
				require.True(t, slices.IsSorted(at), "shard %d decided as of %v", shard, at)
			}
		})
	}
}
