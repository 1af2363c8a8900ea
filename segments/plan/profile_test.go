package plan

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
	"nudge/segments"
)

func TestProfiles(t *testing.T) {
	w := newWorld(t)
	w.known("anonymous", "anon", 1, 1, t0-9*day)
	w.known("user", "mail@x", 2, 2, t0-5*day)
	w.known("user", "renamed", 2, 30, t0-day)
	w.known("user", "other", 3, 3, t0-4*day)
	w.merged(1, 2, 10)
	w.events(happening{person: 1, time: t0 - 20*day, pos: 5, event: "Imported"})
	w.trait(1, "plan", `"free"`, 4, t0-8*day)
	w.trait(2, "plan", `"pro"`, 11, t0-8*day) // same time, later arrival
	w.trait(2, "plan", `"old"`, 12, t0-9*day) // arrived last, said first
	w.trait(2, "gone", `1`, 5, t0-8*day)
	w.trait(2, "gone", `null`, 6, t0-7*day)
	w.trait(2, "later", `1`, 7, t0+day)
	w.trait(3, "timezone", `"Asia/Tokyo"`, 8, t0-day)
	device := func(person uint64, token string, at int64, pos uint64, removed bool) []any {
		return []any{person, token, "ios", "shop", "production", when(at), removed, "", when(at), pos}
	}
	w.insert("devices", "person, token, platform, app, environment, last_seen, removed, reason, time, pos",
		device(1, "phone", t0-8*day, 3, false), device(2, "phone", t0-7*day, 13, false),
		device(2, "tablet", t0-7*day, 14, false), device(3, "tablet", t0-6*day, 15, false), // given away
		device(2, "dead", t0-7*day, 16, false), device(2, "dead", t0-6*day, 17, true),
	)
	consent := func(person uint64, channel string, granted bool, at int64, pos uint64) []any {
		return []any{person, channel, "", granted, when(at), pos}
	}
	w.insert("consents", "person, channel, category, granted, time, pos",
		consent(1, "email", false, t0-8*day, 3), consent(2, "email", true, t0-7*day, 4), // opt-out wins at the merge
		consent(1, "push", false, t0-8*day, 5), consent(2, "push", true, t0-day, 20), // said after the merge
		consent(2, "sms", true, t0-day, 21),
	)
	w.insert("zones", "person, zone, locale, time, pos",
		[]any{uint64(1), "Europe/Berlin", "fr", when(t0 - 8*day), uint64(3)}, []any{uint64(2), "Mars/Base", "", when(t0 - day), uint64(22)},
		[]any{uint64(2), "Europe/Paris", "en-GB", when(t0 - 9*day), uint64(23)}, []any{uint64(2), "", "de-DE", when(t0 - 7*day), uint64(24)},
		[]any{uint64(3), "", "de-DE", when(t0 - 7*day), uint64(25)})

	read := func(at int64, upTo events.Position) map[events.PersonID]*segments.Profile {
		got, err := w.planner(Options{}).Profiles(context.Background(), []events.PersonID{1, 2, 3, 99}, at, upTo)
		require.NoError(t, err)
		return got
	}
	got := read(t0, 100)
	require.Len(t, got, 3, "nobody knows 99")
	require.Equal(t, &segments.Profile{
		Person: 2, UserID: "renamed", Anonymous: "anon", CreatedAt: t0 - 20*day, Zone: "Europe/Berlin", Locale: "de-DE",
		Traits:  map[string]json.RawMessage{"plan": json.RawMessage(`"pro"`)},
		Devices: []segments.Device{{Token: "phone", Platform: "ios", App: "shop", Environment: "production", LastSeen: t0 - 7*day}},
		Consents: []segments.Consent{
			{Channel: "email", Granted: false, Time: t0 - 8*day}, {Channel: "push", Granted: true, Time: t0 - day}, {Channel: "sms", Granted: true, Time: t0 - day},
		},
	}, got[2])
	require.Equal(t, got[2], got[1], "1 has become 2")
	require.Equal(t, "Asia/Tokyo", got[3].Zone)
	require.Len(t, got[3].Devices, 1)

	before := read(t0-6*day-hour, 9)
	require.Equal(t, "anon", before[1].Anonymous)
	require.Empty(t, before[1].UserID)
	require.Equal(t, events.PersonID(1), before[1].Person, "the merge came later")
	require.NotContains(t, before, events.PersonID(2), "first named five days ago")
}

func TestErased(t *testing.T) {
	w := newWorld(t)
	w.known("user", "a", 1, 1, t0-day)
	w.known("user", "b", 2, 2, t0-day)
	w.events(happening{person: 1, time: t0 - hour, pos: 3, event: "A"}, happening{person: 2, time: t0 - hour, pos: 4, event: "A"})
	w.insert("erasures", "hash, person, time, pos, done_at", []any{"h", uint64(1), when(t0), uint64(10), when(0)})
	q := segments.Look{Who: []*segments.Who{when1(t, `did("A")`), when1(t, `not did("A")`)}}
	require.Equal(t, []string{"0 2"}, brief(ask(t, w.planner(Options{}), q)))
	q.UpTo = 9
	require.Equal(t, []string{"0 1", "0 2"}, brief(ask(t, w.planner(Options{}), q)), "as it was before")
}
