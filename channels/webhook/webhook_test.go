package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/hookd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/webhook"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// secret is a signing secret of the documented form.
func secret(fill byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(fill), 32)))
}

func start(t testing.TB, now func() time.Time) (*hookd.Server, map[string]any) {
	t.Helper()
	server, err := hookd.Start(hookd.Config{Secret: secret('a'), Now: now})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"url": server.URL(), "ca": string(server.CA.PEM), "secrets": []any{secret('b'), secret('a')},
		"headers": map[string]any{"authorization": "Bearer very-secret-hook-token"},
	}
}

func TestConformance(t *testing.T) {
	status := func(n int, class channels.Class) channeltest.Case {
		return channeltest.Case{Name: http.StatusText(n), Fault: provider.Fault{Status: n}, Class: class}
	}
	later := func(n int, class channels.Class) channeltest.Case {
		c := status(n, class)
		c.Name += " with Retry-After"
		c.Fault.Header = http.Header{"Retry-After": {"7"}}
		c.After = 7 * time.Second
		return c
	}
	channeltest.Kit{
		Spec: webhook.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, now)
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: channeltest.Message,
		ID:      channels.UUID,
		Cases: []channeltest.Case{
			{Name: "accepted"},
			status(301, channels.ClassCredential), status(302, channels.ClassCredential), status(307, channels.ClassCredential),
			status(400, channels.ClassMessage), status(401, channels.ClassCredential), status(403, channels.ClassCredential),
			status(404, channels.ClassCredential), status(405, channels.ClassCredential), status(406, channels.ClassMessage),
			status(408, channels.ClassTemporary), status(409, channels.ClassTemporary), status(410, channels.ClassCredential),
			status(413, channels.ClassMessage), status(422, channels.ClassMessage), status(425, channels.ClassTemporary),
			status(429, channels.ClassRateLimit), status(500, channels.ClassTemporary), status(501, channels.ClassTemporary),
			status(502, channels.ClassTemporary), status(503, channels.ClassTemporary), status(504, channels.ClassTemporary),
			later(429, channels.ClassRateLimit), later(503, channels.ClassTemporary),
		},
	}.Run(t)
}

func open(t testing.TB, config map[string]any, now time.Time) channels.Channel {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := webhook.Spec().New(channels.Options{Config: raw, Now: func() time.Time { return now }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

func TestEverySecretSigns(t *testing.T) {
	now := time.Now()
	server, config := start(t, func() time.Time { return now })
	m := channeltest.Message(1)
	require.NoError(t, open(t, config, now).Send(t.Context(), []channels.Message{m})[0].Err)
	got := server.Received()[0]
	require.Len(t, strings.Fields(got.Header.Get("webhook-signature")), 2)
	for _, s := range []string{secret('a'), secret('b')} {
		verifier, err := standardwebhooks.NewWebhook(s)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(got.Body, got.Header))
	}
	stranger, err := standardwebhooks.NewWebhook(secret('c'))
	require.NoError(t, err)
	require.Error(t, stranger.Verify(got.Body, got.Header))
	require.Equal(t, channels.UUID(m.Key), got.Header.Get("webhook-id"))
	require.Equal(t, "Bearer very-secret-hook-token", got.Header.Get("Authorization"))
}

func TestEndpointRefusesAWrongSignature(t *testing.T) {
	now := time.Now()
	_, config := start(t, func() time.Time { return now })
	config["secrets"] = []any{secret('z')}
	failure := channels.AsDelivery(open(t, config, now).Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
	require.Equal(t, channels.ClassCredential, failure.Class)
	require.Equal(t, "401", failure.Code)
}

func TestBody(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	m := channels.Message{
		Key: "k1", Signed: "s1", TTL: time.Minute,
		Address: channels.Address{UserID: "u1", Email: "a@b.example"},
		Fields:  map[string]any{"title": `He said "hi"`, "count": 3.0, "data": map[string]any{"order": "o1"}},
		About:   map[string]string{"rule": "r1"},
	}
	for _, c := range []struct {
		name string
		body map[string]any
		want string
	}{
		{"the default", nil, `{"type":"message","timestamp":"2026-03-04T05:06:07Z","data":{"key":"k1","message_id":"s1","user_id":"u1",
			"address":{"email":"a@b.example"},"fields":{"title":"He said \"hi\"","count":3,"data":{"order":"o1"}},"about":{"rule":"r1"},"urgent":false,"ttl_seconds":60}}`},
		{"texts are escaped", map[string]any{"text": "{{ user_id }}: {{fields.title}} ({{ fields.count }})"}, `{"text":"u1: He said \"hi\" (3)"}`},
		{"a lone name keeps its type", map[string]any{"n": "{{ fields.count }}", "d": "{{ fields.data }}"}, `{"n":3,"d":{"order":"o1"}}`},
		{"what is missing is null alone and empty in a text", map[string]any{"a": "{{ fields.nothing.at.all }}", "b": "x{{ fields.nothing }}y"}, `{"a":null,"b":"xy"}`},
		{"lists and constants", map[string]any{"list": []any{"{{ about.rule }}", 1.0, true, nil, map[string]any{"k": "{{ key }}"}}}, `{"list":["r1",1,true,null,{"k":"k1"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := provider.NewLog()
			config := map[string]any{"url": listen(t, log)}
			if c.body != nil {
				config["body"] = c.body
			}
			require.NoError(t, open(t, config, now).Send(t.Context(), []channels.Message{m})[0].Err)
			require.JSONEq(t, c.want, string(log.Received()[0].Body))
		})
	}
}

// listen serves plain HTTP and returns the URL: the fixed clock above is no time for certificates.
func listen(t *testing.T, log *provider.Log) string {
	t.Helper()
	none := func([]byte) string { return "" }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Serve(w, r, time.Time{}, none, none, func([]byte) provider.Answer { return provider.Answer{Status: http.StatusOK} }, nil)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestConfigRefusals(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"no url", `{}`, "url is missing"},
		{"not a url", `{"url":"hooks.example"}`, "url is not an http or https URL"},
		{"a secret that is no base64", `{"url":"https://x.example","secrets":["whsec_not base64, but secret!"]}`, "secrets[0] is not base64"},
		{"a header that is none", `{"url":"https://x.example","headers":{"a b":"x"}}`, "headers.a b is not a header"},
		{"a placeholder that names nothing", `{"url":"https://x.example","body":{"a":{"b":["{{ field.title }}"]}}}`, "body.a.b[0] names field, which a message does not have"},
		{"a filter", `{"url":"https://x.example","body":{"a":"{{ fields.title | upcase }}"}}`, "body.a has a {{ … }} that is not a name"},
		{"a bad duration", `{"url":"https://x.example","timeout":"30"}`, "timeout is not a duration"},
		{"no such ca", `{"url":"https://x.example","ca":"nowhere.pem"}`, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := webhook.Spec().New(channels.Options{Config: []byte(c.config), Now: time.Now, Dir: t.TempDir()})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "but secret")
		})
	}
}

func TestEndpointThatQuotesASecret(t *testing.T) {
	server, config := start(t, time.Now)
	config["url"] = strings.Replace(server.URL(), "https://", "https://user:hunter2hunter2@", 1) + "&token=query-secret-17"
	channel := open(t, config, time.Now())
	server.Script(func(provider.Request) provider.Fault {
		return provider.Fault{Status: 400, Body: []byte("not allowed: very-secret-hook-token query-secret-17 hunter2hunter2 " + secret('a'))}
	})
	failure := channel.Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err
	require.ErrorContains(t, failure, "not allowed: *** *** *** ***")
	server.Close()
	failure = channel.Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err
	require.NotContains(t, failure.Error(), "secret")
	require.NotContains(t, failure.Error(), "hunter2")
}

func TestTest(t *testing.T) {
	server, config := start(t, time.Now)
	channel := open(t, config, time.Now())
	require.NoError(t, channel.(channels.Tester).Test(t.Context()))
	server.Close()
	require.ErrorContains(t, channel.(channels.Tester).Test(t.Context()), "asking 127.0.0.1")
}
