package writer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/events/queue"
)

func TestWriterRows(t *testing.T) {
	r := newRig(t)
	at := r.clock().UnixMilli()
	r.send(
		events.Event{
			Kind: events.KindPage, MessageID: "1", AnonymousID: "a", Name: "Home", Time: at,
			Properties: []byte(`{"path":"/","name":"Home","price":12.5,"n":3,"big":9007199254740993,"ok":true,"nested":{"x":"y"},"list":[1]}`),
			Context:    []byte(`{"timezone":"Europe/Berlin","device":{"token":"tok","type":"ios"},"location":{"latitude":52.5,"longitude":13.4,"accuracy":10}}`),
			Raw:        []byte(`{"raw":1}`), Flags: events.Violation, Violations: []string{"n is not declared"},
		},
		events.Event{
			Kind: events.KindIdentify, MessageID: "2", AnonymousID: "a", UserID: "u", Time: at + 1,
			Traits: []byte(`{"age":30,"name":"Ann","vip":true,"address":{"city":"Bonn"},"gone":null}`),
		},
		events.Event{Kind: events.KindConsent, UserID: "u", Time: at + 2, Properties: []byte(`{"channel":"email","granted":true}`)},
		events.Event{Kind: events.KindRefused, Index: 3, Reason: "too deep", Raw: []byte(`{"bad":1}`), Time: at, ReceivedAt: at},
	)
	r.send(events.Event{
		Kind: events.KindTrack, MessageID: "3", UserID: "u", Name: events.LocationUpdated, Time: at + 3,
		Properties: []byte(`{"latitude":48.1,"longitude":11.5}`), Context: []byte(`{"timezone":"Europe/Berlin"}`),
	})
	r.flush()

	require.Equal(t, []string{
		`65536 65536 3 Page Viewed app  a 1 2 ['n is not declared'] {'path':'/','name':'Home','nested.x':'y'} {'price':12.5,'n':3,'big':9007199254740992} {'ok':true} {'big':9007199254740993} {"raw":1}`,
		`65536 65537 2  app u a 2 0 [] {} {} {} {} `,
		`65536 131072 1 Location Updated app u  3 0 [] {} {'latitude':48.1,'longitude':11.5} {} {} `,
	}, r.rows("SELECT person; pos; kind; event; source; user_id; anonymous_id; message_id; flags; violations; strs; nums; bools; bigs; raw FROM events ORDER BY pos"))
	require.Equal(t, []string{
		`address {"city":"Bonn"} NULL NULL`, `age 30 30 NULL`, `gone null NULL NULL`, `name "Ann" NULL Ann`, `vip true NULL NULL`,
	}, r.rows("SELECT key; value; num; str FROM traits ORDER BY key"))
	require.Equal(t, []string{"65536 tok ios false 65536"}, r.rows("SELECT person; token; platform; removed; pos FROM devices"))
	require.Equal(t, []string{"65536 email  true"}, r.rows("SELECT person; channel; category; granted FROM consents"))
	require.Equal(t, []string{"65536 Europe/Berlin 65536"}, r.rows("SELECT person; zone; pos FROM zones"))
	require.Equal(t, []string{"65536 52.5 13.4 10", "65536 48.1 11.5 0"}, r.rows("SELECT person; lat; lon; accuracy FROM fixes ORDER BY pos"))
	require.Equal(t, []string{"anonymous a 65536", "user u 65536"}, r.rows("SELECT kind; id; person FROM identities ORDER BY kind"))
	require.Equal(t, []string{`65539 3 app too deep {"bad":1}`}, r.rows("SELECT pos; index; source; reason; raw FROM dead_letters"))
	require.EqualValues(t, 3, r.count("dedup"))
	require.EqualValues(t, 0, r.count("merges"))

	r.stop()
	require.Len(t, r.resolved, 4, "OnResolved gets every accepted event, also consents")
	require.EqualValues(t, 65536, r.resolved[3].Person)
	names := map[string]int{}
	var traits, last int
	for _, s := range r.stored {
		for n, c := range s.Names {
			names[n] += c
		}
		traits += s.Traits
		require.EqualValues(t, last, s.From)
		last = int(s.To)
	}
	require.Equal(t, map[string]int{"Page Viewed": 1, "": 1, "Location Updated": 1}, names)
	require.Equal(t, 5, traits)
	require.Equal(t, events.EndOf(2), r.w.Position())
	require.Equal(t, events.EndOf(2), r.w.Resolved())
	p, ok := r.w.Resolve("", "a")
	require.True(t, ok)
	require.EqualValues(t, 65536, p)
	_, ok = r.w.Resolve("stranger", "a")
	require.False(t, ok, "a user id decides, known or not")
}

func TestWriterDropsDuplicates(t *testing.T) {
	r := newRig(t)
	r.send(call(1, "u", "A", `{}`), call(2, "u", "A", `{}`), call(1, "u", "A", `{"again":1}`))
	r.send(call(2, "u", "A", `{}`))
	other := call(1, "u", "A", `{}`)
	other.Source = "server"
	r.send(other)
	r.flush()
	require.EqualValues(t, 3, r.count("events"))

	r.later(6 * 24 * time.Hour)
	r.send(call(1, "u", "A", `{}`), call(3, "u", "A", `{}`))
	r.flush()
	require.EqualValues(t, 4, r.count("events"), "remembered for a week, by the table")

	r.stop()
	r.start()
	r.send(call(2, "u", "A", `{}`), call(3, "u", "A", `{}`))
	r.flush()
	require.EqualValues(t, 4, r.count("events"), "and after a start")

	r.later(2 * 24 * time.Hour)
	r.send(call(1, "u", "A", `{}`), call(3, "u", "A", `{}`))
	r.flush()
	require.EqualValues(t, 5, r.count("events"), "but no longer")
}

func TestWriterImportsAreIdempotentForEver(t *testing.T) {
	r := newRig(t)
	imported := func(n int) events.Event {
		ev := call(n, "u", "A", `{}`)
		ev.Flags, ev.Source = events.Imported, "import"
		return ev
	}
	r.send(imported(1), imported(2))
	r.flush()
	r.later(400 * 24 * time.Hour)
	r.stop()
	r.start()
	r.send(imported(1), imported(2), imported(3))
	r.flush()
	require.EqualValues(t, 3, r.count("events"))
	live := imported(1)
	live.Flags = 0
	r.send(live)
	r.flush()
	require.EqualValues(t, 4, r.count("events"), "what was imported does not hide what happens")
}

// A writer that starts again knows whom the former one knew.
func TestWriterStartsAgain(t *testing.T) {
	r := newRig(t)
	r.send(
		events.Event{Kind: events.KindTrack, MessageID: "1", AnonymousID: "a"},
		events.Event{Kind: events.KindTrack, MessageID: "2", UserID: "u", Context: []byte(`{"timezone":"Asia/Tokyo","device":{"token":"t1"}}`)},
		events.Event{Kind: events.KindIdentify, MessageID: "3", UserID: "u", AnonymousID: "a"},
		events.Event{Kind: events.KindTrack, MessageID: "4", UserID: "v", Context: []byte(`{"timezone":"Asia/Tokyo","locale":"ja-JP"}`)},
	)
	r.flush()
	require.Equal(t, []string{"65536 65537"}, r.rows("SELECT loser; winner FROM merges"))
	r.stop()
	r.start()
	r.send(
		events.Event{Kind: events.KindTrack, MessageID: "5", AnonymousID: "a", Name: "after"},
		events.Event{Kind: events.KindTrack, MessageID: "6", UserID: "v", Name: "after", Context: []byte(`{"timezone":"Asia/Tokyo","locale":"ja_JP","device":{"token":"t1"}}`)},
	)
	r.flush()
	require.Equal(t, []string{"65537", "65539"}, r.rows("SELECT person FROM events WHERE event = 'after' ORDER BY pos"))
	require.EqualValues(t, 3, r.count("identities"))
	require.Equal(t, []string{"65537 Asia/Tokyo ", "65539 Asia/Tokyo ja-JP"}, r.rows("SELECT person; zone; locale FROM zones ORDER BY person"),
		"zone and locale are written when one of them changes only")
	require.Equal(t, []string{"65537 false ", "65537 true moved", "65539 false "},
		r.rows("SELECT person; removed; reason FROM devices ORDER BY person, removed"), "the device went to v")
	require.EqualValues(t, 65537, r.w.Canonical(65536))
}

// An insert that got through although the writer did not hear of it is not done again.
func TestWriterLeavesOutWhatIsThere(t *testing.T) {
	r := newRig(t)
	r.send(call(1, "u", "A", `{}`))
	r.flush()
	r.stop()
	// The former writer died between two tables of its batch: events are there, the rest is not.
	evs := []events.Event{call(2, "u", "A", `{}`), call(3, "v", "B", `{}`)}
	r.send(evs...)
	require.NoError(t, r.store.Conn().Exec(context.Background(),
		"INSERT INTO events (person, pos, time, kind, event, message_id) SELECT 65536, 131072, now64(3), 1, 'A', 'm2'"))
	require.NoError(t, r.store.Conn().Exec(context.Background(),
		"INSERT INTO dedup (hash, check, pos, day) SELECT hash, check, 131072, day FROM dedup LIMIT 1"))
	r.start()
	r.flush()
	require.Equal(t, []string{"65536 m1", "131072 m2", "131073 m3"}, r.rows("SELECT pos; message_id FROM events ORDER BY pos"))
	require.EqualValues(t, 3, r.count("dedup"))
	require.Equal(t, []string{"u", "v"}, r.rows("SELECT id FROM identities ORDER BY id"))
}

// What the store refuses for itself does not take the rest of the batch with it.
func TestWriterBuriesRefusedRows(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.store.Conn().Exec(context.Background(), "ALTER TABLE events ADD CONSTRAINT no_poison CHECK event != 'poison'"))
	var evs []events.Event
	for i := range 100 {
		name := "fine"
		if i == 13 || i == 77 {
			name = "poison"
		}
		evs = append(evs, call(i, fmt.Sprintf("u%d", i), name, `{}`))
	}
	r.send(evs...)
	r.flush()
	require.EqualValues(t, 98, r.count("events"))
	require.EqualValues(t, 100, r.count("identities"))
	require.Equal(t, []string{"65549", "65613"}, r.rows("SELECT pos FROM dead_letters ORDER BY pos"))
	require.Contains(t, r.rows("SELECT reason FROM dead_letters")[0], "no_poison")
}

// Imported history spans more months (parts of the table) than ClickHouse takes at once by itself.
func TestWriterTakesManyMonths(t *testing.T) {
	r := newRig(t)
	var evs []events.Event
	for i := range 101 {
		ev := call(i, "u", "A", `{"n":1}`)
		ev.Flags, ev.Time = events.Imported, time.Date(2003, time.Month(i), 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		evs = append(evs, ev)
	}
	r.send(evs...)
	r.flush()
	require.Equal(t, 101, r.rowsCount("SELECT uniqExact(toYYYYMM(time)) FROM events"))
}

func TestWriterRefusesAnotherQueue(t *testing.T) {
	r := newRig(t)
	r.send(call(1, "u", "A", `{}`))
	r.flush()
	r.stop()
	empty, err := queue.Open(context.Background(), queue.Config{Dir: t.TempDir(), Now: r.clock})
	require.NoError(t, err)
	defer empty.Close()
	w, err := New(Options{Queue: empty, Store: r.store, Now: r.clock})
	require.NoError(t, err)
	require.ErrorContains(t, w.Run(context.Background()), "this is another queue, or it was emptied")
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, r.w.WaitFor(ctx, events.EndOf(9)), context.Canceled)
}

func TestOptionsSayWhatIsMissing(t *testing.T) {
	_, err := New(Options{})
	require.ErrorContains(t, err, "Options.Queue is missing")
}
