package pushbullet_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/pushbulletd"
	"nudge/channels/pushbullet"

	"github.com/stretchr/testify/require"
)

// start begins a local Pushbullet and returns a config for it.
func start(t testing.TB, now func() time.Time) (*pushbulletd.Server, map[string]any) {
	t.Helper()
	server, err := pushbulletd.Start(now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, map[string]any{"access_token": pushbulletd.Token, "url": server.Endpoint(), "ca": string(server.CA.PEM)}
}

// message is the i-th of a series.
func message(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address = channels.Address{UserID: m.Address.UserID, Email: fmt.Sprintf("ann-%d@customer.example", i)}
	return m
}

func TestConformance(t *testing.T) {
	var cases []channeltest.Case
	for _, a := range pushbullet.Spec().Answers {
		if a.Class == "" || a.Code == "" {
			continue
		}
		status := a.Status
		if status == 0 {
			status = map[string]int{"invalid_access_token": 401, "pushbullet_pro_required": 400}[a.Code]
		}
		cases = append(cases, channeltest.Case{Name: a.Code, Fault: provider.Fault{Status: status, Code: a.Code}, Class: a.Class, Code: a.Code})
	}
	cases = append(cases, channeltest.Pages(map[int]channels.Class{
		302: channels.ClassCredential, 400: channels.ClassMessage, 401: channels.ClassCredential, 403: channels.ClassCredential, 404: channels.ClassCredential,
		408: channels.ClassTemporary, 500: channels.ClassTemporary, 502: channels.ClassTemporary, 503: channels.ClassTemporary,
	})...)
	reset := func(at time.Time) http.Header {
		return http.Header{"X-Ratelimit-Reset": {strconv.FormatInt(at.Unix(), 10)}}
	}
	cases = append(cases,
		channeltest.Case{Name: "429", Fault: provider.Fault{Status: 429}, Class: channels.ClassRateLimit, Code: "429", After: pushbulletd.Wait},
		channeltest.Case{
			Name: "429 until a day that is far", Class: channels.ClassRateLimit, After: 24 * time.Hour,
			Fault: provider.Fault{Status: 429, Header: reset(time.Now().AddDate(0, 0, 9))},
		},
		channeltest.Case{
			Name: "429 until an instant that has passed", Class: channels.ClassRateLimit,
			Fault: provider.Fault{Status: 429, Header: reset(time.Now().AddDate(0, 0, -9))},
		},
		channeltest.Later(503, ""),
		channeltest.Case{Name: "a parameter of tomorrow", Fault: provider.Fault{Status: 400, Code: "mood"}, Class: channels.ClassMessage, Code: "mood"},
	)
	channeltest.Kit{
		Spec: pushbullet.Spec(),
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := start(t, now)
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message:  message,
		ID:       channels.ShortHash,
		Cases:    cases,
		Patience: pushbulletd.Wait,
	}.Run(t)
}

// TestTableMeansWhatItSays has the classes that the table must not lose, by hand: the cases above are made of it.
func TestTableMeansWhatItSays(t *testing.T) {
	for code, want := range map[string]channels.Class{
		"invalid_access_token": channels.ClassCredential, "pushbullet_pro_required": channels.ClassCredential,
		"email": channels.ClassAddress, "device_iden": channels.ClassCredential, "channel_tag": channels.ClassCredential, "body": channels.ClassMessage,
	} {
		require.Equal(t, want, channels.Classify(pushbullet.Spec().Answers, 400, code), code)
	}
}

func TestWhatPushbulletGets(t *testing.T) {
	server, config := start(t, time.Now)
	for _, c := range []struct {
		name   string
		config map[string]any
		fields map[string]any
		want   string
	}{
		{"a note to the person", nil, map[string]any{"title": "Hi", "body": "There"}, `"type":"note","title":"Hi","body":"There","email":"ann@customer.example"`},
		{
			"a link to the person", nil,
			map[string]any{"title": "Hi", "link": " https://shop.example/cart "},
			`"type":"link","title":"Hi","url":"https://shop.example/cart","email":"ann@customer.example"`,
		},
		{"all devices of the account", map[string]any{"to": "account"}, map[string]any{"body": "x"}, `"type":"note","body":"x"`},
		{
			"a device of the account, from another",
			map[string]any{"to": "device:" + pushbulletd.Device, "source_device": pushbulletd.Device},
			map[string]any{"body": "x"},
			`"type":"note","body":"x","device_iden":"ujpah72o0sjAoRtnM0jc","source_device_iden":"ujpah72o0sjAoRtnM0jc"`,
		},
		{"a channel", map[string]any{"to": "channel:shop-news"}, map[string]any{"body": "x"}, `"type":"note","body":"x","channel_tag":"shop-news"`},
		{"the message's own device", nil, map[string]any{"body": "x", "device": pushbulletd.Device}, `"type":"note","body":"x","device_iden":"ujpah72o0sjAoRtnM0jc"`},
		{"the message's own channel", map[string]any{"to": "account"}, map[string]any{"body": "x", "channel": " shop-news "}, `"type":"note","body":"x","channel_tag":"shop-news"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(server.Received())
			m := channels.Message{Key: "k " + c.name, Address: channels.Address{Email: "ann@customer.example"}, Fields: c.fields}
			r := channeltest.Open(t, pushbullet.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{m})[0]
			require.NoError(t, r.Err)
			require.Regexp(t, `^ujpah72o0[0-9a-f]{24}$`, r.ProviderID)
			require.JSONEq(t, `{`+c.want+`,"guid":"`+channels.ShortHash(m.Key)+`"}`, string(server.Received()[before].Body))
		})
	}
}

func TestARepeatIsOnePush(t *testing.T) {
	server, config := start(t, time.Now)
	channel := channeltest.Open(t, pushbullet.Spec(), config)
	first := channel.Send(t.Context(), []channels.Message{message(1)})[0]
	again := channeltest.Open(t, pushbullet.Spec(), config).Send(t.Context(), []channels.Message{message(1)})[0]
	require.NoError(t, first.Err)
	require.Equal(t, first, again)
	require.Equal(t, 1, server.Made())
	require.NoError(t, channel.Send(t.Context(), []channels.Message{message(2)})[0].Err)
	require.Equal(t, 2, server.Made())
}

func TestRefusals(t *testing.T) {
	server, config := start(t, time.Now)
	for _, c := range []struct {
		name   string
		config map[string]any
		email  string
		fields map[string]any
		class  channels.Class
		code   string
		asked  bool
	}{
		{"no address", nil, "", map[string]any{"body": "x"}, channels.ClassAddress, "not_an_address", false},
		{"an address that is none", nil, "ann", map[string]any{"body": "x"}, channels.ClassAddress, "not_an_address", false},
		{"an address with a name", nil, "Ann <ann@customer.example>", map[string]any{"body": "x"}, channels.ClassAddress, "not_an_address", false},
		{"nothing to show", nil, "ann@customer.example", map[string]any{"title": " "}, channels.ClassMessage, "field", false},
		{"two targets", nil, "", map[string]any{"body": "x", "device": pushbulletd.Device, "channel": "shop-news"}, channels.ClassMessage, "field", false},
		{"a device that is none", nil, "", map[string]any{"body": "x", "device": "my phone"}, channels.ClassMessage, "field", false},
		{"a channel that is none", nil, "", map[string]any{"body": "x", "channel": "#news"}, channels.ClassMessage, "field", false},
		{"the config's device is gone", map[string]any{"to": "device:gone"}, "", map[string]any{"body": "x"}, channels.ClassCredential, "device_iden", true},
		{"the message's device is gone", map[string]any{"to": "account"}, "", map[string]any{"body": "x", "device": "gone"}, channels.ClassMessage, "device_iden", true},
		{"the config's channel is another's", map[string]any{"to": "channel:theirs"}, "", map[string]any{"body": "x"}, channels.ClassCredential, "channel_tag", true},
		{"the message's channel is another's", nil, "", map[string]any{"body": "x", "channel": "theirs"}, channels.ClassMessage, "channel_tag", true},
		{"the source is gone", map[string]any{"to": "account", "source_device": "gone"}, "", map[string]any{"body": "x"}, channels.ClassCredential, "source_device_iden", true},
		{"another's access token", map[string]any{"access_token": "o.another"}, "ann@customer.example", map[string]any{"body": "x"}, channels.ClassCredential, "invalid_access_token", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := server.Requests()
			m := channels.Message{Key: "k", Address: channels.Address{Email: c.email}, Fields: c.fields}
			failure := channels.AsDelivery(channeltest.Open(t, pushbullet.Spec(), channeltest.With(config, c.config)).Send(t.Context(), []channels.Message{m})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code)
			require.Equal(t, c.asked, server.Requests() > before)
		})
	}
}

func TestWhomItNeeds(t *testing.T) {
	for to, want := range map[string]string{"": "email", "email": "email", "account": "", "device:x": "", "channel:x": ""} {
		config := map[string]any{}
		if to != "" {
			config["to"] = to
		}
		require.Equal(t, want, pushbullet.Spec().With(config).Needs, to)
	}
	require.Equal(t, "email", pushbullet.Spec().With(map[string]any{"to": 7}).Needs, "what is wrong is said elsewhere")
}

func TestTest(t *testing.T) {
	server, config := start(t, time.Now)
	test := func(changes map[string]any) error {
		return channeltest.Open(t, pushbullet.Spec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.ErrorContains(t, test(map[string]any{"access_token": "o.another-token"}), "invalid_access_token")
	require.Zero(t, server.Made())
	server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 503} })
	require.ErrorContains(t, test(nil), "503")
	server.Close()
	err := test(nil)
	require.ErrorContains(t, err, "asking 127.0.0.1")
	require.NotContains(t, err.Error(), pushbulletd.Token)
}

func TestConfigRefusals(t *testing.T) {
	good := map[string]any{"access_token": "hunter2hunter2"}
	for _, c := range []struct {
		name string
		with map[string]any
		want string
	}{
		{"no token", map[string]any{"access_token": nil}, "access_token is missing"},
		{"a token of two words", map[string]any{"access_token": "hunter2 hunter2"}, "access_token is not an access token"},
		{"a place that is none", map[string]any{"to": "everybody"}, "to is no place for pushes: write email, account, device:IDEN or channel:TAG"},
		{"a device without its iden", map[string]any{"to": "device:"}, "to is no place for pushes"},
		{"a source that is none", map[string]any{"source_device": "my phone"}, "source_device is not the iden of a device"},
		{"no connections", map[string]any{"connections": 0}, "connections is below 1"},
		{"a URL without TLS", map[string]any{"url": "http://x.example"}, "url is not an https URL"},
		{"no such ca", map[string]any{"ca": "nowhere.pem"}, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Refused(t, pushbullet.Spec(), channeltest.With(good, c.with), c.want, "hunter2")
		})
	}
}

// BenchmarkSend measures pushes a second with the local server in the same process, which shares the machine's cores.
func BenchmarkSend(b *testing.B) {
	server, config := start(b, time.Now)
	server.Keep = false
	channeltest.Bench(b, pushbullet.Spec(), channeltest.Open(b, pushbullet.Spec(), config), message)
	require.EqualValues(b, b.N+pushbullet.Spec().Batch, server.Accepted())
}
