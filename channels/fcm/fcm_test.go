package fcm_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/fcmd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/fcm"

	"github.com/stretchr/testify/require"
)

// key is one service account's for all servers of the tests: making one takes long.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// start begins a local FCM and returns a config for it.
func start(t testing.TB, c fcmd.Config) (*fcmd.Server, map[string]any) {
	t.Helper()
	if c.Key == nil {
		c.Key = key()
	}
	server, err := fcmd.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{"credentials": string(server.Credentials), "endpoint": server.Endpoint(), "ca": string(server.CA.PEM)}
}

// message is one to an Android phone.
func message(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address.Platform = "android"
	m.Address.Token = fmt.Sprintf("fGx%d:APA91b%s", i, channeltest.Token(i))
	return m
}

func TestConformance(t *testing.T) {
	var cases []channeltest.Case
	for _, c := range []struct {
		status int
		code   string
		class  channels.Class
	}{
		{400, "INVALID_ARGUMENT", channels.ClassMessage},
		{401, "THIRD_PARTY_AUTH_ERROR", channels.ClassCredential},
		{401, "UNAUTHENTICATED", channels.ClassCredential},
		{403, "SENDER_ID_MISMATCH", channels.ClassMessage},
		{403, "PERMISSION_DENIED", channels.ClassCredential},
		{404, "UNREGISTERED", channels.ClassAddress},
		{404, "NOT_FOUND", channels.ClassCredential},
		{429, "QUOTA_EXCEEDED", channels.ClassRateLimit},
		{429, "RESOURCE_EXHAUSTED", channels.ClassRateLimit},
		{500, "INTERNAL", channels.ClassTemporary},
		{503, "UNAVAILABLE", channels.ClassTemporary},
		{400, "UNSPECIFIED_ERROR", channels.ClassMessage},
	} {
		one := channeltest.Case{
			Name: fmt.Sprintf("%d %s", c.status, c.code), Fault: provider.Fault{Status: c.status, Code: c.code}, Class: c.class, Code: c.code,
		}
		if c.status == http.StatusTooManyRequests {
			one.After = time.Minute
		}
		cases = append(cases, one)
	}
	token := `{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT","details":[` +
		`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"},` +
		`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.token","description":"Invalid registration token"}]}]}}`
	cases = append(cases,
		channeltest.Case{Name: "400 about the token", Fault: provider.Fault{Status: 400, Body: []byte(token)}, Class: channels.ClassAddress, Code: "INVALID_ARGUMENT"},
		channeltest.Case{
			Name: "400 about the token, in words", Class: channels.ClassAddress,
			Fault: provider.Fault{Status: 400, Body: []byte(`{"error":{"status":"INVALID_ARGUMENT","message":"The registration token is not a valid FCM registration token"}}`)},
		},
		channeltest.Case{Name: "404 page", Fault: provider.Fault{Status: 404, Body: []byte("<html>404</html>")}, Class: channels.ClassTemporary, Code: "404"},
		channeltest.Case{Name: "502 page", Fault: provider.Fault{Status: 502, Body: []byte("<html>502</html>")}, Class: channels.ClassTemporary, Code: "502"},
		channeltest.Case{
			Name: "503 with Retry-After", Class: channels.ClassTemporary, After: 30 * time.Second,
			Fault: provider.Fault{Status: 503, Code: "UNAVAILABLE", Header: http.Header{"Retry-After": {"30"}}},
		},
	)
	channeltest.Kit{
		Spec: fcm.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, fcmd.Config{Now: now})
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: message,
		ID:      channels.ShortHash,
		Cases:   cases,

		Patience: time.Minute,
	}.Run(t)
}

func open(t *testing.T, config map[string]any, now func() time.Time) channels.Channel {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := fcm.Spec().New(channels.Options{Config: raw, Now: now, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

func TestWhatGoogleGets(t *testing.T) {
	server, config := start(t, fcmd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	hash := channels.ShortHash("cart/1/push")
	for _, c := range []struct {
		name     string
		platform string
		message  channels.Message
		want     string
	}{
		{
			"Android", "android",
			channels.Message{Fields: map[string]any{"title": "Hi", "body": "There"}},
			`{"notification":{"title":"Hi","body":"There"},"android":{"priority":"normal","notification":{"tag":"` + hash + `"}}}`,
		},
		{
			"everything on Android", "android",
			channels.Message{Signed: "sid", Urgent: true, TTL: 90 * time.Minute, Fields: map[string]any{
				"title": "T", "body": "B", "image": "https://shop.example/1.jpg", "link": "https://shop.example/cart", "badge": "3", "sound": "ping",
				"channel_id": "offers", "click_action": "OPEN", "icon": "ic_cart", "color": "#ff6600", "collapse": "order-17",
				"actions": []any{map[string]any{"id": "buy", "title": "Buy"}}, "data": map[string]any{"order": "o1", "n": 2.0, "yes": true},
				"subtitle": "for Apple only",
			}},
			`{"data":{"nudge_id":"sid","link":"https://shop.example/cart","image":"https://shop.example/1.jpg","actions":"[{\"id\":\"buy\",\"title\":\"Buy\"}]","order":"o1","n":"2","yes":"true"},
				"notification":{"title":"T","body":"B","image":"https://shop.example/1.jpg"},
				"android":{"priority":"high","ttl":"5400s","notification":{"tag":"order-17","sound":"ping","icon":"ic_cart","color":"#ff6600","channel_id":"offers","click_action":"OPEN","notification_count":3}}}`,
		},
		{
			"a browser", "web",
			channels.Message{Urgent: true, TTL: time.Hour, Fields: map[string]any{
				"title": "T", "body": "B", "link": "https://shop.example/cart", "icon": "https://shop.example/i.png",
				"actions": []any{map[string]any{"id": "buy", "title": "Buy", "icon": "https://shop.example/b.png"}},
			}},
			`{"data":{"link":"https://shop.example/cart","actions":"[{\"id\":\"buy\",\"title\":\"Buy\",\"icon\":\"https://shop.example/b.png\"}]"},"notification":{"title":"T","body":"B"},
				"webpush":{"headers":{"Urgency":"high","TTL":"3600"},"notification":{"tag":"` + hash + `","icon":"https://shop.example/i.png","actions":[{"action":"buy","title":"Buy","icon":"https://shop.example/b.png"}]},
				"fcm_options":{"link":"https://shop.example/cart"}}}`,
		},
		{
			"a link into the app is not for browsers", "web",
			channels.Message{Fields: map[string]any{"title": "T", "link": "shop://cart"}},
			`{"data":{"link":"shop://cart"},"notification":{"title":"T"},"webpush":{"headers":{"Urgency":"normal"},"notification":{"tag":"` + hash + `"}}}`,
		},
		{
			"silent", "android",
			channels.Message{Fields: map[string]any{"silent": true, "title": "T", "data": map[string]any{"sync": "1"}}},
			`{"data":{"sync":"1","title":"T"},"android":{"priority":"normal"}}`,
		},
		{
			"a lifetime above Google's four weeks", "android",
			channels.Message{TTL: 60 * 24 * time.Hour, Fields: map[string]any{"body": "B"}},
			`{"notification":{"body":"B"},"android":{"priority":"normal","ttl":"2419200s","notification":{"tag":"` + hash + `"}}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(server.Received())
			m := message(1)
			c.message.Key, c.message.Address = "cart/1/push", m.Address
			c.message.Address.Platform = c.platform
			r := channel.Send(t.Context(), []channels.Message{c.message})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^projects/shop-1234/messages/0:[0-9a-f]+$`, r.ProviderID)
			var want map[string]any
			require.NoError(t, json.Unmarshal([]byte(c.want), &want))
			want["token"] = m.Address.Token
			full, err := json.Marshal(map[string]any{"message": want})
			require.NoError(t, err)
			require.JSONEq(t, string(full), string(server.Received()[before].Body))
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	server, config := start(t, fcmd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	fits := 4096 - len("body")
	for _, c := range []struct {
		name   string
		token  string
		fields map[string]any
		class  channels.Class
	}{
		{"no token", "", map[string]any{"body": "x"}, channels.ClassAddress},
		{"a token with a space", "fGx: APA91b", map[string]any{"body": "x"}, channels.ClassAddress},
		{"nothing to show", "fGx:APA91b", map[string]any{"link": "https://x.example"}, channels.ClassMessage},
		{"a byte too much", "fGx:APA91b", map[string]any{"body": strings.Repeat("x", fits+1)}, channels.ClassMessage},
		{"a reserved key", "fGx:APA91b", map[string]any{"body": "x", "data": map[string]any{"from": "me"}}, channels.ClassMessage},
		{"a reserved prefix", "fGx:APA91b", map[string]any{"body": "x", "data": map[string]any{"google.x": "me"}}, channels.ClassMessage},
		{"a wrong colour", "fGx:APA91b", map[string]any{"body": "x", "color": "orange"}, channels.ClassMessage},
		{"an image that is no URL", "fGx:APA91b", map[string]any{"body": "x", "image": "1.jpg"}, channels.ClassMessage},
		{"a negative badge", "fGx:APA91b", map[string]any{"body": "x", "badge": -1.0}, channels.ClassMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := channel.Send(t.Context(), []channels.Message{{Key: "k", Address: channels.Address{Token: c.token, Platform: "android"}, Fields: c.fields}})[0]
			require.Equal(t, c.class, channels.AsDelivery(r.Err).Class, "%v", r.Err)
		})
	}
	require.Zero(t, server.Requests())
	t.Run("and the last byte fits", func(t *testing.T) {
		m := channels.Message{Key: "k", Address: channels.Address{Token: "fGx:APA91b", Platform: "android"}, Fields: map[string]any{"body": strings.Repeat("x", fits)}}
		require.NoError(t, channel.Send(t.Context(), []channels.Message{m})[0].Err)
	})
}

func TestTokensThatGoogleKnows(t *testing.T) {
	server, config := start(t, fcmd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	for i, c := range []struct {
		name   string
		device fcmd.Device
		class  channels.Class
		code   string
	}{
		{"the app is gone", fcmd.Device{Unregistered: true}, channels.ClassAddress, "UNREGISTERED"},
		{"malformed", fcmd.Device{Invalid: true}, channels.ClassAddress, "INVALID_ARGUMENT"},
		{"of another project", fcmd.Device{OtherSender: true}, channels.ClassMessage, "SENDER_ID_MISMATCH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := message(i)
			server.SetDevice(m.Address.Token, c.device)
			failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class)
			require.Equal(t, c.code, failure.Code)
		})
	}
}

func TestAccessTokens(t *testing.T) {
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	server, config := start(t, fcmd.Config{Now: clock})
	channel := open(t, config, clock)
	send := func(n int) []channels.Result {
		var batch []channels.Message
		for i := range n {
			batch = append(batch, message(i))
		}
		return channel.Send(t.Context(), batch)
	}
	t.Run("one for many", func(t *testing.T) {
		for _, r := range send(200) {
			require.NoError(t, r.Err)
		}
		require.EqualValues(t, 1, server.Grants())
	})
	t.Run("renewed before it ends, without a refusal", func(t *testing.T) {
		ahead.Store(int64(57 * time.Minute))
		for _, r := range send(50) {
			require.NoError(t, r.Err)
		}
		old := server.Received()[0].Header.Get("Authorization")
		require.Eventually(t, func() bool {
			require.NoError(t, send(1)[0].Err)
			all := server.Received()
			return all[len(all)-1].Header.Get("Authorization") != old
		}, time.Minute, time.Millisecond)
		require.EqualValues(t, 2, server.Grants())
		require.Zero(t, server.Statuses()[401])
	})
	t.Run("revoked: the next push asks for another", func(t *testing.T) {
		server.RevokeTokens()
		failure := channels.AsDelivery(send(1)[0].Err)
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "UNAUTHENTICATED", failure.Code)
		require.NoError(t, send(1)[0].Err)
	})
	t.Run("Google gives none", func(t *testing.T) {
		for status, class := range map[int]channels.Class{
			500: channels.ClassTemporary, 503: channels.ClassTemporary, 429: channels.ClassRateLimit,
			400: channels.ClassCredential, 401: channels.ClassCredential, 403: channels.ClassCredential,
		} {
			server.RevokeTokens()
			send(1) // the refusal drops the token
			server.BreakTokens(status)
			for _, r := range send(5) {
				require.Equal(t, class, channels.AsDelivery(r.Err).Class, "%d: %v", status, r.Err)
			}
			server.BreakTokens(0)
			require.NoError(t, send(1)[0].Err)
		}
	})
}

func TestWrongAccounts(t *testing.T) {
	server, config := start(t, fcmd.Config{Now: time.Now})
	strangers, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	other, strange := start(t, fcmd.Config{Now: time.Now, Key: strangers})
	t.Run("of another server: its signature is wrong here", func(t *testing.T) {
		wrong := maps.Clone(config)
		wrong["credentials"], wrong["token_url"] = strange["credentials"], server.TokenURL()
		failure := channels.AsDelivery(open(t, wrong, time.Now).Send(t.Context(), []channels.Message{message(1)})[0].Err)
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "oauth invalid_grant", failure.Code)
	})
	t.Run("another project", func(t *testing.T) {
		wrong := maps.Clone(config)
		wrong["project"] = "not-ours"
		channel := open(t, wrong, time.Now)
		failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{message(1)})[0].Err)
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "PERMISSION_DENIED", failure.Code)
		require.ErrorContains(t, channel.(channels.Tester).Test(t.Context()), "PERMISSION_DENIED")
	})
	t.Run("and the right one passes the test, sending nothing", func(t *testing.T) {
		require.NoError(t, open(t, config, time.Now).(channels.Tester).Test(t.Context()))
		require.Zero(t, server.Accepted())
	})
	require.Zero(t, other.Requests())
}

func TestConfigRefusals(t *testing.T) {
	_, config := start(t, fcmd.Config{Now: time.Now})
	var account map[string]any
	require.NoError(t, json.Unmarshal([]byte(config["credentials"].(string)), &account))
	with := func(field string, value any) map[string]any {
		changed := maps.Clone(account)
		changed[field] = value
		raw, err := json.Marshal(changed)
		require.NoError(t, err)
		return map[string]any{"credentials": string(raw)}
	}
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"none", map[string]any{"credentials": nil}, "credentials is missing"},
		{"not JSON", map[string]any{"credentials": "hunter2hunter2"}, "credentials is not a service account's key: it is the JSON file"},
		{"another kind", with("type", "authorized_user"), `its type is not "service_account"`},
		{"no key", with("private_key", "hunter2hunter2"), "private_key is missing"},
		{"a damaged key", with("private_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "its private_key is damaged"},
		{"no project", with("project_id", ""), "project is missing"},
		{"a token URL without TLS", map[string]any{"token_url": "http://x.example"}, "token_url is not an https URL"},
		{"an endpoint that is none", map[string]any{"endpoint": "fcm"}, "endpoint is not an https URL"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrong := maps.Clone(config)
			maps.Copy(wrong, c.with)
			raw, err := json.Marshal(wrong)
			require.NoError(t, err)
			_, err = fcm.Spec().New(channels.Options{Config: raw, Now: time.Now})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}
