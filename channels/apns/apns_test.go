package apns_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/apnsd"
	"nudge/channels/channeltest/provider"

	"github.com/stretchr/testify/require"
)

// start begins a local APNs and returns a config for it.
func start(t *testing.T, c apnsd.Config) (*apnsd.Server, map[string]any) {
	t.Helper()
	server, err := apnsd.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"topic": "example.shop", "key": string(server.KeyPEM), "key_id": server.KeyID, "team_id": server.TeamID,
		"host": server.Host(), "ca": string(server.CA.PEM),
	}
}

func TestConformance(t *testing.T) {
	var cases []channeltest.Case
	add := func(status int, reason string, class channels.Class) {
		cases = append(cases, channeltest.Case{
			Name: fmt.Sprintf("%d %s", status, reason), Fault: provider.Fault{Status: status, Code: reason}, Class: class, Code: reason,
		})
	}
	// Apple's table, line by line, written down a second time: the adapter must agree.
	for _, reason := range []string{"BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority", "DuplicateHeaders", "InvalidPushType", "MissingDeviceToken", "PayloadEmpty", "DeviceTokenNotForTopic", "SomethingNew"} {
		add(400, reason, channels.ClassMessage)
	}
	for _, reason := range []string{"BadTopic", "MissingTopic", "TopicDisallowed"} {
		add(400, reason, channels.ClassCredential)
	}
	add(400, "BadDeviceToken", channels.ClassAddress)
	add(400, "ExpiredToken", channels.ClassAddress)
	add(400, "IdleTimeout", channels.ClassTemporary)
	for _, reason := range []string{"BadCertificate", "BadCertificateEnvironment", "BadEnvironmentKeyIdInToken", "BadEnvironmentKeyInToken", "ExpiredProviderToken", "Forbidden", "InvalidProviderToken", "MissingProviderToken", "UnrelatedKeyIdInToken", "SomethingNew"} {
		add(403, reason, channels.ClassCredential)
	}
	add(404, "BadPath", channels.ClassCredential)
	add(405, "MethodNotAllowed", channels.ClassCredential)
	add(410, "ExpiredToken", channels.ClassAddress)
	add(410, "Unregistered", channels.ClassAddress)
	add(410, "SomethingNew", channels.ClassAddress)
	add(413, "PayloadTooLarge", channels.ClassMessage)
	add(429, "TooManyProviderTokenUpdates", channels.ClassRateLimit)
	add(429, "TooManyRequests", channels.ClassRateLimit)
	add(500, "InternalServerError", channels.ClassTemporary)
	add(503, "ServiceUnavailable", channels.ClassTemporary)
	add(503, "Shutdown", channels.ClassTemporary)
	cases = append(cases, channeltest.Case{
		Name:  "503 with Retry-After",
		Fault: provider.Fault{Status: 503, Code: "Shutdown", Header: http.Header{"Retry-After": {"30"}}},
		Class: channels.ClassTemporary, Code: "Shutdown", After: 30 * time.Second,
	})
	channeltest.Kit{
		Spec: apns.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, apnsd.Config{Now: now})
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: channeltest.Message,
		ID:      channels.UUID,
		Cases:   cases,
	}.Run(t)
}

func open(t *testing.T, config map[string]any, now func() time.Time) channels.Channel {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := apns.Spec().New(channels.Options{Config: raw, Now: now, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

func TestWhatAppleGets(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	key := "cart/1/push"
	plain := http.Header{
		"Apns-Topic": {"example.shop"}, "Apns-Id": {channels.UUID(key)}, "Apns-Collapse-Id": {channels.ShortHash(key)},
		"Apns-Priority": {"5"}, "Apns-Push-Type": {"alert"},
	}
	with := func(more ...string) http.Header {
		h := plain.Clone()
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return h
	}
	for _, c := range []struct {
		name    string
		message channels.Message
		header  http.Header
		body    string
	}{
		{
			"title and body",
			channels.Message{Fields: map[string]any{"title": "Hi", "body": "There <b>"}},
			plain, `{"aps":{"alert":{"title":"Hi","body":"There <b>"}},"nudge":{}}`,
		},
		{
			"urgent, with a lifetime",
			channels.Message{Urgent: true, TTL: time.Hour, Fields: map[string]any{"body": "x"}},
			with("Apns-Priority", "10", "Apns-Expiration", strconv.FormatInt(now.Add(time.Hour).Unix(), 10)), `{"aps":{"alert":{"body":"x"}},"nudge":{}}`,
		},
		{
			"everything",
			channels.Message{Signed: "sid", Fields: map[string]any{
				"title": "T", "subtitle": "S", "body": "B", "badge": "3", "sound": "ping.caf", "category": "CART", "thread": "cart",
				"link": "https://shop.example/cart", "image": "https://shop.example/1.jpg", "interruption": "time-sensitive", "relevance": 0.5,
				"actions": []any{map[string]any{"id": "buy", "title": "Buy"}}, "data": map[string]any{"order": "o1", "n": 2.0},
				"channel_id": "for Android only",
			}},
			plain, `{"aps":{"alert":{"title":"T","subtitle":"S","body":"B"},"badge":3,"sound":"ping.caf","category":"CART","thread-id":"cart","mutable-content":1,
				"interruption-level":"time-sensitive","relevance-score":0.5},
				"nudge":{"id":"sid","link":"https://shop.example/cart","image":"https://shop.example/1.jpg","actions":[{"id":"buy","title":"Buy"}]},"order":"o1","n":2}`,
		},
		{
			"a badge of 0 removes it",
			channels.Message{Fields: map[string]any{"badge": 0.0}},
			plain, `{"aps":{"badge":0},"nudge":{}}`,
		},
		{
			"silent, even when urgent",
			channels.Message{Urgent: true, Fields: map[string]any{"silent": true, "data": map[string]any{"sync": true}}},
			with("Apns-Push-Type", "background"), `{"aps":{"content-available":1},"nudge":{},"sync":true}`,
		},
		{
			"collapse",
			channels.Message{Fields: map[string]any{"body": "x", "collapse": "order-17"}},
			with("Apns-Collapse-Id", "order-17"), `{"aps":{"alert":{"body":"x"}},"nudge":{}}`,
		},
		{
			"a collapse text above 64 bytes is hashed",
			channels.Message{Fields: map[string]any{"body": "x", "collapse": strings.Repeat("o", 65)}},
			with("Apns-Collapse-Id", channels.ShortHash(strings.Repeat("o", 65))), `{"aps":{"alert":{"body":"x"}},"nudge":{}}`,
		},
		{
			"another app",
			channels.Message{Address: channels.Address{App: "Shop Pro"}, Fields: map[string]any{"body": "x", "mutable": true}},
			with("Apns-Topic", "example.shop.pro"), `{"aps":{"alert":{"body":"x"},"mutable-content":1},"nudge":{}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, apnsd.Config{Now: func() time.Time { return now }})
			config["apps"] = map[string]any{"Shop Pro": "example.shop.pro"}
			c.message.Key, c.message.Address.Token = key, channeltest.Token(1)
			r := open(t, config, func() time.Time { return now }).Send(t.Context(), []channels.Message{c.message})[0]
			require.NoError(t, r.Err)
			require.Equal(t, channels.UUID(key), r.ProviderID)
			got := server.Received()[0]
			require.JSONEq(t, c.body, string(got.Body))
			for name, want := range c.header {
				require.Equal(t, want, got.Header[name], name)
			}
			if c.header["Apns-Expiration"] == nil {
				require.Empty(t, got.Header["Apns-Expiration"])
			}
			require.Equal(t, channeltest.Token(1), got.Address)
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	server, config := start(t, apnsd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	fits := 4096 - len(`{"aps":{"alert":{"body":""}},"nudge":{}}`)
	for _, c := range []struct {
		name   string
		token  string
		fields map[string]any
		class  channels.Class
		code   string
	}{
		{"no token", "", map[string]any{"body": "x"}, channels.ClassAddress, "BadDeviceToken"},
		{"a token that is none", "fGx:APA91b-not-apples", map[string]any{"body": "x"}, channels.ClassAddress, "BadDeviceToken"},
		{"a token with a path in it", "aaaaaaaaaaaa/../x", map[string]any{"body": "x"}, channels.ClassAddress, "BadDeviceToken"},
		{"nothing to show", channeltest.Token(1), map[string]any{"link": "https://x.example"}, channels.ClassMessage, "PayloadEmpty"},
		{"a byte too much", channeltest.Token(1), map[string]any{"body": strings.Repeat("x", fits+1)}, channels.ClassMessage, "PayloadTooLarge"},
		{"a badge that is no number", channeltest.Token(1), map[string]any{"body": "x", "badge": "many"}, channels.ClassMessage, "field"},
		{"a negative badge", channeltest.Token(1), map[string]any{"body": "x", "badge": -1.0}, channels.ClassMessage, "field"},
		{"a wrong interruption", channeltest.Token(1), map[string]any{"body": "x", "interruption": "loud"}, channels.ClassMessage, "field"},
		{"a wrong relevance", channeltest.Token(1), map[string]any{"body": "x", "relevance": 2.0}, channels.ClassMessage, "field"},
		{"data that takes a key", channeltest.Token(1), map[string]any{"body": "x", "data": map[string]any{"aps": 1.0}}, channels.ClassMessage, "field"},
		{"data that is no map", channeltest.Token(1), map[string]any{"body": "x", "data": "y"}, channels.ClassMessage, "field"},
		{"a lifetime that is none", channeltest.Token(1), map[string]any{"body": "x", "ttl": "soon"}, channels.ClassMessage, "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := channel.Send(t.Context(), []channels.Message{{Key: "k", Address: channels.Address{Token: c.token}, Fields: c.fields}})[0]
			failure := channels.AsDelivery(r.Err)
			require.Equal(t, c.class, failure.Class, "%v", r.Err)
			require.Equal(t, c.code, failure.Code)
		})
	}
	require.Zero(t, server.Requests())
	t.Run("and the last byte fits", func(t *testing.T) {
		m := channels.Message{Key: "k", Address: channels.Address{Token: channeltest.Token(1)}, Fields: map[string]any{"body": strings.Repeat("x", fits)}}
		require.NoError(t, channel.Send(t.Context(), []channels.Message{m})[0].Err)
		require.Len(t, server.Received()[0].Body, 4096)
	})
}

func TestDevicesOfBothEnvironments(t *testing.T) {
	production, config := start(t, apnsd.Config{Now: time.Now})
	sandbox, other := start(t, apnsd.Config{Now: time.Now, Sandbox: true})
	config["sandbox_host"], config["ca"] = other["host"], config["ca"].(string)+other["ca"].(string)
	sandbox.Trust(production) // one key serves both environments
	channel := open(t, config, time.Now)
	var batch []channels.Message
	for i, environment := range []string{"production", "sandbox", "development", ""} {
		m := channeltest.Message(i)
		m.Address.Environment = environment
		batch = append(batch, m)
	}
	for _, r := range channel.Send(t.Context(), batch) {
		require.NoError(t, r.Err)
	}
	require.EqualValues(t, 2, production.Accepted())
	require.EqualValues(t, 2, sandbox.Accepted())
}

func TestTokensThatAppleKnowsToBeDead(t *testing.T) {
	server, config := start(t, apnsd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	for i, c := range []struct {
		name   string
		device apnsd.Device
		class  channels.Class
		code   string
	}{
		{"alive", apnsd.Device{Topic: "example.shop"}, "", ""},
		{"the app is gone", apnsd.Device{Unregistered: true}, channels.ClassAddress, "Unregistered"},
		{"expired", apnsd.Device{Expired: true}, channels.ClassAddress, "ExpiredToken"},
		{"of the sandbox", apnsd.Device{Sandbox: true}, channels.ClassAddress, "BadDeviceToken"},
		{"of another app", apnsd.Device{Topic: "example.other"}, channels.ClassMessage, "DeviceTokenNotForTopic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server.SetDevice(channeltest.Token(i), c.device)
			r := channel.Send(t.Context(), []channels.Message{channeltest.Message(i)})[0]
			if c.class == "" {
				require.NoError(t, r.Err)
				return
			}
			require.Equal(t, c.class, channels.AsDelivery(r.Err).Class)
			require.Equal(t, c.code, channels.AsDelivery(r.Err).Code)
			require.Equal(t, c.device.Unregistered || c.device.Expired, !channels.AsDelivery(r.Err).Since.IsZero())
		})
	}
}

func TestCertificates(t *testing.T) {
	server, config := start(t, apnsd.Config{Now: time.Now})
	cert, err := server.CA.Client("Apple Push Services: example.shop")
	require.NoError(t, err)
	text, err := provider.PEMOf(cert)
	require.NoError(t, err)
	for _, name := range []string{"key", "key_id", "team_id"} {
		delete(config, name)
	}
	t.Run("PEM", func(t *testing.T) {
		config["certificate"] = string(text)
		require.NoError(t, open(t, config, time.Now).Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
		require.Empty(t, server.Received()[0].Header["Authorization"])
	})
	t.Run("p12", func(t *testing.T) {
		// Made by openssl, self-signed: it loads, and the local Apple, who signs others, refuses it.
		raw, err := os.ReadFile("testdata/client.p12")
		require.NoError(t, err)
		config["certificate"], config["password"] = "base64:"+base64.StdEncoding.EncodeToString(raw), "testdata"
		failure := channels.AsDelivery(open(t, config, time.Now).Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
		require.Equal(t, "MissingProviderToken", failure.Code)
		require.Equal(t, channels.ClassCredential, failure.Class)
		config["password"] = "wrong"
		text, err := json.Marshal(config)
		require.NoError(t, err)
		_, err = apns.Spec().New(channels.Options{Config: text, Now: time.Now})
		require.ErrorContains(t, err, "certificate cannot be read")
	})
	t.Run("of a stranger", func(t *testing.T) {
		stranger, err := provider.NewCA(time.Now())
		require.NoError(t, err)
		cert, err := stranger.Client("stranger")
		require.NoError(t, err)
		text, err := provider.PEMOf(cert)
		require.NoError(t, err)
		config["certificate"] = string(text)
		delete(config, "password")
		failure := channels.AsDelivery(open(t, config, time.Now).Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "tls", failure.Code)
	})
	t.Run("Apple's own does not convince us", func(t *testing.T) {
		config["ca"] = ""
		failure := channels.AsDelivery(open(t, config, time.Now).Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "tls", failure.Code)
	})
}

func TestWrongKeys(t *testing.T) {
	_, config := start(t, apnsd.Config{Now: time.Now})
	for name, mend := range map[string]func(map[string]any){
		"another team": func(c map[string]any) { c["team_id"] = "WRONG12345" },
		"another id":   func(c map[string]any) { c["key_id"] = "WRONG12345" },
		"another key": func(c map[string]any) {
			other, err := apnsd.Start(apnsd.Config{Now: time.Now})
			require.NoError(t, err)
			defer other.Close()
			c["key"] = string(other.KeyPEM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := maps.Clone(config)
			mend(wrong)
			channel := open(t, wrong, time.Now)
			for _, r := range channel.Send(t.Context(), []channels.Message{channeltest.Message(1), channeltest.Message(2)}) {
				require.Equal(t, channels.ClassCredential, channels.AsDelivery(r.Err).Class)
				require.Equal(t, "InvalidProviderToken", channels.AsDelivery(r.Err).Code)
			}
			require.ErrorContains(t, channel.(channels.Tester).Test(t.Context()), "InvalidProviderToken")
		})
	}
	require.NoError(t, open(t, config, time.Now).(channels.Tester).Test(t.Context()))
}

// TestProviderTokenThatExpires moves the provider's clock: our token is too old there, as on a
// machine whose clock is an hour behind.
func TestProviderTokenThatExpires(t *testing.T) {
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	server, config := start(t, apnsd.Config{Now: clock})
	channel := open(t, config, clock)
	require.NoError(t, channel.Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
	ahead.Store(int64(61 * time.Minute))
	failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
	require.Equal(t, "ExpiredProviderToken", failure.Code)
	require.Equal(t, channels.ClassCredential, failure.Class)
	ahead.Store(0)
	require.NoError(t, channel.Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
	var bearers []string
	for _, r := range server.Received() {
		bearers = append(bearers, r.Header.Get("Authorization"))
	}
	require.NotEqual(t, bearers[1], bearers[2], "a new token was made")
}

func TestGoAwayDuringABatch(t *testing.T) {
	server, config := start(t, apnsd.Config{Now: time.Now, MaxStreams: 50})
	channel := open(t, config, time.Now)
	var n atomic.Int64
	server.Script(func(provider.Request) provider.Fault {
		if n.Add(1)%97 == 0 {
			go server.GoAway("Shutdown")
		}
		return provider.Fault{Delay: time.Millisecond}
	})
	for batch := range 4 {
		var messages []channels.Message
		for i := range 250 {
			messages = append(messages, channeltest.Message(batch*250+i))
		}
		for _, r := range channel.Send(t.Context(), messages) {
			require.NoError(t, r.Err)
		}
	}
	ids := map[string]int{}
	for _, r := range server.Received() {
		ids[r.ID]++
	}
	require.Len(t, ids, 1000)
	for id, times := range ids {
		require.Equal(t, 1, times, id)
	}
	require.Greater(t, server.Connections(), int64(1))
}

func TestConfigRefusals(t *testing.T) {
	_, config := start(t, apnsd.Config{Now: time.Now})
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"no credentials", map[string]any{"key": nil}, "key is missing: give key, key_id and team_id, or a certificate"},
		{"both", map[string]any{"certificate": "x"}, "certificate stands beside a key"},
		{"no key id", map[string]any{"key_id": nil}, "key_id is missing"},
		{"no team", map[string]any{"team_id": nil}, "team_id is missing"},
		{"no topic", map[string]any{"topic": nil}, "topic is missing"},
		{"a key that is none", map[string]any{"key": "hunter2hunter2"}, "key is not a signing key"},
		{"a certificate that is none", map[string]any{"key": nil, "certificate": "hunter2hunter2"}, "certificate cannot be read"},
		{"a wrong environment", map[string]any{"environment": "prod"}, `environment is "prod": write production or sandbox`},
		{"a host that is none", map[string]any{"host": "api.push.apple.com"}, "host is not an https URL"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrong := maps.Clone(config)
			maps.Copy(wrong, c.with)
			raw, err := json.Marshal(wrong)
			require.NoError(t, err)
			_, err = apns.Spec().New(channels.Options{Config: raw, Now: time.Now})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}
