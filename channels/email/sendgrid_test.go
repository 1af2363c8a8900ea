package email_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strconv"
	"testing"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

// What SendGrid's own libraries are tested with.
const (
	vectorKey       = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
	vectorSignature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
	vectorStamp     = "1600112502"
	vectorBody      = `[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",` +
		`"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",` +
		`"timestamp":1600112492}]` + "\r\n"
)

const stampHeader, signatureHeader = "X-Twilio-Email-Event-Webhook-Timestamp", "X-Twilio-Email-Event-Webhook-Signature"

func TestSendGridSignature(t *testing.T) {
	for _, c := range []struct {
		name                   string
		stamp, signature, body string
		after                  time.Duration
		want                   string
	}{
		{"theirs", vectorStamp, vectorSignature, vectorBody, 0, ""},
		{"a quarter of an hour later", vectorStamp, vectorSignature, vectorBody, 15 * time.Minute, ""},
		{"and a second", vectorStamp, vectorSignature, vectorBody, 15*time.Minute + time.Second, "not of the last 15 minutes"},
		{"from the future", vectorStamp, vectorSignature, vectorBody, -15*time.Minute - time.Second, "not of the last 15 minutes"},
		{"another body", vectorStamp, vectorSignature, vectorBody + " ", 0, "the signature is not SendGrid's"},
		{"another time", "1600112503", vectorSignature, vectorBody, 0, "the signature is not SendGrid's"},
		{"no time", "", vectorSignature, vectorBody, 0, "the signature is not SendGrid's"},
		{"no signature", vectorStamp, "", vectorBody, 0, "the signature is not SendGrid's"},
		{"no base64", vectorStamp, "?", vectorBody, 0, "the signature is not SendGrid's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := func() time.Time { return time.Unix(1600112502, 0).Add(c.after) }
			channel := calledBy(t, now, "sendgrid", map[string]any{"callback_key": vectorKey})
			got, err := post(t, channel, map[string]string{stampHeader: c.stamp, signatureHeader: c.signature}, c.body)
			require.Empty(t, got, "it is of no message of ours")
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			forged(t, err, c.want)
		})
	}
}

func TestSendGridEvents(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	now := time.Unix(1795341600, 0)
	channel := calledBy(t, func() time.Time { return now }, "sendgrid", map[string]any{"callback_key": base64.StdEncoding.EncodeToString(public)})
	calls := func(t *testing.T, body string) ([]channels.Report, error) {
		stamp := strconv.FormatInt(now.Unix(), 10)
		sum := sha256.Sum256([]byte(stamp + body))
		signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		require.NoError(t, err)
		return post(t, channel, map[string]string{stampHeader: stamp, signatureHeader: base64.StdEncoding.EncodeToString(signature)}, body)
	}
	at := now.Add(-time.Minute).UTC()
	event := func(rest string) string {
		return `{"email": "ann@customers.example", "timestamp": ` + strconv.FormatInt(at.Unix(), 10) + `, "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>", "category": ["cat facts"],
			"sg_event_id": "sg_event_id", "sg_message_id": "sg_message_id", "nudge_message": "` + signedID + `", ` + rest + `}`
	}
	ours := func(what channels.What) channels.Report { return channels.Report{Signed: signedID, What: what, At: at} }
	bounced := func(dead, code, detail string) channels.Report {
		r := ours(channels.Bounced)
		r.Dead, r.Code, r.Detail = dead, code, detail
		return r
	}
	for _, c := range []struct {
		name, event string
		want        []channels.Report
	}{
		{"processed", `"event": "processed"`, nil},
		{"late", `"event": "deferred", "response": "400 try again later", "attempt": "5"`, nil},
		{"delivered", `"event": "delivered", "response": "250 OK"`, []channels.Report{ours(channels.Delivered)}},
		{
			"nobody there", `"event": "bounce", "type": "bounce", "status": "5.0.0", "bounce_classification": "Invalid Address", "reason": "550 5.1.1 The email account that you tried to reach does not exist."`,
			[]channels.Report{bounced("ann@customers.example", "5.1.1", "550 5.1.1 The email account that you tried to reach does not exist.")},
		},
		{"without a code that says something", `"event": "bounce", "type": "bounce", "status": "5.0.0", "reason": "500 unknown recipient"`, []channels.Report{bounced("ann@customers.example", "5.0.0", "500 unknown recipient")}},
		{"without any type", `"event": "bounce", "status": "5.1.1"`, []channels.Report{bounced("ann@customers.example", "5.1.1", "")}},
		{"blocked", `"event": "bounce", "type": "blocked", "status": "5.7.1", "reason": "550 5.7.1 spam"`, []channels.Report{bounced("", "5.7.1", "550 5.7.1 spam")}},
		{"hard for our set-up", `"event": "bounce", "type": "bounce", "status": "5.7.26"`, []channels.Report{bounced("", "5.7.26", "")}},
		{"known to have bounced", `"event": "dropped", "status": "5.0.0", "reason": "Bounced Address"`, []channels.Report{bounced("ann@customers.example", "dropped", "Bounced Address")}},
		{
			"known to have left", `"event": "dropped", "reason": "Unsubscribed Address"`,
			[]channels.Report{bounced("", "dropped", "Unsubscribed Address"), {Signed: signedID, What: channels.Unsubscribed, At: at, Code: "dropped", Detail: "Unsubscribed Address"}},
		},
		{"dropped for another reason", `"event": "dropped", "reason": "Recipient List over Package Quota"`, []channels.Report{bounced("", "dropped", "Recipient List over Package Quota")}},
		{"spam", `"event": "spamreport"`, []channels.Report{ours(channels.Complained)}},
		{"unsubscribed", `"event": "unsubscribe"`, []channels.Report{ours(channels.Unsubscribed)}},
		{"unsubscribed from a group", `"event": "group_unsubscribe", "asm_group_id": 10`, []channels.Report{ours(channels.Unsubscribed)}},
		{"back in a group", `"event": "group_resubscribe", "asm_group_id": 10`, nil},
		{"opened", `"event": "open", "sg_machine_open": false, "useragent": "Mozilla/4.0 (compatible; MSIE 6.1; Windows XP)", "ip": "255.255.255.255"`, []channels.Report{ours(channels.Opened)}},
		{"opened by a machine", `"event": "open", "sg_machine_open": true, "useragent": "Mozilla/4.0 (compatible; MSIE 6.1; Windows XP)"`, []channels.Report{{Signed: signedID, What: channels.Opened, At: at, Machine: true}}},
		{"opened by a proxy", `"event": "open", "useragent": "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"`, []channels.Report{{Signed: signedID, What: channels.Opened, At: at, Machine: true}}},
		{"clicked", `"event": "click", "url": "https://shop.example/cart", "useragent": "Mozilla/4.0 (compatible; MSIE 6.1; Windows XP)"`, []channels.Report{{Signed: signedID, What: channels.Clicked, At: at, Link: "https://shop.example/cart"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := calls(t, "["+event(c.event)+"]")
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	t.Run("several", func(t *testing.T) {
		got, err := calls(t, "["+event(`"event": "delivered"`)+`, {"event": "delivered", "email": "of@others.example"}, `+event(`"event": "spamreport"`)+"]")
		require.NoError(t, err)
		require.Equal(t, []channels.Report{ours(channels.Delivered), ours(channels.Complained)}, got)
	})
	_, err = calls(t, "{}")
	require.ErrorContains(t, err, "read the events of SendGrid")
}
