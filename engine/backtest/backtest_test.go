package backtest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/backtest"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
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
holdout: 20%
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
	o.Row = func(r *backtest.Row) error {
		due := int64(0)
		if !r.Due.IsZero() {
			due = r.Due.UnixMilli()
		}
		out = append(out, line(r.At.UnixMilli(), r.Rule, r.Version, r.Person, r.UserID, r.Value, r.Entry, r.Attempt, r.Entered.UnixMilli(), r.Reason, r.By, r.Open, due, r.Variant, r.Channels))
		return nil
	}
	result, err := backtest.Run(t.Context(), o)
	require.NoError(t, err)
	slices.Sort(out)
	return out, result
}

// TestItDecidesAsWasDecided lives through random days, and wants a backtest of the same rules over the same time to
// write the very rows that the ledger has: from the first day on, and from the middle.
func TestItDecidesAsWasDecided(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := enginetest.New(t, files())
			w.Sent.Answer = func(m channels.Message, _ int) error {
				if strings.HasPrefix(m.Address.UserID, "u3") { // whose cap gets its room back
					return &channels.DeliveryError{Class: channels.ClassMessage, Code: "no", Err: errors.New("not this one")}
				}
				return nil
			}
			const until = day + 12*hour
			play(w, seed, until)
			from, to := enginetest.Start(), enginetest.Start()+until
			reasons := map[string]int{}
			for _, from := range []int64{from, from + 11*hour + 17*minute} {
				want := decided(t, w, from, to)
				got, result := replay(t, w, backtest.Options{From: from, To: to})
				require.Equal(t, backtest.Recorded, result.Arrivals)
				require.NotEmpty(t, want)
				require.Equal(t, want, got)
				for _, r := range result.Rules {
					for reason, n := range r.Reasons {
						reasons[string(reason)] += int(n)
					}
				}
			}
			t.Log(reasons)
			for _, reason := range []ledger.Reason{ledger.Send, ledger.Holdout, ledger.FrequencyCap, ledger.Exited, ledger.NoConsent} {
				require.NotZero(t, reasons[string(reason)], "of %s nothing is shown", reason)
			}
		})
	}
}
