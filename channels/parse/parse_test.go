package parse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/parsed"
	"nudge/channels/channeltest/provider"
	"nudge/channels/parse"

	"github.com/stretchr/testify/require"
)

// start begins a local Parse Server and returns a config for it.
func start(t testing.TB, c parsed.Config) (*parsed.Server, map[string]any) {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	server, err := parsed.Start(c)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"url": server.URL(), "application_id": parsed.AppID, "master_key": parsed.MasterKey, "ca": string(server.CA.PEM),
	}
}

func TestConformance(t *testing.T) {
	cases := append(channeltest.Refusals(parse.Spec().Answers), channeltest.Pages(map[int]channels.Class{
		302: channels.ClassCredential, 408: channels.ClassTemporary, 502: channels.ClassTemporary, 503: channels.ClassTemporary, 504: channels.ClassTemporary,
	})...)
	cases = append(cases, channeltest.Later(429, "100"), channeltest.Later(503, "100"), channeltest.Case{Name: "a code that is not in the table", Fault: provider.Fault{Status: 400, Code: "102"}, Class: channels.ClassMessage, Code: "102"})
	for name, changes := range map[string]map[string]any{
		"to devices":   nil,
		"to people":    {"reach": "user_id", "where": map[string]any{"userId": "{{ user_id }}"}},
		"to a channel": {"reach": "user_id", "channels": []string{"user-{{ user_id }}"}},
	} {
		t.Run(name, func(t *testing.T) {
			channeltest.Kit{
				Spec: parse.Spec(),
				Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
					server, config := start(t, parsed.Config{Now: now})
					return channeltest.Provider{Config: channeltest.With(config, changes), Log: server.Log, Stop: server.Close}
				},
				Message: channeltest.Message,
				ID:      channels.ShortHash,
				Cases:   cases,
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
		{400, "115", channels.ClassMessage},
		{400, "119", channels.ClassCredential},
		{400, "", channels.ClassMessage},
		{403, "", channels.ClassCredential},
		{404, "", channels.ClassCredential},
		{429, "100", channels.ClassRateLimit},
		{500, "1", channels.ClassTemporary},
	} {
		require.Equal(t, c.want, channels.Classify(parse.Spec().Answers, c.status, c.code), "%d %s", c.status, c.code)
	}
}

const appleToken = "C9D4E1F0A1B2C3D4E5F60718293A4B5C6D7E8F90C9D4E1F0A1B2C3D4E5F60718"

func TestWhatParseGets(t *testing.T) {
	server, config := start(t, parsed.Config{})
	ann := channels.Address{UserID: "ann", Token: "fGx:APA91bTokenOfAnn", Platform: "android"}
	byUser := func(field string, value any) map[string]any { return map[string]any{"reach": "user_id", field: value} }
	for _, c := range []struct {
		name   string
		config map[string]any
		m      channels.Message
		want   string
	}{
		{
			"a text to a device", nil,
			channels.Message{Address: ann, Fields: map[string]any{"body": "3 < 4 & more"}},
			`{"where": {"deviceToken": "fGx:APA91bTokenOfAnn"}, "data": {"alert": "3 < 4 & more"}, "collapse_id": "KEY", "push_type": "alert", "priority": 5}`,
		},
		{
			"a token of Apple's", nil,
			channels.Message{Address: channels.Address{Token: appleToken, Platform: "ios"}, Fields: map[string]any{"body": "x"}},
			`{"where": {"deviceToken": "` + strings.ToLower(appleToken) + `"}, "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": 5}`,
		},
		{
			"all there is", nil,
			channels.Message{Address: ann, Urgent: true, Signed: "signed", TTL: 4 * time.Hour, Fields: map[string]any{
				"title": "Your cart", "body": "It waits", "link": "https://shop.example/cart", "image": "https://shop.example/p/17.jpg", "sound": "bell", "badge": "3",
				"collapse": "order-17", "category": "CART", "thread": "cart", "interruption": "time-sensitive", "data": map[string]any{"order": 17, "tags": []any{"a"}},
			}},
			`{"where": {"deviceToken": "fGx:APA91bTokenOfAnn"}, "collapse_id": "order-17", "push_type": "alert", "priority": 10, "expiration_interval": 14400, "data": {
				"title": "Your cart", "alert": "It waits", "link": "https://shop.example/cart", "uri": "https://shop.example/cart", "image": "https://shop.example/p/17.jpg", "mutable-content": 1,
				"sound": "bell", "badge": 3, "category": "CART", "threadId": "cart", "interruptionLevel": "time-sensitive", "nudge_id": "signed", "order": 17, "tags": ["a"]}}`,
		},
		{
			"silent", nil,
			channels.Message{Address: ann, Urgent: true, TTL: time.Millisecond, Fields: map[string]any{"silent": true, "body": "x", "data": map[string]any{"sync": true}}},
			`{"where": {"deviceToken": "fGx:APA91bTokenOfAnn"}, "data": {"content-available": 1, "sync": true}, "collapse_id": "KEY", "push_type": "background", "priority": 5, "expiration_interval": 1}`,
		},
		{
			"iOS by FCM: text, and no expiry",
			map[string]any{"apple_by_fcm": true},
			channels.Message{Address: channels.Address{Token: "a", Platform: "ios"}, TTL: time.Hour, Fields: map[string]any{"body": "x"}},
			`{"where": {"deviceToken": "a"}, "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": "5"}`,
		},
		{
			"Android by FCM",
			map[string]any{"apple_by_fcm": true},
			channels.Message{Address: ann, TTL: time.Hour, Fields: map[string]any{"body": "x"}},
			`{"where": {"deviceToken": "fGx:APA91bTokenOfAnn"}, "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": 5, "expiration_interval": 3600}`,
		},
		{
			"a person, whose devices are not known, by FCM", channeltest.With(byUser("where", map[string]any{"userId": "{{ user_id }}"}), map[string]any{"apple_by_fcm": true}),
			channels.Message{Address: channels.Address{UserID: "ann"}, Urgent: true, TTL: time.Hour, Fields: map[string]any{"body": "x"}},
			`{"where": {"userId": "ann"}, "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": "10"}`,
		},
		{
			"a person, by a query", byUser("where", map[string]any{"user": map[string]any{"__type": "Pointer", "className": "_User", "objectId": "{{ user_id }}"}}),
			channels.Message{Address: ann, Fields: map[string]any{"body": "x"}},
			`{"where": {"user": {"__type": "Pointer", "className": "_User", "objectId": "ann"}}, "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": 5}`,
		},
		{
			"a person, by a channel", byUser("channels", []string{"user-{{ user_id }}"}),
			channels.Message{Address: ann, Fields: map[string]any{"body": "x"}},
			`{"channels": ["user-ann"], "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": 5}`,
		},
		{
			"the message's own query, later", nil,
			channels.Message{Address: ann, Fields: map[string]any{"body": "x", "where": map[string]any{"store": "7"}, "push_time": " 2026-11-25T09:00:00 "}},
			`{"where": {"store": "7"}, "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": 5, "push_time": "2026-11-25T09:00:00"}`,
		},
		{
			"the message's own channels", byUser("where", map[string]any{"userId": "{{ user_id }}"}),
			channels.Message{Address: ann, Fields: map[string]any{"body": "x", "channels": []any{"store-7", "store-8"}}},
			`{"channels": ["store-7", "store-8"], "data": {"alert": "x"}, "collapse_id": "KEY", "push_type": "alert", "priority": 5}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(server.Received())
			c.m.Key = "k"
			r := channeltest.Open(t, parse.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{c.m})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^[A-Za-z0-9]{10}$`, r.ProviderID)
			require.JSONEq(t, strings.ReplaceAll(c.want, "KEY", channels.ShortHash("k")), string(server.Received()[before].Body))
		})
	}
}

// TestWhomItReaches: the right installations get a push, and nobody else.
func TestWhomItReaches(t *testing.T) {
	server, config := start(t, parsed.Config{})
	reaches(t, config, server.Install, func(t *testing.T, id string, want []string) {
		var to []string
		for _, p := range server.Pushes() {
			if p.ID == id {
				to = p.To
				require.InDelta(t, time.Now().Add(time.Hour).UnixMilli(), p.Body["expiration_time"], 60_000)
			}
		}
		require.ElementsMatch(t, want, to)
	})
}

// reaches sends to four installations of two people in all ways. got looks whom the push of an id went to.
func reaches(t *testing.T, config map[string]any, install func(parsed.Installation), got func(t *testing.T, id string, want []string)) {
	t.Helper()
	unique := channels.ShortHash(t.Name() + time.Now().String())[:8]
	ann, bob := "ann-"+unique, "bob-"+unique
	apple := strings.ReplaceAll(fmt.Sprintf("%-64x", unique), " ", "F")
	install(parsed.Installation{DeviceType: "ios", DeviceToken: apple, Fields: map[string]any{"userId": ann}})
	install(parsed.Installation{DeviceType: "android", DeviceToken: "a-" + unique, Channels: []string{"user-" + ann}, Fields: map[string]any{"userId": ann}})
	install(parsed.Installation{DeviceType: "android", DeviceToken: "b-" + unique, Channels: []string{"user-" + bob}, Fields: map[string]any{"userId": bob}})
	install(parsed.Installation{DeviceType: "android", DeviceToken: "c-" + unique})
	for _, c := range []struct {
		name   string
		config map[string]any
		to     channels.Address
		want   []string
	}{
		{"a device", nil, channels.Address{Token: "b-" + unique}, []string{"b-" + unique}},
		{"a device of Apple's, whatever the case", nil, channels.Address{Token: apple}, []string{strings.ToLower(apple)}},
		{"a person's devices", map[string]any{"reach": "user_id", "where": map[string]any{"userId": "{{ user_id }}"}}, channels.Address{UserID: ann}, []string{strings.ToLower(apple), "a-" + unique}},
		{"a person's devices of one kind", map[string]any{"reach": "user_id", "where": map[string]any{"userId": "{{ user_id }}", "deviceType": "android"}}, channels.Address{UserID: ann}, []string{"a-" + unique}},
		{"a person's channel", map[string]any{"reach": "user_id", "channels": []string{"user-{{ user_id }}"}}, channels.Address{UserID: ann}, []string{"a-" + unique}},
		{"nobody", nil, channels.Address{Token: "z-" + unique}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := channels.Message{Key: c.name, Address: c.to, TTL: time.Hour, Fields: map[string]any{"title": "Your cart", "body": "It waits"}}
			r := channeltest.Open(t, parse.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{m})[0]
			require.NoError(t, r.Err)
			got(t, r.ProviderID, c.want)
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	server, config := start(t, parsed.Config{})
	ann := channels.Address{UserID: "ann", Token: "a"}
	for _, c := range []struct {
		name   string
		config map[string]any
		to     channels.Address
		fields map[string]any
		class  channels.Class
		code   string
	}{
		{"no device", nil, channels.Address{UserID: "ann"}, map[string]any{"body": "x"}, channels.ClassAddress, "token"},
		{"nobody", map[string]any{"reach": "user_id", "channels": []string{"u-{{ user_id }}"}}, channels.Address{Token: "a"}, map[string]any{"body": "x"}, channels.ClassAddress, "user_id"},
		{"no address that the query names", map[string]any{"where": map[string]any{"email": "{{ email }}"}}, ann, map[string]any{"body": "x"}, channels.ClassMessage, "audience"},
		{"no address that a channel names", map[string]any{"channels": []string{"{{ phone }}"}}, ann, map[string]any{"body": "x"}, channels.ClassMessage, "audience"},
		{"nothing to show", nil, ann, map[string]any{"link": "https://shop.example"}, channels.ClassMessage, "empty"},
		{"too long", nil, ann, map[string]any{"body": strings.Repeat("x", 4000)}, channels.ClassMessage, "too_long"},
		{"a badge that is no number", nil, ann, map[string]any{"body": "x", "badge": "many"}, channels.ClassMessage, "field"},
		{"a badge below 0", nil, ann, map[string]any{"body": "x", "badge": -1}, channels.ClassMessage, "field"},
		{"an interruption that is none", nil, ann, map[string]any{"body": "x", "interruption": "loud"}, channels.ClassMessage, "field"},
		{"a lifetime that is none", nil, ann, map[string]any{"body": "x", "ttl": "soon"}, channels.ClassMessage, "field"},
		{"a time that is none", nil, ann, map[string]any{"body": "x", "push_time": "soon"}, channels.ClassMessage, "field"},
		{"data under a key that is taken", nil, ann, map[string]any{"body": "x", "data": map[string]any{"alert": "y"}}, channels.ClassMessage, "field"},
		{"data that looks like a translation", nil, ann, map[string]any{"body": "x", "data": map[string]any{"alert-de": "y"}}, channels.ClassMessage, "field"},
		{"two audiences", nil, ann, map[string]any{"body": "x", "where": map[string]any{"a": "b"}, "channels": []any{"c"}}, channels.ClassMessage, "field"},
		{"every installation", nil, ann, map[string]any{"body": "x", "where": map[string]any{}}, channels.ClassMessage, "field"},
		{"a query that is none", nil, ann, map[string]any{"body": "x", "where": "all"}, channels.ClassMessage, "field"},
		{"channels that are none", nil, ann, map[string]any{"body": "x", "channels": "all"}, channels.ClassMessage, "field"},
		{"no channels", nil, ann, map[string]any{"body": "x", "channels": []any{}}, channels.ClassMessage, "field"},
		{"a channel without a name", nil, ann, map[string]any{"body": "x", "channels": []any{""}}, channels.ClassMessage, "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := channels.Message{Key: "k", Address: c.to, Fields: c.fields}
			failure := channels.AsDelivery(channeltest.Open(t, parse.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code, "%v", failure)
		})
	}
	require.Zero(t, server.Requests())
}

func TestAServerThatCannotPush(t *testing.T) {
	_, config := start(t, parsed.Config{NoAdapter: true})
	channel := channeltest.Open(t, parse.Spec(), config)
	failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{channeltest.Message(1)})[0].Err)
	require.Equal(t, channels.ClassCredential, failure.Class, "%v", failure)
	require.Equal(t, "115", failure.Code)
	require.ErrorContains(t, channel.(channels.Tester).Test(t.Context()), "the server has no push adapter: give it the option push")
}

func TestTest(t *testing.T) {
	server, config := start(t, parsed.Config{})
	test := func(changes map[string]any) error {
		return channeltest.Open(t, parse.Spec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.NoError(t, test(map[string]any{"url": server.URL() + "/"}))
	checkKeys(t, test, parsed.ReadOnlyKey)
	require.Zero(t, server.Accepted())
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 503} })
	require.ErrorContains(t, test(nil), "503")
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "welcome") }))
	t.Cleanup(site.Close)
	require.ErrorContains(t, test(map[string]any{"url": site.URL}), "credentials (200): refused by Parse Server: welcome", "a web site is no Parse Server")
	server.Close()
	err := test(nil)
	require.ErrorContains(t, err, "asking 127.0.0.1")
	require.NotContains(t, err.Error(), parsed.MasterKey)
}

// checkKeys tries keys that are wrong. readOnly is a key that may only read.
func checkKeys(t *testing.T, test func(map[string]any) error, readOnly string) {
	t.Helper()
	for _, c := range []struct {
		name    string
		changes map[string]any
		want    string
	}{
		{"another key", map[string]any{"master_key": "wrong-master-key"}, "credentials (403): refused by Parse Server: unauthorized"},
		{"another app", map[string]any{"application_id": "another"}, "credentials (403): refused by Parse Server: unauthorized"},
		{"a key that reads", map[string]any{"master_key": readOnly}, "credentials (119): refused by Parse Server: Permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) { require.ErrorContains(t, test(c.changes), c.want) })
	}
}

func TestConfigRefusals(t *testing.T) {
	good := map[string]any{"url": "https://parse.shop.example/parse", "application_id": "shop", "master_key": "hunter2hunter2"}
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"no server", map[string]any{"url": nil}, "url is missing"},
		{"no key", map[string]any{"master_key": nil}, "master_key is missing"},
		{"an empty app", map[string]any{"application_id": ""}, "application_id is not an application's id"},
		{"a key of two lines", map[string]any{"master_key": "hunter2\nhunter2"}, "master_key is not a key"},
		{"another way to reach people", map[string]any{"reach": "email"}, "reach is neither token nor user_id"},
		{"people without a query", map[string]any{"reach": "user_id"}, "where is missing: Parse's installations have no user id of their own"},
		{"a query and channels", map[string]any{"where": map[string]any{"a": "{{ user_id }}"}, "channels": []string{"{{ user_id }}"}}, "channels is given beside where: keep one of them"},
		{"a query for everybody", map[string]any{"where": map[string]any{"a": "b"}}, "where names nobody: every message would go to all whom it finds"},
		{"channels for everybody", map[string]any{"channels": []string{"news"}}, "channels names nobody"},
		{"a query for no device", map[string]any{"reach": "user_id", "where": map[string]any{"deviceToken": "{{ token }}"}}, "where names the token, which a message to a user does not have"},
		{"a query that names what there is not", map[string]any{"where": map[string]any{"a": "{{ id }}"}}, "where.a names id, which a message does not have: there are user_id, token, email, phone"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
		{"a URL of nothing", map[string]any{"url": "parse.shop.example"}, "url is not an http or https URL"},
		{"a URL with a question", map[string]any{"url": "https://x.example/parse?a=b"}, "url is not an http or https URL"},
		{"no such ca", map[string]any{"ca": "nowhere.pem"}, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Refused(t, parse.Spec(), channeltest.With(good, c.with), c.want, "hunter2")
		})
	}
}

// BenchmarkSend measures pushes a second with the local server in the same process.
func BenchmarkSend(b *testing.B) {
	server, config := start(b, parsed.Config{})
	server.Keep = false
	spec := parse.Spec()
	channeltest.Bench(b, spec, channeltest.Open(b, parse.Spec(), config), channeltest.Message)
	require.EqualValues(b, b.N+spec.Batch, server.Accepted())
}
