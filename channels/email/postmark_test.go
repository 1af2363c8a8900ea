package email_test

import (
	"encoding/base64"
	"testing"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

func TestPostmark(t *testing.T) {
	const key = "correct-horse-battery-staple"
	channel := calledBy(t, time.Now, "postmark", map[string]any{"callback_key": key})
	at := time.Date(2026, 11, 22, 9, 28, 10, 273539300, time.UTC)
	const stamp = `2026-11-22T05:28:10.2735393-04:00`
	ours := func(what channels.What) channels.Report { return channels.Report{Signed: signedID, What: what, At: at} }
	event := func(rest string) string {
		return `{"MessageID": "883953f4-6105-42a2-a16a-77a8eac79483", "ServerID": 23, "MessageStream": "broadcast", "Tag": "welcome-email", "Recipient": "ann@customers.example",
			"Metadata": {"shop": "1", "count": 2, "Nudge_message_2": "` + signedID[80:] + `", "nudge_message_1": "` + signedID[:80] + `"}, ` + rest + `}`
	}
	bounce := func(kind, details string) string {
		return event(`"RecordType": "Bounce", "ID": 42, "Type": "` + kind + `", "TypeCode": 1, "Name": "Hard bounce", "Description": "The server was unable to deliver your message.",
			"Details": "` + details + `", "Email": "ann@customers.example", "From": "news@shop.example", "BouncedAt": "` + stamp + `", "DumpAvailable": true, "Inactive": true, "CanActivate": true, "Subject": "Hi"`)
	}
	bounced := func(what channels.What, dead, code, details string) []channels.Report {
		r := ours(what)
		r.Dead, r.Code, r.Detail = dead, code, "The server was unable to deliver your message. "+details
		return []channels.Report{r}
	}
	const agent = `"UserAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/537.36 Chrome/35.0", "OS": {"Name": "OS X"}, "Platform": "WebMail", "ReceivedAt": "` + stamp + `"`
	basic := map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("nudge:"+key))}
	for _, c := range []struct {
		name, event string
		want        []channels.Report
	}{
		{"delivered", event(`"RecordType": "Delivery", "DeliveredAt": "` + stamp + `", "Details": "Test delivery webhook details"`), []channels.Report{ours(channels.Delivered)}},
		{"nobody there", bounce("HardBounce", "smtp;550 5.1.1 unknown user"), bounced(channels.Bounced, "ann@customers.example", "HardBounce", "smtp;550 5.1.1 unknown user")},
		{"nobody there, in words", bounce("HardBounce", "Test bounce details"), bounced(channels.Bounced, "ann@customers.example", "HardBounce", "Test bounce details")},
		{"hard for our set-up", bounce("HardBounce", "smtp; 550 5.7.26 unauthenticated"), bounced(channels.Bounced, "", "HardBounce", "smtp; 550 5.7.26 unauthenticated")},
		{"no address at all", bounce("BadEmailAddress", "x"), bounced(channels.Bounced, "ann@customers.example", "BadEmailAddress", "x")},
		{"the mailbox is full", bounce("SoftBounce", "x"), bounced(channels.Bounced, "", "SoftBounce", "x")},
		{"blocked", bounce("Blocked", "x"), bounced(channels.Bounced, "", "Blocked", "x")},
		{"late", bounce("Transient", "x"), nil},
		{"out of office", bounce("AutoResponder", "x"), nil},
		{"wants no more", bounce("Unsubscribe", "x"), bounced(channels.Unsubscribed, "", "Unsubscribe", "x")},
		{"spam", event(`"RecordType": "SpamComplaint", "Type": "SpamComplaint", "TypeCode": 100001, "Email": "ann@customers.example", "BouncedAt": "` + stamp + `"`), []channels.Report{ours(channels.Complained)}},
		{"unsubscribed", event(`"RecordType": "SubscriptionChange", "ChangedAt": "` + stamp + `", "Origin": "Recipient", "SuppressSending": true, "SuppressionReason": "ManualSuppression"`), []channels.Report{ours(channels.Unsubscribed)}},
		{"taken off for a bounce", event(`"RecordType": "SubscriptionChange", "ChangedAt": "` + stamp + `", "SuppressSending": true, "SuppressionReason": "HardBounce"`), nil},
		{"back", event(`"RecordType": "SubscriptionChange", "ChangedAt": "` + stamp + `", "SuppressSending": false, "SuppressionReason": null`), nil},
		{"opened", event(`"RecordType": "Open", "FirstOpen": true, ` + agent), []channels.Report{ours(channels.Opened)}},
		{"opened by Apple", event(`"RecordType": "Open", "ReceivedAt": "` + stamp + `", "UserAgent": "Mozilla/5.0"`), []channels.Report{{Signed: signedID, What: channels.Opened, At: at, Machine: true}}},
		{"clicked", event(`"RecordType": "Click", "ClickLocation": "HTML", "OriginalLink": "https://shop.example/cart", ` + agent), []channels.Report{{Signed: signedID, What: channels.Clicked, At: at, Link: "https://shop.example/cart"}}},
		{"of tomorrow", event(`"RecordType": "Rebirth"`), nil},
		{"of others", `{"RecordType": "Delivery", "DeliveredAt": "` + stamp + `", "Metadata": {}}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := post(t, channel, basic, c.event)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := post(t, channel, basic, "[]")
	require.ErrorContains(t, err, "read what Postmark posts")
	got, err := post(t, channel, map[string]string{"X-Nudge-Key": key}, event(`"RecordType": "Delivery"`))
	require.NoError(t, err)
	require.Len(t, got, 1)
	for name, header := range map[string]map[string]string{
		"nothing":           nil,
		"another password":  {"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("nudge:"+key+"x"))},
		"the key as a user": {"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))},
		"half the key":      {"X-Nudge-Key": key[:20]},
	} {
		_, err := post(t, channel, header, event(`"RecordType": "Delivery"`))
		forged(t, err, "callback_key is missing")
		require.NotContains(t, err.Error(), key[:20], name)
	}
}
