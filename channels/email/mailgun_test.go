package email_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

// mailgunKey is a signing key, with which Mailgun would sign.
const mailgunKey = "0123456789abcdef0123456789abcdef"

// mailgunSignature is HMAC-SHA256 as RFC 2104 writes it down.
func mailgunSignature(key, text string) string {
	pad := func(with byte) []byte {
		block := bytes.Repeat([]byte{with}, sha256.BlockSize)
		for i := range key {
			block[i] ^= key[i]
		}
		return block
	}
	inner := sha256.Sum256(append(pad(0x36), text...))
	outer := sha256.Sum256(append(pad(0x5c), inner[:]...))
	return hex.EncodeToString(outer[:])
}

// mailgunCall is the body of a call, signed at a time.
func mailgunCall(at time.Time, token, event string) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	return `{"signature": {"timestamp": "` + stamp + `", "token": "` + token + `", "signature": "` + mailgunSignature(mailgunKey, stamp+token) + `"}, "event-data": ` + event + `}`
}

func TestMailgunEvents(t *testing.T) {
	now := time.Unix(1795341600, 0)
	channel := calledBy(t, func() time.Time { return now }, "mailgun", map[string]any{"callback_key": mailgunKey})
	at := time.UnixMilli(1795341540554).UTC()
	event := func(rest string) string {
		return `{"id": "q7DMpbLFRKW1QuiLC9XV4Q", "timestamp": 1795341540.5549328, "log-level": "info", "recipient": "ann@customers.example", "recipient-domain": "customers.example",
			"account": {"id": "1234567890303a4bd1f33898"}, "domain": {"name": "shop.example"}, "tags": ["webhook_payload"],
			"message": {"headers": {"message-id": "20260205213049.8e3a7bf607f78309@shop.example"}}, "user-variables": {"nudge_message": "` + signedID + `", "shop": 1}, ` + rest + `}`
	}
	failed := func(severity, reason, status string) string {
		return event(`"event": "failed", "severity": "` + severity + `", "reason": "` + reason + `", "delivery-status": {"attempt-no": 1, ` + status + `, "session-seconds": 0.208, "tls": true}`)
	}
	const client = `"client-info": {"client-name": "Chrome", "client-os": "OS X", "client-type": "browser", "device-type": "desktop", "user-agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome/144.0.0.0 Safari/537.36", "bot": null}`
	ours := func(what channels.What) channels.Report { return channels.Report{Signed: signedID, What: what, At: at} }
	bounced := func(dead, code, detail string) channels.Report {
		r := ours(channels.Bounced)
		r.Dead, r.Code, r.Detail = dead, code, detail
		return r
	}
	left := bounced("", "suppress-unsubscribe", "Not delivering to unsubscribed address")
	left.What = channels.Unsubscribed
	for i, c := range []struct {
		name, event string
		want        []channels.Report
	}{
		{"accepted", event(`"event": "accepted", "method": "HTTP"`), nil},
		{"delivered", event(`"event": "delivered", "delivery-status": {"attempt-no": 1, "code": 250, "message": "OK", "description": null, "enhanced-code": null}`), []channels.Report{ours(channels.Delivered)}},
		{"of others", `{"event": "delivered", "timestamp": 1795341540.5, "user-variables": []}`, nil},
		{
			"nobody there", failed("permanent", "bounce", `"code": 550, "message": "5.1.1 The email account that you tried to reach does not exist.", "description": null, "enhanced-code": "5.1.1", "bounce-type": "hard"`),
			[]channels.Report{bounced("ann@customers.example", "5.1.1", "5.1.1 The email account that you tried to reach does not exist.")},
		},
		{
			"nobody there, as Outlook says it", failed("permanent", "bounce", `"code": 550, "message": "5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", "enhanced-code": "5.5.0", "bounce-type": "hard"`),
			[]channels.Report{bounced("ann@customers.example", "5.5.0", "5.5.0 Requested action not taken: mailbox unavailable (S2017062302).")},
		},
		{"without an enhanced code", failed("permanent", "bounce", `"code": 550, "message": "no such user", "enhanced-code": null`), []channels.Report{bounced("ann@customers.example", "bounce", "no such user")}},
		{"the code is in the message alone", failed("permanent", "bounce", `"code": 550, "message": "5.7.26 unauthenticated"`), []channels.Report{bounced("", "5.7.26", "5.7.26 unauthenticated")}},
		{"full, and given up", failed("permanent", "bounce", `"code": 552, "message": "mailbox full", "bounce-type": "soft"`), []channels.Report{bounced("", "bounce", "mailbox full")}},
		{"given up", failed("permanent", "old", `"code": 421, "message": "Too old", "description": ""`), []channels.Report{bounced("", "old", "Too old")}},
		{"known to have bounced", failed("permanent", "suppress-bounce", `"code": 605, "message": "", "description": "Not delivering to previously bounced address"`), []channels.Report{
			bounced("ann@customers.example", "suppress-bounce", "Not delivering to previously bounced address"),
		}},
		{"known to have left", failed("permanent", "suppress-unsubscribe", `"code": 606, "message": "", "description": "Not delivering to unsubscribed address"`), []channels.Report{
			bounced("", "suppress-unsubscribe", "Not delivering to unsubscribed address"), left,
		}},
		{"late", failed("temporary", "generic", `"code": 421, "message": "temporary blacklisted", "retry-seconds": 600`), nil},
		{"rejected", event(`"event": "rejected", "reject": {}, "reason": "Sandbox subdomains are for test purposes only"`), []channels.Report{bounced("", "rejected", "Sandbox subdomains are for test purposes only")}},
		{"spam", event(`"event": "complained"`), []channels.Report{ours(channels.Complained)}},
		{"unsubscribed", event(`"event": "unsubscribed", ` + client), []channels.Report{ours(channels.Unsubscribed)}},
		{"opened", event(`"event": "opened", ` + client), []channels.Report{ours(channels.Opened)}},
		{"opened by a machine that Mailgun knows", event(`"event": "opened", ` + strings.Replace(client, `"bot": null`, `"bot": "apple"`, 1)), []channels.Report{{Signed: signedID, What: channels.Opened, At: at, Machine: true}}},
		{"clicked", event(`"event": "clicked", "url": "https:\/\/shop.example\/cart", ` + client), []channels.Report{{Signed: signedID, What: channels.Clicked, At: at, Link: "https://shop.example/cart"}}},
		{"clicked by a scanner", event(`"event": "clicked", "url": "https://shop.example", "client-info": {"user-agent": "Barracuda Sentinel"}`), []channels.Report{{Signed: signedID, What: channels.Clicked, At: at, Machine: true, Link: "https://shop.example"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := post(t, channel, nil, mailgunCall(now, fmt.Sprint("token", i), c.event))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestMailgunSignature(t *testing.T) {
	clock := &clock{time.Unix(1795341600, 0)}
	const event, other = `{"event": "delivered", "user-variables": {"nudge_message": "x"}}`, `{"event": "complained", "user-variables": {"nudge_message": "x"}}`
	channel := calledBy(t, clock.now, "mailgun", map[string]any{"callback_key": mailgunKey})
	good := mailgunCall(clock.at, "token", event)
	for range 2 {
		got, err := post(t, channel, nil, good)
		require.NoError(t, err, "Mailgun may repeat a call")
		require.Len(t, got, 1)
	}
	_, err := post(t, channel, nil, mailgunCall(clock.at, "token", other))
	forged(t, err, "the token is that of another call")
	_, err = post(t, channel, nil, strings.Replace(good, `"token": "token"`, `"token": "tokem"`, 1))
	forged(t, err, "the signature is not Mailgun's")
	require.NotContains(t, err.Error(), mailgunKey)
	_, err = post(t, channel, nil, strings.Replace(good, `"timestamp": "1795341600"`, `"timestamp": "1795341601"`, 1))
	forged(t, err, "the signature is not Mailgun's")
	_, err = post(t, channel, nil, "{}")
	forged(t, err, "the signature is not Mailgun's")
	_, err = post(t, channel, nil, "event=delivered")
	require.ErrorContains(t, err, "read what Mailgun posts")
	_, err = post(t, channel, nil, strings.Replace(good, `"1795341600"`, `1795341600`, 1))
	forged(t, err, "the token is that of another call") // a number will do for the time, but the body is another one
	for _, ago := range []time.Duration{15*time.Minute + time.Second, -15*time.Minute - time.Second} {
		_, err = post(t, channel, nil, mailgunCall(clock.at.Add(-ago), "old", event))
		forged(t, err, "not of the last 15 minutes")
	}
	// As long as a call is not stale its token is known, however the maps take turns.
	for i := range 40 {
		token := fmt.Sprint("later", i)
		_, err := post(t, channel, nil, mailgunCall(clock.at.Add(15*time.Minute), token, event))
		require.NoError(t, err)
		for range 6 {
			clock.at = clock.at.Add(5 * time.Minute)
			_, err := post(t, channel, nil, mailgunCall(clock.at, fmt.Sprint(token, clock.at.Unix()), event))
			require.NoError(t, err)
		}
		_, err = post(t, channel, nil, mailgunCall(clock.at.Add(-15*time.Minute), token, other))
		forged(t, err, "the token is that of another call")
	}
}
