package send_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/events/queue"
	"nudge/segments"
)

// BenchmarkSend sends through a channel that accepts and drops everything: intents, rendering of a
// constant, outcomes and events, every one of them synced.
func BenchmarkSend(b *testing.B) {
	discard := (&channeltest.Discard{}).Spec()
	ch, err := discard.New(channels.Options{})
	require.NoError(b, err)
	q, err := queue.Open(b.Context(), queue.Config{Dir: b.TempDir(), Now: func() time.Time { return time.UnixMilli(t0) }, MaxBacklog: 1 << 40})
	require.NoError(b, err)
	defer q.Close()
	decisions, err := q.Log(b.Context(), "decisions")
	require.NoError(b, err)
	deliveries, err := q.Log(b.Context(), "deliveries")
	require.NoError(b, err)
	profile := mustJSON(segments.Profile{UserID: "u7", Zone: "Europe/Berlin"})
	shards := make([]int, 16)
	for i := range shards {
		shards[i] = i
	}
	const each = 500
	for n := 0; n < b.N; n += each {
		records := make([]ledger.Record, 0, each)
		for i := n; i < min(n+each, b.N); i++ {
			d := decision(fmt.Sprintf("entry-of-a-usual-length-%08d", i), "push")
			d.Rule, d.Profile = fmt.Sprint("rule", i%5), profile
			d.With = map[string]any{"product": "Linen shirt", "others": 12}
			records = append(records, ledger.Record{Decision: &d})
		}
		data, err := ledger.EncodeChunk(records)
		require.NoError(b, err)
		_, err = decisions.Append(b.Context(), n/each%16, data)
		require.NoError(b, err)
	}
	s, err := send.New(send.Options{
		Decisions: decisions, Deliveries: deliveries, Events: q, Notes: q, Shards: shards, Render: renderTitle,
		Routes: map[string]send.Route{"push": {Providers: []send.Provider{{Name: "discard", Spec: discard, Channel: ch}}}},
		Now:    func() time.Time { return time.UnixMilli(t0) },
	})
	require.NoError(b, err)
	b.ResetTimer()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(b, s.Settle(ctx, t0))
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}
