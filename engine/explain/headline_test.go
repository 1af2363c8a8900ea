package explain_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/engine/explain"
)

// shop is a workspace with a rule for each thing that may stand in the way of a message. Nobody lives by a clock of their
// own, and it is nine in the morning of a Monday at first.
func shop(t *testing.T) *enginetest.World {
	t.Helper()
	return enginetest.New(t, map[string]string{
		"nudge.yaml": `zone: Europe/Berlin
salt: headline
categories: {news: {consent: opt_in}}
channels: {push: {adapter: file, kind: push, config: {path: data/push.ndjson}}}
quiet_hours: {from: "21:00", to: "08:00", zone: workspace}
`,
		"events.yaml": `undeclared_events: flag
events:
  Product Viewed: {properties: {category: string, price: decimal}}
  Order Completed: {properties: {revenue: decimal}}
traits: {plan: string}
`,
		"segments/vip.yaml": "segment: vip\nwhen: event(\"Order Completed\").sum(\"revenue\") >= 100\n",
		"fences/shops.geojson": `{"type": "FeatureCollection", "features": [
  {"type": "Feature", "id": "one", "geometry": {"type": "Point", "coordinates": [13.4, 52.5]}}]}`,
		"rules/views.yaml":    rule("views", `when: event("Product Viewed", 'properties.category == "shoes"').within(days(2)).count >= 3`),
		"rules/plan.yaml":     rule("plan", `when: user.traits.plan == "pro" and did("Product Viewed")`),
		"rules/vip.yaml":      rule("vip", `when: segment("vip")`),
		"rules/near.yaml":     rule("near", `when: near("shops/*", meters(500))`),
		"rules/holdout.yaml":  rule("holdout", `when: did("Product Viewed")`, "holdout: 99%"),
		"rules/rollout.yaml":  rule("rollout", `when: did("Product Viewed")`, "rollout: 1%"),
		"rules/news.yaml":     rule("news", `when: did("Product Viewed")`, "category: news"),
		"rules/send-at.yaml":  rule("send-at", `when: did("Product Viewed")`, `send_at: "14:30"`),
		"rules/evening.yaml":  rule("evening", `when: local.hour >= 22`),
		"rules/trial.yaml":    rule("trial", `when: event("Trial Started").last.ago >= days(14)`),
		"rules/each.yaml":     rule("each", `for_each: event("Product Added").by("cart")`, `when: it.last.ago >= hours(1)`),
		"rules/ended.yaml":    rule("ended", `when: did("Product Viewed")`, "end: 2026-01-01"),
		"rules/shadow.yaml":   rule("shadow", `when: did("Product Viewed")`, "shadow: true"),
		"rules/quarter.yaml":  strings.Replace(rule("quarter", `when: event("Product Viewed").last.ago >= minutes(30) and event("Product Viewed").last.ago < minutes(40)`), "*/5 * * * *", "0 15 * * *", 1),
		"rules/either.yaml":   rule("either", `when: did("Order Completed") or event("Product Viewed").count >= 5`),
		"rules/opened.yaml":   rule("opened", `when: message("views").opened.count >= 1`),
		"rules/never.yaml":    rule("never", `when: not did("Product Viewed")`),
		"rules/bare.yaml":     rule("bare", `when: did("Product Viewed")`),
		"rules/known.yaml":    rule("known", `when: has(user.id)`),
		"rules/newcomer.yaml": rule("newcomer", `when: user.traits.name matches "^[A-Z]{3}x{40}$" and has(user.id)`),
	})
}

func rule(name string, lines ...string) string {
	return "rule: " + name + "\nschedule: \"*/5 * * * *\"\nagain: never\n" + strings.Join(lines, "\n") + "\nmessage: {push: {title: Hello, body: Hello}}\n"
}

// What is told first of a rule that is not live: nothing has been decided, so the headline is what would come.
func TestHeadlines(t *testing.T) {
	w := shop(t)
	w.To(5 * minute)
	w.Device("ann", "token-of-ann", "ios")
	for range 2 {
		w.Track("ann", "Product Viewed", map[string]any{"category": "shoes", "price": 20})
	}
	w.Track("ann", "Trial Started", nil)
	w.Track("ann", "Order Completed", map[string]any{"revenue": 40})
	w.Identify("", "browser-1", nil)
	w.Track("bob", "Product Viewed", map[string]any{"category": "hats"})
	require.NoError(t, w.Flush(t.Context()))
	ws := w.Load()
	// The rules are looked at as they are in the files, and nothing of theirs has been decided.
	tell := func(person string, at int64, names ...string) map[string]explain.Rule {
		o := explain.Options{Conn: w.Store.Conn(), Database: w.Store.Database(), Workspace: ws, Person: person, At: enginetest.Start() + at}
		for _, name := range names {
			for _, r := range ws.Rules {
				if r.Name == name {
					o.Rules = append(o.Rules, r)
				}
			}
		}
		require.Len(t, o.Rules, len(names))
		e, err := explain.Explain(t.Context(), o)
		require.NoError(t, err)
		out := map[string]explain.Rule{}
		for _, r := range e.Rules {
			out[r.Rule] = r
		}
		return out
	}
	var names []string
	for _, r := range ws.Rules {
		names = append(names, r.Name)
	}
	ann, bob := tell("ann", 6*minute, names...), tell("bob", 6*minute, names...)
	nameless := tell("browser-1", 6*minute, "known")
	night := tell("ann", 13*hour, names...)
	for _, c := range []struct {
		name string
		of   explain.Rule
		want string
	}{
		{"one more, of a filter", ann["views"], `ann does not match views: needs one more Product Viewed with category "shoes"; nothing else stands in the way.`},
		{"several", bob["views"], `bob does not match views: needs 3 × Product Viewed with category "shoes"; no address: push needs a device.`},
		{"a trait that is not set", ann["plan"], `ann does not match plan: the trait plan is not set; it would have to be "pro"; nothing else stands in the way.`},
		{"a segment", ann["vip"], `ann does not match vip: needs one more Order Completed with revenue 60, say (for segment("vip")); nothing else stands in the way.`},
		{"a user id", nameless["known"], `browser-1 does not match known: they would have to be known by a user id; no address: push needs a device.`},
		{"a place", ann["near"], `ann does not match near: they would have to be within 500 m of shops/*; no usable location is known; nothing else stands in the way.`},
		{"a holdout", ann["holdout"], `ann matches holdout; the look is at 10:10; they are in the rule's holdout of 99 %.`},
		{"a rollout", ann["rollout"], `ann matches rollout; the look is at 10:10; they are outside the rollout of 1 %.`},
		{"a consent", ann["news"], `ann matches news; the look is at 10:10; no consent for news messages by push.`},
		{"no address though it matches", bob["bare"], `bob matches bare; the look is at 10:10; no address: push needs a device.`},
		{"a time of day to send", ann["send-at"], `ann matches send-at; the look is at 10:10; the message would wait until 14:30 Europe/Berlin (send_at).`},
		{"the hour, and then quiet hours", ann["evening"], `ann does not match evening: would match from 22:00 on (in 11 h 54 min); the look is at 22:00; quiet hours until Mar 3, 08:00 Europe/Berlin, when it no longer matches.`},
		{"an age", ann["trial"], `ann does not match trial: would match from Mar 16, 10:05 on (in 13 d 23 h), when the Trial Started of 10:05 is 14 d old; the look is at Mar 16, 10:05; the message would go then.`},
		{"nothing of for_each", ann["each"], `ann does not match each: needs a Product Added with a cart.`},
		{"a rule that has ended", ann["ended"], `ann matches ended; the rule does not look any more.`},
		{"shadow", ann["shadow"], `ann matches shadow; the look is at 10:10; the rule is in shadow: it decides and sends nothing.`},
		{"no look in the time", ann["quarter"], `ann does not match quarter: would match from 10:35 on (in 29 min), when the Product Viewed of 10:05 is 30 min old; at the next look, at 15:00, it no longer matches.`},
		{"the cheaper side of an or", bob["either"], `bob does not match either: needs an Order Completed; no address: push needs a device.`},
		{"an opening", ann["opened"], `ann does not match opened: needs an opened message of views; nothing else stands in the way.`},
		{"what stands in the way for ever", ann["never"], `ann does not match never: 2 × Product Viewed stand in the way, the last of 10:05; nothing else stands in the way.`},
		{"nothing found", ann["newcomer"], `ann does not match newcomer: user.traits.name is missing, and no small change was found that would do.`},
		{"at night it waits", night["either"], `ann matches either; the look is at 23:00; the message would wait until Mar 3, 08:00 Europe/Berlin (quiet hours).`},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, c.of.Headline)
		})
	}
}
