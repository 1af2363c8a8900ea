package email_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/snsd"
	"nudge/channels/email"

	"github.com/stretchr/testify/require"
)

// clock is a time that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// calledBy is a channel that a provider calls, with what is needed for it.
func calledBy(t testing.TB, now func() time.Time, provider string, with map[string]any) channels.Channel {
	t.Helper()
	config := map[string]any{"host": "127.0.0.1", "tls": "none", "from": "news@shop.example", "callbacks": provider}
	maps.Copy(config, with)
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := email.Spec().New(channels.Options{Config: raw, Now: now, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

// subscribed is a channel whose messages SES tells a topic about.
func subscribed(t testing.TB) (channels.Channel, *snsd.Notifier, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	topic, err := snsd.StartNotifier(c.now)
	require.NoError(t, err)
	t.Cleanup(topic.Close)
	channel := calledBy(t, c.now, "ses", map[string]any{"callback_topic": snsd.TopicARN})
	email.ReachSNS(channel, topic.Transport())
	return channel, topic, c
}

// sesMail is the object mail of an event, as AWS's examples have it.
func sesMail(headers string) string {
	return `"mail": {
		"timestamp": "2026-11-22T09:40:02.012Z", "source": "The Shop <news@shop.example>",
		"sourceArn": "arn:aws:ses:eu-central-1:123456789012:identity/shop.example", "sendingAccountId": "123456789012",
		"messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000", "destination": ["ann@customers.example"],
		"headersTruncated": false, "headers": [` + headers + `],
		"commonHeaders": {"from": ["The Shop <news@shop.example>"], "to": ["ann@customers.example"], "subject": "Hi"},
		"tags": {"ses:configuration-set": ["nudge"], "ses:source-ip": ["192.0.2.0"], "ses:caller-identity": ["nudge"]}
	}`
}

func TestSESEvents(t *testing.T) {
	headers := `{"name": "From", "value": "The Shop <news@shop.example>"}, {"name": "X-Nudge-Message", "value": "` + signedID + `"}`
	at := time.Date(2026, 11, 22, 9, 41, 2, 669e6, time.UTC)
	const stamp = `"timestamp": "2026-11-22T09:41:02.669Z"`
	bounce := func(kind, recipients string) string {
		return `"eventType": "Bounce", "bounce": {` + kind + `, "bouncedRecipients": [` + recipients + `], ` + stamp + `, "feedbackId": "01000157c44f053b-61b59c11", "reportingMTA": "dsn; mta.example.com"}`
	}
	channel, topic, _ := subscribed(t)
	const hard, soft = `"bounceType": "Permanent", "bounceSubType": "General"`, `"bounceType": "Transient", "bounceSubType": "MailboxFull"`
	for _, c := range []struct {
		name, event string
		want        []channels.Report
	}{
		{"nobody there", bounce(hard, `{"emailAddress": "ann@customers.example", "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}`), []channels.Report{
			{Signed: signedID, What: channels.Bounced, At: at, Dead: "ann@customers.example", Code: "5.1.1", Detail: "550 5.1.1 user unknown"},
		}},
		{"on the account's list of the dead", bounce(`"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList"`, `{"emailAddress": "Ann <ann@customers.example>"}`), []channels.Report{
			{Signed: signedID, What: channels.Bounced, At: at, Dead: "ann@customers.example", Code: "Permanent/OnAccountSuppressionList"},
		}},
		{"permanent for our set-up", bounce(hard, `{"emailAddress": "ann@customers.example", "status": "5.0.0", "diagnosticCode": "smtp; 550 5.7.26 unauthenticated"}`), []channels.Report{
			{Signed: signedID, What: channels.Bounced, At: at, Code: "5.7.26", Detail: "550 5.7.26 unauthenticated"},
		}},
		{"permanent, for what it says", bounce(hard, `{"emailAddress": "ann@customers.example", "status": "5.7.1", "diagnosticCode": "smtp; 550 5.7.1 spam"}`), []channels.Report{
			{Signed: signedID, What: channels.Bounced, At: at, Code: "5.7.1", Detail: "550 5.7.1 spam"},
		}},
		{"the mailbox is full", bounce(soft, `{"emailAddress": "ann@customers.example", "status": "5.2.2"}`), []channels.Report{
			{Signed: signedID, What: channels.Bounced, At: at, Code: "5.2.2"},
		}},
		{"nobody is named", bounce(soft, ""), []channels.Report{{Signed: signedID, What: channels.Bounced, At: at, Code: "Transient/MailboxFull"}}},
		{
			"spam", `"eventType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": "ann@customers.example"}], ` + stamp + `, "feedbackId": "01000157c44f053b", "userAgent": "Amazon SES Mailbox Simulator", "complaintFeedbackType": "abuse", "arrivalDate": "2026-11-22T09:41:02.669Z"}`,
			[]channels.Report{{Signed: signedID, What: channels.Complained, At: at, Code: "abuse"}},
		},
		{"no spam after all", `"eventType": "Complaint", "complaint": {` + stamp + `, "complaintFeedbackType": "not-spam"}`, nil},
		{
			"delivered", `"eventType": "Delivery", "delivery": {` + stamp + `, "processingTimeMillis": 1234, "recipients": ["ann@customers.example"], "smtpResponse": "250 2.6.0 Message received", "reportingMTA": "mta.example.com"}`,
			[]channels.Report{{Signed: signedID, What: channels.Delivered, At: at}},
		},
		{"delivered, as an identity tells it", `"notificationType": "Delivery", "delivery": {` + stamp + `}`, []channels.Report{{Signed: signedID, What: channels.Delivered, At: at}}},
		{"refused by SES", `"eventType": "Reject", "reject": {"reason": "Bad content"}`, []channels.Report{{Signed: signedID, What: channels.Bounced, Code: "Reject", Detail: "Bad content"}}},
		{
			"opened", `"eventType": "Open", "open": {"ipAddress": "192.0.2.1", ` + stamp + `, "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 10_3_3 like Mac OS X) AppleWebKit/603.3.8 (KHTML, like Gecko) Mobile/14G60"}`,
			[]channels.Report{{Signed: signedID, What: channels.Opened, At: at}},
		},
		{"opened by Apple", `"eventType": "Open", "open": {` + stamp + `, "userAgent": "Mozilla/5.0"}`, []channels.Report{{Signed: signedID, What: channels.Opened, At: at, Machine: true}}},
		{
			"opened by Google", `"eventType": "Open", "open": {` + stamp + `, "userAgent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}`,
			[]channels.Report{{Signed: signedID, What: channels.Opened, At: at, Machine: true}},
		},
		{
			"clicked", `"eventType": "Click", "click": {"ipAddress": "192.0.2.1", "link": "https://shop.example/cart", "linkTags": {"samplekey": ["a"]}, ` + stamp + `, "userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/61.0"}`,
			[]channels.Report{{Signed: signedID, What: channels.Clicked, At: at, Link: "https://shop.example/cart"}},
		},
		{
			"unsubscribed", `"eventType": "Subscription", "subscription": {"contactList": "shop", ` + stamp + `, "source": "UnsubscribeHeader", "newTopicPreferences": {"unsubscribeAll": true, "topicSubscriptionStatus": []}, "oldTopicPreferences": {"unsubscribeAll": false}}`,
			[]channels.Report{{Signed: signedID, What: channels.Unsubscribed, At: at}},
		},
		{"another topic of theirs", `"eventType": "Subscription", "subscription": {` + stamp + `, "newTopicPreferences": {"unsubscribeAll": false}}`, nil},
		{"late", `"eventType": "DeliveryDelay", "deliveryDelay": {"delayType": "MailboxFull"}`, nil},
		{"sent", `"eventType": "Send", "send": {}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := call(t, channel, "text/plain; charset=UTF-8", topic.Notification("{"+c.event+", "+sesMail(headers)+"}", nil))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	for name, message := range map[string]string{
		"mail of others":     `{"eventType": "Delivery", "delivery": {}, ` + sesMail(`{"name": "From", "value": "x@shop.example"}`) + `}`,
		"SES begins to post": "Successfully validated SNS topic for Amazon SES event publishing.",
	} {
		got, err := call(t, channel, "text/plain", topic.Notification(message, nil))
		require.NoError(t, err, name)
		require.Empty(t, got, name)
	}
	_, err := call(t, channel, "text/plain", topic.Notification(`{"notificationType": "Delivery", "delivery": {}, "mail": {}}`, nil))
	require.ErrorContains(t, err, "include the original headers")
}

// delivered is an event about a message of ours.
func delivered() string {
	return `{"eventType": "Delivery", "delivery": {}, ` + sesMail(`{"name": "x-nudge-message", "value": "`+signedID+`"}`) + `}`
}

func TestTopic(t *testing.T) {
	channel, topic, clock := subscribed(t)
	got, err := call(t, channel, "text/plain", topic.Confirmation(nil))
	require.NoError(t, err)
	require.Empty(t, got)
	require.Equal(t, 1, topic.Confirmed())
	for _, version := range []string{"1", "2"} {
		topic.Version = version
		for _, change := range []func(map[string]string, func()){
			nil, func(post map[string]string, sign func()) { delete(post, "Subject"); sign() }, func(post map[string]string, sign func()) { post["Subject"] = ""; sign() },
		} {
			got, err := call(t, channel, "text/plain", topic.Notification(delivered(), change))
			require.NoError(t, err)
			require.Equal(t, []channels.Report{{Signed: signedID, What: channels.Delivered}}, got)
		}
	}
	require.Equal(t, 1, topic.Fetched(), "the certificate is kept")
	clock.at = clock.at.Add(15*time.Minute + time.Second)
	for _, ago := range []time.Duration{0, 14 * time.Minute, -14 * time.Minute} {
		_, err := call(t, channel, "text/plain", topic.Notification(delivered(), func(post map[string]string, sign func()) {
			post["Timestamp"] = clock.at.Add(-ago).Format(time.RFC3339)
			sign()
		}))
		require.NoError(t, err)
	}
	got, err = call(t, channel, "text/plain", topic.Notification("", func(post map[string]string, sign func()) {
		post["Type"] = "UnsubscribeConfirmation"
	}))
	require.ErrorContains(t, err, "not Amazon SNS's", "the type is signed")
	require.Empty(t, got)
}

func TestPostsThatAreNotTheTopics(t *testing.T) {
	const forged = http.StatusForbidden
	set := func(name, value string, signed bool) func(map[string]string, func()) {
		return func(post map[string]string, sign func()) {
			post[name] = value
			if signed {
				sign()
			}
		}
	}
	channel, topic, _ := subscribed(t)
	for _, c := range []struct {
		name   string
		status int
		want   string
		change func(post map[string]string, sign func())
	}{
		{"another message", forged, "the signature is not Amazon SNS's", set("Message", "{}", false)},
		{"a subject of somebody's own", forged, "the signature is not Amazon SNS's", set("Subject", "Hi", false)},
		{"no signature", forged, "the signature is not Amazon SNS's", set("Signature", "", false)},
		{"a signature that is no base64", forged, "the signature is not Amazon SNS's", set("Signature", "?", false)},
		{"another version", forged, "neither 1 nor 2", set("SignatureVersion", "3", false)},
		{"the other version's hash", forged, "the signature is not Amazon SNS's", set("SignatureVersion", "1", false)},
		{"another topic", forged, "the topic is not callback_topic", set("TopicArn", "arn:aws:sns:eu-central-1:210987654321:mail", true)},
		{"too old", forged, "not of the last 15 minutes", set("Timestamp", "2026-11-22T09:44:59.000Z", true)},
		{"from the future", forged, "not of the last 15 minutes", set("Timestamp", "2026-11-22T10:15:01.000Z", true)},
		{"no time", forged, "not of the last 15 minutes", set("Timestamp", "now", true)},
		{"a certificate of somebody's own", forged, "the signing certificate is not one of https://" + snsd.Host, set("SigningCertURL", "https://evil.example/SimpleNotificationService-1.pem", false)},
		{"a host that ends alike", forged, "the signing certificate is not one of", set("SigningCertURL", "https://evil"+snsd.Host+"/SimpleNotificationService-1.pem", false)},
		{"a host that begins alike", forged, "the signing certificate is not one of", set("SigningCertURL", "https://"+snsd.Host+".evil.example/SimpleNotificationService-1.pem", false)},
		{"a user that looks like the host", forged, "the signing certificate is not one of", set("SigningCertURL", "https://"+snsd.Host+"@evil.example/SimpleNotificationService-1.pem", false)},
		{"another region", forged, "the signing certificate is not one of", set("SigningCertURL", "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem", false)},
		{"without TLS", forged, "the signing certificate is not one of", set("SigningCertURL", "http://"+snsd.Host+"/SimpleNotificationService-1.pem", false)},
		{"what the host repeats", forged, "the signing certificate is not one of", set("SigningCertURL", "https://"+snsd.Host+"/?Action=Publish&x=SimpleNotificationService-1.pem", false)},
		{"a certificate that is not there", http.StatusServiceUnavailable, "fetch the certificate that signs: asking " + snsd.Host + ": status 404", set("SigningCertURL", "https://"+snsd.Host+"/SimpleNotificationService-1.pem", false)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := call(t, channel, "text/plain", topic.Notification(delivered(), c.change))
			require.ErrorContains(t, err, c.want)
			refused := new(channels.CallbackError)
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.status, refused.Status)
			require.Empty(t, got)
		})
	}
	t.Run("a confirmation that leads elsewhere", func(t *testing.T) {
		channel, topic, _ := subscribed(t)
		for _, address := range []string{
			"https://evil.example/?Action=ConfirmSubscription&TopicArn=" + snsd.TopicARN, "https://" + snsd.Host + "/?Action=DeleteTopic&TopicArn=" + snsd.TopicARN,
			"https://" + snsd.Host + "/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-central-1:210987654321:mail",
		} {
			_, err := call(t, channel, "text/plain", topic.Confirmation(set("SubscribeURL", address, true)))
			require.ErrorContains(t, err, "does not confirm callback_topic")
		}
		require.Zero(t, topic.Confirmed())
	})
	t.Run("SNS is down", func(t *testing.T) {
		channel, topic, _ := subscribed(t)
		_, err := call(t, channel, "text/plain", topic.Notification(delivered(), nil))
		require.NoError(t, err)
		topic.Break(true)
		_, err = call(t, channel, "text/plain", topic.Notification(delivered(), nil))
		require.NoError(t, err, "the certificate is known")
		_, err = call(t, channel, "text/plain", topic.Confirmation(nil))
		require.EqualError(t, err, "confirm the subscription: asking "+snsd.Host+": status 500")
		topic.Close()
		_, err = call(t, channel, "text/plain", topic.Confirmation(nil))
		require.ErrorContains(t, err, "confirm the subscription: asking "+snsd.Host+": ")
		require.NotContains(t, err.Error(), "Token")
	})
	t.Run("the certificate has ended", func(t *testing.T) {
		channel, topic, clock := subscribed(t)
		clock.at = clock.at.Add(25 * time.Hour)
		_, err := call(t, channel, "text/plain", topic.Notification(delivered(), nil))
		require.ErrorContains(t, err, "the signing certificate is not valid now")
	})
	t.Run("without its envelope", func(t *testing.T) {
		channel, _, _ := subscribed(t)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://go.shop.example/", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("X-Amz-Sns-Rawdelivery", "true")
		_, err = channel.(channels.Reporter).Reports(r, []byte(delivered()))
		require.ErrorContains(t, err, "raw message delivery")
	})
	t.Run("no JSON", func(t *testing.T) {
		channel, topic, _ := subscribed(t)
		_, err := call(t, channel, "text/plain", []byte("hello"))
		require.ErrorContains(t, err, "read what SNS posts")
		_, err = call(t, channel, "text/plain", topic.Notification(`{"mail": []}`, nil))
		require.ErrorContains(t, err, "read an event of SES")
	})
	t.Run("mail that came back is taken all the same", func(t *testing.T) {
		channel, _, _ := subscribed(t)
		got, err := call(t, channel, "message/rfc822", []byte(feedback("abuse", ours)))
		require.NoError(t, err)
		require.Len(t, got, 1)
	})
}

func TestWhoSpeaksForATopic(t *testing.T) {
	for arn, host := range map[string]string{
		"arn:aws:sns:us-east-1:123456789012:mail.fifo":    "sns.us-east-1.amazonaws.com",
		"arn:aws-cn:sns:cn-north-1:123456789012:mail":     "sns.cn-north-1.amazonaws.com.cn",
		"arn:aws-us-gov:sns:us-gov-west-1:123456789012:m": "sns.us-gov-west-1.amazonaws.com",
	} {
		channel := calledBy(t, time.Now, "ses", map[string]any{"callback_topic": arn})
		_, err := call(t, channel, "text/plain", []byte(`{"Type": "Notification", "TopicArn": "`+arn+`"}`))
		require.EqualError(t, err, "the signing certificate is not one of https://"+host)
	}
}

func TestTopicsThatAreNone(t *testing.T) {
	for _, arn := range []string{
		"", "mail", "arn:aws:sqs:eu-central-1:123456789012:mail", "arn:aws:sns:evil.example/:123456789012:mail", "arn:aws:sns:eu-central-1:1:mail", strings.ToUpper(snsd.TopicARN),
	} {
		raw, err := json.Marshal(map[string]any{"host": "127.0.0.1", "tls": "none", "from": "news@shop.example", "callbacks": "ses", "callback_topic": arn})
		require.NoError(t, err)
		_, err = email.Spec().New(channels.Options{Config: raw, Now: time.Now})
		require.ErrorContains(t, err, "callback_topic is not the ARN of a topic of Amazon SNS", arn)
	}
}
