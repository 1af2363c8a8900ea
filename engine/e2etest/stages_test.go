package e2etest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/engine/ledger"
	"nudge/events"
)

// TestSocialProof: how many others looked, over all people, the reader too; below the minimum it is
// missing.
func TestSocialProof(t *testing.T) {
	t.Parallel()
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": "zone: UTC\neveryone_min: 3\nchannels: {log: {adapter: stdout}}\n",
		"rules/looked.yaml": `
rule: looked
schedule: "*/10 * * * *"
for_each: event("Product Viewed").by("sku")
when: it.last.ago >= minutes(30)
again: never
with:
  sku: it.value
  others: everyone.event("Product Viewed", 'properties.sku == $it.value').within(days(1)).people
message: {log: {title: "{{ sku }}{% if others %} {{ others }}{% else %} few{% endif %}"}}
`,
	})
	w.To(enginetest.Minute)
	for _, u := range []string{"ann", "bob", "cyd"} {
		w.Track(u, "Product Viewed", map[string]any{"sku": "tea"})
		w.Track(u, "Product Viewed", map[string]any{"sku": "tea"})
	}
	w.Track("ann", "Product Viewed", map[string]any{"sku": "pot"})
	w.To(enginetest.Hour)
	got := w.Accepted()
	slices.Sort(got)
	require.Equal(t, []string{"ann: pot few", "ann: tea 3", "bob: tea 3", "cyd: tea 3"}, got)
}

// TestHoldoutAndVariants: the share of people kept apart gets nothing and has its answer; the others
// get one variant each, the same one again.
func TestHoldoutAndVariants(t *testing.T) {
	t.Parallel()
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": "zone: UTC\nsalt: e2e\nchannels: {log: {adapter: stdout}}\n",
		"rules/offer.yaml": `
rule: offer
on: {event: Offered}
again: each_time
holdout: 30%
message: {log: {title: plain}}
variants:
  plain: {weight: 1}
  loud: {weight: 3, message: {log: {title: LOUD}}}
`,
	})
	const people = 400
	for range 2 {
		w.To(w.Clock.Now().UnixMilli() - enginetest.Start() + enginetest.Hour)
		var evs []events.Event
		now := w.Clock.Now().UnixMilli()
		for i := range people {
			evs = append(evs, events.Event{
				Kind: events.KindTrack, Name: "Offered", UserID: fmt.Sprintf("u%d", i), MessageID: fmt.Sprintf("%d/%d", now, i),
				Source: "web", Time: now, ReceivedAt: now, Raw: []byte("{}"),
			})
		}
		require.NoError(t, w.Feed(t.Context(), evs))
	}
	reasons, titles := map[ledger.Reason]int{}, map[string]int{}
	for _, a := range w.Answers() {
		reasons[a.Reason]++
	}
	variant := map[string]string{}
	for _, m := range w.Accepted() {
		user, title, _ := strings.Cut(m, ": ")
		titles[title]++
		if was := variant[user]; was != "" {
			require.Equal(t, was, title, "%s is in one arm", user)
		}
		variant[user] = title
	}
	require.Equal(t, 2*people, reasons[ledger.Send]+reasons[ledger.Holdout])
	require.InDelta(t, 0.30, float64(reasons[ledger.Holdout])/(2*people), 0.06)
	require.InDelta(t, 0.75, float64(titles["LOUD"])/float64(titles["LOUD"]+titles["plain"]), 0.08)
	require.Len(t, variant, reasons[ledger.Send]/2, "who is held out is held out again")
}

// TestQuietHoursInThePersonsZone: at nine in the evening in London it is the afternoon in New York.
func TestQuietHoursInThePersonsZone(t *testing.T) {
	t.Parallel()
	w := enginetest.New(t, map[string]string{
		"nudge.yaml": "zone: UTC\nchannels: {log: {adapter: stdout}}\nquiet_hours: [{from: \"21:00\", to: \"08:00\", zone: person}]\n",
		"rules/news.yaml": `
rule: news
on: {event: Asked}
again: each_time
exit: {event: Bought}
message: {log: {title: News}}
`,
		"rules/urgent.yaml": `
rule: urgent
category: transactional
on: {event: Asked}
again: each_time
message: {log: {title: Urgent}}
`,
	})
	ask := func(user, zone string) {
		ev := events.Event{Kind: events.KindTrack, Name: "Asked", UserID: user}
		if zone != "" {
			ev.Context = []byte(fmt.Sprintf(`{"timezone":%q}`, zone))
		}
		w.Send(ev)
	}
	w.To(13 * enginetest.Hour) // Monday 22:00 UTC
	ask("london", "Europe/London")
	ask("boston", "America/New_York")
	ask("nobody", "")
	ask("buyer", "")
	require.Equal(t, []string{"london: Urgent", "boston: News", "boston: Urgent", "nobody: Urgent", "buyer: Urgent"}, sortWithin(w.Accepted()))
	w.To(14 * enginetest.Hour)
	w.Track("buyer", "Bought", nil)
	w.To(23*enginetest.Hour - 1)
	require.Len(t, w.Accepted(), 5, "it is not yet eight")
	w.To(23 * enginetest.Hour)
	got := w.Accepted()[5:]
	slices.Sort(got)
	require.Equal(t, []string{"london: News", "nobody: News"}, got)
	for _, a := range w.Answers() {
		if a.User == "buyer" && a.Rule == "news" {
			require.Equal(t, ledger.Exited, a.Reason)
		}
	}
}

// sortWithin sorts runs of messages to the same person: two rules that answer one event.
func sortWithin(list []string) []string {
	slices.SortStableFunc(list, func(a, b string) int {
		ua, _, _ := strings.Cut(a, ":")
		ub, _, _ := strings.Cut(b, ":")
		if ua != ub {
			return 0
		}
		return strings.Compare(a, b)
	})
	return list
}

// TestAnUnknownZoneHolds: who has no zone waits for one, and what brings it releases them.
func TestAnUnknownZoneHolds(t *testing.T) {
	t.Parallel()
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":      "zone: UTC\nunknown_zone: hold\nchannels: {log: {adapter: stdout}}\nquiet_hours: [{from: \"21:00\", to: \"08:00\", zone: person}]\n",
		"rules/news.yaml": "rule: news\non: {event: Asked}\nagain: each_time\nmessage: {log: {title: News}}\n",
	})
	w.To(enginetest.Hour)
	w.Track("ann", "Asked", nil)
	w.To(2 * enginetest.Hour)
	require.Empty(t, w.Accepted())
	w.Send(events.Event{Kind: events.KindTrack, Name: "App Opened", UserID: "ann", Context: []byte(`{"timezone":"Europe/Berlin"}`)})
	w.To(2*enginetest.Hour + enginetest.Minute)
	require.Equal(t, []string{"ann: News"}, w.Accepted())
}

// TestSendAtIsKeptByWhoWaitedForConsent: the time of day holds for entries that were blocked before it.
func TestSendAtIsKeptByWhoWaitedForConsent(t *testing.T) {
	t.Parallel()
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":      "zone: UTC\ncategories: {news: {consent: opt_in}}\nchannels: {log: {adapter: stdout}}\n",
		"rules/news.yaml": "rule: news\ncategory: news\non: {event: Asked}\nagain: each_time\nsend_at: \"18:00\"\nmessage: {log: {title: News}}\n",
	})
	w.To(enginetest.Hour) // 10:00
	w.Track("ann", "Asked", nil)
	w.To(2 * enginetest.Hour)
	w.Consent("ann", "", "", true)
	w.To(9*enginetest.Hour - 1)
	require.Empty(t, w.Accepted(), "it is not yet six")
	w.To(9 * enginetest.Hour)
	require.Equal(t, []string{"ann: News"}, w.Accepted())
}

// TestAChangedConditionNotesWhoIsNewlyTrue: also those who had been in the rule before.
func TestAChangedConditionNotesWhoIsNewlyTrue(t *testing.T) {
	t.Parallel()
	rule := func(n int) string {
		return fmt.Sprintf("rule: r\nschedule: \"*/5 * * * *\"\nwhen: event(\"Bought\").within(hours(2)).count >= %d\nagain: each_time\nmessage: {log: {title: Hi}}\n", n)
	}
	w := enginetest.New(t, map[string]string{"nudge.yaml": "zone: UTC\nchannels: {log: {adapter: stdout}}\n", "rules/r.yaml": rule(2)})
	w.To(10 * enginetest.Minute)
	for range 2 {
		w.Track("ann", "Bought", nil)
	}
	w.To(20 * enginetest.Minute)
	require.Equal(t, []string{"ann: Hi"}, w.Accepted())
	w.To(4 * enginetest.Hour) // false again
	w.Track("ann", "Bought", nil)
	w.Track("bob", "Bought", nil)
	w.To(4*enginetest.Hour + 10*enginetest.Minute)
	w.Write(map[string]string{"rules/r.yaml": rule(1)})
	w.Reload()
	w.To(4*enginetest.Hour + 20*enginetest.Minute)
	require.Equal(t, []string{"ann: Hi"}, w.Accepted(), "newly true under the new condition: noted")
	w.To(8 * enginetest.Hour)
	w.Track("ann", "Bought", nil)
	w.To(8*enginetest.Hour + 10*enginetest.Minute)
	require.Equal(t, []string{"ann: Hi", "ann: Hi"}, w.Accepted(), "false in between, and true once more")
}

// TestLeavingShadowMessagesNobodyAtOnce: who was true all along is noted, as when a rule goes live.
func TestLeavingShadowMessagesNobodyAtOnce(t *testing.T) {
	t.Parallel()
	rule := func(shadow bool) string {
		return fmt.Sprintf("rule: r\nschedule: \"*/5 * * * *\"\nwhen: event(\"Bought\").count > 0\nagain: never\nshadow: %v\nmessage: {log: {title: Hi}}\n", shadow)
	}
	w := enginetest.New(t, map[string]string{"nudge.yaml": "zone: UTC\nchannels: {log: {adapter: stdout}}\n", "rules/r.yaml": rule(true)})
	w.To(10 * enginetest.Minute)
	w.Track("ann", "Bought", nil)
	w.To(20 * enginetest.Minute)
	require.Equal(t, []enginetest.Answer{{Rule: "r", User: "ann", Reason: ledger.Shadow}}, w.Answers())
	w.Write(map[string]string{"rules/r.yaml": rule(false)})
	w.Reload()
	w.To(30 * enginetest.Minute)
	w.Track("bob", "Bought", nil)
	w.To(40 * enginetest.Minute)
	require.Equal(t, []string{"bob: Hi"}, w.Accepted())
	require.Contains(t, w.Answers(), enginetest.Answer{Rule: "r", User: "ann", Reason: ledger.AlreadyTrue})
}
