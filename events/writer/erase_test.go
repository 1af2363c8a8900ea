package writer

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

func TestErase(t *testing.T) {
	r := newRig(t)
	at := r.clock().UnixMilli()
	exec := func(q string) {
		require.NoError(t, r.store.Conn().Exec(context.Background(), q))
	}
	// u was two people before they became one; v is somebody else.
	r.send(
		events.Event{Kind: events.KindTrack, MessageID: "1", AnonymousID: "a", Name: "seen", Context: []byte(`{"timezone":"Asia/Tokyo","device":{"token":"t"}}`)},
		events.Event{Kind: events.KindTrack, MessageID: "2", UserID: "u", Name: "seen"},
		events.Event{Kind: events.KindIdentify, MessageID: "3", UserID: "u", AnonymousID: "a", Traits: []byte(`{"x":1}`)},
		events.Event{Kind: events.KindTrack, MessageID: "4", UserID: "v", Name: "seen"},
		events.Event{Kind: events.KindConsent, UserID: "u", Properties: []byte(`{"granted":true}`)},
		events.Event{Kind: events.KindTrack, UserID: "u", Name: events.LocationUpdated, Properties: []byte(`{"latitude":1,"longitude":2}`)},
		events.Event{Kind: events.KindRefused, Reason: "no", Raw: []byte(`{"userId":"u","x":`)},
		events.Event{Kind: events.KindRefused, Reason: "no", Raw: []byte(`{"userId":"v","x":`)},
	)
	r.flush()
	r.stop()
	exec("INSERT INTO decisions (entry, rule, person, user_id, reason, shard, seq, index, at) VALUES ('e1', 'r', 65537, 'u', 'send', 1, 1, 0, now64(3)), ('e2', 'r', 65536, '', 'send', 1, 1, 1, now64(3)), ('e3', 'r', 65539, 'v', 'send', 1, 2, 0, now64(3))")
	exec("INSERT INTO deliveries (entry, rule, channel, person, status, text, shard, seq, index, at) VALUES ('e1', 'r', 'push', 65537, 'accepted', '{\"title\":\"Hello u\"}', 1, 1, 0, now64(3))")
	exec("INSERT INTO dues (cond, at, person, value, pos) VALUES ('c', now64(3), 65537, 'cart of u', 65536), ('c', now64(3), 65536, '', 65536), ('c', now64(3), 65539, 'cart of v', 65536)")
	r.start()
	r.send(
		events.Event{Kind: events.KindErase, UserID: "u", Time: at + 1000},
		events.Event{Kind: events.KindTrack, MessageID: "5", UserID: "u", Name: "late", Time: at + 999},
		events.Event{Kind: events.KindTrack, MessageID: "6", AnonymousID: "a", Name: "late", Time: at + 999},
		events.Event{Kind: events.KindMessage, MessageID: "7", UserID: "u", Name: events.MessageOpened, Time: at + 2000},
		events.Event{Kind: events.KindTrack, MessageID: "8", UserID: "u", Name: "new start", Time: at + 1001},
	)
	r.flush()
	done := func() bool {
		return r.rows("SELECT count() FROM erasures WHERE done_at > toDateTime64(1, 3)")[0] == "1"
	}
	r.until("the erasure is done", done)

	require.Equal(t, []string{"65539 seen", "131076 new start"}, r.rows("SELECT person; event FROM events ORDER BY pos"))
	for _, table := range []string{"traits", "devices", "consents", "zones", "fixes"} {
		require.EqualValues(t, 0, r.count(table), table)
	}
	require.Equal(t, []string{"user u 131076", "user v 65539"}, r.rows("SELECT kind; id; person FROM identities ORDER BY id"))
	require.Equal(t, []string{`{"userId":"v","x":`}, r.rows("SELECT raw FROM dead_letters"))
	require.Equal(t, []string{"e1 0 ", "e2 0 ", "e3 65539 v"}, r.rows("SELECT entry; person; user_id FROM decisions ORDER BY entry"))
	require.Equal(t, []string{"e1 0 accepted "}, r.rows("SELECT entry; person; status; text FROM deliveries"))
	require.Equal(t, []string{"65539 cart of v"}, r.rows("SELECT person; value FROM dues"))
	require.Equal(t, 2, r.rowsCount("SELECT uniqExact(hash) FROM erasures"), "of u and of a")
	require.True(t, r.w.Erased(65536))
	require.False(t, r.w.Erased(131076))

	// After a start the past still cannot return, though the ids are gone from the store.
	r.stop()
	r.start()
	r.send(
		events.Event{Kind: events.KindTrack, MessageID: "9", AnonymousID: "a", Name: "late", Time: at + 999},
		events.Event{Kind: events.KindTrack, MessageID: "10", UserID: "u", Name: "late", Time: at + 999},
		events.Event{Kind: events.KindTrack, MessageID: "11", UserID: "u", Name: "on", Time: at + 3000},
	)
	r.flush()
	require.Equal(t, []string{"65539 seen", "131076 new start", "131076 on"}, r.rows("SELECT person; event FROM events ORDER BY pos"))
	require.True(t, done())
}

// An erasure that was recorded, and cut short before it was done, is done by the next start.
func TestEraseIsResumed(t *testing.T) {
	r := newRig(t)
	r.send(
		events.Event{Kind: events.KindIdentify, MessageID: "1", UserID: "u", AnonymousID: "a"},
		events.Event{Kind: events.KindErase, UserID: "u"},
	)
	r.flush()
	r.until("the erasure is done", func() bool { return r.count("identities") == 0 && r.count("erasures") == 3 })
	r.stop()
	// As it was before anything but the first row was written.
	exec := func(q string) { require.NoError(t, r.store.Conn().Exec(context.Background(), q)) }
	exec("ALTER TABLE erasures DELETE WHERE done_at > toDateTime64(1, 3) SETTINGS mutations_sync = 2")
	exec("INSERT INTO identities (kind, id, person, pos) VALUES ('anonymous', 'a', 65536, 65536)")
	exec("INSERT INTO events (person, pos, time) VALUES (65536, 65536, now64(3))")
	r.start()
	r.until("the erasure is done", func() bool { return r.count("identities") == 0 && r.count("erasures") == 3 })
	require.EqualValues(t, 0, r.count("events"))
	r.send(events.Event{Kind: events.KindTrack, MessageID: "2", AnonymousID: "a"})
	r.flush()
	require.EqualValues(t, 1, r.count("events"))
	require.NotEqual(t, "65536", r.rows("SELECT person FROM events")[0])
}

// An erasure that was cut short after what made one person of two was gone finds both numbers in its record.
func TestEraseIsResumedWithoutMerges(t *testing.T) {
	r := newRig(t)
	r.send(
		events.Event{Kind: events.KindTrack, MessageID: "1", AnonymousID: "a", Name: "seen"},
		events.Event{Kind: events.KindTrack, MessageID: "2", UserID: "u", Name: "seen"},
		events.Event{Kind: events.KindIdentify, MessageID: "3", UserID: "u", AnonymousID: "a"},
		events.Event{Kind: events.KindErase, UserID: "u"},
	)
	r.flush()
	done := func() bool { return r.rowsCount("SELECT countIf(done_at > toDateTime64(1, 3)) FROM erasures") == 1 }
	r.until("the erasure is done", done)
	for _, table := range []string{"events", "identities", "merges", "dedup"} {
		require.EqualValues(t, 0, r.count(table), table)
	}
	require.Equal(t, []string{"65536", "65537"}, r.rows("SELECT person FROM (SELECT DISTINCT person FROM erasures ORDER BY person)"))
	r.stop()
	exec := func(q string) { require.NoError(t, r.store.Conn().Exec(context.Background(), q)) }
	exec("ALTER TABLE erasures DELETE WHERE done_at > toDateTime64(1, 3) SETTINGS mutations_sync = 2")
	exec("INSERT INTO identities (kind, id, person, pos) VALUES ('anonymous', 'a', 65536, 65536)")
	exec("INSERT INTO decisions (entry, person, at) VALUES ('e', 65536, now64(3))")
	r.start()
	r.until("the erasure is done", done)
	require.EqualValues(t, 0, r.count("identities"))
	require.Equal(t, []string{"e 0"}, r.rows("SELECT entry; person FROM decisions"))
	require.True(t, r.w.Erased(65536))
	require.True(t, r.w.Erased(65537))
}

// What the ledger's copier writes about somebody who is erased meanwhile is cleaned behind it.
func TestEraseWaitsForTheCopier(t *testing.T) {
	r := newRig(t)
	r.send(events.Event{Kind: events.KindTrack, MessageID: "1", UserID: "u", Name: "seen"})
	r.flush()
	require.NoError(t, r.w.Steady(func() error {
		require.False(t, r.w.Erased(65536))
		r.send(events.Event{Kind: events.KindErase, UserID: "u"})
		r.until("the events are gone", func() bool { return r.count("events") == 0 })
		return r.store.Conn().Exec(context.Background(), "INSERT INTO decisions (entry, person, user_id, at) VALUES ('e', 65536, 'u', now64(3))")
	}))
	r.until("the erasure is done", func() bool {
		return r.rowsCount("SELECT countIf(done_at > toDateTime64(1, 3)) FROM erasures") == 1
	})
	require.Equal(t, []string{"e 0 "}, r.rows("SELECT entry; person; user_id FROM decisions"))
}

func TestSpellings(t *testing.T) {
	for name, c := range map[string]struct {
		id  string
		raw []string
		not []string
	}{
		"plain":      {"ann", []string{`{"userId":"ann"}`}, []string{`{"userId":"anna"}`, `{"userId":"joann"}`}},
		"escaped":    {`a<"b">\c`, []string{`"a<\"b\">\\c"`, `"a\u003c\"b\"\u003e\\c"`}, nil},
		"not ASCII":  {"zoë😀", []string{`"zoë😀"`, `"zo\u00eb\ud83d\ude00"`, `"zo\u00EB\uD83D\uDE00"`}, nil},
		"a number":   {"12", []string{`{"userId":12}`, `{"userId": 12,"x":1}`, `{"userId":"12"}`}, []string{`{"userId":123}`, `{"userId":312}`}},
		"not a word": {"true", []string{`"true"`}, []string{`{"a":true}`}},
	} {
		t.Run(name, func(t *testing.T) {
			found := func(raw string) bool {
				return slices.ContainsFunc(spellings(c.id), func(s string) bool { return strings.Contains(raw, s) })
			}
			for _, raw := range c.raw {
				require.True(t, found(raw), raw)
			}
			for _, raw := range c.not {
				require.False(t, found(raw), raw)
			}
		})
	}
}
