package ledger_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
)

// chunkOf is a chunk of n decisions as most are.
func chunkOf(tb testing.TB, n int) []byte {
	tb.Helper()
	records := make([]ledger.Record, n)
	for i := range records {
		records[i].Decision = &ledger.Decision{
			Entry: fmt.Sprintf("entry-of-a-usual-length-%08d", i), Rule: "cart", Version: "c0ffee", Person: 65537, UserID: "user-7", Value: "cart-9", Entered: 1760000000000,
			At: 1760000000000, Tick: "s-20260302T090000.000Z", Reason: ledger.Send, Category: "promotional", Channels: []string{"push"}, Zone: "Europe/Berlin",
			With:    ledger.Values{"product": "Linen shirt, blue", "others": int64(12), "price": 12.5, "sizes": []any{"S", "M"}},
			Profile: json.RawMessage(`{"Person":65537,"UserID":"user-7","Zone":"Europe/Berlin","Traits":{"email":"user-7@customers.example"}}`),
			Devices: []json.RawMessage{json.RawMessage(`{"Token":"4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e4f1c0f3e","Platform":"ios","App":"example.shop"}`)},
		}
	}
	data, err := ledger.EncodeChunk(records)
	require.NoError(tb, err)
	return data
}

func BenchmarkDecodeChunk(b *testing.B) {
	data := chunkOf(b, 400)
	b.ReportAllocs()
	for b.Loop() {
		_, err := ledger.DecodeChunk(data)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/400, "ns/decision")
}

func BenchmarkDecodeChunkStandard(b *testing.B) {
	data := chunkOf(b, 400)
	b.ReportAllocs()
	for b.Loop() {
		var c ledger.Chunk
		require.NoError(b, json.Unmarshal(data, &c))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/400, "ns/decision")
}

// TestDecodeIsStandard holds the decoder to what encoding/json makes of the same text.
func TestDecodeIsStandard(t *testing.T) {
	for name, text := range map[string]string{
		"values of every kind":   `{"v":1,"records":[{"decision":{"entry":"e","with":{"i":1000000,"big":123456789012345678901,"f":1.5,"e":1e3,"s":"a\u00e9\n","t":true,"n":null,"l":[1,[2.5],{}],"o":{"a":{"b":-1}}}}}]}`,
		"no values":              `{"v":1,"records":[{"decision":{"with":null,"features":{}}}]}`,
		"names twice":            `{"v":1,"records":[{"decision":{"entry":"a","entry":"b","with":{"x":1,"x":2}}}]}`,
		"unknown names":          `{"v":1,"more":[{}],"records":[{"decision":{"entry":"e","later":{"a":[1,2]}}}]}`,
		"broken UTF-8":           "{\"v\":1,\"records\":[{\"decision\":{\"entry\":\"a\xffb\",\"with\":{\"x\":\"\xff\"}}}]}",
		"raw parts as they were": `{"v":1,"records":[{"decision":{"profile":{ "a" : 1.0 },"devices":[ {"b":2 }]}},{"delivery":{"entry":"e","channel":"push","rule":"r","person":7,"status":"accepted","at":1,"text":{"t":"x"}}}]}`,
		"what a move carries":    `{"v":1,"records":[{"move":{"from":1,"to":2,"pos":3,"state":{}}},{"tick":{"id":"t","zones":{"r":["Europe/Berlin"]}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var want ledger.Chunk
			require.NoError(t, json.Unmarshal([]byte(text), &want))
			got, err := ledger.DecodeChunk([]byte(text))
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	for name, text := range map[string]string{
		"cut":                 `{"v":1,"records":[{"decision":{"entry":"e"`,
		"text behind it":      `{"v":1,"records":[]} x`,
		"values are a list":   `{"v":1,"records":[{"decision":{"with":[1]}}]}`,
		"another version":     `{"v":2,"records":[]}`,
		"a number for a text": `{"v":1,"records":[{"decision":{"entry":7}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ledger.DecodeChunk([]byte(text))
			require.ErrorContains(t, err, "decode ledger chunk")
		})
	}
}
