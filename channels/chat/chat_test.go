package chat_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/chatd"
	"nudge/channels/channeltest/provider"
	"nudge/channels/chat"
	"nudge/channels/chat/shout"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// spec is the adapter of all tests, and so they have one process of shoutrrr: under the race detector each takes a
// second to end.
var spec = chat.Spec()

// together is how many services are tested at a time: most of what the kit does is to wait for answers that are late or
// do not come, which takes no processor.
const together = "8"

func TestMain(m *testing.M) {
	shout.MaybeRunChild()
	if err := flag.Set("test.parallel", together); err != nil { // what -parallel says goes before
		panic(err)
	}
	os.Exit(withUser(m.Run))
}

// withUser keeps the process of shoutrrr while the tests run.
func withUser(run func() int) int {
	channel, err := spec.New(channels.Options{Config: []byte(`{"url":"slack://T1/B1/x1"}`), Now: time.Now})
	if err != nil {
		panic(err)
	}
	defer func() { _ = channel.(channels.Closer).Close() }()
	return run()
}

// start begins a local service and returns a config for it.
func start(t testing.TB, service string, now func() time.Time) (*chatd.Server, map[string]any) {
	t.Helper()
	server, err := chatd.Start(chatd.Config{Service: service, Now: now})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server, server.Settings()
}

func open(t testing.TB, config map[string]any) channels.Channel {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	channel, err := spec.New(channels.Options{Config: raw, Now: time.Now, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
	return channel
}

// message is one whose text holds the word by which the local server knows it.
func message(i int) channels.Message {
	m := channeltest.Message(i)
	m.Fields["body"] = "They have left a full cart. #" + m.Key
	return m
}

// labels are how the table of answers names the services.
var labels = map[string]string{
	"discord": "Discord", "gotify": "Gotify", "mattermost": "Mattermost", "ntfy": "ntfy",
	"slack": "Slack", "slack-bot": "Slack", "teams": "Teams", "telegram": "Telegram",
	"googlechat": "Google Chat", "rocketchat": "Rocket.Chat", "matrix": "Matrix", "zulip": "Zulip", "lark": "Lark", "wecom": "WeCom", "signal": "Signal",
	"pushover": "Pushover", "bark": "Bark", "join": "Join", "ifttt": "IFTTT", "opsgenie": "Opsgenie", "pagerduty": "PagerDuty", "notifiarr": "Notifiarr",
}

// answersOf are the lines of the table that a service gives, those of every service among them.
func answersOf(service string) []channels.Answer {
	var out []channels.Answer
	for _, a := range spec.Answers {
		of, _, named := strings.Cut(a.About, ": ")
		for _, label := range labels {
			if named && of == label && label != labels[service] {
				named, of = false, "another"
			}
		}
		if of != "another" {
			out = append(out, a)
		}
	}
	return out
}

func TestConformance(t *testing.T) {
	for _, service := range chatd.Services() {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			patience := time.Duration(chatd.PatienceOf(service)) * time.Millisecond
			one := func(status int, code string, class channels.Class) channeltest.Case {
				c := channeltest.Case{Name: fmt.Sprintf("%d %s", status, code), Fault: provider.Fault{Status: status, Code: code}, Class: class}
				if status == http.StatusTooManyRequests {
					c.After = patience
				}
				return c
			}
			var cases []channeltest.Case
			for _, a := range answersOf(service) {
				c := one(a.Status, a.Code, a.Class)
				c.Code = a.Code
				if a.Status == 0 { // codes that come with 200, but at Slack's webhooks with one or another status
					body, says := chatd.Refusal(service, http.StatusOK, a.Code)
					c.Fault.Status = http.StatusForbidden
					if says {
						c.Fault.Status, c.Fault.Body = http.StatusOK, body
					}
				}
				cases = append(cases, c)
			}
			for status, class := range map[int]channels.Class{
				302: channels.ClassCredential, 307: channels.ClassCredential, 402: channels.ClassMessage, 406: channels.ClassMessage,
				422: channels.ClassMessage, 425: channels.ClassTemporary, 502: channels.ClassTemporary, 503: channels.ClassTemporary, 504: channels.ClassTemporary,
			} {
				cases = append(cases, one(status, "", class))
			}
			later := one(503, "", channels.ClassTemporary)
			later.Name, later.After, later.Fault.Header = "503 with Retry-After", 30*time.Second, http.Header{"Retry-After": {"30"}}
			page := one(404, "", channels.ClassCredential)
			page.Name, page.Code, page.Fault.Body = "404 page", "404", []byte("<html>Not here</html>")
			cases = append(cases, later, page)
			own := spec
			own.Answers = answersOf(service)
			channeltest.Kit{
				Spec: own,
				Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
					server, config := start(t, service, now)
					return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
				},
				Message:  message,
				ID:       func(key string) string { return key },
				Cases:    cases,
				Patience: patience,
			}.Run(t)
		})
	}
}

func TestAnswersNameTheirService(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range spec.Answers {
		of, _, named := strings.Cut(a.About, ": ")
		if a.Code != "" {
			require.True(t, named && slices.Contains(slices.Collect(maps.Values(labels)), of), "%d %s", a.Status, a.Code)
		}
		line := fmt.Sprint(a.Status, a.Code)
		require.False(t, seen[line], "%s is there twice", line)
		seen[line] = true
	}
}

// full is a message with everything.
func full() channels.Message {
	return channels.Message{Key: "k1", Fields: map[string]any{
		"title": "Ann <b> & \n Bo have @everyone 😀", "body": "Line 1 <!channel>\nLine 2 @all", "link": "https://crm.shop.example/?a=1&b=2",
		"priority": "urgent", "data": map[string]any{"plan": "pro", "seats": 3.0}, "cart": "17", "actions": []any{map[string]any{"id": "a", "title": "A"}}, "html": "<p>no</p>",
	}}
}

func TestPosts(t *testing.T) {
	for service, want := range map[string]string{
		"slack":     `{"text":"*Ann &lt;b&gt; &amp; Bo have @everyone 😀*\nLine 1 &lt;!channel&gt;\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\n<https://crm.shop.example/?a=1&amp;b=2>"}`,
		"slack-bot": `{"channel":"C0000TEST","text":"*Ann &lt;b&gt; &amp; Bo have @everyone 😀*\nLine 1 &lt;!channel&gt;\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\n<https://crm.shop.example/?a=1&amp;b=2>"}`,
		"discord":   `{"content":"**Ann <b> & Bo have @everyone 😀**\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2","allowed_mentions":{"parse":[]}}`,
		"telegram": `{"chat_id":-1001234567890,"message_thread_id":17,"text":"Ann <b> & Bo have @everyone 😀\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2",
			"entities":[{"type":"bold","offset":0,"length":30}]}`,
		"teams": `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{
			"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[
				{"type":"TextBlock","text":"Ann <b> & Bo have @everyone 😀","wrap":true,"weight":"Bolder","size":"Medium"},
				{"type":"TextBlock","text":"Line 1 <!channel>\n\nLine 2 @all","wrap":true},
				{"type":"FactSet","facts":[{"title":"cart","value":"17"},{"title":"plan","value":"pro"},{"title":"seats","value":"3"}]}],
			"actions":[{"type":"Action.OpenUrl","title":"Open","url":"https://crm.shop.example/?a=1&b=2"}]}}]}`,
		"ntfy": `{"topic":"team-alerts","title":"Ann <b> & Bo have @everyone 😀","message":"Line 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3","click":"https://crm.shop.example/?a=1&b=2","priority":5}`,
		"gotify": `{"title":"Ann <b> & Bo have @everyone 😀","message":"Line 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3","priority":10,
			"extras":{"client::notification":{"click":{"url":"https://crm.shop.example/?a=1&b=2"}}}}`,
		"googlechat": `{"text":"*Ann <b> & Bo have @everyone 😀*\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}`,
		"rocketchat": `{"channel":"#alerts","username":"nudge","text":"*Ann <b> & Bo have @everyone 😀*\nLine 1 <!channel>\nLine 2 @` + "\u200b" + `all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}`,
		"matrix":     `{"msgtype":"m.text","body":"Ann <b> & Bo have @everyone 😀\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}`,
		"lark": `{"msg_type":"post","content":{"post":{"en_us":{"title":"Ann <b> & Bo have @everyone 😀","content":[[{"tag":"text","text":"Line 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3"}],
			[{"tag":"a","text":"More Info","href":"https://crm.shop.example/?a=1&b=2"}]]}}}}`,
		"wecom":  `{"msgtype":"text","text":{"content":"Ann <b> & Bo have @everyone 😀\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}}`,
		"signal": `{"number":"+4915100000000","recipients":["+4915100000001","group.madeUpGroup0000="],"message":"Ann <b> & Bo have @everyone 😀\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}`,
		"bark":   `{"device_key":"madeUpBarkKey000000000","title":"Ann <b> & Bo have @everyone 😀","body":"Line 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3","url":"https://crm.shop.example/?a=1&b=2","badge":0}`,
		"ifttt":  `{"value1":"Ann <b> & Bo have @everyone 😀","value2":"Line 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3","value3":"https://crm.shop.example/?a=1&b=2"}`,
		"opsgenie": `{"message":"Ann <b> & Bo have @everyone 😀","priority":"P1",
			"description":"Ann <b> & Bo have @everyone 😀\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}`,
		"pagerduty": `{"routing_key":"00000000000000000000000000badeef","event_action":"trigger","dedup_key":"nudge-6ab9f1eb8f7d3388f4f9d586f66e99fd","payload":{"severity":"critical","source":"nudge",
			"summary":"Ann <b> & Bo have @everyone 😀\nLine 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}}`,
		"notifiarr": `{"notification":{"name":"Shoutrrr"},"discord":{"ids":{"channel":123456789012345678},
			"text":{"title":"Ann <b> & Bo have @everyone 😀","description":"Line 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}}}`,
		"mattermost": `{"channel":"alerts","username":"nudge","priority":{"priority":"urgent"},
			"text":"**Ann <b> & Bo have @everyone 😀**\nLine 1 <!channel>\nLine 2 @` + "\u200b" + `all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"}`,
	} {
		t.Run(service, func(t *testing.T) {
			server, config := start(t, service, time.Now)
			require.NoError(t, open(t, config).Send(t.Context(), []channels.Message{full()})[0].Err)
			require.JSONEq(t, want, string(server.Received()[0].Body))
		})
	}
}

func TestPostsAsForms(t *testing.T) {
	const text = "Line 1 <!channel>\nLine 2 @all\ncart: 17\nplan: pro\nseats: 3\nhttps://crm.shop.example/?a=1&b=2"
	for service, want := range map[string]url.Values{
		"zulip":    {"type": {"stream"}, "to": {"alerts"}, "topic": {"nudge"}, "content": {"**Ann <b> & Bo have @everyone 😀**\n" + text}},
		"pushover": {"token": {"madeUpPushoverToken00000000000"}, "user": {"madeUpPushoverUser000000000000"}, "device": {"desk"}, "priority": {"1"}, "title": {"Ann <b> & Bo have @everyone 😀"}, "message": {text}},
	} {
		t.Run(service, func(t *testing.T) {
			server, config := start(t, service, time.Now)
			require.NoError(t, open(t, config).Send(t.Context(), []channels.Message{full()})[0].Err)
			got, err := url.ParseQuery(string(server.Received()[0].Body))
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestProviderIDs(t *testing.T) {
	for service, want := range map[string]string{
		"slack": "", "slack-bot": "1503435956.000247", "discord": "1234567890123456789", "telegram": "365", "teams": "", "ntfy": "sPs71M8A2T", "gotify": "25", "mattermost": "",
		"googlechat": "spaces/AAAATEST/messages/m1.m1", "rocketchat": "", "matrix": "$event1", "zulip": "42", "lark": "", "wecom": "", "signal": "1700000000000",
		"pushover": "00000000-0000-4000-8000-000000000002", "bark": "", "join": "", "ifttt": "", "opsgenie": "r1", "pagerduty": "nudge-6ab9f1eb8f7d3388f4f9d586f66e99fd", "notifiarr": "",
	} {
		_, config := start(t, service, time.Now)
		require.Equal(t, channels.Result{ProviderID: want}, open(t, config).Send(t.Context(), []channels.Message{full()})[0], service)
	}
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		name, service string
		fields        map[string]any
		urgent        bool
		want, code    string
	}{
		{"a title alone", "ntfy", map[string]any{"title": "Hi"}, false, `{"topic":"team-alerts","message":"Hi","priority":3}`, ""},
		{"a link alone", "gotify", map[string]any{"link": "https://x.example"}, false, `{"message":"https://x.example","extras":{"client::notification":{"click":{"url":"https://x.example"}}}}`, ""},
		{"a link alone as a card", "teams", map[string]any{"link": "https://x.example"}, false, `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{
			"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"TextBlock","text":"https://x.example","wrap":true}],
			"actions":[{"type":"Action.OpenUrl","title":"Open","url":"https://x.example"}]}}]}`, ""},
		{"an e-mail", "slack", map[string]any{"subject": "Hi", "text": "Text", "html": "<p>Text</p>"}, false, `{"text":"*Hi*\nText"}`, ""},
		{"low has no sound", "discord", map[string]any{"body": "Hi", "priority": "low"}, false, `{"content":"Hi","flags":4096,"allowed_mentions":{"parse":[]}}`, ""},
		{"low has no sound at Telegram", "telegram", map[string]any{"body": "Hi", "priority": "low"}, false, `{"chat_id":-1001234567890,"message_thread_id":17,"text":"Hi","disable_notification":true}`, ""},
		{"an urgent rule is high", "ntfy", map[string]any{"body": "Hi"}, true, `{"topic":"team-alerts","message":"Hi","priority":4}`, ""},
		{"the field says more than the rule", "ntfy", map[string]any{"body": "Hi", "priority": "low"}, true, `{"topic":"team-alerts","message":"Hi","priority":2}`, ""},
		{"high", "mattermost", map[string]any{"body": "Hi", "priority": "high"}, false, `{"channel":"alerts","username":"nudge","priority":{"priority":"important"},"text":"Hi"}`, ""},
		{"no such priority", "ntfy", map[string]any{"body": "Hi", "priority": "5"}, false, "", "field"},
		{"data that is none", "ntfy", map[string]any{"body": "Hi", "data": "x"}, false, "", "field"},
		{"nothing", "slack", map[string]any{"title": " ", "sound": ""}, false, "", "empty"},
		{"2000 characters", "discord", map[string]any{"body": strings.Repeat("ä", 2000)}, false, `{"content":"` + strings.Repeat("ä", 2000) + `","allowed_mentions":{"parse":[]}}`, ""},
		{"2001 characters", "discord", map[string]any{"body": strings.Repeat("ä", 2001)}, false, "", "too_long"},
		{"4097 characters", "telegram", map[string]any{"body": strings.Repeat("ä", 4097)}, false, "", "too_long"},
		{"4098 bytes", "ntfy", map[string]any{"body": strings.Repeat("ä", 2049)}, false, "", "too_long"},
		{"16384 characters", "mattermost", map[string]any{"body": strings.Repeat("x", 16384)}, false, "", "too_long"},
		{"40001 characters", "slack", map[string]any{"body": strings.Repeat("x", 40001)}, false, "", "too_long"},
		{"an urgent rule is an alert of the first rank but one", "opsgenie", map[string]any{"body": "Hi"}, true, `{"message":"Hi","description":"Hi","priority":"P2"}`, ""},
		{"what a service has by its URL stays", "pagerduty", map[string]any{"body": "Hi"}, false, `{"routing_key":"00000000000000000000000000badeef","event_action":"trigger","dedup_key":"nudge-8254c329a92850f6d539dd376f4816ee","payload":{"severity":"error","source":"nudge","summary":"Hi"}}`, ""},
		{"a title alone for shoutrrr", "bark", map[string]any{"title": "Hi"}, false, `{"device_key":"madeUpBarkKey000000000","title":"","body":"Hi","badge":0}`, ""},
		{"a text without a title", "lark", map[string]any{"body": "Hi", "link": "https://x.example"}, false, `{"msg_type":"text","content":{"text":"Hi\nhttps://x.example"}}`, ""},
		{"a long first line", "opsgenie", map[string]any{"body": strings.Repeat("ä", 200)}, false, `{"message":"` + strings.Repeat("ä", 129) + `…","description":"` + strings.Repeat("ä", 200) + `"}`, ""},
		{"nobody is called by Notifiarr", "notifiarr", map[string]any{"body": "Hi <@123>"}, false, `{"notification":{"name":"Shoutrrr"},"discord":{"ids":{"channel":123456789012345678},"text":{"description":"Hi <` + "\u200b" + `@123>"}}}`, ""},
		{"nobody is called by Google", "googlechat", map[string]any{"body": "Hi <users/all>"}, false, `{"text":"Hi <` + "\u200b" + `users/all>"}`, ""},
		{"nobody is called by Lark", "lark", map[string]any{"body": "Hi <at user_id=\"all\">"}, false, `{"msg_type":"text","content":{"text":"Hi <` + "\u200b" + `at user_id=\"all\">"}}`, ""},
		{"4097 characters for Google", "googlechat", map[string]any{"body": strings.Repeat("ä", 4097)}, false, "", "too_long"},
		{"1025 characters for PagerDuty", "pagerduty", map[string]any{"body": strings.Repeat("ä", 1025)}, false, "", "too_long"},
		{"2049 bytes for WeCom", "wecom", map[string]any{"body": strings.Repeat("ä", 1025)}, false, "", "too_long"},
		{"10001 bytes for Zulip", "zulip", map[string]any{"body": strings.Repeat("x", 10001)}, false, "", "too_long"},
		{"a title of 251 characters", "pushover", map[string]any{"title": strings.Repeat("ä", 251), "body": "Hi"}, false, "", "too_long"},
		{"28 KB", "teams", map[string]any{"body": strings.Repeat("x", 28<<10)}, false, "", "too_long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, c.service, time.Now)
			r := open(t, config).Send(t.Context(), []channels.Message{{Key: "k", Fields: c.fields, Urgent: c.urgent}})[0]
			if c.code != "" {
				failure := channels.AsDelivery(r.Err)
				require.Equal(t, c.code, failure.Code)
				require.Equal(t, channels.ClassMessage, failure.Class)
				require.Zero(t, server.Requests(), "it is refused before it is sent")
				return
			}
			require.NoError(t, r.Err)
			require.JSONEq(t, c.want, string(server.Received()[0].Body))
		})
	}
}

func TestNoTextCallsAnybody(t *testing.T) {
	for service, calls := range map[string]*regexp.Regexp{
		"slack":      regexp.MustCompile(`<[^h]`), // <!channel>, <@U123>, <#C123>
		"mattermost": regexp.MustCompile(`(?i)@(all|channel|here)\b`),
		"rocketchat": regexp.MustCompile(`(?i)@(all|channel|here)\b`),
	} {
		t.Run(service, func(t *testing.T) {
			server, config := start(t, service, time.Now)
			channel := open(t, config)
			words := rapid.SampledFrom([]string{"<", ">", "&", "!", "@", "@all", "@Here", "channel", "<!channel>", "<@U1>", "&lt;", "|", "*", "\n", " ", "x", "ä", "\u200b"})
			text := rapid.Map(rapid.SliceOfN(words, 0, 12), func(parts []string) string { return strings.Join(parts, "") })
			rapid.Check(t, func(t *rapid.T) {
				server.Reset()
				fields := map[string]any{"title": text.Draw(t, "title"), "body": "." + text.Draw(t, "body"), "team": text.Draw(t, "fact"), "link": "https://x.example/?" + text.Draw(t, "link")}
				r := channel.Send(context.Background(), []channels.Message{{Key: "k", Fields: fields}})[0]
				require.NoError(t, r.Err)
				var body struct {
					Text string `json:"text"`
				}
				require.NoError(t, json.Unmarshal(server.Received()[0].Body, &body))
				require.NotRegexp(t, calls, body.Text)
			})
		})
	}
}

func TestTest(t *testing.T) {
	for _, service := range chatd.Services() {
		t.Run(service, func(t *testing.T) {
			server, config := start(t, service, time.Now)
			require.NoError(t, open(t, config).(channels.Tester).Test(t.Context()))
			require.Len(t, server.Received(), 1)
			for _, r := range server.Received() {
				require.False(t, r.Accepted && strings.Trim(string(r.Body), "{}") != "", "a post was accepted: %s", r.Body)
			}
			wrong := maps.Clone(config)
			wrong["url"] = strings.ReplaceAll(wrong["url"].(string), "madeUp", "wrongUp")
			err := open(t, wrong).(channels.Tester).Test(t.Context())
			if !slices.Contains([]string{"discord", "gotify", "matrix", "ntfy", "slack", "slack-bot", "telegram", "zulip"}, service) {
				require.NoError(t, err, "nothing but the host can be asked")
			} else {
				require.ErrorContains(t, err, "asking "+labels[service])
				require.ErrorContains(t, err, "credentials")
				require.NotContains(t, err.Error(), "wrongUp")
			}
			server.Close()
			require.ErrorContains(t, open(t, config).(channels.Tester).Test(t.Context()), "asking "+labels[service])
		})
	}
}

func TestAServiceThatQuotesItsSecret(t *testing.T) {
	for _, service := range chatd.Services() {
		t.Run(service, func(t *testing.T) {
			server, config := start(t, service, time.Now)
			server.Script(func(provider.Request) provider.Fault { return provider.Fault{Status: 403, Echo: true} })
			err := open(t, config).Send(t.Context(), []channels.Message{message(1)})[0].Err
			require.Equal(t, channels.ClassCredential, channels.AsDelivery(err).Class)
			require.NotContains(t, strings.ToLower(err.Error()), "madeup")
		})
	}
	server, config := start(t, "slack", time.Now)
	server.Script(func(provider.Request) provider.Fault {
		return provider.Fault{Status: 403, Body: []byte("madeUpHookSecret00000000")}
	})
	err := open(t, config).Send(t.Context(), []channels.Message{message(1)})[0].Err
	require.EqualError(t, err, "credentials (403): posting to Slack ("+strings.TrimPrefix(config["host"].(string), "https://")+"): it answered 403 ***")
}

func TestJoiningIsPartOfAPost(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		class          channels.Class
		code           string
	}{
		{"no such room", "alerts:madeup.example", "others:madeup.example", channels.ClassCredential, "M_NOT_FOUND"},
		{"a wrong token", "madeUpMatrix", "wrongUpMatrix", channels.ClassCredential, "M_UNKNOWN_TOKEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, "matrix", time.Now)
			config["url"] = strings.ReplaceAll(config["url"].(string), c.from, c.to)
			failure := channels.AsDelivery(open(t, config).Send(t.Context(), []channels.Message{message(1)})[0].Err)
			require.Equal(t, c.class, failure.Class)
			require.Equal(t, c.code, failure.Code)
			require.NotContains(t, failure.Error(), "UpMatrix")
			require.Zero(t, server.Requests(), "nothing is posted")
		})
	}
}

// elsewhere answers as no Matrix does.
type elsewhere struct {
	status int
	to     string
	posts  atomic.Int64
}

func (e *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/join/") {
		e.posts.Add(1)
	}
	if e.to != "" {
		w.Header().Set("Location", e.to)
	}
	w.WriteHeader(e.status)
	_, _ = w.Write([]byte("<html>Welcome</html>"))
}

func TestAJoinThatIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		handler *elsewhere
		class   channels.Class
		code    string
	}{
		"a page":     {&elsewhere{status: 200}, channels.ClassTemporary, "answer"},
		"a redirect": {&elsewhere{status: 307, to: "/elsewhere"}, channels.ClassCredential, "307"},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := provider.StartHTTPS(time.Now(), c.handler)
			require.NoError(t, err)
			t.Cleanup(server.Close)
			config := map[string]any{"url": "matrix://:madeUpToken@" + strings.TrimPrefix(server.Endpoint(), "https://") + "/?rooms=a:b.example", "ca": string(server.CA.PEM)}
			failure := channels.AsDelivery(open(t, config).Send(t.Context(), []channels.Message{message(1)})[0].Err)
			require.Equal(t, c.class, failure.Class, "%v", failure)
			require.Equal(t, c.code, failure.Code)
			require.Zero(t, c.handler.posts.Load(), "nothing is posted, and no redirect followed")
		})
	}
}

func TestChannelsOfOneSpecShareAProcess(t *testing.T) {
	server, config := start(t, "zulip", time.Now)
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	spec := chat.Spec()
	children := func() int {
		lists, err := filepath.Glob("/proc/self/task/*/children")
		require.NoError(t, err)
		if len(lists) == 0 {
			t.Skip("there is no list of children here")
		}
		n := 0
		for _, path := range lists {
			list, err := os.ReadFile(path)
			if err == nil { // else the thread has ended since
				n += len(strings.Fields(string(list)))
			}
		}
		return n
	}
	before := children()
	var opened []channels.Channel
	for range 3 {
		channel, err := spec.New(channels.Options{Config: raw, Now: time.Now})
		require.NoError(t, err)
		opened = append(opened, channel)
	}
	require.Equal(t, before, children(), "a process is started for the first post")
	for _, channel := range opened {
		require.NoError(t, channel.Send(t.Context(), []channels.Message{message(1), message(2), message(3)})[0].Err)
	}
	require.EqualValues(t, 9, server.Accepted())
	require.Equal(t, before+1, children())
	for _, channel := range opened {
		require.NoError(t, channel.(channels.Closer).Close())
		require.NoError(t, channel.(channels.Closer).Close(), "twice is once")
	}
	require.Equal(t, before, children())
}

// TestOneIncident has PagerDuty know a message again that is repeated, and keep others apart.
func TestOneIncident(t *testing.T) {
	server, config := start(t, "pagerduty", time.Now)
	c := open(t, config)
	keys := func() (out []string) {
		for _, r := range server.Received() {
			var body struct {
				Key string `json:"dedup_key"`
			}
			require.NoError(t, json.Unmarshal(r.Body, &body))
			out = append(out, body.Key)
		}
		return out
	}
	send := func(c channels.Channel, key string) {
		m := full()
		m.Key = key
		require.NoError(t, c.Send(t.Context(), []channels.Message{m})[0].Err)
	}
	long := strings.Repeat("k", 300)
	send(c, long)
	send(open(t, config), long) // by another process
	send(c, long+"2")
	got := keys()
	require.Equal(t, got[0], got[1])
	require.NotEqual(t, got[0], got[2])
	config["url"] = config["url"].(string) + "&dedup_key=the-one"
	send(open(t, config), "k3")
	require.Equal(t, "the-one", keys()[3], "what the URL says stays")
}
