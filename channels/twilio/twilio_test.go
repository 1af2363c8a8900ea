package twilio_test

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/twiliod"
	"nudge/channels/twilio"

	"github.com/stretchr/testify/require"
)

// start begins a local Twilio and returns a config for it.
func start(t testing.TB, now func() time.Time) (*twiliod.Server, map[string]any) {
	t.Helper()
	server, err := twiliod.Start(now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"account_sid": twiliod.Account, "api_key": twiliod.Key, "api_secret": twiliod.Secret, "from": twiliod.Sender,
		"endpoint": server.Endpoint(), "ca": string(server.CA.PEM),
	}
}

func TestConformance(t *testing.T) {
	var cases []channeltest.Case
	statuses := map[string]int{"20003": 401, "20005": 403, "20006": 403, "20008": 403, "20404": 404, "20429": 429, "20500": 500, "20503": 503, "21611": 429}
	for _, a := range twilio.Spec().Answers {
		if a.Class == "" || a.Code == "" {
			continue
		}
		status := 400
		if own, ok := statuses[a.Code]; ok {
			status = own
		}
		cases = append(cases, channeltest.Case{Name: a.Code, Fault: provider.Fault{Status: status, Code: a.Code}, Class: a.Class, Code: a.Code})
	}
	cases = append(cases, channeltest.Pages(map[int]channels.Class{
		302: channels.ClassCredential, 400: channels.ClassMessage, 401: channels.ClassCredential, 403: channels.ClassCredential, 404: channels.ClassCredential,
		408: channels.ClassTemporary, 429: channels.ClassRateLimit, 500: channels.ClassTemporary, 502: channels.ClassTemporary, 503: channels.ClassTemporary,
	})...)
	cases = append(cases,
		channeltest.Later(429, "20429"),
		channeltest.Later(503, "20503"),
		channeltest.Case{Name: "a code that is not in the table", Fault: provider.Fault{Status: 400, Code: "21999"}, Class: channels.ClassMessage, Code: "21999"},
	)
	channeltest.Kit{
		Spec: twilio.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, now)
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: channeltest.Text,
		ID:      channeltest.NumberOf,
		Cases:   cases,
	}.Run(t)
}

// TestTableMeansWhatItSays has the classes that the table must not lose, by hand: the cases above are made of it.
func TestTableMeansWhatItSays(t *testing.T) {
	for code, want := range map[string]channels.Class{
		"20003": channels.ClassCredential, "20429": channels.ClassRateLimit, "20503": channels.ClassTemporary,
		"21211": channels.ClassAddress, "21408": channels.ClassMessage, "21610": channels.ClassAddress, "21611": channels.ClassRateLimit,
		"21614": channels.ClassAddress, "21617": channels.ClassMessage, "21660": channels.ClassCredential, "30001": channels.ClassRateLimit,
	} {
		require.Equal(t, want, channels.Classify(twilio.Spec().Answers, 400, code), code)
		require.Equal(t, code == "21610", channels.OptedOut(twilio.Spec().Answers, code), code)
	}
}

func TestWhatTwilioGets(t *testing.T) {
	server, config := start(t, time.Now)
	token := map[string]any{"api_key": nil, "api_secret": nil, "auth_token": twiliod.Token}
	for _, c := range []struct {
		name   string
		config map[string]any
		m      channels.Message
		want   string
	}{
		{"a text", nil, channels.Message{Fields: map[string]any{"text": "Hi & bye\n"}}, "Body=Hi+%26+bye&From=%2B14155550000&To=%2B14155550100"},
		{"signed in by the token", token, channels.Message{Fields: map[string]any{"text": "Hi"}}, "Body=Hi&From=%2B14155550000&To=%2B14155550100"},
		{
			"through a service",
			map[string]any{"from": nil, "messaging_service": twiliod.Service, "status_callback": "https://shop.example/twilio?a=1"},
			channels.Message{Fields: map[string]any{"text": "Grüße 🎉"}, TTL: 90 * time.Minute},
			"Body=Gr%C3%BC%C3%9Fe+%F0%9F%8E%89&MessagingServiceSid=" + twiliod.Service + "&StatusCallback=https%3A%2F%2Fshop.example%2Ftwilio%3Fa%3D1&To=%2B14155550100&ValidityPeriod=5400",
		},
		{
			"one of the service's senders",
			map[string]any{"messaging_service": twiliod.Service},
			channels.Message{Fields: map[string]any{"text": "Hi"}},
			"Body=Hi&From=%2B14155550000&MessagingServiceSid=" + twiliod.Service + "&To=%2B14155550100",
		},
		{"the message's own sender", nil, channels.Message{Fields: map[string]any{"text": "Hi", "from": " Shop "}}, "Body=Hi&From=Shop&To=%2B14155550100"},
		{"longer than Twilio keeps it", nil, channels.Message{Fields: map[string]any{"text": "Hi"}, TTL: 48 * time.Hour}, "Body=Hi&From=%2B14155550000&To=%2B14155550100&ValidityPeriod=36000"},
		{"shorter than a second", nil, channels.Message{Fields: map[string]any{"text": "Hi"}, TTL: time.Millisecond}, "Body=Hi&From=%2B14155550000&To=%2B14155550100&ValidityPeriod=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(server.Received())
			c.m.Key, c.m.Address.Phone = "k", "+1 (415) 555-0100"
			r := channeltest.Open(t, twilio.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{c.m})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^SM[0-9a-f]{32}$`, r.ProviderID)
			require.Equal(t, c.want, string(server.Received()[before].Body))
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	server, config := start(t, time.Now)
	for _, c := range []struct {
		name, phone string
		limit       int
		fields      map[string]any
		class       channels.Class
		code        string
	}{
		{"no number", "", 3, map[string]any{"text": "x"}, channels.ClassAddress, "not_e164"},
		{"a number without its country", "0415 555 0100", 3, map[string]any{"text": "x"}, channels.ClassAddress, "not_e164"},
		{"another channel of Twilio's", "whatsapp:+14155550100", 3, map[string]any{"text": "x"}, channels.ClassAddress, "not_e164"},
		{"no text", "+14155550100", 3, map[string]any{"text": " "}, channels.ClassMessage, "field"},
		{"too long", "+14155550100", 3, map[string]any{"text": strings.Repeat("x", 460)}, channels.ClassMessage, "too_long"},
		{"too long for the config", "+14155550100", 1, map[string]any{"text": strings.Repeat("ж", 71)}, channels.ClassMessage, "too_long"},
		{"a lifetime that is none", "+14155550100", 3, map[string]any{"text": "x", "ttl": "soon"}, channels.ClassMessage, "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channel := channeltest.Open(t, twilio.Spec(), channeltest.With(config, map[string]any{"max_segments": c.limit}))
			m := channels.Message{Key: "k", Address: channels.Address{Phone: c.phone}, Fields: c.fields}
			failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code)
		})
	}
	require.Zero(t, server.Requests())
	t.Run("and what is allowed is sent", func(t *testing.T) {
		channel := channeltest.Open(t, twilio.Spec(), channeltest.With(config, map[string]any{"max_segments": 10}))
		m := channeltest.Text(1)
		m.Fields["text"] = strings.Repeat("x", 1530)
		require.NoError(t, channel.Send(t.Context(), []channels.Message{m})[0].Err)
		m.Fields["text"] = strings.Repeat("x", 1531)
		require.Equal(t, "too_long", channels.AsDelivery(channel.Send(t.Context(), []channels.Message{m})[0].Err).Code)
	})
}

func TestNumbersThatTwilioKnows(t *testing.T) {
	server, config := start(t, time.Now)
	channel := channeltest.Open(t, twilio.Spec(), config)
	for i, c := range []struct {
		name   string
		number twiliod.Number
		class  channels.Class
		code   string
		opted  bool
	}{
		{"has answered STOP", twiliod.Number{Code: 21610}, channels.ClassAddress, "21610", true},
		{"is no mobile", twiliod.Number{Code: 21614}, channels.ClassAddress, "21614", false},
		{"is refused by a country's switch", twiliod.Number{Code: 21408}, channels.ClassMessage, "21408", false},
		{"fails at once: a landline", twiliod.Number{Fails: 30006}, channels.ClassAddress, "30006", false},
		{"fails at once: STOP", twiliod.Number{Fails: 21610}, channels.ClassAddress, "21610", true},
		{"fails at once: the queue is full", twiliod.Number{Fails: 30001}, channels.ClassRateLimit, "30001", false},
		{"fails at once: a code of tomorrow", twiliod.Number{Fails: 39999}, channels.ClassMessage, "39999", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := channeltest.Text(i)
			server.SetNumber(m.Address.Phone, c.number)
			failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class)
			require.Equal(t, c.code, failure.Code)
			require.Equal(t, c.opted, failure.OptedOut)
			require.NotContains(t, failure.Error(), m.Address.Phone)
			require.ErrorContains(t, failure, "texting +14…0"+strconv.Itoa(i+1))
		})
	}
}

func TestSendersThatTwilioRefuses(t *testing.T) {
	_, config := start(t, time.Now)
	strange := channeltest.Open(t, twilio.Spec(), channeltest.With(config, map[string]any{"from": "+14155559999"}))
	failure := channels.AsDelivery(strange.Send(t.Context(), []channels.Message{channeltest.Text(1)})[0].Err)
	require.Equal(t, channels.ClassCredential, failure.Class, "the config's sender is our set-up")
	require.Equal(t, "21660", failure.Code)
	m := channeltest.Text(1)
	m.Fields["from"] = "+14155559999"
	failure = channels.AsDelivery(channeltest.Open(t, twilio.Spec(), config).Send(t.Context(), []channels.Message{m})[0].Err)
	require.Equal(t, channels.ClassMessage, failure.Class, "the message's own sender is not")
	require.Equal(t, "21660", failure.Code)
}

func TestAnswerThatQuotesTheNumber(t *testing.T) {
	server, config := start(t, time.Now)
	server.Script(func(provider.Request) provider.Fault {
		return provider.Fault{Status: 400, Body: []byte(`{"code":21211,"message":"The 'To' number +14155550100 is not valid, nor To=%2B14155550100 nor ` + twiliod.Secret + `","status":400}`)}
	})
	m := channeltest.Text(1)
	m.Address.Phone = "+1 415 555 0100"
	failure := channels.AsDelivery(channeltest.Open(t, twilio.Spec(), config).Send(t.Context(), []channels.Message{m})[0].Err)
	require.EqualError(t, failure, "address (21211): texting +14…00: refused by Twilio: The 'To' number *** is not valid, nor To=%2B*** nor ***")
}

func TestTest(t *testing.T) {
	server, config := start(t, time.Now)
	test := func(changes map[string]any) error {
		return channeltest.Open(t, twilio.Spec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.NoError(t, test(map[string]any{"from": nil, "messaging_service": twiliod.Service}))
	require.ErrorContains(t, test(map[string]any{"api_secret": "wrong-secret-17"}), "20003")
	require.ErrorContains(t, test(map[string]any{"account_sid": "AC" + strings.Repeat("0", 32)}), "20404")
	for _, r := range server.Received() {
		form, err := url.ParseQuery(string(r.Body))
		require.NoError(t, err)
		require.Empty(t, form.Get("To"))
	}
	require.Zero(t, server.Accepted())
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 503, Code: "20503"} })
	require.ErrorContains(t, test(nil), "20503")
	server.Close()
	err := test(nil)
	require.ErrorContains(t, err, "asking 127.0.0.1")
	require.NotContains(t, err.Error(), twiliod.Secret)
}

func TestConfigRefusals(t *testing.T) {
	good := map[string]any{"account_sid": twiliod.Account, "api_key": twiliod.Key, "api_secret": "hunter2hunter2", "from": "+14155550000"}
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"no account", map[string]any{"account_sid": nil}, "account_sid is missing"},
		{"an account that is a key", map[string]any{"account_sid": twiliod.Key}, "account_sid is not a SID: it is AC and 32 hexadecimal digits"},
		{"a path for an account", map[string]any{"account_sid": "AC/../x"}, "account_sid is not a SID"},
		{"a key that is none", map[string]any{"api_key": "SK1"}, "api_key is not a SID"},
		{"a service that is none", map[string]any{"messaging_service": "shop"}, "messaging_service is not a SID: it is MG"},
		{"nothing to sign in with", map[string]any{"api_key": nil, "api_secret": nil}, "api_key is missing: give api_key and api_secret, or auth_token"},
		{"a key without its secret", map[string]any{"api_secret": nil}, "api_secret is missing"},
		{"a secret without its key", map[string]any{"api_key": nil}, "api_key is missing: api_secret is the secret of one"},
		{"two ways to sign in", map[string]any{"auth_token": "hunter2hunter2"}, "auth_token is given beside an API key"},
		{"no sender", map[string]any{"from": nil}, "from is missing: give a sender, or a messaging_service"},
		{"a callback that is no URL", map[string]any{"status_callback": "shop.example"}, "status_callback is not an http or https URL"},
		{"no segments", map[string]any{"max_segments": 0}, "max_segments is not 1 to 10"},
		{"more than Twilio takes", map[string]any{"max_segments": 11}, "max_segments is not 1 to 10"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
		{"an endpoint without TLS", map[string]any{"endpoint": "http://x.example"}, "endpoint is not an https URL"},
		{"no such ca", map[string]any{"ca": "nowhere.pem"}, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Refused(t, twilio.Spec(), channeltest.With(good, c.with), c.want, "hunter2")
		})
	}
}
