package events

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// anyEvent draws an event whose JSON parts lie in its raw bytes, or do not, or are missing.
func anyEvent() *rapid.Generator[Event] {
	return rapid.Custom(func(t *rapid.T) Event {
		text := rapid.StringN(0, 12, 40)
		ev := Event{
			Kind:        Kind(rapid.IntRange(1, int(KindRefused)).Draw(t, "kind")),
			Flags:       Flags(rapid.Uint32().Draw(t, "flags")),
			MessageID:   text.Draw(t, "messageId"),
			Source:      rapid.SampledFrom([]string{"", "web", "shop-server"}).Draw(t, "source"),
			UserID:      text.Draw(t, "user"),
			AnonymousID: text.Draw(t, "anonymous"),
			PreviousID:  text.Draw(t, "previous"),
			GroupID:     text.Draw(t, "group"),
			Name:        text.Draw(t, "name"),
			Time:        rapid.Int64Range(math.MinInt64/4, math.MaxInt64/4).Draw(t, "time"),
			ReceivedAt:  rapid.Int64Range(math.MinInt64/4, math.MaxInt64/4).Draw(t, "received"),
		}
		if raw := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "raw"); len(raw) > 0 {
			ev.Raw = raw
		}
		for _, part := range []*json.RawMessage{&ev.Properties, &ev.Context, &ev.Traits} {
			switch rapid.IntRange(0, 2).Draw(t, "part") {
			case 1:
				*part = rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(t, "inline")
			case 2:
				if len(ev.Raw) == 0 {
					break
				}
				from := rapid.IntRange(0, len(ev.Raw)-1).Draw(t, "from")
				to := rapid.IntRange(from+1, len(ev.Raw)).Draw(t, "to")
				*part = json.RawMessage(ev.Raw[from:to])
			}
		}
		if n := rapid.IntRange(0, 3).Draw(t, "violations"); n > 0 {
			ev.Violations = rapid.SliceOfN(text, n, n).Draw(t, "violation")
		}
		if ev.Kind == KindRefused {
			ev.Index = rapid.IntRange(-1, 5000).Draw(t, "index")
			ev.Reason = text.Draw(t, "reason")
		}
		return ev
	})
}

func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evs := rapid.SliceOfN(anyEvent(), 0, 20).Draw(t, "events")
		data := AppendBatch([]byte("before"), evs)[len("before"):]
		back, err := DecodeBatch(data)
		require.NoError(t, err)
		require.Len(t, back, len(evs))
		for i := range evs {
			require.Equal(t, evs[i], back[i])
			require.Equal(t, evs[i], CopyEvent(&evs[i]))
		}
		size := 0
		for i := range evs {
			size += EncodedSize(&evs[i])
		}
		require.LessOrEqual(t, len(data), size+16)
		if len(data) > 0 {
			cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
			_, err = DecodeBatch(data[:cut])
			require.Error(t, err, "a batch that is cut must not be taken for a shorter one")
		}
	})
}

func TestCodecKeepsPartsInRaw(t *testing.T) {
	body := benchEvent(1)
	ev, err := Normalise([]byte(body), 0, call())
	require.NoError(t, err)
	data := AppendBatch(nil, []Event{ev})
	require.Less(t, len(data), len(body)+250, "properties and context are not written twice")
	require.Equal(t, 1, strings.Count(string(data), "Monopoly"))
	back := roundTrip(t, []Event{ev})
	require.Equal(t, ev, back[0])
}

func TestCodecLargeEvent(t *testing.T) {
	ev := Event{Kind: KindRefused, Raw: []byte(strings.Repeat("x", 3<<20)), Reason: "large", Index: -1}
	back := roundTrip(t, []Event{ev, {Kind: KindTrack, Name: "E"}})
	require.Equal(t, ev, back[0])
	require.Equal(t, "E", back[1].Name)
}

func TestDecodeRefuses(t *testing.T) {
	_, err := DecodeBatch(nil)
	require.ErrorIs(t, err, errCorrupt)
	_, err = DecodeBatch([]byte("X\x01"))
	require.ErrorIs(t, err, errCorrupt)
	_, err = DecodeBatch([]byte{codecMagic, 9, 0, 0})
	require.EqualError(t, err, "batch of events has version 9; this program reads version 1")
	_, err = DecodeBatch(append(AppendBatch(nil, nil), 0))
	require.ErrorIs(t, err, errCorrupt)
	_, err = DecodeBatch([]byte{codecMagic, codecVersion, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	require.ErrorIs(t, err, errCorrupt, "a count of billions must not be allocated")
}

func FuzzDecodeBatch(f *testing.F) {
	ev, err := Normalise([]byte(benchEvent(1)), 0, call())
	require.NoError(f, err)
	f.Add(AppendBatch(nil, []Event{ev, {Kind: KindRefused, Index: 3, Reason: "r", Raw: []byte("x")}}))
	f.Add(AppendBatch(nil, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		evs, err := DecodeBatch(data)
		if err != nil {
			return
		}
		again, err := DecodeBatch(AppendBatch(nil, evs))
		require.NoError(t, err)
		require.Equal(t, evs, again)
	})
}
