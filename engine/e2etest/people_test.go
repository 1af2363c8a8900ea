package e2etest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest"
)

const welcomeRule = `
rule: offer
category: newsletter
on: {event: Signed Up}
again: each_time
message:
  log: {title: "An offer for {{ user.traits.first_name | default: 'you' }}"}
`

// TestConsentAndErasing: consents come from a server, stop and release messages; erasing leaves
// counts without the person, and the past does not come back.
func TestConsentAndErasing(t *testing.T) {
	t.Parallel()
	sent := &channeltest.Recorder{}
	p := start(t, map[string]string{
		"nudge.yaml":       "categories: {newsletter: {consent: opt_in}}\nchannels: {log: {adapter: stdout}}\n",
		"rules/offer.yaml": welcomeRule,
	}, sent)
	p.send("identify", map[string]any{"userId": "ann", "anonymousId": "web-ann", "traits": map[string]any{"first_name": "Ann"}})
	p.ok(http.MethodPut, "/v1/users/ann/devices/tok", publicKey, `{"platform": "ios"}`)
	p.track("ann", "Signed Up", nil)
	p.becomes("ann no_consent", "%s", last("offer"))

	consent := `{"channel": "log", "category": "newsletter", "granted": true}`
	refused := p.call(http.MethodPut, "/v1/users/ann/consents", publicKey, consent)
	require.Equal(t, http.StatusForbidden, refused.status)
	require.Contains(t, refused.body, "secret key")
	require.Equal(t, http.StatusUnauthorized, p.call(http.MethodPut, "/v1/users/ann/consents", "nobody's", consent).status)
	require.Equal(t, http.StatusForbidden, p.call(http.MethodDelete, "/v1/users/ann", publicKey, "").status)

	p.ok(http.MethodPut, "/v1/users/ann/consents", secretKey, consent)
	p.eventually(func() bool { return len(sent.Accepted()) == 1 }, "the consent releases what waited for it")
	require.Equal(t, []string{"ann: An offer for Ann"}, sentTo(sent))
	p.becomes("ann send", "%s", last("offer"))
	p.ok(http.MethodPut, "/v1/users/ann/consents", secretKey, `{"granted": false}`)
	p.track("ann", "Signed Up", map[string]any{"again": true})
	p.becomes("ann no_consent, ann send", "%s", last("offer"))
	require.Len(t, sent.Accepted(), 1)

	// Everything about her goes; that something was sent stays.
	p.becomes("1", "SELECT count() FROM deliveries WHERE status = 'accepted' AND position(text, 'Ann') > 0")
	person := p.one("SELECT person FROM people WHERE user_id = 'ann'")
	p.ok(http.MethodDelete, "/v1/users/ann", secretKey, "")
	for _, table := range []string{"events", "traits", "devices", "consents", "identities"} {
		p.becomes("0", "SELECT count() FROM %s WHERE person = %s", table, person)
	}
	p.becomes("1", "SELECT count() FROM erasures WHERE done_at > toDateTime64(0, 3)")
	p.becomes("0", "SELECT count() FROM decisions WHERE user_id != '' OR position(profile, 'Ann') > 0 OR position(profile, 'ann') > 0")
	p.becomes("0", "SELECT count() FROM deliveries WHERE position(text, 'Ann') > 0")
	p.becomes("0", "SELECT count() FROM events WHERE position(raw, 'ann') > 0")
	require.EqualValues(t, 1, p.report("offer").Sent, "as a count it stays")

	// A phone that was offline sends what it had kept: of before the erasure, it is dropped.
	p.send("track", map[string]any{"userId": "ann", "event": "Product Viewed", "timestamp": "2025-01-01T00:00:00Z"})
	p.send("track", map[string]any{"anonymousId": "web-ann", "event": "Product Viewed", "timestamp": "2025-01-01T00:00:00Z"})
	p.track("bob", "Product Viewed", nil)
	p.becomes("bob", "SELECT arrayStringConcat(groupArray(user_id)) FROM events WHERE event = 'Product Viewed'")
	p.becomes("0", "SELECT count() FROM people WHERE user_id = 'ann' OR anonymous_id = 'web-ann'")
}

// TestAMergeUnitesHistoriesAndCaps: what somebody did before they said who they are counts, for
// conditions and for caps.
func TestAMergeUnitesHistoriesAndCaps(t *testing.T) {
	t.Parallel()
	sent := &channeltest.Recorder{}
	p := start(t, map[string]string{
		"nudge.yaml": `
channels: {log: {adapter: stdout}}
caps: [{name: one-a-day, max: 1, per: 24h, scope: all, at_cap: drop}]
`,
		"rules/both.yaml": `
rule: both
on: {event: Cart Opened}
when: event("Product Added").uniq("sku") == 2
again: each_time
with: {skus: 'event("Product Added").uniq("sku")'}
message: {log: {title: "{{ skus }} in your cart"}}
`,
		"rules/hello.yaml": `
rule: hello
on: {event: Site Entered}
again: each_time
message: {log: {title: Hello}}
`,
	}, sent)
	web := func(event string, properties map[string]any) {
		p.send("track", map[string]any{"anonymousId": "browser-7", "event": event, "properties": properties})
	}
	// On the web, unknown: a message, which fills the cap of a day.
	web("Site Entered", nil)
	p.eventually(func() bool { return len(sent.Accepted()) == 1 }, "the visitor is greeted")
	web("Product Added", map[string]any{"sku": "tea"})
	// On the phone, known.
	p.track("ann", "Product Added", map[string]any{"sku": "pot"})
	p.track("ann", "Cart Opened", nil)
	p.becomes("3", "SELECT count() FROM events WHERE event IN ('Product Added', 'Cart Opened')")
	require.Empty(t, p.rows("SELECT reason FROM decisions WHERE rule = 'both'"), "neither alone has two")

	p.send("identify", map[string]any{"userId": "ann", "anonymousId": "browser-7"})
	p.track("ann", "Cart Opened", nil)
	p.becomes("ann frequency_cap one-a-day", "%s", last("both"))
	p.becomes("1", "SELECT uniqExact(if(m.winner = 0, e.person, m.winner)) FROM events AS e LEFT JOIN person_map AS m ON m.loser = e.person WHERE kind = 1")
	p.becomes("ann/browser-7", "SELECT concat(user_id, '/', anonymous_id) FROM people")
	require.Len(t, sent.Accepted(), 1)

	p.clock.jump(25 * 3600e9)
	p.track("ann", "Cart Opened", nil)
	p.eventually(func() bool { return len(sent.Accepted()) == 2 }, "the cap frees after a day")
	require.Equal(t, "ann: 2 in your cart", sentTo(sent)[1])
}
