package e2etest_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest/twiliod"
	"nudge/events/clickhouse/clickhousetest"
)

const shippedRule = `
rule: shipped
category: transactional
on: {event: Order Shipped, by: order_id}
again: never
with: {order: trigger.properties.order_id}
message:
  sms: {text: "Order {{ order }} is on its way"}
`

// TestWhoHasAnsweredSTOPIsTextedNoMore goes the whole way: the number is a trait, the provider refuses it because the
// person has opted out, that becomes a consent withdrawn, and the next rule decides by it.
func TestWhoHasAnsweredSTOPIsTextedNoMore(t *testing.T) {
	t.Parallel()
	c := &clock{}
	server, err := twiliod.Start(c.Now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	server.SetNumber("+14155550102", twiliod.Number{Code: 21610})
	p := settle(t, map[string]string{
		"secrets/token": twiliod.Token, "secrets/ca.pem": string(server.CA.PEM), "rules/shipped.yaml": shippedRule,
		"nudge.yaml": fmt.Sprintf("zone: UTC\nchannels:\n  sms: {adapter: twilio, config: {account_sid: %s, auth_token: {file: secrets/token}, from: \"%s\", endpoint: \"%s\", ca: secrets/ca.pem}}\n",
			twiliod.Account, twiliod.Sender, server.Endpoint()),
	})
	p.clock = c
	p.store = clickhousetest.NewUnmigrated(t)
	p.run()

	p.send("identify", map[string]any{"userId": "ann", "traits": map[string]any{"phone": "+1 415 555 0101"}})
	p.send("identify", map[string]any{"userId": "bob", "traits": map[string]any{"phone": "+14155550102"}})
	p.track("ann", "Order Shipped", map[string]any{"order_id": "A1"})
	got := accepted(p, server.Log, 1)[0]
	form, err := url.ParseQuery(string(got.Body))
	require.NoError(t, err)
	require.Equal(t, "+14155550101", form.Get("To"))
	require.Equal(t, "Order A1 is on its way", form.Get("Body"))

	p.track("bob", "Order Shipped", map[string]any{"order_id": "B1"})
	p.becomes("sms false", "SELECT arrayStringConcat(groupArray(concat(channel, ' ', toString(granted))), ', ') FROM consents")
	p.becomes("1", "SELECT count() FROM deliveries WHERE status = 'failed' AND class = 'address'")
	requests := server.Requests()
	p.track("bob", "Order Shipped", map[string]any{"order_id": "B2"})
	p.becomes("ann send, bob no_consent, bob send", "%s", last("shipped"))
	require.Equal(t, requests, server.Requests(), "the provider is not asked again")
}
