package email_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/smtpd"
	"nudge/channels/email"

	"github.com/stretchr/testify/require"
)

const password = "correct-horse-battery"

// keyOf makes a DKIM key: as the config wants it, and as DNS has it.
func keyOf(t testing.TB, key crypto.Signer, kind string) (private string, lookup func(string) ([]string, error)) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	public, ok := key.Public().(ed25519.PublicKey)
	raw := []byte(public)
	if !ok {
		raw, err = x509.MarshalPKIXPublicKey(key.Public())
		require.NoError(t, err)
	}
	record := "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(raw)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), func(name string) ([]string, error) {
		if name != "nudge._domainkey.shop.example" {
			return nil, fmt.Errorf("no record %s", name)
		}
		return []string{record}, nil
	}
}

// start begins a server that asks for everything, and returns the config that leads to it.
func start(t testing.TB, now func() time.Time, change ...func(*smtpd.Config)) (*smtpd.Server, map[string]any) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	private, lookup := keyOf(t, key, "ed25519")
	c := smtpd.Config{Now: now, Security: "tls", Mechanisms: []string{"PLAIN"}, Username: "shop", Password: password, Key: lookup, MaxBytes: 1 << 20}
	for _, f := range change {
		f(&c)
	}
	server, err := smtpd.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	config := map[string]any{
		"host": "127.0.0.1", "port": server.Port(), "tls": c.Security, "ca": string(server.CA.PEM), "from": "Der Schuhladen Größe <news@shop.example>",
		"unsubscribe": "https://shop.example/unsubscribe?m={{ message_id }}", "dkim_key": private, "dkim_selector": "nudge", "connections": 4,
	}
	if len(c.Mechanisms) > 0 {
		config["username"], config["password"] = "shop", password
	}
	return server, config
}

// letter makes the i-th of a series of messages.
func letter(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address = channels.Address{UserID: fmt.Sprintf("user-%d", i), Email: fmt.Sprintf("ann.number%d@customers.example", i)}
	m.Fields = map[string]any{
		"subject": fmt.Sprintf("Noch Lust auf die blauen Schuhe Größe %d?", 36+i%10), "text": "Sie warten.\n.\nFrom here on: https://shop.example/cart",
		"html": "<html><body><p>Sie warten. <a href=\"https://shop.example/cart\">Zum Korb</a></p></body></html>", "preheader": "Noch 3 Paar da",
	}
	return m
}

func open(t testing.TB, config map[string]any, with map[string]any) channels.Channel {
	t.Helper()
	all := maps.Clone(config)
	maps.Copy(all, with)
	raw, err := json.Marshal(all)
	require.NoError(t, err)
	channel, err := email.Spec().New(channels.Options{Config: raw, Now: time.Now, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

// send sends messages one after the other on a channel, and returns their errors.
func send(t testing.TB, channel channels.Channel, batch ...channels.Message) []*channels.DeliveryError {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var out []*channels.DeliveryError
	for _, m := range batch {
		r := channel.Send(ctx, []channels.Message{m})[0]
		if r.Err == nil {
			require.Equal(t, channels.UUID(m.Key)+"@shop.example", r.ProviderID)
			out = append(out, nil)
			continue
		}
		out = append(out, channels.AsDelivery(r.Err))
	}
	return out
}

func TestConformance(t *testing.T) {
	spec := email.Spec()
	kit := channeltest.Kit{
		Spec: spec,
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, now)
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message:  letter,
		ID:       channels.UUID,
		Statuses: map[int]int{400: 554, 403: 535, 500: 451, 502: 450, 503: 421, 200: 250},
		Cases:    []channeltest.Case{{Name: "accepted"}},
	}
	for _, a := range spec.Answers {
		if a.Class == "" {
			continue
		}
		status := a.Status
		if status == 0 {
			status = int(a.Code[0]-'0')*100 + 50
		}
		kit.Cases = append(kit.Cases, channeltest.Case{
			Name: strings.TrimSpace(fmt.Sprint(status, " ", a.Code)), Class: a.Class,
			Fault: provider.Fault{Status: status, Code: a.Code}, Code: strings.TrimSpace(fmt.Sprint(status, " ", a.Code)),
		})
	}
	kit.Run(t)
}

func TestSigningIn(t *testing.T) {
	for _, c := range []struct {
		security, auth string
		mechanisms     []string
	}{
		{"tls", "auto", []string{"PLAIN"}},
		{"tls", "auto", []string{"LOGIN"}},
		{"tls", "login", []string{"PLAIN", "LOGIN"}},
		{"tls", "auto", []string{"CRAM-MD5"}},
		{"starttls", "auto", []string{"LOGIN", "PLAIN"}},
		{"starttls", "auto", nil},
		{"none", "auto", []string{"PLAIN", "CRAM-MD5"}},
		{"none", "auto", nil},
	} {
		t.Run(fmt.Sprint(c.security, " ", c.auth, " ", c.mechanisms), func(t *testing.T) {
			_, config := start(t, time.Now, func(s *smtpd.Config) { s.Security, s.Mechanisms = c.security, c.mechanisms })
			config["auth"] = c.auth
			channel := open(t, config, nil)
			require.Equal(t, []*channels.DeliveryError{nil, nil}, send(t, channel, letter(1), letter(2)))
			require.NoError(t, channel.(channels.Tester).Test(t.Context()))
			if c.mechanisms == nil {
				return
			}
			wrong := open(t, config, map[string]any{"password": "hunter2-hunter2"})
			failure := send(t, wrong, letter(3))[0]
			require.Equal(t, channels.ClassCredential, failure.Class)
			require.Equal(t, "535 5.7.8", failure.Code)
			require.ErrorContains(t, wrong.(channels.Tester).Test(t.Context()), "535 5.7.8")
		})
	}
}

func TestServersThatCannotBeTrusted(t *testing.T) {
	_, plain := start(t, time.Now, func(s *smtpd.Config) { s.Security, s.Mechanisms = "none", nil })
	_, secure := start(t, time.Now)
	for _, c := range []struct {
		name   string
		config map[string]any
		with   map[string]any
		code   string
		text   string
	}{
		{"no STARTTLS", plain, map[string]any{"tls": "starttls"}, "tls", "does not offer STARTTLS"},
		{"a certificate of a stranger", secure, map[string]any{"ca": ""}, "tls", "certificate"},
		{"no way to sign in", plain, map[string]any{"username": "shop", "password": password}, "auth", "no way to sign in"},
		{"another way to sign in", secure, map[string]any{"auth": "cram-md5"}, "auth", "no way to sign in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channel := open(t, c.config, c.with)
			failure := send(t, channel, letter(1))[0]
			require.Equal(t, channels.ClassCredential, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code)
			require.ErrorContains(t, failure, c.text)
			require.Error(t, channel.(channels.Tester).Test(t.Context()))
		})
	}
}

func TestTestSendsNothing(t *testing.T) {
	server, config := start(t, time.Now)
	channel := open(t, config, nil)
	require.NoError(t, channel.(channels.Tester).Test(t.Context()))
	require.Zero(t, server.Requests())
	server.At(smtpd.Mail, func(string) provider.Fault { return provider.Fault{Status: 553, Code: "5.7.1"} })
	require.ErrorContains(t, channel.(channels.Tester).Test(t.Context()), "sending through 127.0.0.1: as it was ordered")
	server.Close()
	require.ErrorContains(t, channel.(channels.Tester).Test(t.Context()), "refused")
}

func TestConnectionsAreKept(t *testing.T) {
	for _, c := range []struct {
		name string
		with map[string]any
		want int64
	}{
		{"one for all", nil, 1},
		{"five messages each", map[string]any{"per_connection": 5}, 4},
		{"no limit", map[string]any{"per_connection": 0}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, time.Now)
			channel := open(t, config, c.with)
			for i := range 20 {
				require.Nil(t, send(t, channel, letter(i))[0])
			}
			require.Equal(t, c.want, server.Connections())
			require.NoError(t, channel.(channels.Closer).Close())
			server.Close()
			require.Zero(t, server.Open())
		})
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	server, config := start(t, time.Now)
	channel := open(t, config, map[string]any{"idle": "1ms"})
	require.Nil(t, send(t, channel, letter(1))[0])
	require.Eventually(t, func() bool { return server.Open() == 0 }, 15*time.Second, time.Millisecond)
	require.Nil(t, send(t, channel, letter(2))[0])
}

func TestNoMoreConnectionsThanAllowed(t *testing.T) {
	server, config := start(t, time.Now)
	channel := open(t, config, map[string]any{"connections": 2})
	server.Script(func(provider.Request) provider.Fault {
		require.LessOrEqual(t, server.Open(), int64(2))
		return provider.Fault{Delay: time.Millisecond}
	})
	batch := make([]channels.Message, 30)
	for i := range batch {
		batch[i] = letter(i)
	}
	for _, r := range channel.Send(t.Context(), batch) {
		require.NoError(t, r.Err)
	}
	require.LessOrEqual(t, server.Connections(), int64(2))
}

func TestARefusalDoesNotEndTheConnection(t *testing.T) {
	server, config := start(t, time.Now)
	channel := open(t, config, nil)
	dead := letter(2).Address.Email
	server.At(smtpd.Rcpt, func(address string) provider.Fault {
		if address == dead {
			return provider.Fault{Status: 550, Code: "5.1.1", Body: []byte("<" + dead + "> no such user " + strings.ToUpper(dead))}
		}
		return provider.Fault{}
	})
	failures := send(t, channel, letter(1), letter(2), letter(3))
	require.Nil(t, failures[0])
	require.Equal(t, channels.ClassAddress, failures[1].Class)
	require.NotContains(t, strings.ToLower(failures[1].Error()), dead)
	require.Nil(t, failures[2])
	require.EqualValues(t, 1, server.Connections())
}

func TestAConnectionThatTheServerEndedIsMadeAnew(t *testing.T) {
	for name, fault := range map[string]provider.Fault{"by 421": {Status: 421, Code: "4.4.2"}, "without a word": {Reset: true}} {
		t.Run(name, func(t *testing.T) {
			server, config := start(t, time.Now)
			channel := open(t, config, nil)
			require.Nil(t, send(t, channel, letter(1))[0])
			ended := false
			server.At(smtpd.Mail, func(string) provider.Fault {
				if ended {
					return provider.Fault{}
				}
				ended = true
				return fault
			})
			require.Nil(t, send(t, channel, letter(2))[0])
			require.EqualValues(t, 2, server.Connections())
			require.EqualValues(t, 2, server.Requests())
			// A connection that is new is not made once more: it is the server that does not want to.
			server.At(smtpd.Mail, func(string) provider.Fault { return fault })
			require.Equal(t, channels.ClassTemporary, send(t, channel, letter(3))[0].Class)
			require.EqualValues(t, 3, server.Connections())
		})
	}
}

func TestStages(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    smtpd.Stage
		fault provider.Fault
		class channels.Class
		code  string
	}{
		{"greeted with a refusal", smtpd.Connect, provider.Fault{Status: 554, Code: "5.7.1"}, channels.ClassCredential, "554"},
		{"greeted with not now", smtpd.Connect, provider.Fault{Status: 421}, channels.ClassTemporary, "421"},
		{"cut at the greeting", smtpd.Connect, provider.Fault{Reset: true}, channels.ClassTemporary, "network"},
		{"garbage at the greeting", smtpd.Connect, provider.Fault{Garbage: true}, channels.ClassTemporary, "network"},
		{"an endless greeting", smtpd.Connect, provider.Fault{Endless: true, Status: 220}, channels.ClassTemporary, "network"},
		{"no greeting", smtpd.Connect, provider.Fault{Hang: true}, channels.ClassTemporary, "timeout"},
		{"EHLO refused", smtpd.Hello, provider.Fault{Status: 550}, channels.ClassCredential, "550"},
		{"signing in is broken", smtpd.Auth, provider.Fault{Status: 454, Code: "4.7.0"}, channels.ClassTemporary, "454 4.7.0"},
		{"the account is disabled", smtpd.Auth, provider.Fault{Status: 535, Code: "5.7.13"}, channels.ClassCredential, "535 5.7.13"},
		{"sender's mailbox", smtpd.Mail, provider.Fault{Status: 550, Code: "5.1.1"}, channels.ClassCredential, "550 5.1.1"},
		{"sender not allowed", smtpd.Mail, provider.Fault{Status: 553, Code: "5.7.1"}, channels.ClassMessage, "553 5.7.1"},
		{"wants signing in", smtpd.Mail, provider.Fault{Status: 530, Code: "5.7.0"}, channels.ClassCredential, "530 5.7.0"},
		{"throttled", smtpd.Mail, provider.Fault{Status: 454}, channels.ClassRateLimit, "454"},
		{"dead", smtpd.Rcpt, provider.Fault{Status: 550, Code: "5.1.1"}, channels.ClassAddress, "550 5.1.1"},
		{"refused, who knows why", smtpd.Rcpt, provider.Fault{Status: 550}, channels.ClassMessage, "550"},
		{"full", smtpd.Rcpt, provider.Fault{Status: 452, Code: "4.2.2"}, channels.ClassTemporary, "452 4.2.2"},
		{"full for good", smtpd.Rcpt, provider.Fault{Status: 552, Code: "5.2.2"}, channels.ClassMessage, "552 5.2.2"},
		{"the enhanced code says temporary", smtpd.Rcpt, provider.Fault{Status: 550, Code: "4.4.7"}, channels.ClassTemporary, "550 4.4.7"},
		{"the enhanced code says permanent", smtpd.Rcpt, provider.Fault{Status: 450, Code: "5.1.1"}, channels.ClassAddress, "450 5.1.1"},
		{"not now, whatever the subject", smtpd.Rcpt, provider.Fault{Status: 450, Code: "4.1.1"}, channels.ClassTemporary, "450 4.1.1"},
		{"a code nobody knows", smtpd.Rcpt, provider.Fault{Status: 599, Code: "5.99.99"}, channels.ClassMessage, "599 5.99.99"},
		{"out of turn", smtpd.Rcpt, provider.Fault{Status: 354}, channels.ClassTemporary, "network"},
		{"cut in the middle", smtpd.MidData, provider.Fault{Reset: true}, channels.ClassTemporary, "network"},
		{"stuck in the middle", smtpd.MidData, provider.Fault{Hang: true}, channels.ClassTemporary, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, time.Now)
			with := map[string]any{}
			if c.fault.Hang {
				with["timeout"] = "300ms"
			}
			channel := open(t, config, with)
			server.At(c.at, func(string) provider.Fault { return c.fault })
			failure := send(t, channel, letter(1))[0]
			require.NotNil(t, failure)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code, "%v", failure)
			require.Less(t, len(failure.Error()), 400)
			require.Zero(t, server.Accepted())
			server.At(c.at, nil)
			patient := open(t, config, nil)
			require.Nil(t, send(t, patient, letter(1))[0])
		})
	}
}
