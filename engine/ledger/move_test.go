package ledger_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/events"
)

// handedOver is somebody with some of everything, on the shard that hands them over.
func handedOver() *ledger.State {
	s := ledger.NewState(1 << 40)
	for i := range 50 {
		for _, d := range []ledger.Decision{
			{Rule: "r", Value: strconv.Itoa(i), Reason: ledger.FrequencyCap, Open: true, Due: int64(100 + i)},
			{Rule: "on", Trigger: events.Position(i + 1), Reason: ledger.Held, Due: int64(100 + i), With: ledger.Values{"a": int64(i)}},
			{Rule: fmt.Sprintf("sent-%d", i), Reason: ledger.Send, Channels: []string{"push"}, Fallback: []string{"email"}, Variant: "a"},
		} {
			d.Entry, d.Person, d.Entered, d.At = fmt.Sprintf("%s-%d", d.Rule, i), 2, int64(10+i), int64(10+i)
			s.Apply(ledger.Record{Decision: &d})
		}
	}
	return s
}

// stored is what a reader of the stream gets.
func stored(t *testing.T, r ledger.Record) ledger.Record {
	t.Helper()
	data, err := ledger.EncodeChunk([]ledger.Record{r})
	require.NoError(t, err)
	chunk, err := ledger.DecodeChunk(data)
	require.NoError(t, err)
	return chunk.Records[0]
}

func TestAMoveInPartsIsTheMove(t *testing.T) {
	losing := handedOver()
	m := ledger.Move{From: 2, To: 1, Pos: 9, Out: true, State: losing.Person(2)}
	want, err := json.Marshal(m.State)
	require.NoError(t, err)
	const most = 2000
	parts, err := m.Split(most)
	require.NoError(t, err)
	require.Greater(t, len(parts), 5)
	for i, p := range parts {
		data, err := ledger.EncodeChunk([]ledger.Record{p})
		require.NoError(t, err)
		require.Less(t, len(data), most+500)
		require.Equal(t, i < len(parts)-1, p.Move.More)
	}

	// A series that was cut short counts for nothing: the person is still here, and a whole one follows.
	for _, p := range parts[:3] {
		losing.Apply(stored(t, p))
	}
	_, out := losing.MovedOut(2)
	require.False(t, out)
	require.NotNil(t, losing.Person(2))
	for _, p := range parts {
		losing.Apply(stored(t, p))
	}
	require.Nil(t, losing.Person(2))
	_, due := losing.NextDue()
	require.False(t, due)
	whole, out := losing.MovedOut(2)
	require.True(t, out)
	got, err := json.Marshal(whole.State)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))

	whole.Out = false
	again, err := whole.Split(most)
	require.NoError(t, err)
	winning, other := ledger.NewState(1<<40), ledger.NewState(1<<40)
	for _, p := range slices.Concat(again[:4], again, again) { // cut short, whole, and repeated
		winning.Apply(stored(t, p))
	}
	other.Apply(ledger.Record{Move: &whole})
	require.True(t, winning.Taken(2))
	a, err := json.Marshal(winning.Person(1))
	require.NoError(t, err)
	b, err := json.Marshal(other.Person(1))
	require.NoError(t, err)
	require.JSONEq(t, string(b), string(a))
	require.Len(t, winning.DueBy(1000), 100)
}
