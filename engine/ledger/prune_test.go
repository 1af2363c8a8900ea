package ledger_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
)

// answers is what decide asks of a state: not which entry it was that used up `again`, and nothing of caps
// whose window is over.
func answers(t require.TestingT, s *ledger.State) map[string]any {
	out := map[string]any{}
	usage := func(u ledger.Usage) ledger.Usage {
		if !u.Used {
			return ledger.Usage{}
		}
		return ledger.Usage{Used: true, At: u.At, Flipped: u.Flipped}
	}
	s.Each(func(id events.PersonID, p *ledger.PersonState) {
		for _, slot := range p.Slots {
			_, watched := s.Watched(slot.Rule)[ledger.Watch{Person: id, Value: slot.Value}]
			message := slot.Message
			if slot.Block != ledger.UntilMessage {
				message = ""
			}
			data, err := json.Marshal([]any{usage(slot.Live), usage(slot.Shadowed), slot.Block, message, slot.Entered, slot.Open, watched, s.Waits(id)})
			require.NoError(t, err)
			out[fmt.Sprintf("%d %s %s", id, slot.Rule, slot.Value)] = string(data)
		}
		for rule, arm := range p.Arms {
			out[fmt.Sprintf("%d %s arm", id, rule)] = *arm
		}
	})
	for _, rule := range []string{"a", "b"} {
		out["tick "+rule], out["looked "+rule] = s.TickOf(rule), s.Looked(rule)
	}
	last, _ := s.Last(ledger.TickSchedule)
	out["last"], out["up to"] = last.ID, s.UpTo()
	return out
}

// TestPruningChangesNoAnswer: random histories, as they are written, are folded from the tables before and
// after old entries have left them; at a stop in between, too.
func TestPruningChangesNoAnswer(t *testing.T) {
	const perRecord = int64(time.Hour / time.Millisecond)
	gone := uint64(0)
	for seed := range 3 {
		history := rapid.Custom(func(rt *rapid.T) []ledger.Record {
			w := &world{T: rt, state: ledger.NewState(keepUses)}
			var all []ledger.Record
			for range 400 {
				r := w.next()
				if r.Forget != nil && w.now%4 != 0 || r.Move != nil && w.now%2 != 0 {
					continue // else nobody has a history
				}
				data, err := ledger.EncodeChunk([]ledger.Record{r})
				require.NoError(rt, err)
				back, err := ledger.DecodeChunk(data)
				require.NoError(rt, err)
				all = append(all, back.Records...)
				w.state.Apply(r)
			}
			return all
		}).Example(seed)

		ctx, conn := t.Context(), clickhousetest.New(t).Conn()
		store := ledger.NewStore(conn)
		var msgs []ledger.Message
		var end int64
		for i, r := range history {
			at := int64(i+1) * perRecord
			end = at
			if r.Decision != nil {
				r.Decision.At = at // the order of entering stays that of the records
			}
			if r.Delivery != nil {
				r.Delivery.At = at
			}
			msgs = append(msgs, ledger.Message{Shard: 3, Seq: uint64(i + 1), At: at, Records: []ledger.Record{r}})
		}
		require.NoError(t, store.Insert(ctx, msgs, nil))
		fold := func() map[string]any {
			s := ledger.NewState(keepUses * perRecord)
			require.NoError(t, store.Load(ctx, []int{3}, 1<<40, func(_ int, r ledger.Record) { s.Apply(r) }))
			require.NoError(t, store.LoadDeliveries(ctx, 1<<40, s.Apply))
			return answers(t, s)
		}
		rows := func() (n uint64) {
			require.NoError(t, conn.QueryRow(ctx, "SELECT count() FROM decisions").Scan(&n))
			return n
		}
		before, had := fold(), rows()
		require.NoError(t, store.Prune(ctx, time.UnixMilli(end), time.Duration(end/4)*time.Millisecond))
		require.Equal(t, before, fold(), "seed %d", seed)
		gone += had - rows()
		now := rows()
		require.NoError(t, store.Prune(ctx, time.UnixMilli(end+perRecord), 0))
		require.Equal(t, now, rows(), "once a day")
		var ticks, all uint64
		require.NoError(t, conn.QueryRow(ctx, "SELECT countIf(kind = 'tick' AND at < fromUnixTimestamp64Milli(toInt64($1))), count() FROM shard_log", end-24*perRecord).Scan(&ticks, &all))
		require.LessOrEqual(t, ticks, uint64(3))
	}
	t.Logf("%d rows went", gone)
	require.Greater(t, gone, uint64(200), "most of it")
}
