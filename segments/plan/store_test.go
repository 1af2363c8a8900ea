package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/clickhousetest"
	"nudge/segments"
)

// Times of the tests: t0 is the instant at which most of them look.
const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
	t0     = int64(1_790_000_000_000)
)

// happening is one row of events.
type happening struct {
	person  uint64
	time    int64
	pos     uint64
	kind    events.Kind // 0 is a track call
	event   string
	flags   events.Flags
	props   map[string]any
	context map[string]any
}

func (h *happening) occurrence() *segments.Occurrence {
	return &segments.Occurrence{Time: h.time, Pos: events.Position(h.pos), Event: h.event, Properties: toJSON(h.props), Context: toJSON(h.context)}
}

func toJSON(v map[string]any) json.RawMessage {
	if v == nil {
		return json.RawMessage(`{}`)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// world writes histories straight into the tables, as the writer would.
type world struct {
	t     testing.TB
	store *clickhouse.Store
}

func newWorld(t testing.TB) *world {
	store := clickhousetest.NewUsed(t)
	require.NoError(t, store.Migrate(context.Background(), clickhouse.Layout{}))
	return &world{t, store}
}

func (w *world) planner(o Options) *Planner {
	o.Conn = w.store.Conn()
	return New(o)
}

func (w *world) exec(sql string) {
	w.t.Helper()
	require.NoError(w.t, w.store.Conn().Exec(context.Background(), sql))
}

func when(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// flat is a normalised JSON object in the maps of the store.
func flat(object json.RawMessage) (strs map[string]string, nums map[string]float64, bools map[string]bool, bigs map[string]int64) {
	strs, nums, bools, bigs = map[string]string{}, map[string]float64{}, map[string]bool{}, map[string]int64{}
	var walk events.Flattener
	walk.Walk(object, func(path string, v events.Leaf) {
		switch v.Kind {
		case events.LeafString:
			strs[path] = v.Str
		case events.LeafFloat, events.LeafInt:
			nums[path] = v.Num
			if v.Kind == events.LeafInt && (v.Int > exactFloat || v.Int < -exactFloat) {
				bigs[path] = v.Int
			}
		case events.LeafBool:
			bools[path] = v.Bool
		}
	})
	return strs, nums, bools, bigs
}

func (w *world) events(rows ...happening) {
	w.t.Helper()
	batch, err := w.store.Conn().PrepareBatch(context.Background(),
		"INSERT INTO events (person, time, pos, kind, event, source, flags, strs, nums, bools, bigs, properties, context)")
	require.NoError(w.t, err)
	for _, h := range rows {
		if h.kind == 0 {
			h.kind = events.KindTrack
		}
		strs, nums, bools, bigs := flat(toJSON(h.props))
		require.NoError(w.t, batch.Append(h.person, when(h.time), h.pos, uint8(h.kind), h.event, "test", uint32(h.flags),
			strs, nums, bools, bigs, string(toJSON(h.props)), string(toJSON(h.context))))
	}
	require.NoError(w.t, batch.Send())
}

// insert writes rows of any table.
func (w *world) insert(table, columns string, rows ...[]any) {
	w.t.Helper()
	if len(rows) == 0 {
		return
	}
	batch, err := w.store.Conn().PrepareBatch(context.Background(), "INSERT INTO "+table+" ("+columns+")")
	require.NoError(w.t, err)
	for _, row := range rows {
		require.NoError(w.t, batch.Append(row...))
	}
	require.NoError(w.t, batch.Send())
}

// clear empties the tables: that is faster than another store.
func (w *world) clear() {
	w.t.Helper()
	for _, table := range []string{"events", "traits", "zones", "fixes", "identities", "merges", "erasures", "dues"} {
		w.exec("TRUNCATE TABLE " + table)
	}
}

// known writes an identity: people exist by their ids.
func (w *world) known(kind, id string, person, pos uint64, at int64) {
	w.insert("identities", "kind, id, person, pos, time", []any{kind, id, person, pos, when(at)})
}

func (w *world) merged(loser, winner, pos uint64) {
	w.insert("merges", "loser, winner, pos, time", []any{loser, winner, pos, when(t0)})
}

func (w *world) trait(person uint64, key, token string, pos uint64, at int64) {
	w.insert("traits", "person, key, value, time, pos", []any{person, key, token, when(at), pos})
}

// compile compiles a condition; problems fail the test.
func compile(t testing.TB, spec segments.WhoSpec) *segments.Who {
	t.Helper()
	who, problems := segments.Compile(spec, segments.NewSchema(segments.SchemaOptions{EveryoneMin: 2}))
	require.False(t, segments.HasErrors(problems), "%v", problems)
	return who
}

func when1(t testing.TB, condition string) *segments.Who {
	t.Helper()
	return compile(t, segments.WhoSpec{When: condition})
}

// ask answers a look as a list.
func ask(t require.TestingT, p *Planner, q segments.Look) []segments.Answer {
	if q.At == 0 {
		q.At = t0
	}
	if q.UpTo == 0 {
		q.UpTo = math.MaxInt64
	}
	var out []segments.Answer
	require.NoError(t, p.Look(context.Background(), q, func(answers []segments.Answer) error {
		out = append(out, answers...)
		return nil
	}))
	return out
}

// brief writes answers as "who person value truth".
func brief(answers []segments.Answer) []string {
	out := []string{}
	for _, a := range answers {
		s := fmt.Sprintf("%d %d", a.Who, a.Person)
		if a.Value != "" {
			s += " " + a.Value
		}
		if a.Truth != segments.True {
			s += [...]string{" false", "", " unknown", " failed"}[a.Truth]
		}
		if a.Err != nil {
			s += ": " + a.Err.Error()
		}
		out = append(out, s)
	}
	return out
}
