package sns_test

import (
	"encoding/json"
	"net/url"
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

// startPush is start, and a config for pushes to tokens of all platforms.
func startPush(t testing.TB, now func() time.Time) (*snsd.Server, map[string]any) {
	t.Helper()
	server, config := start(t, now)
	return server, channeltest.With(config, map[string]any{"applications": map[string]any{"ios": snsd.APNS, "ios_sandbox": snsd.Sandbox, "android": snsd.GCM}})
}

// pushTo is the i-th of a series, to a device of a platform by its token.
func pushTo(i int, platform string) channels.Message {
	m := channeltest.Message(i)
	m.Address.Platform = platform
	return m
}

// registered is the i-th of a series to a device whose token is the ARN of an endpoint.
func registered(server *snsd.Server, i int) channels.Message {
	m := pushTo(i, "ios")
	m.Address.Token = server.Register(snsd.APNS, m.Address.Token, "")
	return m
}

func TestConformanceOfPushes(t *testing.T) {
	cases := append(casesOf(sns.PushSpec()),
		channeltest.Case{
			Name: "about the endpoint", Class: channels.ClassAddress, Code: "InvalidParameter",
			Fault: complaint("Invalid parameter: TargetArn Reason: No endpoint found for the target arn specified"),
		},
		channeltest.Case{Name: "about something else", Class: channels.ClassMessage, Code: "InvalidParameter", Fault: complaint("Invalid parameter: Message too long")},
	)
	const series = 200 // as many as the kit sends
	channeltest.Kit{
		Spec: sns.PushSpec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, now)
			for i := range series {
				registered(server, i)
			}
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: func(i int) channels.Message {
			m := pushTo(i, "ios")
			m.Address.Token = snsd.EndpointOf(snsd.APNS, m.Address.Token)
			return m
		},
		ID:    channels.ShortHash,
		Cases: cases,
	}.Run(t)
}

// TestConformanceWithTokens runs the kit again where the channel makes the endpoints itself.
func TestConformanceWithTokens(t *testing.T) {
	var cases []channeltest.Case
	for _, c := range casesOf(sns.PushSpec()) {
		if c.Code == "NotFound" {
			c.Class = channels.ClassTemporary // somebody has deleted the endpoint: the next attempt makes another
		}
		cases = append(cases, c)
	}
	spec := sns.PushSpec()
	for i := range spec.Answers {
		if spec.Answers[i].Code == "NotFound" {
			spec.Answers[i].Class = channels.ClassTemporary
		}
	}
	channeltest.Kit{
		Spec: spec,
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := startPush(t, now)
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: func(i int) channels.Message { return pushTo(i, "ios") },
		ID:      channels.ShortHash,
		Cases:   cases,
	}.Run(t)
}

// got is what the last request asked SNS to publish.
func got(t *testing.T, server *snsd.Server) (form url.Values, attributes map[string]string, parts map[string]string) {
	t.Helper()
	all := server.Received()
	form, err := url.ParseQuery(string(all[len(all)-1].Body))
	require.NoError(t, err)
	attributes = make(map[string]string)
	for key, values := range form {
		if at, ok := strings.CutSuffix(key, ".Name"); ok && strings.HasPrefix(key, "MessageAttributes.entry.") {
			attributes[values[0]] = form.Get(at + ".Value.StringValue")
		}
	}
	if form.Get("MessageStructure") == "json" {
		require.NoError(t, json.Unmarshal([]byte(form.Get("Message")), &parts))
	}
	return form, attributes, parts
}

func TestWhatDevicesGet(t *testing.T) {
	server, config := startPush(t, time.Now)
	channel := channeltest.Open(t, sns.PushSpec(), config)
	hash := channels.ShortHash("k")
	for _, c := range []struct {
		name       string
		to         channels.Address
		m          channels.Message
		platform   string
		payload    string
		attributes map[string]string
	}{
		{
			"an iPhone",
			channels.Address{Platform: "ios", Environment: "production"},
			channels.Message{Fields: map[string]any{"title": "Hi", "body": "There"}, TTL: time.Hour, Urgent: true},
			"APNS", `{"aps":{"alert":{"title":"Hi","body":"There"}},"nudge":{"id":"signed-1"}}`,
			map[string]string{
				"AWS.SNS.MOBILE.APNS.TTL": "3600", "AWS.SNS.MOBILE.APNS.PUSH_TYPE": "alert", "AWS.SNS.MOBILE.APNS.PRIORITY": "10", "AWS.SNS.MOBILE.APNS.COLLAPSE_ID": hash,
			},
		},
		{
			"an iPhone of a developer's, silently",
			channels.Address{Platform: "ios", Environment: "sandbox"},
			channels.Message{Fields: map[string]any{"silent": true, "collapse": "sync"}, TTL: time.Hour, Urgent: true},
			"APNS_SANDBOX", `{"aps":{"content-available":1},"nudge":{"id":"signed-1"}}`,
			map[string]string{
				"AWS.SNS.MOBILE.APNS_SANDBOX.TTL": "3600", "AWS.SNS.MOBILE.APNS.PUSH_TYPE": "background", "AWS.SNS.MOBILE.APNS.PRIORITY": "5", "AWS.SNS.MOBILE.APNS.COLLAPSE_ID": "sync",
			},
		},
		{
			"an Android",
			channels.Address{Platform: "android"},
			channels.Message{Fields: map[string]any{"title": "Hi", "body": "There"}, TTL: 99 * 24 * time.Hour},
			"GCM", `{"fcmV1Message":{"message":{"data":{"nudge_id":"signed-1"},"notification":{"title":"Hi","body":"There"},"android":{"priority":"normal","ttl":"2419200s","notification":{"tag":"` + hash + `"}}}}}`,
			map[string]string{"AWS.SNS.MOBILE.FCM.TTL": "2419200"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.m.Key, c.m.Signed, c.m.Address = "k", "signed-1", c.to
			c.m.Address.Token = channeltest.Token(1)
			r := channel.Send(t.Context(), []channels.Message{c.m})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^[0-9a-f-]{36}$`, r.ProviderID)
			form, attributes, parts := got(t, server)
			require.Contains(t, form.Get("TargetArn"), ":endpoint/"+c.platform+"/shop/")
			require.Equal(t, c.attributes, attributes)
			require.Len(t, parts, 2)
			require.NotEmpty(t, parts["default"])
			require.JSONEq(t, c.payload, parts[c.platform])
		})
	}
}

func TestEndpoints(t *testing.T) {
	server, config := startPush(t, time.Now)
	channel := channeltest.Open(t, sns.PushSpec(), config)
	send := func(m channels.Message) *channels.DeliveryError {
		if err := channel.Send(t.Context(), []channels.Message{m})[0].Err; err != nil {
			return channels.AsDelivery(err)
		}
		return nil
	}
	m := pushTo(1, "ios")
	t.Run("made once", func(t *testing.T) {
		require.Nil(t, send(m))
		require.Nil(t, send(m))
		require.EqualValues(t, 1, server.Setup.Requests())
	})
	t.Run("deleted by somebody", func(t *testing.T) {
		form, _, _ := got(t, server)
		server.Delete(form.Get("TargetArn"))
		failure := send(m)
		require.Equal(t, channels.ClassTemporary, failure.Class, "%v", failure)
		require.NotContains(t, failure.Error(), form.Get("TargetArn"))
		require.Nil(t, send(m), "the next attempt makes another")
	})
	t.Run("somebody else's, with data", func(t *testing.T) {
		theirs := pushTo(2, "ios")
		arn := server.Register(snsd.APNS, theirs.Address.Token, "user 17")
		require.Nil(t, send(theirs))
		form, _, _ := got(t, server)
		require.Equal(t, arn, form.Get("TargetArn"))
	})
	t.Run("disabled", func(t *testing.T) {
		dead := pushTo(3, "ios")
		server.Disable(server.Register(snsd.APNS, dead.Address.Token, ""))
		failure := send(dead)
		require.Equal(t, channels.ClassAddress, failure.Class)
		require.EqualError(t, failure, "address (EndpointDisabled): pushing to "+channels.ShortToken(dead.Address.Token)+": refused by SNS: Endpoint is disabled")
	})
	t.Run("disabled, by its ARN", func(t *testing.T) {
		dead := registered(server, 4)
		server.Disable(dead.Address.Token)
		require.Equal(t, channels.ClassAddress, send(dead).Class)
	})
	t.Run("gone, by its ARN", func(t *testing.T) {
		gone := registered(server, 5)
		server.Delete(gone.Address.Token)
		require.Equal(t, channels.ClassAddress, send(gone).Class)
	})
	t.Run("a token that Apple never gave", func(t *testing.T) {
		strange := pushTo(6, "ios")
		strange.Address.Token = "not hexadecimal"
		failure := send(strange)
		require.Equal(t, channels.ClassAddress, failure.Class, "%v", failure)
		require.NotContains(t, failure.Error(), "hexadecimal token")
	})
	t.Run("SNS is busy", func(t *testing.T) {
		server.Setup.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 503, Code: "ServiceUnavailable"} })
		require.Equal(t, channels.ClassTemporary, send(pushTo(7, "ios")).Class)
		server.Setup.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 200, Body: []byte("<html>")} })
		require.Equal(t, "no_endpoint", send(pushTo(7, "ios")).Code)
		server.Setup.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 400, Echo: true} })
		require.NotContains(t, send(pushTo(7, "ios")).Error(), channeltest.Token(7))
		server.Setup.Script(nil)
		require.Nil(t, send(pushTo(7, "ios")))
	})
	t.Run("no such application", func(t *testing.T) {
		channel = channeltest.Open(t, sns.PushSpec(), channeltest.With(config, map[string]any{"applications": map[string]any{"ios": snsd.APNS + "2"}}))
		failure := send(pushTo(8, "ios"))
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "NotFound", failure.Code)
	})
	t.Run("the application's own key is out of date", func(t *testing.T) {
		channel = channeltest.Open(t, sns.PushSpec(), config)
		server.DisableApplication(snsd.GCM)
		failure := send(pushTo(9, "android"))
		require.Equal(t, channels.ClassCredential, failure.Class)
		require.Equal(t, "PlatformApplicationDisabled", failure.Code)
	})
}

func TestPushesRefusedBeforeSending(t *testing.T) {
	server, config := startPush(t, time.Now)
	const arn = "arn:aws:sns:eu-central-1:123456789012:endpoint/"
	for _, c := range []struct {
		name     string
		config   map[string]any
		token    string
		platform string
		fields   map[string]any
		class    channels.Class
		code     string
	}{
		{"no token", nil, "", "ios", nil, channels.ClassAddress, "not_a_token"},
		{"an endpoint of another region", nil, strings.Replace(arn, "eu-central", "us-east", 1) + "APNS/shop/1a2b", "ios", nil, channels.ClassMessage, "region"},
		{"an endpoint of another platform", nil, arn + "ADM/shop/1a2b", "android", nil, channels.ClassMessage, "platform"},
		{"no application for it", map[string]any{"applications": map[string]any{"ios": snsd.APNS}}, "abc", "android", nil, channels.ClassMessage, "no_application"},
		{"nothing to show", nil, "abcd", "ios", map[string]any{}, channels.ClassMessage, "PayloadEmpty"},
		{"too long for Apple", nil, "abcd", "ios", map[string]any{"body": strings.Repeat("x", 4096)}, channels.ClassMessage, "too_large"},
		{"too long for Google", nil, "abcd", "android", map[string]any{"body": strings.Repeat("x", 4093)}, channels.ClassMessage, "too_large"},
		{"a key of Google's", nil, "abcd", "android", map[string]any{"body": "x", "data": map[string]any{"from": "x"}}, channels.ClassMessage, "INVALID_ARGUMENT"},
		{"a lifetime that is none", nil, "abcd", "ios", map[string]any{"body": "x", "ttl": "soon"}, channels.ClassMessage, "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.fields == nil {
				c.fields = map[string]any{"body": "x"}
			}
			m := channels.Message{Key: "k", Address: channels.Address{Token: c.token, Platform: c.platform}, Fields: c.fields}
			failure := channels.AsDelivery(channeltest.Open(t, sns.PushSpec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code)
		})
	}
	require.Zero(t, server.Requests()+server.Setup.Requests())
}

func TestWhichDevicesItTakes(t *testing.T) {
	const arn = "arn:aws:sns:eu-central-1:123456789012:endpoint/APNS/shop/1a2b"
	for _, c := range []struct {
		name      string
		config    map[string]any
		platforms []string
		arn, any  bool
	}{
		{"endpoints alone", nil, []string{"ios", "android"}, true, false},
		{"tokens of all platforms", map[string]any{"applications": map[string]any{"ios_sandbox": "", "android": ""}}, []string{"ios", "android"}, true, true},
		{"tokens of one", map[string]any{"applications": map[string]any{"ios": ""}}, []string{"ios"}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := sns.PushSpec().With(c.config)
			require.Equal(t, c.platforms, spec.Platforms)
			takes := func(token string) bool { return spec.Takes == nil || spec.Takes(token) }
			require.Equal(t, c.arn, takes(arn))
			require.Equal(t, c.any, takes(channeltest.Token(1)))
		})
	}
	require.Equal(t, []string{"ios", "android"}, sns.PushSpec().Platforms, "a config changes no other's spec")
}

func TestMeasureIsByTheDevice(t *testing.T) {
	m := channels.Message{Key: "k", Fields: map[string]any{"title": "Hi"}}
	apple, err := sns.PushSpec().Measure(&m)
	require.NoError(t, err)
	require.Equal(t, len(`{"aps":{"alert":{"title":"Hi"}},"nudge":{}}`), apple)
	m.Address.Platform = "android"
	google, err := sns.PushSpec().Measure(&m)
	require.NoError(t, err)
	require.Equal(t, len("titleHi"), google)
}

func TestTestOfPushes(t *testing.T) {
	server, config := startPush(t, time.Now)
	test := func(changes map[string]any) error {
		return channeltest.Open(t, sns.PushSpec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.NoError(t, test(map[string]any{"applications": nil}))
	require.ErrorContains(t, test(map[string]any{"applications": map[string]any{"ios": snsd.APNS + "2"}}), "for applications.ios: credentials (NotFound)")
	require.ErrorContains(t, test(map[string]any{"secret_access_key": "wrong-secret-0123456789"}), "SignatureDoesNotMatch")
	server.DisableApplication(snsd.GCM)
	require.ErrorContains(t, test(nil), "the platform application of applications.android is disabled")
	server.ForbidLooking()
	require.NoError(t, test(nil), "a key that may publish alone")
	require.Zero(t, server.Accepted())
	server.Close()
	require.ErrorContains(t, test(nil), "asking 127.0.0.1")
}

func TestConfigRefusalsOfPushes(t *testing.T) {
	for _, c := range []struct {
		name string
		apps map[string]any
		want string
	}{
		{"a platform that is none", map[string]any{"web": snsd.GCM}, "applications.web is not a platform: there are android, ios, ios_sandbox"},
		{"an ARN of something else", map[string]any{"ios": snsd.Topic}, "applications.ios is not the ARN of a platform application for APNS or APNS_SANDBOX"},
		{"an application of another platform", map[string]any{"android": snsd.APNS}, "applications.android is not the ARN of a platform application for GCM"},
		{"no text", map[string]any{"ios": 7}, "applications.ios is not the ARN"},
		{"another region", map[string]any{"ios": strings.Replace(snsd.APNS, "eu-central", "us-east", 1)}, "applications.ios is of another region: the adapter's is eu-central-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Refused(t, sns.PushSpec(), map[string]any{"region": "eu-central-1", "applications": c.apps}, c.want)
		})
	}
}

// BenchmarkPush measures pushes a second with the local server in the same process, which shares the machine's cores.
func BenchmarkPush(b *testing.B) {
	server, config := start(b, time.Now)
	server.Keep = false
	channeltest.Bench(b, sns.PushSpec(), channeltest.Open(b, sns.PushSpec(), config), func(i int) channels.Message { return registered(server, i) })
	require.EqualValues(b, b.N+sns.PushSpec().Batch, server.Accepted())
}
