package engine_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/events"
	"nudge/events/clickhouse/clickhousetest"
)

// What the test's person can be found by; the numbers come on top.
var named = []string{"ann-user", "ann-browser", "ann@shop.example", "ann-token", "ann-cart", "nowhere/ann"}

// erasedWorld is a workspace in which a person leaves a trace in every table and kind of record.
func erasedWorld(t *testing.T) *enginetest.World {
	t.Helper()
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": `
zone: UTC
salt: test
channels: {push: {adapter: fcm, config: {credentials: "env:NONE"}}}
keys: [{name: web, write_key: key-of-the-web}]
`,
		"rules/seen.yaml": `
rule: seen
schedule: "*/10 * * * *"
backfill: true
when: event("Seen").within(minutes(15)).count > 0
again: each_time
with: {email: user.traits.email}
message: {push: {title: "{{ email }}", body: there}}
`,
		"rules/cart.yaml": `
rule: cart
schedule: "*/10 * * * *"
backfill: true
for_each: event("Added").by("cart")
when: it.count > 0
again: never
send_at: "18:00"
with: {cart: it.value}
message: {push: {title: "{{ cart }}", body: there}}
`,
		"rules/bought.yaml": `
rule: bought
on: {event: Bought}
again: each_time
with: {cart: trigger.properties.cart}
message: {push: {title: "{{ cart }} of {{ user.traits.email }}", body: there}}
`,
	})
	// The world's clock is not the store's, whose retention would take the rows away.
	clickhousetest.Changed(w.Store)
	require.NoError(t, w.Store.Conn().Exec(t.Context(), "ALTER TABLE dedup REMOVE TTL"))
	return w
}

// leaveTraces makes the person: several who became one, on several shards, with everything.
func leaveTraces(t *testing.T, w *enginetest.World) {
	t.Helper()
	for i := range 12 { // so that the person's numbers are no small ones, which stand for other things, too
		w.Together(func() {
			w.Device(fmt.Sprintf("bob%d", i%4), fmt.Sprintf("bob-token-%d", i%4), "android")
			w.Identify(fmt.Sprintf("bob%d", i%4), "", map[string]any{"email": "bob@shop.example"})
			w.Track(fmt.Sprintf("bob%d", i%4), "Seen", nil)
		})
	}
	w.Identify("ann-user", "", map[string]any{"email": "ann@shop.example"})
	w.Device("ann-user", "ann-token", "android")
	w.Consent("ann-user", "push", "news", true)
	w.Send(events.Event{Kind: events.KindTrack, UserID: "ann-user", Name: "Seen", Context: []byte(`{"timezone":"Asia/Tokyo"}`)})
	w.Track("ann-user", events.LocationUpdated, map[string]any{"latitude": 1, "longitude": 2})
	w.Track("ann-user", "Bought", map[string]any{"cart": "ann-cart"})
	for i := range 4 {
		w.Send(events.Event{Kind: events.KindTrack, AnonymousID: fmt.Sprintf("ann-browser-%d", i), Name: "Seen"})
		w.Send(events.Event{
			Kind: events.KindTrack, AnonymousID: fmt.Sprintf("ann-browser-%d", i), Name: "Added", Properties: []byte(fmt.Sprintf(`{"cart":"ann-cart-%d"}`, i)),
		})
	}
	at := w.Clock.Now().UnixMilli()
	refused := func(raw string) events.Event {
		return events.Event{Kind: events.KindRefused, Source: "web", Reason: "no", Raw: []byte(raw), Time: at, ReceivedAt: at}
	}
	require.NoError(t, w.Feed(t.Context(), []events.Event{
		refused(`{"userId":"ann-user","x":`), refused(`{"context":{"device":{"token":"ann-token"}},"type":"trac"}`),
		refused(`{"traits":{"email":"ann@shop.example"}}`), refused(`{"userId":"bob0","x":`),
	}))
	w.To(10 * enginetest.Minute) // messages and held entries, also of the browsers
	for i := range 4 {
		w.Identify("ann-user", fmt.Sprintf("ann-browser-%d", i), nil)
	}
	w.To(30 * enginetest.Minute) // moves, flips
	w.Track("ann-user", "Bought", map[string]any{"cart": "ann-cart"})
}

// traces lists the columns in which the person can be found.
func traces(t *testing.T, w *enginetest.World, numbers []string) []string {
	t.Helper()
	ctx := context.Background()
	var columns []struct {
		Table string `ch:"table"`
		Name  string `ch:"name"`
		Type  string `ch:"type"`
	}
	require.NoError(t, w.Store.Conn().Select(ctx, &columns, "SELECT c.table AS table, c.name AS name, c.type AS type FROM system.columns AS c INNER JOIN system.tables AS t "+
		"ON t.database = c.database AND t.name = c.table WHERE c.database = currentDatabase() AND t.engine NOT LIKE '%View' ORDER BY table, name"))
	require.Greater(t, len(columns), 100)
	has, of := map[string][]string{}, map[string][]string{} // by table: what counts the rows that lead to the person, and in which column
	for _, c := range columns {
		have := "toString(`" + c.Name + "`)"
		where := have + " IN ('" + strings.Join(numbers, "', '") + "')"
		if strings.Contains(c.Type, "String") {
			where = "multiSearchAny(" + have + ", ['" + strings.Join(slices.Concat(named, numbers), "', '") + "'])"
		}
		has[c.Table], of[c.Table] = append(has[c.Table], "countIf("+where+")"), append(of[c.Table], c.Table+"."+c.Name)
	}
	found := []string{}
	for _, table := range slices.Sorted(maps.Keys(has)) {
		var n []uint64
		require.NoError(t, w.Store.Conn().QueryRow(ctx, "SELECT ["+strings.Join(has[table], ", ")+"] FROM `"+table+"`").Scan(&n), table)
		for i, rows := range n {
			if rows > 0 {
				found = append(found, of[table][i])
			}
		}
	}
	return found
}

func numbersOf(t *testing.T, w *enginetest.World) (numbers []string) {
	t.Helper()
	require.NoError(t, w.Store.Conn().QueryRow(context.Background(),
		"SELECT groupUniqArray(toString(person)) FROM identities WHERE startsWith(id, 'ann-')").Scan(&numbers))
	require.Len(t, numbers, 5)
	return numbers
}

func tablesOf(columns []string) []string {
	set := map[string]bool{}
	for _, c := range columns {
		table, _, _ := strings.Cut(c, ".")
		set[table] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// counts are the rows of decisions and of deliveries, and at how many places of the streams they are.
func counts(t *testing.T, w *enginetest.World) (n [4]uint64) {
	t.Helper()
	for i, q := range []string{
		"count() FROM decisions", "uniqExact(shard, seq, index) FROM decisions", "count() FROM deliveries", "uniqExact(shard, seq, index) FROM deliveries",
	} {
		require.NoError(t, w.Store.Conn().QueryRow(context.Background(), "SELECT "+q).Scan(&n[i]))
	}
	return n
}

// TestErasedEverywhere: after an erasure nothing in the store leads to the person, whether the ledger had
// copied the streams before it or does so after it, and a start finds its way.
func TestErasedEverywhere(t *testing.T) {
	for name, before := range map[string]bool{"copied before": true, "copied after": false} {
		t.Run(name, func(t *testing.T) {
			w := erasedWorld(t)
			leaveTraces(t, w)
			numbers := numbersOf(t, w)
			everywhere := []string{
				"consents", "dead_letters", "decisions", "dedup", "deliveries", "devices", "events", "fixes", "identities", "merges",
				"shard_log", "traits", "zones",
			}
			var had [4]uint64
			if before {
				require.NoError(t, w.Flush(t.Context()))
				require.Equal(t, everywhere, tablesOf(traces(t, w, numbers)))
				var kinds []string
				require.NoError(t, w.Store.Conn().QueryRow(t.Context(),
					"SELECT arraySort(groupUniqArray(kind)) FROM shard_log WHERE person IN ("+strings.Join(numbers, ", ")+")").Scan(&kinds))
				require.Equal(t, []string{"flip", "move"}, kinds)
				had = counts(t, w)
			}
			w.Send(events.Event{Kind: events.KindErase, UserID: "ann-user"})
			require.Eventually(t, func() bool {
				var n uint64
				require.NoError(t, w.Store.Conn().QueryRow(context.Background(), "SELECT countIf(done_at > toDateTime64(1, 3)) FROM erasures").Scan(&n))
				return n == 1
			}, time.Minute, 100*time.Millisecond)
			if before {
				require.Equal(t, had, counts(t, w), "as counts they stay")
			}
			w.To(50 * enginetest.Minute)
			require.NoError(t, w.Flush(t.Context()))
			require.Equal(t, []string{"erasures.person"}, traces(t, w, numbers))
			var letters []string
			require.NoError(t, w.Store.Conn().QueryRow(t.Context(), "SELECT groupArray(raw) FROM dead_letters").Scan(&letters))
			require.Equal(t, []string{`{"userId":"bob0","x":`}, letters)

			// A start folds what is left, and everybody else goes on where they were.
			others := w.App.Engine.Snapshot()
			w.Restart()
			require.True(t, maps.Equal(others, w.App.Engine.Snapshot()), "%v\n%v", others, w.App.Engine.Snapshot())
			w.Track("bob0", "Bought", map[string]any{"cart": "bob's"})
			w.Track("ann-user", "Bought", map[string]any{"cart": "new"})
			sent := w.Accepted()
			require.Equal(t, "bob0: bob's of bob@shop.example", sent[len(sent)-1])
			w.To(60 * enginetest.Minute)
			require.NoError(t, w.Flush(t.Context()))
			w.Restart()
			n := counts(t, w)
			require.Equal(t, [2]uint64{n[1], n[3]}, [2]uint64{n[0], n[2]}, "no row is there twice")
			require.Equal(t, []string{"erasures.person"}, slices.DeleteFunc(traces(t, w, numbers), func(c string) bool {
				return c == "events.user_id" || c == "identities.id" || c == "decisions.user_id" // the new start
			}))
		})
	}
}
