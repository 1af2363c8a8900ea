package writer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/events"
)

// shelf is a dedup table in memory, for the pure tests; the store's is tested in writer_test.go.
type shelf struct{ rows []dedupRow }

func (s *shelf) look(_ context.Context, keys []idKey) (map[idKey][]dedupRow, error) {
	out := map[idKey][]dedupRow{}
	for _, k := range keys {
		out[k] = nil
	}
	for _, r := range s.rows {
		if _, ok := out[r.key]; ok {
			out[r.key] = append(out[r.key], r)
		}
	}
	return out, nil
}

func (s *shelf) imported(_ context.Context, add func(idKey)) error {
	for _, r := range s.rows {
		if r.day == importDay {
			add(r.key)
		}
	}
	return nil
}

func (s *shelf) dedup() *dedup { return newDedup(testSalt, s.look, s.imported) }

// loaded is a dedup that starts with what the shelf holds up to a position.
func (s *shelf) loaded(upTo events.Position) *dedup {
	d := s.dedup()
	for _, r := range s.rows {
		if r.pos <= upTo && r.day != importDay {
			d.live.add(r.key, r.day)
		}
	}
	return d
}

// The answer to every event is that of comparing it with every earlier accepted event, however
// arrivals are cut into batches, whenever rows reach the table, and whenever the process starts
// again from its checkpoint with the rows above it already there.
func TestDedup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type sent struct {
			a  arrival
			id string
		}
		var evs []sent
		day := int32(100)
		for i := range rapid.IntRange(1, 60).Draw(t, "n") {
			day += int32(rapid.SampledFrom([]int{0, 0, 0, 1, 4, 9}).Draw(t, "days later"))
			evs = append(evs, sent{
				a:  arrival{pos: events.At(uint64(i+1), 0), day: day, imported: rapid.Bool().Draw(t, "imported")},
				id: strconv.Itoa(rapid.IntRange(0, 5).Draw(t, "id")),
			})
		}
		want := make([]bool, len(evs))
		for i, e := range evs {
			for j, f := range evs[:i] {
				if want[j] || f.id != e.id {
					continue
				}
				if f.a.imported && e.a.imported || !f.a.imported && f.a.day >= e.a.day-dedupDays {
					want[i] = true
				}
			}
		}

		table := &shelf{}
		d := table.dedup()
		room := rapid.IntRange(0, 3).Draw(t, "room")
		d.room = room
		inTable := map[events.Position]bool{}
		var waiting []dedupRow
		for i := 0; i < len(evs); {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0: // the rows reach the table
				for _, r := range waiting {
					if !inTable[r.pos] {
						table.rows = append(table.rows, r)
						inTable[r.pos] = true
					}
				}
				d.stored(waiting)
				waiting = nil
				continue
			case 1: // start again from a checkpoint at or before here
				i = rapid.IntRange(0, i).Draw(t, "checkpoint")
				if len(waiting) > 0 { // no further than what is stored
					i = min(i, int(waiting[0].pos.Seq())-1)
				}
				if rapid.Bool().Draw(t, "a part was stored before") {
					for _, r := range waiting {
						if rapid.Bool().Draw(t, "this one") && !inTable[r.pos] {
							table.rows = append(table.rows, r)
							inTable[r.pos] = true
						}
					}
				}
				waiting = nil
				d = table.loaded(events.EndOf(uint64(i)))
				d.room = room
				if i == 0 && rapid.Bool().Draw(t, "go on") || len(evs) == 0 {
					continue
				}
			}
			n := rapid.IntRange(1, 10).Draw(t, "batch")
			batch := evs[i:min(i+n, len(evs))]
			as := make([]arrival, len(batch))
			for j, e := range batch {
				as[j] = e.a
				as[j].key = d.key("app", e.id)
			}
			duplicate := make([]bool, len(as))
			var err error
			waiting, err = d.judge(context.Background(), as, duplicate, waiting)
			require.NoError(t, err)
			require.Equal(t, want[i:i+len(batch)], duplicate, "events %d to %d", i, i+len(batch))
			d.advance(as[len(as)-1].day)
			i += len(batch)
		}
	})
}

func TestDedupKeys(t *testing.T) {
	d := (&shelf{}).dedup()
	require.NotEqual(t, d.key("a", "b"), d.key("b", "b"), "the source counts")
	require.NotEqual(t, d.key("ab", "c"), d.key("a", "bc"), "source and id are apart")
	u, _ := testSalt.id(nil, kindUser, "x")
	a, _ := testSalt.id(nil, kindAnonymous, "x")
	require.NotEqual(t, u, a)
}

func TestDedupStoreAway(t *testing.T) {
	away := errors.New("away")
	table := &shelf{}
	d := table.dedup()
	d.room = 0 // what is stored is asked for
	first := []arrival{{key: d.key("s", "1"), pos: 1, day: 1}}
	rows, err := d.judge(context.Background(), first, make([]bool, 1), nil)
	require.NoError(t, err)
	table.rows = append(table.rows, rows...)
	require.Len(t, table.rows, 1)
	d.stored(rows)
	require.Empty(t, d.recent.live)

	d.look = func(context.Context, []idKey) (map[idKey][]dedupRow, error) { return nil, away }
	again := []arrival{{key: d.key("s", "2"), pos: 2, day: 1}, {key: d.key("s", "1"), pos: 3, day: 1}}
	rows, err = d.judge(context.Background(), again, make([]bool, 2), nil)
	require.ErrorIs(t, err, away)
	require.Empty(t, rows)
	require.Empty(t, d.recent.live, "nothing is remembered of a batch that was not judged")

	d.look = table.look
	duplicate := make([]bool, 2)
	rows, err = d.judge(context.Background(), again, duplicate, nil)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, []bool{false, true}, duplicate)
}

func TestFilter(t *testing.T) {
	const n = 400_000
	f := &filter{}
	key := func(i int) idKey {
		k, _ := testSalt.id(nil, "m", strconv.Itoa(i))
		return k
	}
	for i := range n {
		f.add(key(i), int32(i/40_000))
	}
	for i := range n {
		require.True(t, f.has(key(i)))
	}
	wrong := 0
	for i := range n {
		if f.has(key(n + i)) {
			wrong++
		}
	}
	t.Logf("%d of %d unknown keys pass; %.2f bytes a key in %d generations",
		wrong, n, float64(f.bytes())/n, len(f.gens))
	require.Less(t, wrong, n/50)
	require.Less(t, f.bytes(), 4*n)

	f.forget(5)
	for i := 200_000; i < n; i++ {
		require.True(t, f.has(key(i)), "of a day that counts still")
	}
	left := 0
	for i := range 120_000 {
		if f.has(key(i)) {
			left++
		}
	}
	require.Less(t, left, 4_000, "old days are dropped")
}

func BenchmarkDedupJudge(b *testing.B) {
	d := (&shelf{}).dedup()
	as := make([]arrival, 100)
	duplicate := make([]bool, 100)
	n := 0
	var rows []dedupRow
	b.ReportAllocs()
	for b.Loop() {
		for i := range as {
			n++
			as[i] = arrival{key: d.key("app", fmt.Sprintf("ajs-next-%d-7d4ca5a7-5c8e", n)), pos: events.Position(n), day: 1}
		}
		rows, _ = d.judge(context.Background(), as, duplicate, rows[:0])
		d.stored(rows)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}
