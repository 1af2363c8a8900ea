package e2etest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/fcmd"
	"nudge/channels/channeltest/hookd"
	"nudge/channels/channeltest/provider"
	"nudge/engine/report"
	"nudge/events/clickhouse/clickhousetest"
)

const parcelRule = `
rule: parcel
category: transactional
priority: 100
on: {event: Parcel Delivered, by: parcel_id}
again: never
goal: {event: Order Completed, within: 3d, value: properties.revenue}
with: {parcel: trigger.properties.parcel_id, city: trigger.properties.address.city}
message:
  push:
    title: "Parcel {{ parcel }} is there"
    body: "Hello {{ user.traits.first_name | default: 'you' }}, it is in {{ city }}."
    link: https://shop.example/parcels/{{ parcel }}
    ttl: 4h
    actions: [{id: track, title: Track it, link: "https://shop.example/track?id={{ parcel }}"}]
`

const followRule = `
rule: thanks
category: transactional
on: {event: Message Opened, where: 'properties.rule == "parcel"'}
when: message("parcel").opened.count == 1
again: never
message:
  hook: {text: "{{ user.id }} has opened", url: "https://shop.example/thanks?u={{ user.id }}"}
`

// pushes are the push services of a test, and an endpoint for webhooks.
type pushes struct {
	apns *apnsd.Server
	fcm  *fcmd.Server
	hook *hookd.Server
}

func serveProviders(t *testing.T, c *clock) (pushes, map[string]string) {
	t.Helper()
	var s pushes
	var err error
	s.apns, err = apnsd.Start(apnsd.Config{Topics: []string{"example.shop"}, Now: c.Now})
	require.NoError(t, err)
	t.Cleanup(s.apns.Close)
	s.fcm, err = fcmd.Start(fcmd.Config{Now: c.Now})
	require.NoError(t, err)
	t.Cleanup(s.fcm.Close)
	s.hook, err = hookd.Start(hookd.Config{Now: c.Now})
	require.NoError(t, err)
	t.Cleanup(s.hook.Close)
	files := map[string]string{
		"secrets/apns.p8": string(s.apns.KeyPEM), "secrets/apns-ca.pem": string(s.apns.CA.PEM), "secrets/fcm.json": string(s.fcm.Credentials),
		"secrets/fcm-ca.pem": string(s.fcm.CA.PEM), "secrets/hook-ca.pem": string(s.hook.CA.PEM),
		"nudge.yaml": fmt.Sprintf(`
zone: UTC
channels:
  push:
    - adapter: apns
      config: {topic: example.shop, key: {file: secrets/apns.p8}, key_id: %s, team_id: %s, host: "%s", ca: secrets/apns-ca.pem}
    - adapter: fcm
      config: {credentials: {file: secrets/fcm.json}, endpoint: "%s", token_url: "%s", ca: secrets/fcm-ca.pem}
  hook: {adapter: webhook, config: {url: "%s", ca: secrets/hook-ca.pem}}
`, s.apns.KeyID, s.apns.TeamID, s.apns.Host(), s.fcm.Endpoint(), s.fcm.TokenURL(), s.hook.URL()),
	}
	return s, files
}

// accepted waits until a provider has taken n messages and returns them.
func accepted(p *place, log *provider.Log, n int) []provider.Received {
	p.t.Helper()
	p.eventually(func() bool { return log.Accepted() >= int64(n) }, "%d messages are accepted", n)
	var out []provider.Received
	for _, r := range log.Received() {
		if r.Accepted {
			out = append(out, r)
		}
	}
	require.Len(p.t, out, n)
	return out
}

var (
	iosToken     = strings.Repeat("a1", 32)
	androidToken = "fcm-token:" + strings.Repeat("x", 40)
)

// TestAParcelReachesPhonesAndIsFollowed goes the whole way: devices by context and by PUT, an event,
// a rule, APNs and FCM, opens and clicks, a rule about them, and the report.
func TestAParcelReachesPhonesAndIsFollowed(t *testing.T) {
	t.Parallel()
	c := &clock{}
	s, files := serveProviders(t, c)
	files["rules/parcel.yaml"], files["rules/thanks.yaml"] = parcelRule, followRule
	p := settle(t, files)
	p.clock = c
	p.store = clickhousetest.NewUnmigrated(t)
	p.run()

	p.send("identify", map[string]any{"userId": "ann", "traits": map[string]any{"first_name": "Ann"}, "context": map[string]any{
		"device": map[string]any{"token": iosToken, "type": "ios"}, "app": map[string]any{"namespace": "example.shop"},
	}})
	p.ok(http.MethodPut, "/v1/users/bob/devices/"+url.PathEscape(androidToken), publicKey, `{"platform": "android", "app": "example.shop"}`)
	p.track("ann", "Parcel Delivered", map[string]any{"parcel_id": "P1", "address": map[string]any{"city": "Köln"}})
	p.track("bob", "Parcel Delivered", map[string]any{"parcel_id": "P2", "address": map[string]any{"city": "Bonn"}})

	apple := accepted(p, s.apns.Log, 1)[0]
	require.Equal(t, iosToken, apple.Address)
	var push struct {
		APS struct {
			Alert struct{ Title, Body string } `json:"alert"`
		} `json:"aps"`
		Nudge struct {
			ID      string                      `json:"id"`
			Link    string                      `json:"link"`
			Actions []struct{ ID, Link string } `json:"actions"`
		} `json:"nudge"`
	}
	require.NoError(t, json.Unmarshal(apple.Body, &push))
	require.Equal(t, "Parcel P1 is there", push.APS.Alert.Title)
	require.Equal(t, "Hello Ann, it is in Köln.", push.APS.Alert.Body)
	require.Equal(t, "10", apple.Header.Get("Apns-Priority"), "transactional goes at once")
	require.NotEmpty(t, apple.Header.Get("Apns-Expiration"))
	require.True(t, strings.HasPrefix(push.Nudge.Link, "http://"+p.addr+"/c/"), push.Nudge.Link)
	require.Len(t, push.Nudge.Actions, 1)

	google := accepted(p, s.fcm.Log, 1)[0]
	var sent struct {
		Message struct {
			Token        string
			Notification struct{ Title, Body string }
			Data         map[string]string
		}
	}
	require.NoError(t, json.Unmarshal(google.Body, &sent))
	require.Equal(t, androidToken, sent.Message.Token)
	require.Equal(t, "Parcel P2 is there", sent.Message.Notification.Title)
	require.Equal(t, "Hello you, it is in Bonn.", sent.Message.Notification.Body)

	// A machine opens within a moment; it is told apart.
	p.clock.jump(2 * time.Second)
	opened := "/v1/messages/" + push.Nudge.ID + "/opened"
	p.ok(http.MethodPost, opened, "", "")
	p.ok(http.MethodPost, opened, "", "") // an app that reports again
	require.Equal(t, http.StatusNotFound, p.call(http.MethodPost, "/v1/messages/"+push.Nudge.ID[:20]+"/opened", "", "").status)
	click := p.call(http.MethodGet, push.Nudge.Link, "", "")
	require.Equal(t, http.StatusFound, click.status)
	require.Equal(t, "https://shop.example/parcels/P1", click.header.Get("Location"))
	click = p.call(http.MethodGet, push.Nudge.Actions[0].Link, "", "")
	require.Equal(t, "https://shop.example/track?id=P1", click.header.Get("Location"))
	forged := strings.Replace(push.Nudge.Link, "shop.example", "evil.example", 1)
	require.Equal(t, http.StatusNotFound, p.call(http.MethodGet, forged, "", "").status, "the target is signed")
	p.track("ann", "Order Completed", map[string]any{"revenue": 19.99})

	// Message events are the engine's alone.
	refused := p.call(http.MethodPost, "/v1/track", publicKey, `{"userId": "bob", "event": "Message Opened", "properties": {"rule": "parcel"}}`)
	require.Equal(t, http.StatusBadRequest, refused.status)
	require.Contains(t, refused.body, "Message")

	thanks := accepted(p, s.hook.Log, 1)[0]
	require.Contains(t, string(thanks.Body), "ann has opened")
	p.becomes("2 1 1 2", "SELECT concat(toString(countIf(event = 'Message Sent' AND strs['rule'] = 'parcel')), ' ', toString(countIf(event = 'Message Sent' AND strs['rule'] = 'thanks')), ' ', "+
		"toString(countIf(event = 'Message Opened')), ' ', toString(countIf(event = 'Message Clicked'))) FROM events WHERE kind = 7")
	p.becomes("Parcel P1 is there", "SELECT strs['text.title'] FROM events WHERE event = 'Message Sent' AND user_id = 'ann' AND strs['rule'] = 'parcel'")
	p.becomes("1", "SELECT count() FROM events WHERE event = 'Order Completed'")
	p.becomes("ann send", "%s", last("thanks"))
	// The ledger has deliveries a moment after the decisions.
	const ended = "SELECT uniqExact(entry) FROM deliveries WHERE rule = 'parcel' AND status = '%s'"
	p.becomes("2", ended, "accepted")
	row := p.report("parcel")
	require.Equal(t, report.Row{
		Rule: "parcel", Matched: 2, Reasons: row.Reasons, Sent: 2, Opened: 1, Clicked: 1, Converted: 1, Revenue: 19.99,
	}, row)
	require.EqualValues(t, 2, row.Reasons["send"])

	// The phone is gone: Apple says 410, and the token is retired.
	s.apns.SetDevice(iosToken, apnsd.Device{Unregistered: true})
	p.track("ann", "Parcel Delivered", map[string]any{"parcel_id": "P3", "address": map[string]any{"city": "Ulm"}})
	p.becomes("dead", "SELECT reason FROM devices WHERE token = '%s' AND removed", iosToken)
	p.becomes("1", "SELECT count() FROM events WHERE event = 'Message Failed' AND user_id = 'ann'")
	p.track("ann", "Parcel Delivered", map[string]any{"parcel_id": "P4", "address": map[string]any{"city": "Ulm"}})
	p.becomes("ann no_address, ann send, ann send, bob send", "%s", last("parcel"))
	require.EqualValues(t, 2, s.apns.Requests(), "a retired token is not tried again")
	p.becomes("1", ended, "failed")
	require.EqualValues(t, 1, p.report("parcel").Failed)

	// A new token makes the entry that waits for one due.
	fresh := strings.Repeat("b2", 32)
	p.ok(http.MethodPut, "/v1/users/ann/devices/"+fresh, publicKey, `{"platform": "ios"}`)
	require.Equal(t, fresh, accepted(p, s.apns.Log, 2)[1].Address)

	// Whoever knows the token may remove it.
	p.ok(http.MethodDelete, "/v1/users/ann/devices/"+fresh, publicKey, "")
	p.becomes("0", "SELECT count() FROM devices_current WHERE token = '%s'", fresh)
}
