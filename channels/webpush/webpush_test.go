package webpush_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/webpushd"
	"nudge/channels/webpush"

	"github.com/stretchr/testify/require"
)

// keys are one VAPID pair for all tests.
var keys = sync.OnceValue(func() webpush.Keys {
	k, err := webpush.NewKeys()
	if err != nil {
		panic(err)
	}
	return k
})

// start begins a local push service and returns a config for it.
func start(t testing.TB, c webpushd.Config) (*webpushd.Server, map[string]any) {
	t.Helper()
	if c.Key == "" {
		c.Key = keys().Public
	}
	server, err := webpushd.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"private_key": keys().Private, "subject": "mailto:push@shop.example",
		"services": []any{server.Addr()}, "ca": string(server.CA.PEM),
	}
}

// message is one to a browser.
func message(addr string, i int) channels.Message {
	m := channeltest.Message(i)
	m.Address.Platform = "web"
	m.Address.Token = webpushd.Token(addr, fmt.Sprintf("browser-%d-%s", i, channeltest.Token(i)[:16]))
	return m
}

func open(t testing.TB, config map[string]any, now func() time.Time) channels.Channel {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := webpush.Spec().New(channels.Options{Config: raw, Now: now, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

func TestConformance(t *testing.T) {
	var cases []channeltest.Case
	for _, c := range []struct {
		status int
		code   string
		class  channels.Class
		want   string
	}{
		{301, "", channels.ClassMessage, "301"},
		{307, "", channels.ClassMessage, "307"},
		{400, "", channels.ClassMessage, "400"},
		{400, "BadWebPushTopic", channels.ClassMessage, "BadWebPushTopic"},
		{400, "vapid", channels.ClassCredential, "vapid"},
		{400, "VapidPkHashMismatch", channels.ClassMessage, "VapidPkHashMismatch"},
		{401, "", channels.ClassCredential, "401"},
		{403, "", channels.ClassCredential, "403"},
		{403, "BadJwtToken", channels.ClassCredential, "BadJwtToken"},
		{403, "VapidPkHashMismatch", channels.ClassMessage, "VapidPkHashMismatch"},
		{404, "", channels.ClassAddress, "404"},
		{406, "", channels.ClassRateLimit, "406"},
		{410, "", channels.ClassAddress, "410"},
		{413, "", channels.ClassMessage, "413"},
		{429, "", channels.ClassRateLimit, "429"},
		{500, "", channels.ClassTemporary, "500"},
		{502, "", channels.ClassTemporary, "502"},
		{503, "", channels.ClassTemporary, "503"},
	} {
		cases = append(cases, channeltest.Case{
			Name: fmt.Sprintf("%d %s", c.status, c.code), Fault: provider.Fault{Status: c.status, Code: c.code}, Class: c.class, Code: c.want,
		})
	}
	mozilla := func(status, errno int, message string) provider.Fault {
		return provider.Fault{Status: status, Body: fmt.Appendf(nil, `{"code":%d,"errno":%d,"error":"x","message":%q}`, status, errno, message)}
	}
	cases = append(cases,
		channeltest.Case{Name: "Mozilla's other key", Fault: mozilla(401, 109, "VAPID public key mismatch"), Class: channels.ClassMessage, Code: "VapidPkHashMismatch"},
		channeltest.Case{Name: "Mozilla's expired token", Fault: mozilla(401, 109, "Request did not validate Invalid bearer token: Auth expired"), Class: channels.ClassCredential, Code: "errno 109"},
		channeltest.Case{Name: "Mozilla's unsubscribed", Fault: mozilla(410, 106, "User has unsubscribed"), Class: channels.ClassAddress, Code: "errno 106"},
		channeltest.Case{
			Name: "503 with Retry-After", Class: channels.ClassTemporary, After: 30 * time.Second,
			Fault: provider.Fault{Status: 503, Header: http.Header{"Retry-After": {"30"}}},
		},
	)
	// The kit makes messages before it starts servers, and tokens hold the server's address: all of
	// them listen on the same, one after the other.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	require.NoError(t, free.Close())
	var last *webpushd.Server
	channeltest.Kit{
		Spec: webpush.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			if last != nil {
				last.Close()
			}
			server, config := start(t, webpushd.Config{Now: now, Addr: addr})
			last = server
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: func(i int) channels.Message { return message(addr, i) },
		ID:      channels.ShortHash,
		Cases:   cases,
	}.Run(t)
}

func TestWhatABrowserGets(t *testing.T) {
	server, config := start(t, webpushd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	hash := channels.ShortHash("cart/1/push")
	for _, c := range []struct {
		name    string
		message channels.Message
		want    string
		ttl     time.Duration
		urgency string
		topic   string
	}{
		{"little", channels.Message{Fields: map[string]any{"title": "Hi"}}, `{"title":"Hi","tag":"` + hash + `"}`, 28 * 24 * time.Hour, "normal", hash},
		{
			"everything",
			channels.Message{Signed: "sid", Urgent: true, TTL: 90 * time.Minute, Fields: map[string]any{
				"title": "Tütü 🛒", "body": "B", "image": "https://shop.example/1.jpg", "link": "https://shop.example/cart", "badge": "3",
				"icon": "https://shop.example/i.png", "badge_icon": "https://shop.example/b.png", "collapse": "order-17", "require_interaction": true,
				"actions": []any{map[string]any{"id": "buy", "title": "Buy", "link": "https://shop.example/buy"}}, "data": map[string]any{"order": "o1", "n": 2.0},
				"subtitle": "for Apple only", "channel_id": "for Android only",
			}},
			`{"id":"sid","title":"Tütü 🛒","body":"B","link":"https://shop.example/cart","icon":"https://shop.example/i.png","image":"https://shop.example/1.jpg",
				"badge":"https://shop.example/b.png","app_badge":3,"tag":"order-17","require_interaction":true,
				"actions":[{"id":"buy","title":"Buy","link":"https://shop.example/buy"}],"data":{"order":"o1","n":2}}`,
			90 * time.Minute, "high", channels.ShortHash("collapse/order-17"),
		},
		{"an urgency of its own", channels.Message{Urgent: true, Fields: map[string]any{"title": "T", "urgency": "very-low"}}, `{"title":"T","tag":"` + hash + `"}`, 28 * 24 * time.Hour, "very-low", hash},
		{"more than four weeks", channels.Message{TTL: 60 * 24 * time.Hour, Fields: map[string]any{"title": "T"}}, `{"title":"T","tag":"` + hash + `"}`, 28 * 24 * time.Hour, "normal", hash},
		{"silent", channels.Message{Fields: map[string]any{"silent": true, "data": map[string]any{"sync": true}}}, `{"silent":true,"data":{"sync":true},"tag":"` + hash + `"}`, 28 * 24 * time.Hour, "normal", hash},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := strings.ReplaceAll(c.name, " ", "-")
			c.message.Key, c.message.Address = "cart/1/push", channels.Address{Token: server.Token(name), Platform: "web"}
			for range 2 { // a repeat replaces what waits
				r := channel.Send(t.Context(), []channels.Message{c.message})[0]
				require.NoError(t, r.Err)
				require.Regexp(t, `^\d+$`, r.ProviderID)
			}
			waiting := server.Waiting(name)
			require.Len(t, waiting, 1)
			require.JSONEq(t, c.want, string(waiting[0].Plain))
			require.Equal(t, [3]any{c.ttl, c.urgency, c.topic}, [3]any{waiting[0].TTL, waiting[0].Urgency, waiting[0].Topic})
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	server, config := start(t, webpushd.Config{Now: time.Now})
	config["services"] = []any{server.Addr(), "*.push.apple.com", "*"}
	channel := open(t, config, time.Now)
	token := func(subscription string) string { return base64.RawURLEncoding.EncodeToString([]byte(subscription)) }
	moved := func(addr string) string { return webpushd.Token(addr, "x") }
	good := server.Token("x")
	broken := func(from, to string) string {
		return token(strings.Replace(string(webpushd.Subscription(server.Addr(), "x")), from, to, 1))
	}
	text := map[string]any{"title": "x"}
	fits := 3993 - len(`{"title":"","tag":"`+channels.ShortHash("k")+`"}`)
	for _, c := range []struct {
		name   string
		token  string
		fields map[string]any
		class  channels.Class
	}{
		{"no token", "", text, channels.ClassAddress},
		{"a Firebase token", "fGx:APA91b", text, channels.ClassAddress},
		{"not base64", "eyJ!", text, channels.ClassAddress},
		{"not JSON", "eyJAAAA", text, channels.ClassAddress},
		{"no keys", token(`{"endpoint":"https://` + server.Addr() + `/push/x"}`), text, channels.ClassAddress},
		{"not https", broken("https://", "http://"), text, channels.ClassAddress},
		{"a password in the endpoint", broken("https://", "https://me:secret@"), text, channels.ClassAddress},
		{"a point off the curve", broken(`"p256dh":"B`, `"p256dh":"C`), text, channels.ClassAddress},
		{"a short auth", broken(`"auth":"`, `"auth":"AAAA`), text, channels.ClassAddress},
		{"another port", moved("push.example.com:8443"), text, channels.ClassMessage},
		{"a private host", moved("127.0.0.1"), text, channels.ClassMessage},
		{"a name of this machine", moved("localhost"), text, channels.ClassMessage},
		{"IPv6 of this machine", moved("[::1]"), text, channels.ClassMessage},
		{"a cloud's metadata", moved("169.254.169.254"), text, channels.ClassMessage},
		{"an IPv4 address in IPv6", moved("[::ffff:10.0.0.1]"), text, channels.ClassMessage},
		{"nothing to show", good, map[string]any{"link": "https://x.example"}, channels.ClassMessage},
		{"a byte too much", good, map[string]any{"title": strings.Repeat("x", fits+1)}, channels.ClassMessage},
		{"a negative badge", good, map[string]any{"title": "x", "badge": -1.0}, channels.ClassMessage},
		{"an urgency that is none", good, map[string]any{"title": "x", "urgency": "now"}, channels.ClassMessage},
		{"silent to Safari", moved("web.push.apple.com"), map[string]any{"silent": true}, channels.ClassMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := channel.Send(t.Context(), []channels.Message{{Key: "k", Address: channels.Address{Token: c.token, Platform: "web"}, Fields: c.fields}})[0]
			require.Error(t, r.Err)
			require.Equal(t, c.class, channels.AsDelivery(r.Err).Class, "%v", r.Err)
			require.NotContains(t, r.Err.Error(), "/push/")
		})
	}
	require.Zero(t, server.Requests())
	t.Run("and the last byte fits", func(t *testing.T) {
		m := channels.Message{Key: "k", Address: channels.Address{Token: good, Platform: "web"}, Fields: map[string]any{"title": strings.Repeat("x", fits)}}
		require.NoError(t, channel.Send(t.Context(), []channels.Message{m})[0].Err)
	})
	t.Run("only the services of the config", func(t *testing.T) {
		config["services"] = nil
		r := open(t, config, time.Now).Send(t.Context(), []channels.Message{message(server.Addr(), 1)})[0]
		require.ErrorContains(t, r.Err, "not among the push services")
	})
}

func TestABrowserThatUnsubscribed(t *testing.T) {
	server, config := start(t, webpushd.Config{Now: time.Now})
	channel := open(t, config, time.Now)
	server.Unsubscribe("gone")
	m := channels.Message{Key: "k", Address: channels.Address{Token: server.Token("gone"), Platform: "web"}, Fields: map[string]any{"title": "x"}}
	failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{m})[0].Err)
	require.Equal(t, channels.ClassAddress, failure.Class)
}

func TestOneTokenAndOneConnectionServeMany(t *testing.T) {
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	one, config := start(t, webpushd.Config{Now: clock})
	two, other := start(t, webpushd.Config{Now: clock})
	config["services"], config["ca"] = []any{one.Addr(), two.Addr()}, config["ca"].(string)+other["ca"].(string)
	config["connections"] = 1
	channel := open(t, config, clock)
	send := func() {
		var batch []channels.Message
		for i := range 50 {
			batch = append(batch, message([]string{one.Addr(), two.Addr()}[i%2], i))
		}
		for _, r := range channel.Send(t.Context(), batch) {
			require.NoError(t, r.Err)
		}
	}
	send()
	send()
	for _, s := range []*webpushd.Server{one, two} {
		require.EqualValues(t, 50, s.Accepted())
		require.EqualValues(t, 1, s.Connections())
		require.Equal(t, 1, s.Tokens())
	}
	ahead.Store(int64(11*time.Hour + time.Minute)) // the old one has less than an hour
	send()
	require.Equal(t, 2, one.Tokens())
	ahead.Store(0) // a clock that went back: the new one would be good for longer than a day
	send()
	require.Equal(t, 3, one.Tokens())
}

func TestAnotherKeyIsNobodysEnd(t *testing.T) {
	pair, err := webpush.NewKeys()
	require.NoError(t, err)
	server, config := start(t, webpushd.Config{Now: time.Now, Key: pair.Public})
	failure := channels.AsDelivery(open(t, config, time.Now).Send(t.Context(), []channels.Message{message(server.Addr(), 1)})[0].Err)
	require.Equal(t, channels.ClassMessage, failure.Class)
	require.Equal(t, "VapidPkHashMismatch", failure.Code)
}

func TestAClockThatIsOff(t *testing.T) {
	server, config := start(t, webpushd.Config{Now: time.Now})
	channel := open(t, config, func() time.Time { return time.Now().Add(-13 * time.Hour) })
	failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{message(server.Addr(), 1)})[0].Err)
	require.Equal(t, channels.ClassCredential, failure.Class)
}

func TestTesterSendsNothing(t *testing.T) {
	server, config := start(t, webpushd.Config{Now: time.Now})
	tester := open(t, config, time.Now).(channels.Tester)
	require.NoError(t, tester.Test(t.Context()))
	require.Zero(t, server.Accepted())
	server.Close()
	require.ErrorContains(t, tester.Test(t.Context()), "asking "+server.Addr())
}

func TestConfigRefusals(t *testing.T) {
	_, config := start(t, webpushd.Config{Now: time.Now})
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"a key that is none", map[string]any{"private_key": "hunter2hunter2"}, "private_key is not a VAPID private key"},
		{"a public key", map[string]any{"private_key": keys().Public}, "private_key is not a VAPID private key"},
		{"zero", map[string]any{"private_key": strings.Repeat("A", 43)}, "private_key is not a VAPID private key"},
		{"a damaged PEM", map[string]any{"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, "private_key is not a VAPID private key"},
		{"an address without mailto:", map[string]any{"subject": "push@shop.example"}, "subject is not a contact"},
		{"an address with brackets", map[string]any{"subject": "mailto:<push@shop.example>"}, "without spaces or angle brackets"},
		{"localhost, which Apple refuses", map[string]any{"subject": "mailto:push@localhost"}, "Apple refuses"},
		{"a service with a path", map[string]any{"services": []any{"push.example.com", "https://x.example/"}}, "services[1] is not a host"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrong := maps.Clone(config)
			maps.Copy(wrong, c.with)
			raw, err := json.Marshal(wrong)
			require.NoError(t, err)
			_, err = webpush.Spec().New(channels.Options{Config: raw, Now: time.Now})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestTokensByTheirForm(t *testing.T) {
	for token, want := range map[string]bool{
		webpushd.Token("fcm.googleapis.com", "x"):         true,
		"eyJhbGciOi:APA91bFjU7L9Vs09sDCJc_H5QhuZqASMTrW7": false,
		"fGx:APA91b": false,
		"":           false,
	} {
		require.Equal(t, want, webpush.IsSubscription(token), token)
	}
}
