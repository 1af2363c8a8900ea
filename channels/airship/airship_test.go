package airship_test

import (
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/airship"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/airshipd"
	"nudge/channels/channeltest/provider"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// start begins a local Airship and returns a config for it.
func start(t testing.TB, now func() time.Time) (*airshipd.Server, map[string]any) {
	t.Helper()
	server, err := airshipd.Start(airshipd.Config{Now: now})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"app_key": airshipd.AppKey, "master_secret": airshipd.Secret, "url": server.Endpoint(), "ca": string(server.CA.PEM),
	}
}

// cases are the lines of the table, and what stands for several.
func cases() []channeltest.Case {
	out := append(channeltest.Refusals(airship.Spec().Answers), channeltest.Pages(map[int]channels.Class{
		307: channels.ClassCredential, 408: channels.ClassTemporary, 409: channels.ClassMessage, 502: channels.ClassTemporary, 503: channels.ClassTemporary, 504: channels.ClassTemporary,
	})...)
	return append(out, channeltest.Later(429, ""), channeltest.Later(503, ""),
		channeltest.Case{Name: "a code that is not in the table", Fault: provider.Fault{Status: 400, Code: "40902"}, Class: channels.ClassMessage, Code: "40902"},
		channeltest.Case{Name: "details of another form", Fault: provider.Fault{Status: 400, Code: "40000", Body: []byte(`{"ok":false,"error":"no","error_code":40000,"details":"at the alert"}`)}, Class: channels.ClassMessage, Code: "40000"},
	)
}

func TestConformance(t *testing.T) {
	for name, changes := range map[string]map[string]any{
		"to the named user, by the master secret": nil,
		"to devices, by a token":                  {"reach": "token", "master_secret": nil, "token": airshipd.Token},
	} {
		t.Run(name, func(t *testing.T) {
			channeltest.Kit{
				Spec: airship.Spec(),
				Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
					server, config := start(t, now)
					return channeltest.Provider{Config: channeltest.With(config, changes), Log: server.Log, Stop: server.Close}
				},
				Message:  channeltest.Message,
				ID:       channels.ShortHash,
				Cases:    cases(),
				Together: true,
			}.Run(t)
		})
	}
}

// TestTableMeansWhatItSays has the classes that the table must not lose, by hand: the cases above are made of it.
func TestTableMeansWhatItSays(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   channels.Class
	}{
		{200, "", ""},
		{202, "", ""},
		{400, "40000", channels.ClassMessage},
		{401, "40101", channels.ClassCredential},
		{403, "40301", channels.ClassCredential},
		{404, "40401", channels.ClassCredential},
		{406, "", channels.ClassCredential},
		{413, "", channels.ClassMessage},
		{429, "42900", channels.ClassRateLimit},
		{500, "50000", channels.ClassTemporary},
	} {
		require.Equal(t, c.want, channels.Classify(airship.Spec().Answers, c.status, c.code), "%d %s", c.status, c.code)
	}
}

const (
	iosChannel = "9c36e8c7-5a73-47c0-9716-99fd3d4197d5"
	appleToken = "c9d4e1f0a1b2c3d4e5f60718293a4b5c6d7e8f90c9d4e1f0a1b2c3d4e5f60718"
)

// TestWhatAirshipGets has whole pushes; the first is the example of Airship's own documentation, in nudge's words.
func TestWhatAirshipGets(t *testing.T) {
	server, config := start(t, time.Now)
	ann := channels.Address{UserID: "ann"}
	device := func(platform, token string) channels.Address {
		return channels.Address{UserID: "ann", Token: token, Platform: platform}
	}
	ios := map[string]any{"device_types": []string{"ios"}}
	byToken := map[string]any{"reach": "token"}
	for _, c := range []struct {
		name   string
		config map[string]any
		m      channels.Message
		want   string
	}{
		{
			"a text to a named user", ios,
			channels.Message{Address: ann, Fields: map[string]any{"body": "Hello from Airship"}},
			`{"audience": {"named_user": "ann"}, "device_types": ["ios"], "notification": {"alert": "Hello from Airship", "ios": {"collapse_id": "KEY", "priority": 5}}}`,
		},
		{
			"every platform",
			map[string]any{"device_types": []string{"ios", "android", "amazon", "web"}},
			channels.Message{Address: ann, Urgent: true, Signed: "signed", TTL: 4 * time.Hour, Fields: map[string]any{
				"title": "Your cart", "body": "3 < 4 & more", "link": "https://shop.example/cart", "image": "https://shop.example/p/17.jpg",
				"data": map[string]any{"order": 17, "gift": true}, "sound": "bell", "badge": "3", "collapse": "order-17", "subtitle": "Shop", "category": "CART",
				"thread": "cart", "mutable": true, "interruption": "time-sensitive", "relevance": 0.8, "channel_id": "offers", "icon": "ic_cart",
				"require_interaction": true, "color": "#FF6600",
			}},
			`{
				"audience": {"named_user": "ann"}, "device_types": ["ios", "android", "amazon", "web"], "options": {"expiry": 14400},
				"notification": {
					"alert": "3 < 4 & more", "actions": {"open": {"type": "url", "content": "https://shop.example/cart"}},
					"ios": {"title": "Your cart", "subtitle": "Shop", "collapse_id": "order-17", "priority": 10, "sound": "bell", "badge": 3, "category": "CART", "thread_id": "cart",
						"mutable_content": true, "interruption_level": "time-sensitive", "relevance_score": 0.8, "media_attachment": {"url": "https://shop.example/p/17.jpg"},
						"extra": {"order": "17", "gift": "true", "nudge_id": "signed", "link": "https://shop.example/cart"}},
					"android": {"title": "Your cart", "notification_tag": "order-17", "delivery_priority": "high", "sound": "bell", "notification_channel": "offers", "icon": "ic_cart",
						"icon_color": "#ff6600", "style": {"type": "big_picture", "big_picture": "https://shop.example/p/17.jpg"},
						"extra": {"order": "17", "gift": "true", "nudge_id": "signed", "link": "https://shop.example/cart"}},
					"amazon": {"title": "Your cart", "notification_tag": "order-17", "sound": "bell", "notification_channel": "offers", "icon": "ic_cart", "icon_color": "#ff6600",
						"extra": {"order": "17", "gift": "true", "nudge_id": "signed", "link": "https://shop.example/cart"}},
					"web": {"title": "Your cart", "image": {"url": "https://shop.example/p/17.jpg"}, "require_interaction": true,
						"extra": {"order": "17", "gift": "true", "nudge_id": "signed", "link": "https://shop.example/cart"}}
				}
			}`,
		},
		{
			"a browser's icon, a deep link, and a title alone",
			map[string]any{"device_types": []string{"android", "web"}},
			channels.Message{Address: ann, TTL: time.Millisecond, Fields: map[string]any{"title": "Your cart", "icon": "https://shop.example/i.png", "link": "shop://cart"}},
			`{"audience": {"named_user": "ann"}, "device_types": ["android", "web"], "options": {"expiry": 1}, "notification": {
				"alert": "Your cart", "actions": {"open": {"type": "deep_link", "content": "shop://cart"}},
				"android": {"delivery_priority": "normal", "notification_tag": "KEY", "extra": {"link": "shop://cart"}},
				"web": {"icon": {"url": "https://shop.example/i.png"}, "extra": {"link": "shop://cart"}}}}`,
		},
		{
			"silent", nil,
			channels.Message{Address: ann, Urgent: true, Signed: "s", Fields: map[string]any{"silent": true, "body": "x", "link": "https://shop.example", "sound": "bell"}},
			`{"audience": {"named_user": "ann"}, "device_types": ["ios", "android", "web"], "notification": {
				"ios": {"content_available": true, "priority": 5, "extra": {"nudge_id": "s", "link": "https://shop.example", "body": "x"}},
				"android": {"delivery_priority": "high", "extra": {"nudge_id": "s", "link": "https://shop.example", "body": "x"}},
				"web": {"extra": {"nudge_id": "s", "link": "https://shop.example", "body": "x"}}}}`,
		},
		{
			"a platform's own words",
			map[string]any{"device_types": []string{"ios", "android"}},
			channels.Message{Address: ann, Fields: map[string]any{"body": "x", "overrides": map[string]any{
				"ios":     map[string]any{"alert": "Your cart 🛒", "priority": 10, "interactive": map[string]any{"type": "ua_yes_no_foreground"}},
				"android": map[string]any{"summary": "Cart"}, "web": map[string]any{"alert": "not for this project"},
			}}},
			`{"audience": {"named_user": "ann"}, "device_types": ["ios", "android"], "notification": {"alert": "x",
				"ios": {"alert": "Your cart 🛒", "priority": 10, "collapse_id": "KEY", "interactive": {"type": "ua_yes_no_foreground"}},
				"android": {"summary": "Cart", "delivery_priority": "normal", "notification_tag": "KEY"}}}`,
		},
		{
			"an audience of the config", channeltest.With(ios, map[string]any{"audience": map[string]any{"and": []any{
				map[string]any{"alias": "{{ user_id }}"}, map[string]any{"not": map[string]any{"tag": "muted", "group": "push"}},
			}}}),
			channels.Message{Address: ann, Fields: map[string]any{"body": "x"}},
			`{"audience": {"and": [{"alias": "ann"}, {"not": {"tag": "muted", "group": "push"}}]}, "device_types": ["ios"], "notification": {"alert": "x", "ios": {"collapse_id": "KEY", "priority": 5}}}`,
		},
		{
			"an audience of the message", ios,
			channels.Message{Address: ann, Fields: map[string]any{"body": "x", "audience": map[string]any{"or": []any{
				map[string]any{"tag": []any{"sales", "support"}}, map[string]any{"amazon_channel": iosChannel}, map[string]any{"segment": "s1"},
			}}}},
			`{"audience": {"or": [{"tag": ["sales", "support"]}, {"amazon_channel": "` + iosChannel + `"}, {"segment": "s1"}]}, "device_types": ["ios"], "notification": {"alert": "x", "ios": {"collapse_id": "KEY", "priority": 5}}}`,
		},
		{
			"a channel of iOS", byToken,
			channels.Message{Address: device("ios", strings.ToUpper(iosChannel)), Fields: map[string]any{"body": "x"}},
			`{"audience": {"ios_channel": "` + iosChannel + `"}, "device_types": ["ios"], "notification": {"alert": "x", "ios": {"collapse_id": "KEY", "priority": 5}}}`,
		},
		{
			"a device token", byToken,
			channels.Message{Address: device("ios", appleToken), Fields: map[string]any{"body": "x"}},
			`{"audience": {"device_token": "` + strings.ToUpper(appleToken) + `"}, "device_types": ["ios"], "notification": {"alert": "x", "ios": {"collapse_id": "KEY", "priority": 5}}}`,
		},
		{
			"a channel of Android", byToken,
			channels.Message{Address: device("android", iosChannel), Fields: map[string]any{"body": "x"}},
			`{"audience": {"android_channel": "` + iosChannel + `"}, "device_types": ["android"], "notification": {"alert": "x", "android": {"notification_tag": "KEY", "delivery_priority": "normal"}}}`,
		},
		{
			"a browser", byToken,
			channels.Message{Address: device("web", iosChannel), Fields: map[string]any{"body": "x"}},
			`{"audience": {"channel": "` + iosChannel + `"}, "device_types": ["web"], "notification": {"alert": "x", "web": {}}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(server.Received())
			c.m.Key = "k"
			r := channeltest.Open(t, airship.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{c.m})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^[0-9a-f-]{36}$`, r.ProviderID)
			require.JSONEq(t, strings.ReplaceAll(c.want, "KEY", channels.ShortHash("k")), string(server.Received()[before].Body))
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	server, config := start(t, time.Now)
	byToken := map[string]any{"reach": "token"}
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		name   string
		config map[string]any
		to     channels.Address
		fields map[string]any
		class  channels.Class
		code   string
	}{
		{"nobody", nil, channels.Address{}, map[string]any{"body": "x"}, channels.ClassAddress, "named_user"},
		{"a name that is too long", nil, channels.Address{UserID: strings.Repeat("ж", 129)}, map[string]any{"body": "x"}, channels.ClassAddress, "named_user"},
		{"a token of another's", byToken, channels.Address{Token: "fGx:APA91b", Platform: "android"}, map[string]any{"body": "x"}, channels.ClassAddress, "token"},
		{"a platform that the channel lacks", channeltest.With(byToken, map[string]any{"device_types": []string{"ios"}}), channels.Address{Token: iosChannel, Platform: "web"}, map[string]any{"body": "x"}, channels.ClassMessage, "device_types"},
		{"nothing to show", nil, channels.Address{UserID: "ann"}, map[string]any{"link": "https://shop.example"}, channels.ClassMessage, "empty"},
		{"too long", nil, channels.Address{UserID: "ann"}, map[string]any{"body": long}, channels.ClassMessage, "too_long"},
		{"an override that is too long", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "overrides": map[string]any{"web": map[string]any{"alert": long}}}, channels.ClassMessage, "too_long"},
		{"a key that Google reserves", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "data": map[string]any{"google.x": 1}}, channels.ClassMessage, "field"},
		{"a badge that is no number", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "badge": "many"}, channels.ClassMessage, "field"},
		{"a badge below 0", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "badge": -1}, channels.ClassMessage, "field"},
		{"a relevance above 1", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "relevance": 2}, channels.ClassMessage, "field"},
		{"an interruption that is none", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "interruption": "loud"}, channels.ClassMessage, "field"},
		{"a colour that is none", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "color": "red"}, channels.ClassMessage, "field"},
		{"a lifetime that is none", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "ttl": "soon"}, channels.ClassMessage, "field"},
		{"a platform that is none", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "overrides": map[string]any{"email": map[string]any{}}}, channels.ClassMessage, "field"},
		{"an override that is none", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "overrides": map[string]any{"ios": "x"}}, channels.ClassMessage, "field"},
		{"no address that the audience names", map[string]any{"audience": map[string]any{"alias": "{{ email }}"}}, channels.Address{UserID: "ann"}, map[string]any{"body": "x"}, channels.ClassMessage, "audience"},
		{"an audience that is none", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x", "audience": "all"}, channels.ClassMessage, "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := channels.Message{Key: "k", Address: c.to, Fields: c.fields}
			failure := channels.AsDelivery(channeltest.Open(t, airship.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code, "%v", failure)
		})
	}
	require.Zero(t, server.Requests())
}

// TestABatchIsHalvedUntilTheGuiltyAreFound: whatever pushes of a batch Airship refuses, they alone fail, the others go
// out once, and a batch without any is one request.
func TestABatchIsHalvedUntilTheGuiltyAreFound(t *testing.T) {
	server, config := start(t, time.Now)
	channel := channeltest.Open(t, airship.Spec(), config)
	rapid.Check(t, func(t *rapid.T) {
		server.Reset()
		n := rapid.IntRange(1, airship.Spec().Batch).Draw(t, "messages")
		guilty := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, min(n, 4), rapid.ID).Draw(t, "guilty")
		batch := make([]channels.Message, n)
		bad := map[int]bool{}
		for i := range batch {
			batch[i] = channeltest.Message(i)
		}
		for _, i := range guilty {
			bad[i] = true
			batch[i].Fields["audience"] = map[string]any{"nobody": "knows"}
		}
		ids := map[string]bool{}
		for i, r := range channel.Send(t.Context(), batch) {
			if !bad[i] {
				require.NoError(t, r.Err)
				ids[r.ProviderID] = true
				continue
			}
			failure := channels.AsDelivery(r.Err)
			require.Equal(t, channels.ClassMessage, failure.Class)
			require.Equal(t, "40000", failure.Code)
			require.ErrorContains(t, failure, "Could not parse request body: The key 'nobody' is not allowed in this context (audience.nobody)")
		}
		require.Len(t, ids, n-len(bad))
		require.EqualValues(t, n-len(bad), server.Accepted())
		require.LessOrEqual(t, server.Requests(), int64(1+2*7*len(bad)), "halving asks at most twice a level for each")
	})
}

// TestNothingIsSentAgainAfterAFault: what is not a refusal of messages is not looked into.
func TestNothingIsSentAgainAfterAFault(t *testing.T) {
	server, config := start(t, time.Now)
	channel := channeltest.Open(t, airship.Spec(), config)
	for name, fault := range map[string]provider.Fault{
		"503": {Status: 503}, "429": {Status: 429}, "401": {Status: 401, Code: "40101"}, "reset": {Reset: true},
	} {
		t.Run(name, func(t *testing.T) {
			server.Reset()
			server.Script(func(provider.Request) provider.Fault { return fault })
			for _, r := range channel.Send(t.Context(), []channels.Message{channeltest.Message(1), channeltest.Message(2), channeltest.Message(3)}) {
				require.Error(t, r.Err)
			}
			require.EqualValues(t, 1, server.Requests())
		})
	}
}

func TestTest(t *testing.T) {
	server, config := start(t, time.Now)
	test := func(changes map[string]any) error {
		return channeltest.Open(t, airship.Spec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.NoError(t, test(map[string]any{"master_secret": nil, "token": airshipd.Token}))
	require.NoError(t, test(map[string]any{"reach": "token", "audience": map[string]any{"channel": "{{ token }}"}}))
	require.ErrorContains(t, test(map[string]any{"audience": map[string]any{"name": "{{ user_id }}"}}), "The key 'name' is not allowed")
	require.ErrorContains(t, test(map[string]any{"master_secret": "wrong-secret-17"}), "40101")
	require.ErrorContains(t, test(map[string]any{"master_secret": nil, "token": "wrong-token-17"}), "40101")
	for _, r := range server.Received() {
		require.False(t, r.Accepted)
	}
	require.Zero(t, server.Accepted())
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 503} })
	require.ErrorContains(t, test(nil), "503")
	server.Close()
	err := test(nil)
	require.ErrorContains(t, err, "asking 127.0.0.1")
	require.NotContains(t, err.Error(), airshipd.Secret)

	small, err := airshipd.Start(airshipd.Config{Now: time.Now, Types: []string{"ios"}})
	require.NoError(t, err)
	t.Cleanup(small.Close)
	config["url"], config["ca"] = small.Endpoint(), string(small.CA.PEM)
	require.ErrorContains(t, test(nil), "credentials (40000): refused by Airship: Could not parse request body: the platform 'android' is not one of the application's (device_types)")
	for _, r := range channeltest.Open(t, airship.Spec(), config).Send(t.Context(), []channels.Message{channeltest.Message(1), channeltest.Message(2)}) {
		require.Equal(t, channels.ClassCredential, channels.AsDelivery(r.Err).Class, "it is the config's fault, and not that of all messages")
	}
	require.EqualValues(t, 2, small.Requests(), "the test, and one request for both")
	require.NoError(t, test(map[string]any{"device_types": []string{"ios"}}))
}

func TestConfigRefusals(t *testing.T) {
	good := map[string]any{"app_key": airshipd.AppKey, "master_secret": "hunter2hunter2"}
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"no key", map[string]any{"app_key": nil}, "app_key is missing"},
		{"a key with its secret", map[string]any{"app_key": "a:b"}, "app_key is not an app key"},
		{"nothing to sign in with", map[string]any{"master_secret": nil}, "token is missing: give a token, or master_secret"},
		{"two ways to sign in", map[string]any{"token": "hunter2hunter2"}, "token is given beside master_secret"},
		{"a token of two lines", map[string]any{"master_secret": nil, "token": "hunter2\nhunter2"}, "token is not a token"},
		{"another way to reach people", map[string]any{"reach": "email"}, "reach is neither user_id nor token"},
		{"no platform", map[string]any{"device_types": []string{}}, "device_types is empty: there are ios, android, amazon, web"},
		{"a platform that is none", map[string]any{"device_types": []string{"ios", "email"}}, "device_types[1] is no platform of pushes: there are ios, android, amazon, web"},
		{"an audience of everybody", map[string]any{"audience": map[string]any{"tag": "all"}}, `audience names nobody: every message would go to all whom it selects: name the person, for example {named_user: "{{ user_id }}"}`},
		{"an audience of no device", map[string]any{"audience": map[string]any{"channel": "{{ token }}"}}, "audience names the token, which a message to a user does not have: write reach: token"},
		{"an audience that names what there is not", map[string]any{"audience": map[string]any{"named_user": "{{ id }}"}}, "audience.named_user names id, which a message does not have: there are user_id, token, email, phone"},
		{"a URL without TLS", map[string]any{"url": "http://x.example"}, "url is not an https URL"},
		{"a URL with a path", map[string]any{"url": "https://go.airship.eu/api/push"}, "url is not an https URL without a path"},
		{"no such ca", map[string]any{"ca": "nowhere.pem"}, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Refused(t, airship.Spec(), channeltest.With(good, c.with), c.want, "hunter2")
		})
	}
}

// BenchmarkSend measures pushes a second with the local server in the same process.
func BenchmarkSend(b *testing.B) {
	server, config := start(b, time.Now)
	server.Keep = false
	spec := airship.Spec()
	channeltest.Bench(b, spec, channeltest.Open(b, airship.Spec(), config), channeltest.Message)
	require.EqualValues(b, b.N+spec.Batch, server.Accepted())
}
