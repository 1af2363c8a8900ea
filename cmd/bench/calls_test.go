package main

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

// What is sent is what the endpoint takes: batches and single calls, 1.1 KB each, with their own
// message ids but for those that are repeated.
func TestCalls(t *testing.T) {
	for _, batch := range []int{1, 100} {
		g := &generator{batch: batch}
		source := newCalls(3, 1000)
		source.setTime(time.UnixMilli(1_772_366_398_123))
		ids := map[string]int{}
		var fresh, flawed, total int64
		for range 1000 / batch {
			body, f, bad := g.body(nil, source)
			fresh, flawed = fresh+f, flawed+bad
			kind := events.Kind(0)
			if batch == 1 {
				kind = events.KindTrack
			}
			require.True(t, json.Valid(body))
			var n events.Normaliser
			require.NoError(t, n.Read(body, kind))
			evs, refused := n.Finish(events.Call{Source: "web", ReceivedAt: 1_772_366_398_500})
			require.Empty(t, refused)
			for i := range evs {
				ids[evs[i].MessageID]++
				require.InDelta(t, 1100, len(evs[i].Raw), 200)
			}
			total += int64(len(evs))
		}
		require.EqualValues(t, 1000, total)
		require.EqualValues(t, 1000-1000/againEach, fresh)
		require.EqualValues(t, 1000/flawEach, flawed)
		require.Len(t, ids, int(fresh))
	}
}

func TestLanesShareNoMessageID(t *testing.T) {
	seen := map[string]bool{}
	for lane := range uint64(4) {
		source := newCalls(lane, 10)
		source.setTime(time.UnixMilli(1))
		for range 50 {
			text, fresh, _ := source.append(nil)
			_, rest, _ := strings.Cut(string(text), `"messageId":"`)
			id, _, _ := strings.Cut(rest, `"`)
			require.Equal(t, fresh, !seen[id], id)
			seen[id] = true
		}
	}
}

func TestReadAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		status int
		body   string
		wrong  string
	}{
		"accepted":       {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 16\r\n\r\n{\"success\":true}", 200, `{"success":true}`, ""},
		"busy":           {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", 503, "", ""},
		"without length": {"HTTP/1.1 200 OK\r\n\r\n", 0, "", "no Content-Length"},
		"no HTTP":        {"hello\r\n\r\n", 0, "", "no status line"},
		"cut short":      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", 200, "", "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, err := readAnswer(bufio.NewReader(strings.NewReader(c.text)))
			if c.wrong != "" {
				require.ErrorContains(t, err, c.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.status, status)
			require.Equal(t, c.body, string(body))
		})
	}
}

func TestLags(t *testing.T) {
	at := time.UnixMilli
	w := &watch{points: []point{
		{at(0), 0, 0, at(0)}, {at(100), 50, 0, at(101)}, {at(200), 150, 50, at(210)}, {at(500), 150, 100, at(510)}, {at(600), 150, 150, at(620)},
	}}
	require.Equal(t, at(150), w.ackedAt(2, 100), "half of what came between two looks")
	p50, p99, most := w.lags()
	require.InDelta(t, 360, ms(p50), 8, "a hundred were acknowledged at 150 and seen at 510")
	require.InDelta(t, 420, ms(p99), 8, "the last ones at 200, and seen at 620")
	require.InDelta(t, 420, ms(most), 8)
}
