package email_test

import (
	"strings"
	"testing"

	"nudge/channels"
	"nudge/channels/email"

	"github.com/stretchr/testify/require"
)

// report is a report of delivery as Postfix lays it out.
func report(to, status, returned string) string {
	return strings.ReplaceAll(`Return-Path: <>
From: MAILER-DAEMON@relay.example (Mail Delivery System)
To: `+to+`
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

func TestParseBounce(t *testing.T) {
	const id = "7b1955cd-7f14-5a37-ad21-9c04e67fad88"
	returned := "From: <news@shop.example>\nMessage-ID: <" + id + "@shop.example>\nSubject: Hi\n\nSie warten.\n"
	for _, c := range []struct {
		name, raw string
		want      []email.Bounce
	}{
		{"no such mailbox", report("bounces@shop.example", `Final-Recipient: rfc822; ann@customers.example
Original-Recipient: rfc822;Ann@customers.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.customers.example
Diagnostic-Code: smtp; 550 5.1.1 <ann@customers.example>: Recipient address
    rejected: User unknown
`, returned), []email.Bounce{{
			ID: id, Recipient: "Ann@customers.example", Action: "failed", Class: channels.ClassAddress, Code: "5.1.1",
			Text: "550 5.1.1 <ann@customers.example>: Recipient address rejected: User unknown",
		}}},
		{"the server that knew says more", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.0.0 (permanent failure)\nDiagnostic-Code: smtp; 550-5.2.1 The account is disabled\n", returned), []email.Bounce{{
			ID: id, Recipient: "ann@customers.example", Action: "failed", Class: channels.ClassAddress, Code: "5.2.1", Text: "550-5.2.1 The account is disabled",
		}}},
		{"two recipients, one late", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: delayed\nStatus: 4.4.1\n\nFinal-Recipient: rfc822; bob@customers.example\nAction: failed\nStatus: 5.7.26\n", returned), []email.Bounce{
			{ID: id, Recipient: "ann@customers.example", Action: "delayed", Class: channels.ClassTemporary, Code: "4.4.1"},
			{ID: id, Recipient: "bob@customers.example", Action: "failed", Class: channels.ClassCredential, Code: "5.7.26"},
		}},
		{"given up after days", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 4.4.7\nDiagnostic-Code: X-Relay; delivery expired\n", returned), []email.Bounce{
			{ID: id, Recipient: "ann@customers.example", Action: "failed", Class: channels.ClassTemporary, Code: "4.4.7", Text: "delivery expired"},
		}},
		{"a plain 550 retires nobody", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 blocked\n", returned), []email.Bounce{
			{ID: id, Recipient: "ann@customers.example", Action: "failed", Class: channels.ClassMessage, Code: "5.0.0", Text: "550 blocked"},
		}},
		{"no code at all", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\n", returned), []email.Bounce{
			{ID: id, Recipient: "ann@customers.example", Action: "failed", Class: channels.ClassMessage},
		}},
		{"delivered", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: delivered\nStatus: 2.0.0\n", returned), []email.Bounce{
			{ID: id, Recipient: "ann@customers.example", Action: "delivered", Code: "2.0.0"},
		}},
		{"the id is in the address alone", report("bounces+"+strings.ToUpper(id)+"@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.1.10\n", "Subject: Hi\n\nx\n"), []email.Bounce{
			{ID: id, Recipient: "ann@customers.example", Action: "failed", Class: channels.ClassAddress, Code: "5.1.10"},
		}},
		{"not ours", report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.1.1\n", "Message-ID: <17@elsewhere.example>\n\nx\n"), []email.Bounce{
			{Recipient: "ann@customers.example", Action: "failed", Class: channels.ClassAddress, Code: "5.1.1"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := email.ParseBounce(strings.NewReader(c.raw))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestWhatIsNoBounce(t *testing.T) {
	whole := report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.1.1\n", "Subject: Hi\n\nx\n")
	for name, raw := range map[string]string{
		"an answer":            "From: ann@customers.example\r\nSubject: Re: Hi\r\n\r\nThanks!\r\n",
		"nothing":              "",
		"another report":       strings.Replace(whole, "report-type=delivery-status", "report-type=feedback-report", 1),
		"a report of nobody":   report("bounces@shop.example", "X-Nothing: here\n", "Subject: Hi\n\nx\n"),
		"no multipart at all":  strings.Replace(whole, "multipart/report", "text/plain", 1),
		"a boundary not there": strings.Replace(whole, `boundary="4XyZ/relay.example"`, `boundary="other"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := email.ParseBounce(strings.NewReader(raw))
			require.Error(t, err)
			require.Empty(t, got)
		})
	}
	_, err := email.ParseBounce(strings.NewReader("From: ann@customers.example\r\nSubject: Re: Hi\r\n\r\nThanks!\r\n"))
	require.ErrorIs(t, err, email.ErrNoBounce)
}

func FuzzParseBounce(f *testing.F) {
	f.Add(report("bounces@shop.example", "Final-Recipient: rfc822; ann@customers.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no\n", "Subject: Hi\n\nx\n"))
	f.Add("")
	f.Fuzz(func(t *testing.T, raw string) {
		bounces, err := email.ParseBounce(strings.NewReader(raw))
		require.Equal(t, err == nil, len(bounces) > 0)
	})
}
