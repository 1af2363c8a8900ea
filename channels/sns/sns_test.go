package sns_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/snsd"
	"nudge/channels/sns"

	"github.com/stretchr/testify/require"
)

// start begins a local SNS and returns a config for it.
func start(t testing.TB, now func() time.Time) (*snsd.Server, map[string]any) {
	t.Helper()
	server, err := snsd.Start(now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{
		"region": snsd.Region, "access_key_id": snsd.AccessKey, "secret_access_key": snsd.SecretKey,
		"session_token": "session-token-of-a-temporary-key", "endpoint": server.Endpoint(), "ca": string(server.CA.PEM),
	}
}

// casesOf are the cases of a spec's table, and of answers that have no code.
func casesOf(spec channels.Spec) []channeltest.Case {
	var cases []channeltest.Case
	byClass := map[channels.Class]int{
		channels.ClassMessage: 400, channels.ClassAddress: 400, channels.ClassCredential: 403, channels.ClassRateLimit: 400, channels.ClassTemporary: 500,
	}
	for _, a := range spec.Answers {
		if a.Class != "" && a.Code != "" {
			cases = append(cases, channeltest.Case{Name: a.Code, Fault: provider.Fault{Status: byClass[a.Class], Code: a.Code}, Class: a.Class, Code: a.Code})
		}
	}
	cases = append(cases, channeltest.Pages(map[int]channels.Class{
		302: channels.ClassCredential, 400: channels.ClassMessage, 403: channels.ClassCredential, 404: channels.ClassCredential,
		408: channels.ClassTemporary, 429: channels.ClassRateLimit, 500: channels.ClassTemporary, 502: channels.ClassTemporary, 503: channels.ClassTemporary,
	})...)
	return append(cases,
		channeltest.Later(429, "Throttled"),
		channeltest.Later(503, "ServiceUnavailable"),
		channeltest.Case{Name: "a code of tomorrow", Fault: provider.Fault{Status: 400, Code: "Sunspots"}, Class: channels.ClassMessage, Code: "Sunspots"},
	)
}

// complaint is SNS's answer that a parameter is not valid.
func complaint(message string) provider.Fault {
	return provider.Fault{Status: 400, Body: []byte(`<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>InvalidParameter</Code><Message>` +
		message + `</Message></Error><RequestId>1</RequestId></ErrorResponse>`)}
}

func TestConformance(t *testing.T) {
	cases := append(casesOf(sns.Spec()),
		channeltest.Case{
			Name: "about the number", Class: channels.ClassAddress, Code: "InvalidParameter",
			Fault: complaint("Invalid parameter: PhoneNumber Reason: +14155550100 is not valid to publish to"),
		},
		channeltest.Case{
			Name: "opted out, in words", Class: channels.ClassAddress, Code: "InvalidParameter",
			Fault: complaint("Invalid parameter: the phone number is Opted Out"),
		},
		channeltest.Case{Name: "about something else", Class: channels.ClassMessage, Code: "InvalidParameter", Fault: complaint("Invalid parameter: Message too long")},
	)
	channeltest.Kit{
		Spec: sns.Spec(),
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
		"InvalidParameter": channels.ClassMessage, "OptedOut": channels.ClassAddress, "Throttled": channels.ClassRateLimit, "Throttling": channels.ClassRateLimit,
		"AuthorizationError": channels.ClassCredential, "SignatureDoesNotMatch": channels.ClassCredential, "InternalError": channels.ClassTemporary,
	} {
		require.Equal(t, want, channels.Classify(sns.Spec().Answers, 400, code), code)
		require.Equal(t, code == "OptedOut", channels.OptedOut(sns.Spec().Answers, code), code)
	}
}

func TestWhatSNSGets(t *testing.T) {
	server, config := start(t, time.Now)
	attribute := func(i int, name, value string) string {
		entry := fmt.Sprintf("&MessageAttributes.entry.%d.", i)
		return entry + "Name=" + name + entry + "Value.DataType=String" + entry + "Value.StringValue=" + url.QueryEscape(value)
	}
	for _, c := range []struct {
		name   string
		config map[string]any
		m      channels.Message
		text   string
		want   string
	}{
		{"promotional", nil, channels.Message{Fields: map[string]any{"text": "Hi\n"}}, "Hi", attribute(1, "AWS.SNS.SMS.SMSType", "Promotional")},
		{
			"by its category", nil,
			channels.Message{Fields: map[string]any{"text": "Grüße 🎉"}, About: map[string]string{"category": "transactional"}},
			"Grüße 🎉", attribute(1, "AWS.SNS.SMS.SMSType", "Transactional"),
		},
		{
			"by the config",
			map[string]any{"sms_type": "promotional", "from": "Shop"},
			channels.Message{Fields: map[string]any{"text": "Hi"}, About: map[string]string{"category": "transactional"}},
			"Hi", attribute(1, "AWS.SNS.SMS.SMSType", "Promotional") + attribute(2, "AWS.SNS.SMS.SenderID", "Shop"),
		},
		{
			"the message's own sender",
			map[string]any{"from": "Shop"},
			channels.Message{Fields: map[string]any{"text": "Hi", "from": "+14155550000"}},
			"Hi", attribute(1, "AWS.MM.SMS.OriginationNumber", "+14155550000") + attribute(2, "AWS.SNS.SMS.SMSType", "Promotional"),
		},
		{"a key without a session", map[string]any{"session_token": nil}, channels.Message{Fields: map[string]any{"text": "Hi"}}, "Hi", attribute(1, "AWS.SNS.SMS.SMSType", "Promotional")},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(server.Received())
			c.m.Key, c.m.Address.Phone = "k", "+1 (415) 555-0100"
			r := channeltest.Open(t, sns.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{c.m})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^[0-9a-f-]{36}$`, r.ProviderID)
			want, err := url.ParseQuery("Action=Publish&Version=2010-03-31&PhoneNumber=%2B14155550100" + c.want)
			require.NoError(t, err)
			want.Set("Message", c.text)
			got, err := url.ParseQuery(string(server.Received()[before].Body))
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	server, config := start(t, time.Now)
	for _, c := range []struct {
		name, phone string
		fields      map[string]any
		class       channels.Class
		code        string
	}{
		{"no number", "", map[string]any{"text": "x"}, channels.ClassAddress, "not_e164"},
		{"a number without its country", "0415 555 0100", map[string]any{"text": "x"}, channels.ClassAddress, "not_e164"},
		{"no text", "+14155550100", map[string]any{"text": " "}, channels.ClassMessage, "field"},
		{"too long", "+14155550100", map[string]any{"text": strings.Repeat("x", 307)}, channels.ClassMessage, "too_long"},
		{"a sender that is too long", "+14155550100", map[string]any{"text": "x", "from": "TheShopOfShops"}, channels.ClassMessage, "field"},
		{"a sender without a letter", "+14155550100", map[string]any{"text": "x", "from": "12345"}, channels.ClassMessage, "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channel := channeltest.Open(t, sns.Spec(), channeltest.With(config, map[string]any{"max_segments": 2}))
			m := channels.Message{Key: "k", Address: channels.Address{Phone: c.phone}, Fields: c.fields}
			failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code)
		})
	}
	require.Zero(t, server.Requests())
}

func TestWhoHasOptedOut(t *testing.T) {
	server, config := start(t, time.Now)
	m := channeltest.Text(1)
	server.OptOut(m.Address.Phone)
	failure := channels.AsDelivery(channeltest.Open(t, sns.Spec(), config).Send(t.Context(), []channels.Message{m})[0].Err)
	require.Equal(t, channels.ClassAddress, failure.Class)
	require.True(t, failure.OptedOut)
	require.EqualError(t, failure, "address (OptedOut): texting +14…02: refused by SNS: The phone number *** is opted out")
}

func TestKeys(t *testing.T) {
	server, config := start(t, time.Now)
	machine := map[string]any{"access_key_id": nil, "secret_access_key": nil, "session_token": nil}
	send := func(changes map[string]any) *channels.DeliveryError {
		err := channeltest.Open(t, sns.Spec(), channeltest.With(config, changes)).Send(t.Context(), []channels.Message{channeltest.Text(1)})[0].Err
		if err == nil {
			return nil
		}
		return channels.AsDelivery(err)
	}
	for name, c := range map[string]struct {
		changes map[string]any
		code    string
	}{
		"a wrong secret": {map[string]any{"secret_access_key": "wrong-secret-0123456789"}, "SignatureDoesNotMatch"},
		"no such key":    {map[string]any{"access_key_id": "AKIAIOSFODNN7STRANGE"}, "InvalidClientTokenId"},
		"another region": {map[string]any{"region": "us-east-1"}, "SignatureDoesNotMatch"},
	} {
		t.Run(name, func(t *testing.T) {
			failure := send(c.changes)
			require.Equal(t, channels.ClassCredential, failure.Class)
			require.Equal(t, c.code, failure.Code)
		})
	}
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, filepath.Join(t.TempDir(), "none"))
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Run("none on the machine", func(t *testing.T) {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
			t.Setenv(name, "")
		}
		before := server.Requests()
		failure := send(machine)
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "credentials", failure.Code)
		require.Equal(t, before, server.Requests())
	})
	t.Run("the machine's", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", snsd.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", snsd.SecretKey)
		t.Setenv("AWS_SESSION_TOKEN", "session-token-of-the-machine")
		require.Nil(t, send(machine))
		server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 400, Echo: true} })
		require.NotContains(t, send(machine).Error(), "session-token")
	})
}

func TestTest(t *testing.T) {
	server, config := start(t, time.Now)
	test := func(changes map[string]any) error {
		return channeltest.Open(t, sns.Spec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.ErrorContains(t, test(map[string]any{"secret_access_key": "wrong-secret-0123456789"}), "SignatureDoesNotMatch")
	require.Zero(t, server.Accepted())
	for _, r := range server.Received() {
		require.NotContains(t, string(r.Body), "PhoneNumber")
		require.NotContains(t, string(r.Body), "Arn")
	}
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 503, Code: "ServiceUnavailable"} })
	require.ErrorContains(t, test(nil), "ServiceUnavailable")
	server.Close()
	err := test(nil)
	require.ErrorContains(t, err, "asking 127.0.0.1")
	require.NotContains(t, err.Error(), snsd.SecretKey)
}

func TestConfigRefusals(t *testing.T) {
	good := map[string]any{"region": "eu-central-1", "access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "hunter2hunter2"}
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"no region", map[string]any{"region": nil}, "region is missing"},
		{"a region that is another host", map[string]any{"region": "evil.example/"}, "region is not a region"},
		{"a key without its secret", map[string]any{"secret_access_key": nil}, "secret_access_key is missing"},
		{"a secret without its key", map[string]any{"access_key_id": nil}, "access_key_id is missing"},
		{"a session without its key", map[string]any{"access_key_id": nil, "secret_access_key": nil, "session_token": "hunter2hunter2"}, "access_key_id is missing"},
		{"a type that is none", map[string]any{"sms_type": "spam"}, "sms_type is none of by_category, promotional, transactional"},
		{"a sender that is none", map[string]any{"from": "The Shop"}, "from is not a sender"},
		{"no segments", map[string]any{"max_segments": 0}, "max_segments is not 1 to 10"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
		{"an endpoint without TLS", map[string]any{"endpoint": "http://x.example"}, "endpoint is not an https URL"},
		{"no such ca", map[string]any{"ca": "nowhere.pem"}, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Refused(t, sns.Spec(), channeltest.With(good, c.with), c.want, "hunter2")
		})
	}
}

// BenchmarkSend measures text messages a second with the local server in the same process, which shares the machine's
// cores.
func BenchmarkSend(b *testing.B) {
	server, config := start(b, time.Now)
	server.Keep = false
	channeltest.Bench(b, sns.Spec(), channeltest.Open(b, sns.Spec(), config), channeltest.Text)
	require.EqualValues(b, b.N+sns.Spec().Batch, server.Accepted())
}
