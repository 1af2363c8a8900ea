package email_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels"

	"github.com/stretchr/testify/require"
)

// report is a report of delivery as Postfix lays it out.
func report(to, status, returned string) string {
	return strings.ReplaceAll(`Return-Path: <>
From: MAILER-DAEMON@relay.example (Mail Delivery System)
To: `+to+`
Date: Sun, 22 Nov 2026 11:00:00 +0100
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4XyZ/relay.example"

--4XyZ/relay.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--4XyZ/relay.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example
Arrival-Date: Sun, 22 Nov 2026 10:00:00 +0000 (UTC)

`+status+`
--4XyZ/relay.example
Content-Description: Undelivered Message
Content-Type: message/rfc822

`+returned+`
--4XyZ/relay.example--
`, "\n", "\r\n")
}

// signedID is a signed id, longer than a line of mail.
var signedID = "AQ" + strings.Repeat("x9-_", 30)

// ours is what comes back of a message of ours; the id is on two lines, as some servers break it.
var ours = "From: <news@shop.example>\nMessage-ID: <7b1955cd-7f14-5a37-ad21-9c04e67fad88@shop.example>\nX-Nudge-Message:\n " +
	signedID[:40] + "\n " + signedID[40:] + "\nSubject: Hi\n\nSie warten.\n"

// call posts a body as a kind of content to the callbacks of a channel.
func call(t testing.TB, channel channels.Channel, kind string, body []byte) ([]channels.Report, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://go.shop.example/v1/callbacks/email/email", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Content-Type", kind)
	return channel.(channels.Reporter).Reports(r, body)
}

// plain is a channel with what is required alone.
func plain(t testing.TB) channels.Channel {
	t.Helper()
	return open(t, map[string]any{"host": "127.0.0.1", "tls": "none", "from": "news@shop.example"}, nil)
}

func TestMailThatCameBack(t *testing.T) {
	told := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	bounced := channels.Report{Signed: signedID, What: channels.Bounced, At: told}
	with := func(r channels.Report, dead, code, detail string) channels.Report {
		r.Dead, r.Code, r.Detail = dead, code, detail
		return r
	}
	for _, c := range []struct {
		name, raw string
		want      []channels.Report
	}{
		{"no such mailbox", report("bounces@shop.example", `Final-Recipient: rfc822; ann@customers.example
Original-Recipient: rfc822;Ann@customers.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.customers.example
Diagnostic-Code: smtp; 550 5.1.1 <ann@customers.example>: Recipient address
    rejected: User unknown
`, ours), []channels.Report{with(bounced, "Ann@customers.example", "5.1.1", "550 5.1.1 <ann@customers.example>: Recipient address rejected: User unknown")}},
		{
			"the server that knew says more",
			report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: Failed\nStatus: 5.0.0 (permanent failure)\nDiagnostic-Code: smtp; 550-5.2.1 The account is disabled\n", ours),
			[]channels.Report{with(bounced, "ann@customers.example", "5.2.1", "550-5.2.1 The account is disabled")},
		},
		{
			"two recipients, one late",
			report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: delayed\nStatus: 4.4.1\n\nFinal-Recipient: rfc822; bob@customers.example\nAction: failed\nStatus: 5.7.26\n", ours),
			[]channels.Report{with(bounced, "", "5.7.26", "")},
		},
		{
			"given up after days",
			report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 4.4.7\nDiagnostic-Code: X-Relay; delivery expired\n", ours),
			[]channels.Report{with(bounced, "", "4.4.7", "delivery expired")},
		},
		{
			"a plain 550 retires nobody",
			report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 blocked\n", ours),
			[]channels.Report{with(bounced, "", "5.0.0", "550 blocked")},
		},
		{
			"no code at all",
			report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\n", ours),
			[]channels.Report{bounced},
		},
		{
			"tried last at another time",
			report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.1.10\nLast-Attempt-Date: Sun, 22 Nov 2026 09:30:00 +0000\n", ours),
			[]channels.Report{{Signed: signedID, What: channels.Bounced, At: told.Add(-30 * time.Minute), Dead: "ann@customers.example", Code: "5.1.10"}},
		},
		{
			"delivered",
			report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: delivered\nStatus: 2.0.0\n", ours),
			[]channels.Report{{Signed: signedID, What: channels.Delivered, At: told}},
		},
		{"late", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: delayed\nStatus: 4.4.1\n", ours), nil},
		{"relayed", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: relayed\nStatus: 2.0.0\n", ours), nil},
		{"not ours", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.1.1\n", "Message-ID: <17@elsewhere.example>\n\nx\n"), nil},
		{"the header alone came back", strings.Replace(report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: delivered\n", ours), "message/rfc822", "text/rfc822-headers", 1), []channels.Report{{Signed: signedID, What: channels.Delivered, At: told}}},
		{"a report of nobody", report("bounces@shop.example", "X-Nothing: here\n", ours), nil},
		{"spam", feedback("abuse", ours), []channels.Report{{Signed: signedID, What: channels.Complained, At: told, Code: "abuse"}}},
		{"fraud", feedback("Fraud", ours), []channels.Report{{Signed: signedID, What: channels.Complained, At: told, Code: "fraud"}}},
		{"no spam after all", feedback("not-spam", ours), nil},
		{"spam of somebody else's", feedback("abuse", "Message-ID: <17@elsewhere.example>\n\nx\n"), nil},
		{"another report", strings.Replace(feedback("abuse", ours), "report-type=feedback-report", "report-type=disposition-notification", 1), nil},
		{"an answer", "From: ann@customers.example\r\nSubject: Re: Hi\r\n\r\nThanks!\r\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := call(t, plain(t), "message/rfc822", []byte(c.raw))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// feedback is a feedback report, laid out as the second example of RFC 5965.
func feedback(kind, returned string) string {
	return strings.ReplaceAll(`From: <abusedesk@mail.example>
Date: Sun, 22 Nov 2026 10:00:00 +0000
Subject: FW: Hi
To: <abuse@shop.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
     boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report for an email message received from IP
192.0.2.1 on Sun, 22 Nov 2026 09:00:00 +0000.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: `+kind+`
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <bounces@shop.example>
Original-Rcpt-To: <ann@mail.example>
Arrival-Date: Sun, 22 Nov 2026 09:00:00 +0000
Reporting-MTA: dns; mail.example
Source-IP: 192.0.2.1
Reported-Domain: shop.example

--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

`+returned+`
--part1_13d.2e68ed54_boundary--
`, "\n", "\r\n")
}

func TestMailThatCannotBeRead(t *testing.T) {
	for name, raw := range map[string]string{
		"no header":            "What is this?\r\n\r\n",
		"a boundary not there": strings.Replace(feedback("abuse", ours), `boundary="part1_13d.2e68ed54_boundary"`, `boundary="other"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := call(t, plain(t), "message/rfc822", []byte(raw))
			require.ErrorContains(t, err, "read mail that came back: ")
			require.Empty(t, got)
		})
	}
	_, err := call(t, plain(t), "application/x-www-form-urlencoded", []byte(feedback("abuse", ours)))
	require.ErrorIs(t, err, channels.ErrNoCallback, "what curl says of itself")
	require.ErrorContains(t, err, "Content-Type: message/rfc822")
}

func TestMessagesCarryTheirSignedID(t *testing.T) {
	server, config := start(t, time.Now)
	m := letter(1)
	m.Signed = signedID
	require.NoError(t, open(t, config, nil).Send(t.Context(), []channels.Message{m})[0].Err)
	require.Equal(t, signedID, unfold(last(t, server).Header.Get("X-Nudge-Message")))
}

// unfold takes the line breaks out of a header's value.
func unfold(value string) string { return strings.Join(strings.Fields(value), "") }

func FuzzMailThatCameBack(f *testing.F) {
	f.Add(report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no\n", ours))
	f.Add(feedback("abuse", ours))
	f.Add("")
	channel := plain(f)
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := call(t, channel, "message/rfc822", []byte(raw))
		require.True(t, err == nil || got == nil)
		for _, r := range got {
			require.NotEmpty(t, r.Signed)
			require.NotEmpty(t, r.What)
			require.True(t, r.Dead == "" || r.What == channels.Bounced)
		}
	})
}
