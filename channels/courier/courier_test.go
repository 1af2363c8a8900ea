package courier_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/courierd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/courier"

	"github.com/stretchr/testify/require"
)

// start begins a local Courier and returns a config for it.
func start(t testing.TB, now func() time.Time) (*courierd.Server, map[string]any) {
	t.Helper()
	server, err := courierd.Start(now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{"api_key": courierd.Key, "url": server.Endpoint(), "ca": string(server.CA.PEM)}
}

// message is the i-th of a series.
func message(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address = channels.Address{UserID: m.Address.UserID, Email: fmt.Sprintf("ann-%d@customer.example", i), Phone: fmt.Sprintf("+1415555%04d", i)}
	delete(m.Fields, "link")
	return m
}

func TestConformance(t *testing.T) {
	cases := append(channeltest.Refusals(courier.Spec().Answers), channeltest.Pages(map[int]channels.Class{
		302: channels.ClassCredential, 400: channels.ClassMessage, 401: channels.ClassCredential, 402: channels.ClassCredential, 403: channels.ClassCredential,
		404: channels.ClassCredential, 408: channels.ClassTemporary, 409: channels.ClassTemporary, 422: channels.ClassMessage, 429: channels.ClassRateLimit,
		500: channels.ClassTemporary, 502: channels.ClassTemporary, 503: channels.ClassTemporary,
	})...)
	cases = append(cases,
		channeltest.Later(429, "rate_limit_error"),
		channeltest.Later(503, "api_error"),
		channeltest.Case{Name: "a type of tomorrow", Fault: provider.Fault{Status: 400, Code: "mood_error"}, Class: channels.ClassMessage, Code: "mood_error"},
	)
	channeltest.Kit{
		Spec: courier.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, now)
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: message,
		ID:      channels.UUID,
		Cases:   cases,
	}.Run(t)
}

// TestTableMeansWhatItSays has the classes that the table must not lose, by hand: the cases above are made of it.
func TestTableMeansWhatItSays(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   channels.Class
	}{
		{400, "invalid_request_error", channels.ClassMessage},
		{401, "authentication_error", channels.ClassCredential},
		{404, "invalid_request_error", channels.ClassMessage},
		{404, "", channels.ClassCredential},
		{409, "invalid_request_error", channels.ClassTemporary},
		{413, "invalid_request_error", channels.ClassMessage},
		{429, "rate_limit_error", channels.ClassRateLimit},
		{500, "api_error", channels.ClassTemporary},
	} {
		require.Equal(t, c.want, channels.Classify(courier.Spec().Answers, c.status, c.code), "%d %s", c.status, c.code)
	}
}

func TestWhatCourierGets(t *testing.T) {
	server, config := start(t, time.Now)
	ann := channels.Address{UserID: "ann", Email: "ann@customer.example", Phone: "+1 (415) 555-0100"}
	const annIs = `"to":{"user_id":"ann","email":"ann@customer.example","phone_number":"+14155550100"}`
	trace := `"metadata":{"trace_id":"` + channels.UUID("k") + `"}`
	for _, c := range []struct {
		name   string
		config map[string]any
		m      channels.Message
		want   string
	}{
		{ // Courier's own example of a template
			"a template with data",
			map[string]any{"profile": false},
			channels.Message{Address: ann, Fields: map[string]any{"template": "ORDER_SHIPPED", "data": map[string]any{"foo": "bar"}}},
			`"to":{"user_id":"ann"},"template":"ORDER_SHIPPED","data":{"foo":"bar"},` + trace,
		},
		{
			"a title and a body, of a rule", nil,
			channels.Message{Address: ann, Fields: map[string]any{"title": "Hi", "body": "There"}, About: map[string]string{"rule": "hello"}, Signed: "signed-1"},
			annIs + `,"content":{"title":"Hi","body":"There"},"data":{"nudge_id":"signed-1"},"metadata":{"event":"hello","trace_id":"` + channels.UUID("k") + `"}`,
		},
		{
			"buttons", nil,
			channels.Message{Address: ann, Fields: map[string]any{"title": "Hi", "body": "There", "actions": []any{map[string]any{"id": "buy", "title": "Buy now", "link": "https://shop.example"}}}},
			annIs + `,"content":{"version":"2022-01-01","elements":[{"type":"meta","title":"Hi"},{"type":"text","content":"There"},{"type":"action","content":"Buy now","href":"https://shop.example","action_id":"buy"}]},` + trace,
		},
		{
			"content of Courier's", nil,
			channels.Message{Address: ann, Fields: map[string]any{"content": map[string]any{"elements": []any{map[string]any{"type": "text", "content": "Hi"}}}}},
			annIs + `,"content":{"version":"2022-01-01","elements":[{"type":"text","content":"Hi"}]},` + trace,
		},
		{
			"routing, brand and topic of the config",
			map[string]any{"channels": []any{"email", "push"}, "method": "all", "brand": "BRAND-1", "topic": "PT4KDD5Q0BMFXN"},
			channels.Message{Address: ann, Fields: map[string]any{"template": "ORDER_SHIPPED"}},
			annIs + `,"template":"ORDER_SHIPPED","routing":{"method":"all","channels":["email","push"]},"brand_id":"BRAND-1","preferences":{"subscription_topic_id":"PT4KDD5Q0BMFXN"},` + trace,
		},
		{
			"routing and overrides of the message",
			map[string]any{"channels": []any{"email", "push"}, "method": "all"},
			channels.Message{Address: ann, Fields: map[string]any{
				"template": "ORDER_SHIPPED", "channels": []any{"sms"}, "method": "single",
				"providers": map[string]any{"twilio": map[string]any{"override": map[string]any{"body": map[string]any{"from": "Shop"}}}},
				"overrides": map[string]any{"sms": map[string]any{"providers": []any{"twilio"}}},
			}},
			annIs + `,"template":"ORDER_SHIPPED","routing":{"method":"single","channels":["sms"]},"providers":{"twilio":{"override":{"body":{"from":"Shop"}}}},"channels":{"sms":{"providers":["twilio"]}},` + trace,
		},
		{
			"a lifetime", nil,
			channels.Message{Address: ann, Fields: map[string]any{"template": "ORDER_SHIPPED"}, TTL: 90 * time.Second},
			annIs + `,"template":"ORDER_SHIPPED","timeout":{"message":90000},"expiry":{"expires_in":90000},` + trace,
		},
		{
			"longer than Courier keeps trying", nil,
			channels.Message{Address: ann, Fields: map[string]any{"template": "ORDER_SHIPPED", "ttl": "9d"}},
			annIs + `,"template":"ORDER_SHIPPED","timeout":{"message":259200000},"expiry":{"expires_in":259200000},` + trace,
		},
		{
			"an iPhone",
			map[string]any{"to": "token", "profile": false},
			channels.Message{Address: channels.Address{UserID: "ann", Token: "abc", Platform: "ios"}, Fields: map[string]any{"template": "ORDER_SHIPPED"}},
			`"to":{"user_id":"ann","apn":{"token":"abc"}},"template":"ORDER_SHIPPED",` + trace,
		},
		{
			"an Android, of nobody that is known",
			map[string]any{"to": "token"},
			channels.Message{Address: channels.Address{Token: "abc", Platform: "android"}, Fields: map[string]any{"template": "ORDER_SHIPPED"}},
			`"to":{"firebaseToken":"abc"},"template":"ORDER_SHIPPED",` + trace,
		},
		{
			"an address of nobody that is known, and no profile",
			map[string]any{"to": "email", "profile": false},
			channels.Message{Address: channels.Address{Email: "ann@customer.example", Phone: "+14155550100"}, Fields: map[string]any{"template": "ORDER_SHIPPED"}},
			`"to":{"email":"ann@customer.example"},"template":"ORDER_SHIPPED",` + trace,
		},
		{
			"a number without its country is left out", nil,
			channels.Message{Address: channels.Address{UserID: "ann", Phone: "0415 555 0100"}, Fields: map[string]any{"template": "ORDER_SHIPPED"}},
			`"to":{"user_id":"ann"},"template":"ORDER_SHIPPED",` + trace,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			server.Forget()
			before := len(server.Received())
			c.m.Key = "k"
			r := channeltest.Open(t, courier.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{c.m})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^1-[0-9a-f]{8}-[0-9a-f]{16}$`, r.ProviderID)
			require.JSONEq(t, `{"message":{`+c.want+`}}`, string(server.Received()[before].Body))
		})
	}
}

func TestRefusals(t *testing.T) {
	server, config := start(t, time.Now)
	text := map[string]any{"title": "Hi", "body": "There"}
	ann := channels.Address{UserID: "ann"}
	for _, c := range []struct {
		name   string
		config map[string]any
		to     channels.Address
		fields map[string]any
		class  channels.Class
		code   string
		asked  bool
	}{
		{"no user id", nil, channels.Address{Email: "ann@customer.example"}, text, channels.ClassAddress, "no_user_id", false},
		{"no address", map[string]any{"to": "email"}, ann, text, channels.ClassAddress, "not_an_address", false},
		{"a number without its country", map[string]any{"to": "phone"}, channels.Address{Phone: "0415 555 0100"}, text, channels.ClassAddress, "not_e164", false},
		{"no token", map[string]any{"to": "token"}, ann, text, channels.ClassAddress, "no_token", false},
		{"nothing to send", nil, ann, map[string]any{"title": " "}, channels.ClassMessage, "field", false},
		{"a template and a text", nil, ann, map[string]any{"template": "ORDER_SHIPPED", "title": "Hi"}, channels.ClassMessage, "field", false},
		{"content and a text", nil, ann, map[string]any{"content": map[string]any{"elements": []any{1}}, "title": "Hi"}, channels.ClassMessage, "field", false},
		{"content without elements", nil, ann, map[string]any{"content": map[string]any{"title": "Hi"}}, channels.ClassMessage, "field", false},
		{"a button without a link", nil, ann, map[string]any{"title": "Hi", "actions": []any{map[string]any{"id": "a", "title": "b"}}}, channels.ClassMessage, "field", false},
		{"channels that are none", nil, ann, map[string]any{"title": "Hi", "channels": []any{7}}, channels.ClassMessage, "field", false},
		{"a method that is none", nil, ann, map[string]any{"title": "Hi", "channels": []any{"email"}, "method": "any"}, channels.ClassMessage, "field", false},
		{"too large", nil, ann, map[string]any{"body": strings.Repeat("x", 6_000_000)}, channels.ClassMessage, "too_large", false},
		{"no such template", nil, ann, map[string]any{"template": "NONE"}, channels.ClassMessage, "invalid_request_error", true},
		{"another's key", map[string]any{"api_key": "pk_prod_another"}, ann, text, channels.ClassCredential, "authentication_error", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := server.Requests()
			m := channels.Message{Key: c.name, Address: c.to, Fields: c.fields}
			failure := channels.AsDelivery(channeltest.Open(t, courier.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code)
			require.Equal(t, c.asked, server.Requests() > before)
		})
	}
}

// TestKeys is about idempotency keys: a message whose answer was lost keeps its key, and one that was answered with an
// error, which Courier would repeat for a day, gets another; once more with the same where the error does not say that
// nothing was made under it.
func TestKeys(t *testing.T) {
	failed := provider.Fault{Status: 500, Code: "api_error"}
	fast := provider.Fault{Status: 429, Code: "rate_limit_error"}
	page := provider.Fault{Status: 502, Body: []byte("<html>")}
	busy := provider.Fault{Status: 409, Code: "invalid_request_error"}
	reset, fine := provider.Fault{Reset: true}, provider.Fault{}
	for _, c := range []struct {
		name   string
		faults []provider.Fault
		keys   []int // 0 is the first key, and so on
	}{
		{"an error", []provider.Fault{failed, fine}, []int{0, 1}},
		{"errors", []provider.Fault{failed, failed, fine}, []int{0, 1, 2}},
		{"a lost answer", []provider.Fault{reset, fine}, []int{0, 0}},
		{"a lost answer after an error", []provider.Fault{failed, reset, fine}, []int{0, 1, 1}},
		{"an error after a lost answer", []provider.Fault{reset, failed, failed, fine}, []int{0, 0, 0, 1}},
		{"too fast", []provider.Fault{fast, fine}, []int{0, 0}},
		{"too fast again and again", []provider.Fault{fast, fast, fast, fast, fine}, []int{0, 0, 1, 1, 2}},
		{"somebody between has failed", []provider.Fault{page, page, fine}, []int{0, 0, 0}},
		{"Courier is still at it", []provider.Fault{busy, busy, fine}, []int{0, 0, 0}},
		{"it is sent again", []provider.Fault{failed, fine, fine}, []int{0, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, time.Now)
			channel := channeltest.Open(t, courier.Spec(), config)
			for i, fault := range c.faults {
				server.Script(func(provider.Request) provider.Fault { return fault })
				err := channel.Send(t.Context(), []channels.Message{message(1)})[0].Err
				require.Equal(t, fault.Status == 0 && !fault.Reset, err == nil, "attempt %d: %v", i, err)
			}
			var seen []string
			var keys []int
			for _, r := range server.Received() {
				if !slices.Contains(seen, r.ID) {
					seen = append(seen, r.ID)
				}
				keys = append(keys, slices.Index(seen, r.ID))
			}
			require.Equal(t, c.keys, keys)
			require.Equal(t, 1, server.Made())
		})
	}
}

// TestRestart is about what the channel has forgotten: an attempt that is told an old error makes no second message.
func TestRestart(t *testing.T) {
	server, config := start(t, time.Now)
	send := func(on channels.Channel) channels.Result {
		return on.Send(t.Context(), []channels.Message{message(1)})[0]
	}
	channel := channeltest.Open(t, courier.Spec(), config)
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 500, Code: "api_error"} })
	require.Error(t, send(channel).Err)
	server.Script(nil)
	taken := send(channel)
	require.NoError(t, taken.Err)
	restarted := channeltest.Open(t, courier.Spec(), config)
	require.Equal(t, channels.ClassTemporary, channels.AsDelivery(send(restarted).Err).Class, "the old error")
	require.Equal(t, taken, send(restarted), "the next attempt finds the message that was made")
	require.Equal(t, 1, server.Made())
}

func TestWhomItNeeds(t *testing.T) {
	for to, want := range map[string]string{"user_id": "user_id", "email": "email", "phone": "phone", "token": "token", "everybody": "user_id"} {
		spec := courier.Spec().With(map[string]any{"to": to})
		require.Equal(t, want, spec.Needs)
		require.Equal(t, to == "token", len(spec.Platforms) == 3)
	}
	require.Equal(t, "user_id", courier.Spec().With(nil).Needs)
}

func TestTest(t *testing.T) {
	server, config := start(t, time.Now)
	test := func(changes map[string]any) error {
		return channeltest.Open(t, courier.Spec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.NoError(t, test(nil), "it has no idempotency key")
	require.ErrorContains(t, test(map[string]any{"api_key": "pk_prod_another"}), "authentication_error")
	require.Zero(t, server.Made())
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 503, Code: "api_error"} })
	require.ErrorContains(t, test(nil), "api_error")
	server.Close()
	err := test(nil)
	require.ErrorContains(t, err, "asking 127.0.0.1")
	require.NotContains(t, err.Error(), courierd.Key)
}

func TestConfigRefusals(t *testing.T) {
	good := map[string]any{"api_key": "hunter2hunter2"}
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"no key", map[string]any{"api_key": nil}, "api_key is missing"},
		{"a key of two words", map[string]any{"api_key": "hunter2 hunter2"}, "api_key is not an API key"},
		{"a recipient that is none", map[string]any{"to": "everybody"}, "to is none of user_id, email, phone, token"},
		{"a method that is none", map[string]any{"method": "any"}, "method is neither single nor all"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
		{"a URL without TLS", map[string]any{"url": "http://x.example"}, "url is not an https URL"},
		{"no such ca", map[string]any{"ca": "nowhere.pem"}, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Refused(t, courier.Spec(), channeltest.With(good, c.with), c.want, "hunter2")
		})
	}
}

// BenchmarkSend measures messages a second with the local server in the same process, which shares the machine's cores.
func BenchmarkSend(b *testing.B) {
	server, config := start(b, time.Now)
	server.Keep = false
	channeltest.Bench(b, courier.Spec(), channeltest.Open(b, courier.Spec(), config), message)
	require.EqualValues(b, b.N+courier.Spec().Batch, server.Accepted())
}
