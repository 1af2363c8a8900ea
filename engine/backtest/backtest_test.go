package backtest_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/backtest"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/events"
)

const (
	minute = enginetest.Minute
	hour   = enginetest.Hour
	day    = enginetest.Day
)

const config = `
zone: Europe/Berlin
salt: test
channels:
  push: {adapter: stdout, kind: push}
  email: {adapter: file, needs: email, config: {path: email.ndjson}}
categories:
  promotional: {consent: opt_out}
caps:
  - {name: two, max: 2, per: 6h, window: rolling, scope: all, at_cap: retry}
  - {name: three-a-day, max: 3, per: day, window: calendar, clock: person, scope: all, at_cap: drop}
quiet_hours:
  - {from: "21:00", to: "07:00", zone: person}
holdout: 5%
keys:
  - {name: web, write_key: key-of-the-web}
`

// files is a workspace with a rule of every kind.
func files() map[string]string {
	out := map[string]string{"nudge.yaml": config, "events.yaml": "traits: {ends: {type: time}}\n"}
	for name, rest := range map[string]string{
		"cart": `
priority: 70
schedule: "*/20 * * * *"
for_each: event("Added").by("cart")
when: it.last.ago >= minutes(30) and it.last.ago < hours(8)
again: never
holdout: 40%
exit: {event: Ordered}
goal: {event: Ordered, within: 1d, value: properties.total}
message: {push: {title: cart, body: b}}`,
		"seen": `
priority: 40
schedule: "*/30 * * * *"
when: event("Seen").within(hours(3)).count >= 2
again: {after: 5h}
when_blocked: {frequency_cap: hold}
message: {push: {title: seen, body: b}}`,
		"idle": `
schedule: {cron: "0 12 * * *", zone: person}
when: event("Seen").last.ago > hours(12)
again: each_time
message: {push: {title: idle, body: b}}`,
		"ordered": `
category: transactional
on: {event: Ordered}
again: each_time
message: {push: {title: ordered, body: b}}`,
		"welcome": `
priority: 60
on: {event: Joined}
when: event("Ordered").count == 0
again: {after: 1h}
send_at: "18:00"
exit: {event: Ordered}
message: {push: {title: welcome, body: b}}`,
		"follow": `
priority: 30
schedule: "0 * * * *"
when: message("cart").last.ago >= hours(2) and message("cart").last.ago < days(1)
again: {after: 1d}
message: {push: {title: follow, body: b}}`,
		"trial": `
schedule: "*/30 * * * *"
when: user.traits.ends - now < hours(6) and user.traits.ends > now
again: never
message: {email: {subject: trial, text: b}}`,
		"escalated": `
priority: 20
schedule: "*/15 * * * *"
when: event("Seen").within(hours(1)).count >= 1
again: {after: 4h}
deliver: {escalate: 90m}
exit: {event: Ordered}
goal: {event: Joined}
message: {push: {title: one, body: b}, email: {subject: two, text: b}}`,
		"shadow": `
shadow: true
schedule: "0 * * * *"
when: event("Seen").count > 3
again: {after: 8h}
message: {push: {title: shadow, body: b}}`,
		"some": `
rollout: 50%
schedule: "0 */2 * * *"
when: event("Added").count > 1
again: {after: 1d}
message: {push: {title: some, body: b}}`,
	} {
		out["rules/"+name+".yaml"] = "rule: " + name + rest + "\n"
	}
	return out
}

// play lives through some days of random people.
func play(w *enginetest.World, seed uint64, until int64) {
	r := rand.New(rand.NewPCG(seed, 7))
	w.Together(func() {
		for i := range 9 { // the others get one later, or never
			w.Device(fmt.Sprintf("u%d", i), fmt.Sprintf("token-%d", i), "ios")
		}
	})
	user := func() string { return fmt.Sprintf("u%d", r.IntN(12)) }
	for at := int64(0); at < until; at += int64(r.IntN(int(30 * minute))) {
		w.To(at)
		now := enginetest.Start() + at
		u := user()
		if r.IntN(3) == 0 {
			open(w, r)
		}
		switch r.IntN(15) {
		case 0, 1, 2:
			w.Track(u, "Added", map[string]any{"cart": fmt.Sprintf("c%d", r.IntN(4))})
		case 3, 4, 5, 6:
			w.Track(u, "Seen", nil)
		case 7:
			w.Track(u, "Ordered", map[string]any{"total": r.IntN(90)})
		case 8:
			w.Track(u, "Joined", nil)
		case 9:
			w.Identify(u, "", map[string]any{"ends": time.UnixMilli(now + int64(r.IntN(int(day)))).UTC().Format(time.RFC3339), "timezone": []string{"Europe/Berlin", "America/New_York", "Asia/Tokyo"}[r.IntN(3)]})
		case 10:
			w.Identify(u, "", map[string]any{"email": u + "@example.com"})
		case 11:
			w.Consent(u, "push", "promotional", r.IntN(3) > 0)
		case 12: // somebody unknown, who turns out to be known
			anonymous := fmt.Sprintf("a%d", r.IntN(40))
			w.Send(events.Event{Kind: events.KindTrack, AnonymousID: anonymous, Name: "Seen"})
			w.Send(events.Event{Kind: events.KindTrack, AnonymousID: anonymous, Name: "Added", Properties: []byte(`{"cart":"x"}`)})
			if r.IntN(2) == 0 {
				w.To(at + int64(r.IntN(int(hour))))
				w.Identify(u, anonymous, nil)
			}
		case 13:
			w.Device(u, fmt.Sprintf("token-%s-%d", u, at), "android") // a new one: what is told again is stored only once a day
		default: // late
			w.Send(events.Event{Kind: events.KindTrack, UserID: u, Name: "Seen", Time: now - int64(r.IntN(int(4*hour)))})
		}
	}
	w.To(until)
}

// open has somebody, or a machine, open one of the messages that were sent last.
func open(w *enginetest.World, r *rand.Rand) {
	sent := w.Sent.Accepted()
	if len(sent) == 0 {
		return
	}
	about := sent[len(sent)-1-r.IntN(min(len(sent), 4))].About
	var flags events.Flags
	if r.IntN(4) == 0 {
		flags = events.MachineOpen
	}
	w.Send(events.Event{
		Kind: events.KindMessage, UserID: about["user_id"], Name: events.MessageOpened, Flags: flags,
		Properties: fmt.Appendf(nil, `{"rule":%q,"entry":%q,"channel":%q}`, about["rule"], about["entry"], about["channel"]),
	})
}

// decided reads the rows of the ledger that were decided in [from, to).
func decided(t *testing.T, w *enginetest.World, from, to int64) []string {
	t.Helper()
	require.NoError(t, w.Flush(t.Context()))
	rows, err := w.Store.Conn().Query(t.Context(), "SELECT toUnixTimestamp64Milli(at), rule, version, person, user_id, value, entry, attempt, toUnixTimestamp64Milli(entered), "+
		"reason, `by`, open, toUnixTimestamp64Milli(due), variant, channels FROM decisions ORDER BY seq, `index`")
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var at, entered, due int64
		var person uint64
		var attempt uint32
		var rule, version, user, value, entry, reason, by, variant string
		var open bool
		var channels []string
		require.NoError(t, rows.Scan(&at, &rule, &version, &person, &user, &value, &entry, &attempt, &entered, &reason, &by, &open, &due, &variant, &channels))
		if at >= from && at < to {
			out = append(out, line(at, rule, version, person, user, value, entry, int(attempt), entered, reason, by, open, due, variant, channels))
		}
	}
	require.NoError(t, rows.Err())
	slices.Sort(out)
	return out
}

func line(at int64, rule, version string, person uint64, user, value, entry string, attempt int, entered int64, reason, by string, open bool, due int64, variant string, channels []string) string {
	return fmt.Sprint(time.UnixMilli(at).UTC().Format("02 15:04:05.000 "), rule, " ", user, " ", value, " ", reason, " ", by, " attempt ", attempt, " open ", open,
		" due ", max(due, 0), " ", variant, channels, " entered ", entered, " ", person, " ", version, " ", entry)
}

// replay backtests the world's workspace, and lists what it decides.
func replay(t *testing.T, w *enginetest.World, o backtest.Options) ([]string, *backtest.Result) {
	t.Helper()
	var out []string
	o.Conn, o.Workspace, o.Now = w.Store.Conn(), w.Load(), time.Now
	also := o.Row
	o.Row = func(r *backtest.Row) error {
		due := int64(0)
		if !r.Due.IsZero() {
			due = r.Due.UnixMilli()
		}
		out = append(out, line(r.At.UnixMilli(), r.Rule, r.Version, r.Person, r.UserID, r.Value, r.Entry, r.Attempt, r.Entered.UnixMilli(), string(r.Reason), r.By, r.Open, due, r.Variant, r.Channels))
		if also != nil {
			return also(r)
		}
		return nil
	}
	result, err := backtest.Run(t.Context(), o)
	require.NoError(t, err)
	var left uint64
	require.NoError(t, w.Store.Conn().QueryRow(t.Context(), "SELECT count() FROM system.databases WHERE startsWith(name, concat(currentDatabase(), '_backtest_'))").Scan(&left))
	require.Zero(t, left, "its database is gone")
	slices.Sort(out)
	return out, result
}

// seeds is how many random histories are played; each takes a quarter of a minute.
var seeds = flag.Uint64("seeds", 1, "how many random histories are played")

// TestItDecidesAsWasDecided lives through random days, and wants a backtest of the same rules over the same time to
// write the very rows that the ledger has: from the first day on, and from the middle.
func TestItDecidesAsWasDecided(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := enginetest.New(t, files())
			w.Sent.Answer = func(m channels.Message, _ int) error {
				if strings.HasPrefix(m.Address.UserID, "u3") { // whose cap gets its room back
					return &channels.DeliveryError{Class: channels.ClassMessage, Code: "no", Err: errors.New("not this one")}
				}
				return nil
			}
			const until = day + 3*hour
			play(w, seed, until)
			from, to := enginetest.Start()+1, enginetest.Start()+until // nudge went live behind the tick of its start
			reasons, further := map[string]int{}, map[string]int{}
			for _, from := range []int64{from, from + 11*hour + 17*minute} {
				want := decided(t, w, from, to)
				got, result := replay(t, w, backtest.Options{From: from, To: to})
				require.Equal(t, backtest.Recorded, result.Arrivals)
				require.NotEmpty(t, want)
				require.Equal(t, want, got)
				for _, l := range got {
					for _, by := range []string{" send escalation attempt ", " send escalation: opened ", " send escalation: exited ", " send escalation: quiet_hours ", " send escalation: no_address "} {
						if strings.Contains(l, by) {
							further[by]++
						}
					}
				}
				for _, r := range result.Rules {
					for reason, n := range r.Reasons {
						reasons[string(reason)] += int(n)
					}
				}
			}
			t.Log(reasons, further)
			require.NotZero(t, further[" send escalation attempt "], "nothing is escalated")
			require.NotZero(t, further[" send escalation: opened "], "nothing is opened in time")
			for _, reason := range []ledger.Reason{ledger.Send, ledger.Holdout, ledger.FrequencyCap, ledger.Exited, ledger.NoConsent} {
				require.NotZero(t, reasons[string(reason)], "of %s nothing is shown", reason)
			}
		})
	}
}

// TestImportedHistoryIsPlayedAsItHappened has two worlds live through the same: one as it comes, the other learns of
// it all at the end, as history. A backtest of the second decides as the first did.
func TestImportedHistoryIsPlayedAsItHappened(t *testing.T) {
	const until = 15 * hour
	start := enginetest.Start()
	var came []events.Event
	r := rand.New(rand.NewPCG(3, 7))
	for at := int64(0); at < until; at += int64(r.IntN(24)) * minute {
		ev := events.Event{Kind: events.KindTrack, UserID: fmt.Sprintf("u%d", r.IntN(9)), Time: start + at + minute/2}
		switch r.IntN(9) {
		case 0, 1, 2:
			ev.Name, ev.Properties = "Added", fmt.Appendf(nil, `{"cart":"c%d"}`, r.IntN(4))
		case 3, 4, 5:
			ev.Name = "Seen"
		case 6:
			ev.Name, ev.Properties = "Ordered", fmt.Appendf(nil, `{"total":%d}`, r.IntN(90))
		case 7:
			ev.Name = "Joined"
		default:
			ev.Kind, ev.Traits = events.KindIdentify, fmt.Appendf(nil, `{"email":"%s@example.com","ends":%q}`, ev.UserID, time.UnixMilli(ev.Time+int64(r.IntN(int(day)))).UTC().Format(time.RFC3339))
		}
		came = append(came, ev)
	}
	people := func(w *enginetest.World) { // their ids, and with them the arms of holdouts, come from where they are first named
		w.Together(func() {
			for i := range 9 {
				w.Device(fmt.Sprintf("u%d", i), fmt.Sprintf("token-%d", i), "ios")
			}
		})
	}
	// What escalates goes on, live, when an order or an address comes; of imported history it goes on at the next look.
	without := files()
	delete(without, "rules/escalated.yaml")
	live := enginetest.New(t, without)
	people(live)
	for _, ev := range came {
		live.To(ev.Time - start)
		live.Send(ev)
	}
	live.To(until)

	later := enginetest.New(t, without)
	people(later)
	later.Clock.Set(start + until)
	later.Together(func() {
		for _, ev := range came {
			ev.Flags = events.Imported
			later.Send(ev)
		}
	})
	paths := []string{filepath.Join(t.TempDir(), "rows.ndjson"), filepath.Join(t.TempDir(), "rows.csv"), filepath.Join(t.TempDir(), "rows.parquet")}
	var outs []*backtest.File
	for _, path := range paths {
		f, err := backtest.Create(path)
		require.NoError(t, err)
		outs = append(outs, f)
	}
	was := backtest.NewAudience(nil)
	got, result := replay(t, later, backtest.Options{From: start + 1, To: start + until, Row: func(r *backtest.Row) error {
		for _, f := range outs {
			require.NoError(t, f.Write(r))
		}
		return was.Take(r)
	}})
	require.Equal(t, backtest.Happened, result.Arrivals)

	// Entries are named by positions, which are others; rules with `on` hear at the end of the minute.
	plain := func(lines []string) []string {
		var out []string
		for _, l := range lines {
			l, _, _ = strings.Cut(l, " entered ")
			if strings.Contains(l, " ordered ") || strings.Contains(l, " welcome ") {
				l = l[len("02 15:04:05.000 "):]
				if i := strings.Index(l, " due "); !strings.Contains(l, " due 0 ") {
					l = l[:i]
				}
			}
			out = append(out, l)
		}
		slices.Sort(out)
		return out
	}
	want := plain(decided(t, live, start, start+until))
	require.NotEmpty(t, want)
	require.Equal(t, want, plain(got))
	for _, f := range outs {
		require.NoError(t, f.Close())
	}
	for _, path := range paths {
		require.Equal(t, len(got), rowsIn(t, path), path)
	}

	// Without caps, and with another rule first.
	changed := changedFiles(t)
	later.Write(changed)
	is := backtest.NewAudience(was)
	_, after := replay(t, later, backtest.Options{From: start + 1, To: start + until, Row: is.Take})
	diff := backtest.Compare(result, after, was, is, 2)
	require.NotEmpty(t, diff.Rules)
	for _, d := range diff.Rules {
		require.Equal(t, d.After, d.Before+d.Gained-d.Lost, d.Rule)
		require.Len(t, d.GainedSamples, int(min(2, d.Gained)), d.Rule)
		require.Len(t, d.LostSamples, int(min(2, d.Lost)), d.Rule)
	}
	var page strings.Builder
	require.NoError(t, after.Page(&page))
	for _, rule := range after.Rules {
		require.Contains(t, page.String(), "<h3>"+rule.Rule+"</h3>")
	}
	require.NotContains(t, page.String(), "ZgotmplZ", "nothing that the template takes for dangerous")
}

// changedFiles is the workspace with another cart rule and without caps.
func changedFiles(t *testing.T) map[string]string {
	t.Helper()
	before := files()
	cart := strings.Replace(before["rules/cart.yaml"], "minutes(30)", "minutes(5)", 1)
	require.NotEqual(t, before["rules/cart.yaml"], cart)
	from, to := strings.Index(config, "caps:"), strings.Index(config, "quiet_hours:")
	return map[string]string{"nudge.yaml": config[:from] + config[to:], "rules/cart.yaml": cart}
}

// rowsIn counts the rows of a file.
func rowsIn(t *testing.T, path string) int {
	t.Helper()
	if filepath.Ext(path) == ".parquet" {
		rows, err := parquet.ReadFile[backtest.Row](path)
		require.NoError(t, err)
		return len(rows)
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if filepath.Ext(path) == ".csv" {
		lines = lines[1:]
	}
	return len(lines)
}

// TestNoAddressUntilItExpires has entries that waited for an address, and one that waited for the night to end: the
// backtest and the report say of the first that nobody could be reached, and the ledger both.
func TestNoAddressUntilItExpires(t *testing.T) {
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": strings.Replace(config, "holdout: 5%\n", "", 1),
		"rules/seen.yaml": `rule: seen
on: {event: Seen}
again: each_time
expire: 2h
message: {email: {subject: s, text: b}}
`,
	})
	w.To(minute)
	w.Track("ann", "Seen", nil) // and nobody ever learns her address
	w.Identify("bob", "", map[string]any{"email": "bob@example.com"})
	w.Track("bob", "Seen", nil)
	w.To(12*hour + 30*minute) // half past ten in the evening, in Berlin
	w.Track("bob", "Seen", nil)
	w.To(15 * hour)
	require.Equal(t, []enginetest.Answer{
		{Rule: "seen", User: "ann", Reason: ledger.Expired, By: "no_address"},
		{Rule: "seen", User: "bob", Reason: ledger.Send},
		{Rule: "seen", User: "bob", Reason: ledger.Expired, By: "quiet_hours"},
	}, w.Answers())
	want := map[ledger.Reason]int64{ledger.NoAddress: 1, ledger.Send: 1, ledger.Expired: 1}
	there := func(m map[ledger.Reason]int64) map[ledger.Reason]int64 {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(_ ledger.Reason, n int64) bool { return n == 0 })
		return m
	}
	_, result := replay(t, w, backtest.Options{From: enginetest.Start() + 1, To: enginetest.Start() + 15*hour})
	require.Equal(t, want, there(result.Rules[0].Reasons))
	r, err := report.Run(t.Context(), w.Store.Conn(), w.App.Planner, w.App.Workspace(), report.Query{})
	require.NoError(t, err)
	require.Equal(t, want, there(r.Rows[0].Reasons))
}
