package smtpd_test

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/smtpd"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// good is a message that is well-formed.
const good = `From: The Shop <news@shop.example>
To: <ann@customers.example>
Subject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=
Date: Sun, 22 Nov 2026 10:00:00 +0000
Message-ID: <7b1955cd-7f14-5a37-ad21-9c04e67fad88@shop.example>
MIME-Version: 1.0
List-Unsubscribe: <https://shop.example/off>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8

It waits.
--b
Content-Type: text/html; charset=utf-8

<p>It waits.</p>
--b--
`

func dial(t *testing.T, server *smtpd.Server) *smtp.Client {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(server.Port())))
	require.NoError(t, err)
	client := smtp.NewClient(conn)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// send sends a message and returns the server's refusal, nil where it is accepted.
func send(t *testing.T, client *smtp.Client, raw string) *smtp.SMTPError {
	t.Helper()
	err := client.SendMail("news@shop.example", []string{"ann@customers.example"}, strings.NewReader(raw))
	if err == nil {
		return nil
	}
	refusal, ok := errors.AsType[*smtp.SMTPError](err)
	require.True(t, ok, "%v", err)
	return refusal
}

// TestMessagesAreChecked shows that the server finds what it is there to find.
func TestMessagesAreChecked(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"well-formed", "", "", ""},
		{"a long line", "It waits.", strings.Repeat("x", 999), "a line of 999 bytes"},
		{"a bare CR", "It waits.", "It\rwaits.", "a bare CR or LF"},
		{"a header beyond ASCII", "=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "Größe", "a header beyond ASCII"},
		{"a long encoded word", "Gr=C3=B6=C3=9Fe", strings.Repeat("=C3=B6", 20), "an encoded word of 132 characters"},
		{"no date", "Date: Sun", "X-Date: Sun", "0 fields Date"},
		{"no id", "Message-ID:", "X-Id:", "0 fields Message-Id"},
		{"two subjects", "Subject:", "Subject: Hi\nSubject:", "2 fields Subject"},
		{"two senders", "From:", "From: bob@shop.example,", "From is not one address"},
		{"a click on what is not https", "https://", "http://", "no https link"},
		{"a click on nothing", "List-Unsubscribe: ", "X-List: ", "not as RFC 8058 has it"},
		{"HTML before its text", "text/plain", "text/html", "is not a text and then its HTML"},
		{"another charset", "text/plain; charset=utf-8", "text/plain; charset=iso-8859-1", "unhandled charset"},
		{"not UTF-8", "It waits.\n--b\nContent", "\xff\n--b\nContent", "not UTF-8"},
		{"an empty part", "It waits.\n--b\nContent", " \n--b\nContent", "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, err := smtpd.Start(smtpd.Config{Now: time.Now, Security: "none"})
			require.NoError(t, err)
			defer server.Close()
			raw := good
			if c.old != "" {
				require.Contains(t, good, c.old)
				raw = strings.Replace(good, c.old, c.new, 1)
			}
			refusal := send(t, dial(t, server), strings.ReplaceAll(raw, "\n", "\r\n"))
			if c.want == "" {
				require.Nil(t, refusal)
				require.EqualValues(t, 1, server.Accepted())
				require.Equal(t, "7b1955cd-7f14-5a37-ad21-9c04e67fad88", server.Received()[0].ID)
				return
			}
			require.NotNil(t, refusal)
			require.Equal(t, smtp.EnhancedCode{5, 6, 0}, refusal.EnhancedCode)
			require.Contains(t, refusal.Message, c.want)
			require.Zero(t, server.Accepted())
		})
	}
}

func TestSignatureAndSigningInAreAskedFor(t *testing.T) {
	server, err := smtpd.Start(smtpd.Config{
		Now: time.Now, Security: "none", Mechanisms: []string{"PLAIN"}, Username: "shop", Password: "secret",
		Key: func(string) ([]string, error) { return nil, errors.New("no record") },
	})
	require.NoError(t, err)
	defer server.Close()
	client := dial(t, server)
	require.Equal(t, 530, send(t, client, good).Code)
	require.ErrorContains(t, client.Auth(sasl.NewPlainClient("", "shop", "wrong")), "Authentication failed")
	require.NoError(t, client.Auth(sasl.NewPlainClient("", "shop", "secret")))
	refusal := send(t, client, strings.ReplaceAll(good, "\n", "\r\n"))
	require.Equal(t, smtp.EnhancedCode{5, 7, 20}, refusal.EnhancedCode)
}

func TestPeopleMustNotSeeEachOther(t *testing.T) {
	server, err := smtpd.Start(smtpd.Config{Now: time.Now, Security: "none"})
	require.NoError(t, err)
	defer server.Close()
	client := dial(t, server)
	require.NoError(t, client.Mail("news@shop.example", nil))
	require.NoError(t, client.Rcpt("ann@customers.example", nil))
	require.ErrorContains(t, client.Rcpt("bob@customers.example", nil), "One recipient a message")
	require.ErrorContains(t, client.Mail("news@shop.example", nil), "Nested MAIL")
}

func TestFaultsAreObeyed(t *testing.T) {
	server, err := smtpd.Start(smtpd.Config{Now: time.Now, Security: "none"})
	require.NoError(t, err)
	defer server.Close()
	client := dial(t, server)
	server.Script(func(provider.Request) provider.Fault {
		return provider.Fault{Status: 451, Code: "4.3.0", Body: []byte("later")}
	})
	refusal := send(t, client, strings.ReplaceAll(good, "\n", "\r\n"))
	require.Equal(t, &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "later"}, refusal)
	server.At(smtpd.Rcpt, func(address string) provider.Fault {
		require.Equal(t, "ann@customers.example", address)
		return provider.Fault{Status: 550, Code: "5.1.1"}
	})
	require.Equal(t, 550, send(t, client, good).Code)
	require.EqualValues(t, 1, server.Requests())
}
