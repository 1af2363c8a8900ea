package apnsd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/h2"

	"github.com/sideshow/apns2/token"
	"github.com/stretchr/testify/require"
)

// client sends requests as a provider would.
type client struct {
	server *apnsd.Server
	http   *http.Client
	bearer string
}

func start(t *testing.T, c apnsd.Config) client {
	t.Helper()
	server, err := apnsd.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	transport := h2.New(h2.Config{TLS: &tls.Config{RootCAs: server.CA.Pool()}})
	t.Cleanup(func() { require.NoError(t, transport.Close()) })
	return client{server, &http.Client{Transport: transport}, bearer(t, server, server.KeyID, server.TeamID)}
}

func bearer(t *testing.T, server *apnsd.Server, keyID, teamID string) string {
	t.Helper()
	key, err := token.AuthKeyFromBytes(server.KeyPEM)
	require.NoError(t, err)
	tok := token.Token{AuthKey: key, KeyID: keyID, TeamID: teamID}
	_, err = tok.Generate()
	require.NoError(t, err)
	return tok.Bearer
}

// device is a good token.
var device = strings.Repeat("a1", 32)

// push sends one request; change mends it before.
func (c client) push(t *testing.T, change func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.server.Host()+"/3/device/"+device, strings.NewReader(`{"aps":{"alert":"hi"}}`))
	require.NoError(t, err)
	for name, value := range map[string]string{
		"authorization": "bearer " + c.bearer, "apns-topic": "example.shop", "apns-push-type": "alert",
		"apns-id": "123e4567-e89b-12d3-a456-426655440000",
	} {
		r.Header.Set(name, value)
	}
	if change != nil {
		change(r)
	}
	response, err := c.http.Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	var answer struct {
		Reason    string `json:"reason"`
		Timestamp int64  `json:"timestamp"`
	}
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if response.StatusCode != http.StatusOK {
		require.NoError(t, json.Unmarshal(raw, &answer), "%s", raw)
		require.Equal(t, response.StatusCode == http.StatusGone, answer.Timestamp != 0)
	} else {
		require.Empty(t, raw)
	}
	return response.StatusCode, answer.Reason, response.Header
}

func TestDocumentedAnswers(t *testing.T) {
	c := start(t, apnsd.Config{Now: time.Now, Topics: []string{"example.shop"}})
	c.server.SetDevice(strings.Repeat("b", 64), apnsd.Device{Unregistered: true})
	c.server.SetDevice(strings.Repeat("c", 64), apnsd.Device{Expired: true})
	c.server.SetDevice(strings.Repeat("d", 64), apnsd.Device{Sandbox: true})
	c.server.SetDevice(strings.Repeat("e", 64), apnsd.Device{Topic: "example.other"})
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del(name)
			if value != "" {
				r.Header.Set(name, value)
			}
		}
	}
	path := func(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }
	body := func(n int) func(*http.Request) {
		return func(r *http.Request) {
			text := []byte(`{"aps":{"alert":"` + strings.Repeat("x", max(0, n-len(`{"aps":{"alert":""}}`))) + `"}}`)
			if n == 0 {
				text = nil
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*http.Request)
		status int
		reason string
	}{
		{"accepted", nil, 200, ""},
		{"4096 bytes", body(4096), 200, ""},
		{"4097 bytes", body(4097), 413, "PayloadTooLarge"},
		{"a megabyte", body(1 << 20), 413, "PayloadTooLarge"},
		{"nothing", body(0), 400, "PayloadEmpty"},
		{"5120 bytes by VoIP", func(r *http.Request) { body(5120)(r); r.Header.Set("apns-push-type", "voip") }, 200, ""},
		{"GET", func(r *http.Request) { r.Method = http.MethodGet }, 405, "MethodNotAllowed"},
		{"another path", path("/2/device/" + device), 404, "BadPath"},
		{"a path behind the token", path("/3/device/" + device + "/x"), 404, "BadPath"},
		{"no token", path("/3/device/"), 400, "MissingDeviceToken"},
		{"a token that is no hexadecimal", path("/3/device/" + strings.Repeat("z", 64)), 400, "BadDeviceToken"},
		{"a short token", path("/3/device/abcdef"), 400, "BadDeviceToken"},
		{"a token of the sandbox", path("/3/device/" + strings.Repeat("d", 64)), 400, "BadDeviceToken"},
		{"a token of another app", path("/3/device/" + strings.Repeat("e", 64)), 400, "DeviceTokenNotForTopic"},
		{"the app is gone", path("/3/device/" + strings.Repeat("b", 64)), 410, "Unregistered"},
		{"an expired token", path("/3/device/" + strings.Repeat("c", 64)), 410, "ExpiredToken"},
		{"no id", header("apns-id", ""), 200, ""},
		{"an id that is no UUID", header("apns-id", "17"), 400, "BadMessageId"},
		{"an expiration that is no number", header("apns-expiration", "soon"), 400, "BadExpirationDate"},
		{"priority 7", header("apns-priority", "7"), 400, "BadPriority"},
		{"in the background at priority 10", func(r *http.Request) {
			r.Header.Set("apns-push-type", "background")
			r.Header.Set("apns-priority", "10")
		}, 400, "BadPriority"},
		{"in the background at priority 5", func(r *http.Request) {
			r.Header.Set("apns-push-type", "background")
			r.Header.Set("apns-priority", "5")
		}, 200, ""},
		{"64 bytes of collapse id", header("apns-collapse-id", strings.Repeat("c", 64)), 200, ""},
		{"65 bytes of collapse id", header("apns-collapse-id", strings.Repeat("c", 65)), 400, "BadCollapseId"},
		{"another push type", header("apns-push-type", "shout"), 400, "InvalidPushType"},
		{"no topic", header("apns-topic", ""), 400, "MissingTopic"},
		{"a topic that is not ours", header("apns-topic", "example.other"), 400, "TopicDisallowed"},
		{"a header twice", func(r *http.Request) { r.Header.Add("apns-topic", "example.shop") }, 400, "DuplicateHeaders"},
		{"no provider token", header("authorization", ""), 403, "MissingProviderToken"},
		{"a malformed provider token", header("authorization", "bearer a.b.c"), 403, "InvalidProviderToken"},
		{"another team's", header("authorization", "bearer "+bearer(t, c.server, c.server.KeyID, "X")), 403, "InvalidProviderToken"},
		{"another key's id", header("authorization", "bearer "+bearer(t, c.server, "X", c.server.TeamID)), 403, "InvalidProviderToken"},
		{"a damaged signature", header("authorization", "bearer "+c.bearer[:len(c.bearer)-8]+"AAAAAAAA"), 403, "InvalidProviderToken"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, reason, header := c.push(t, tc.change)
			require.Equal(t, tc.status, status, reason)
			require.Equal(t, tc.reason, reason)
			require.Len(t, header.Get("Apns-Id"), 36)
			require.Empty(t, header.Get("Apns-Unique-Id"))
		})
	}
}

func TestIDsAreEchoed(t *testing.T) {
	c := start(t, apnsd.Config{Now: time.Now, Sandbox: true})
	_, _, header := c.push(t, nil)
	require.Equal(t, "123e4567-e89b-12d3-a456-426655440000", header.Get("Apns-Id"))
	require.Len(t, header.Get("Apns-Unique-Id"), 36, "the sandbox tells a second one")
}

func TestProviderTokensAgeAndMustNotChangeOften(t *testing.T) {
	now := time.Now()
	c := start(t, apnsd.Config{Now: func() time.Time { return now }})
	send := func(bearer string) string {
		_, reason, _ := c.push(t, func(r *http.Request) { r.Header.Set("authorization", "bearer "+bearer) })
		return reason
	}
	// ES256 signatures are random: each is a token of its own.
	first, second, third := c.bearer, bearer(t, c.server, c.server.KeyID, c.server.TeamID), bearer(t, c.server, c.server.KeyID, c.server.TeamID)
	require.Empty(t, send(first))
	require.Empty(t, send(second))
	require.Equal(t, "TooManyProviderTokenUpdates", send(third))
	now = now.Add(21 * time.Minute)
	require.Empty(t, send(third))
	now = now.Add(40 * time.Minute)
	require.Equal(t, "ExpiredProviderToken", send(first))
}

func TestScript(t *testing.T) {
	c := start(t, apnsd.Config{Now: time.Now})
	c.server.Script(func(r provider.Request) provider.Fault {
		if r.N%2 == 0 {
			return provider.Fault{Status: 503, Code: "Shutdown"}
		}
		return provider.Fault{}
	})
	for i := range 10 {
		status, _, _ := c.push(t, nil)
		require.Equal(t, []int{200, 503}[i%2], status)
	}
	require.EqualValues(t, 10, c.server.Requests())
	require.EqualValues(t, 5, c.server.Accepted())
	require.Equal(t, map[int]int64{200: 5, 503: 5}, c.server.Statuses())
	got := c.server.Received()[0]
	require.Equal(t, device, got.Address)
	require.Equal(t, "123e4567-e89b-12d3-a456-426655440000", got.ID)
	require.Equal(t, fmt.Sprint("bearer ", c.bearer), got.Header.Get("Authorization"))
}
