package chat_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
)

func TestURLs(t *testing.T) {
	const token = "madeUpSecret-17"
	for _, c := range []struct{ name, url, want string }{
		{"slack's own", "https://hooks.slack.com/services/T1/B1/madeUpSecret", "Slack (hooks.slack.com)"},
		{"slack's own, of a government", "https://hooks.slack-gov.com/services/T1/B1/madeUpSecret", "Slack (hooks.slack-gov.com)"},
		{"slack's hook", "slack://hook:T1-B1-madeUpSecret@webhook", "Slack (hooks.slack.com)"},
		{"slack's short form", "slack://T1/B1/madeUpSecret", "Slack (hooks.slack.com)"},
		{"slack's short form with a name", "slack://my-bot@T1/B1/madeUpSecret", "Slack (hooks.slack.com)"},
		{"slack's bot", "slack://xoxb:1-2-madeUpSecret@C1", "Slack (slack.com)"},
		{"slack's bot in one", "slack://xoxb-1-2-madeUpSecret@C1", "Slack (slack.com)"},
		{"discord's own", "https://discord.com/api/webhooks/123456/" + token, "Discord (discord.com)"},
		{"discord's own, with a version", "https://canary.discord.com/api/v10/webhooks/123456/" + token + "?thread_id=654321", "Discord (discord.com)"},
		{"discord", "discord://" + token + "@123456", "Discord (discord.com)"},
		{"telegram", "telegram://123456:" + token + "@telegram?chats=@alerts", "Telegram (api.telegram.org)"},
		{"telegram's channels", "telegram://123456:" + token + "@telegram?channels=-17:3", "Telegram (api.telegram.org)"},
		{"teams", "https://prod-1.westeurope.logic.azure.com:443/workflows/1/triggers/manual/paths/invoke?sp=x&sig=" + token, "Teams (prod-1.westeurope.logic.azure.com:443)"},
		{"teams at power platform", "https://default1.e0.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/1/triggers/manual/paths/invoke?sig=" + token, "Teams (default1.e0.environment.api.powerplatform.com)"},
		{"ntfy", "ntfy://ntfy.sh/" + token, "ntfy (ntfy.sh)"},
		{"ntfy's own", "https://ntfy.sh/" + token, "ntfy (ntfy.sh)"},
		{"ntfy by token", "ntfy://:" + token + "@push.shop.example:8080/sub/alerts?disabletls=yes", "ntfy (push.shop.example:8080)"},
		{"gotify", "gotify://push.shop.example/sub/" + token, "Gotify (push.shop.example)"},
		{"mattermost", "mattermost://chat.shop.example/" + token, "Mattermost (chat.shop.example)"},

		{"google chat's own", "https://chat.googleapis.com/v1/spaces/A/messages?key=madeUpSecret&token=" + token, "Google Chat (chat.googleapis.com)"},
		{"google chat", "googlechat://chat.googleapis.com/v1/spaces/A/messages?key=madeUpSecret&token=" + token, "Google Chat (chat.googleapis.com)"},
		{"rocket.chat", "rocketchat://bot@chat.shop.example:3000/A/" + token + "/@ann", "Rocket.Chat (chat.shop.example:3000)"},
		{"matrix", "matrix://:" + token + "@chat.shop.example/?room=!id:shop.example", "Matrix (chat.shop.example)"},
		{"zulip", "zulip://bot%40shop.example:" + token + "@chat.shop.example?stream=a", "Zulip (chat.shop.example)"},
		{"lark's own", "https://open.feishu.cn/open-apis/bot/v2/hook/" + token, "Lark (open.feishu.cn)"},
		{"lark", "lark://open.larksuite.com/" + token + "?secret=madeUpSecret", "Lark (open.larksuite.com)"},
		{"wecom's own", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=" + token, "WeCom (qyapi.weixin.qq.com)"},
		{"signal", "signal://127.0.0.1/+491510/+491511?disabletls=yes&token=" + token, "Signal (127.0.0.1:8080)"},
		{"pushover", "pushover://shoutrrr:" + token + "@madeUpSecret", "Pushover (api.pushover.net)"},
		{"bark", "bark://:" + token + "@push.shop.example/sub", "Bark (push.shop.example)"},
		{"join", "join://shoutrrr:" + token + "@join/?devices=a,b", "Join (joinjoaomgcd.appspot.com)"},
		{"ifttt", "ifttt://" + token + "/?events=a", "IFTTT (maker.ifttt.com)"},
		{"opsgenie", "opsgenie://api.eu.opsgenie.com/" + token, "Opsgenie (api.eu.opsgenie.com)"},
		{"pagerduty", "pagerduty://events.pagerduty.com/00000000000000000000000000badeef", "PagerDuty (events.pagerduty.com)"},
		{"notifiarr", "notifiarr://" + token, "Notifiarr (notifiarr.com)"},

		{"nothing", "madeUpSecret-17", "url is of no service that this adapter knows"},
		{"half of google chat", "https://chat.googleapis.com/v1/spaces/A/messages?key=madeUpSecret-17", "url is not the whole URL of a webhook of Google Chat"},
		{"another host than google chat's", "googlechat://chat.example/v1/spaces/A/messages?key=a&token=madeUpSecret-17", "url is not the whole URL of a webhook of Google Chat"},
		{"a thread of google chat", "googlechat://chat.googleapis.com/v1/spaces/A/messages?key=a&token=madeUpSecret-17&threadKey=b", "url names a thread, and shoutrrr cannot post to one"},
		{"half of rocket.chat", "rocketchat://chat.shop.example/madeUpSecret-17", "url does not have the host and the two tokens"},
		{"matrix with a password", "matrix://ann:madeUpSecret-17@chat.shop.example/?rooms=a", "url has a user of Matrix"},
		{"matrix without a room", "matrix://:madeUpSecret-17@chat.shop.example/", "url does not name a room of Matrix"},
		{"several rooms", "matrix://:madeUpSecret-17@chat.shop.example/?rooms=a,b", "url names several rooms"},
		{"two lists of rooms", "matrix://:madeUpSecret-17@chat.shop.example/?rooms=a&rooms=b", "url has a parameter twice"},
		{"an unknown parameter of matrix", "matrix://:madeUpSecret-17@chat.shop.example/?rooms=a&madeUpSecret=b", "url is not one that shoutrrr takes for Matrix (not a valid config key): write matrix://"},
		{"zulip on a port", "zulip://bot:madeUpSecret-17@chat.shop.example:8443?stream=a", "url does not have a host that shoutrrr takes for Zulip"},
		{"zulip without a key", "zulip://madeUpSecret-17@chat.shop.example?stream=a", "url is not one that shoutrrr takes for Zulip (API key missing from config URL)"},
		{"an unknown parameter of zulip", "zulip://a:b@chat.shop.example?stream=a&madeUpSecret-17", "url has other parameters than stream, topic"},
		{"lark elsewhere", "lark://madeUpSecret-17.example/token", "url is not one that shoutrrr takes for Lark (invalid host, use"},
		{"wecom without a key", "wecom://", "url is not one that shoutrrr takes for WeCom (WeCom webhook key cannot be empty)"},
		{"signal to nobody", "signal://127.0.0.1/madeUpSecret-17", "url is not one that shoutrrr takes for Signal"},
		{"pushover without a token", "pushover://madeUpSecret-17", "url is not one that shoutrrr takes for Pushover (token missing from config URL)"},
		{"a priority of pushover", "pushover://:a@b?priority=madeUpSecret-17", "url is not one that shoutrrr takes for Pushover"},
		{"join without a device", "join://:madeUpSecret-17@join/", "url is not one that shoutrrr takes for Join (devices missing from config URL)"},
		{"several events", "ifttt://madeUpSecret-17/?events=a,b", "url names several events"},
		{"no event", "ifttt://madeUpSecret-17/", "url is not one that shoutrrr takes for IFTTT (events missing from config URL)"},
		{"no key of pagerduty", "pagerduty://events.pagerduty.com/madeUpSecret-17", "url is not one that shoutrrr takes for PagerDuty"},
		{"no channel of notifiarr", "notifiarr://madeUpSecret-17?channel=general", "url has a channel of Discord that is none"},
		{"shoutrrr's other services", "logger://", "url is of no service that this adapter knows"},
		{"no URL", "slack://madeUpSecret-17%zz", "url is not a URL"},
		{"another service", "smtp://shoutrrr:madeUpSecret-17@user", "url is of no service that this adapter knows"},
		{"another host", "https://chat.shop.example/hooks/madeUpSecret-17", "url is of no service that this adapter knows"},
		{"a host that only ends alike", "https://evildiscord.com/api/webhooks/123456/madeUpSecret-17", "url is of no service that this adapter knows"},
		{"slack's workflow", "https://hooks.slack.com/triggers/T1/1/madeUpSecret-17", "url is not the URL of an incoming webhook of Slack"},
		{"two parts of slack", "slack://T1/madeUpSecret", "url does not have the three parts of a Slack webhook"},
		{"a bot without a channel", "slack://xoxb:1-2-madeUpSecret-17@", "url does not name the channel of Slack"},
		{"a parameter", "slack://T1/B1/madeUpSecret?madeUpSecret-17=1", "url has parameters, and none is known for this service"},
		{"another parameter", "discord://" + token + "@123456?madeUpSecret-17", "url has other parameters than thread_id, wait"},
		{"no id", "discord://madeUpSecret-17@name", "url does not have the id and the token of a Discord webhook"},
		{"no thread", "discord://madeUpSecret-17@123456?thread_id=x", "url has a thread_id that is none"},
		{"no token of telegram", "telegram://madeUpSecret-17@telegram?chats=1", "url does not have the token of a Telegram bot"},
		{"no chat", "telegram://123456:madeUpSecret-17@telegram", "url does not name a chat of Telegram"},
		{"several chats", "telegram://123456:madeUpSecret-17@telegram?chats=@a,@b", "url names several chats"},
		{"an old connector", "https://shop.webhook.office.com/webhookb2/madeUpSecret-17", "url is of an Office connector, which Microsoft has retired"},
		{"an old connector as a service", "teams://madeUpSecret-17@tenant/a/b/c?host=x", "url is of an Office connector, which Microsoft has retired"},
		{"no signature", "https://prod-1.westeurope.logic.azure.com/workflows/madeUpSecret-17", "url is not the whole URL of a Teams workflow"},
		{"no topic", "ntfy://madeUpSecret-17", "url does not name a topic of ntfy"},
		{"no host", "gotify:///madeUpSecret-17", "url names no host"},
		{"no token of gotify", "gotify://push.shop.example", "url does not have the token of a Gotify application"},
		{"too much", "mattermost://x.example/a/b/madeUpSecret-17", "url does not have the token of a Mattermost webhook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := json.Marshal(map[string]any{"url": c.url, "timeout": "1ns"})
			require.NoError(t, err)
			channel, err := spec.New(channels.Options{Config: raw, Now: time.Now})
			if strings.HasPrefix(c.want, "url ") {
				require.ErrorContains(t, err, c.want)
				require.NotContains(t, err.Error(), "madeUpSecret")
				return
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, channel.(channels.Closer).Close()) })
			// The timeout lets nothing leave this machine.
			err = channel.Send(t.Context(), []channels.Message{message(1)})[0].Err
			require.ErrorContains(t, err, "posting to "+c.want+": ")
			require.NotContains(t, err.Error(), "madeUpSecret")
		})
	}
}

func TestConfigRefusals(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"no url", `{}`, "url is missing"},
		{"a host that is none", `{"url":"slack://T1/B1/x1","host":"127.0.0.1"}`, "host is not an http or https URL of a host"},
		{"a host with a path", `{"url":"slack://T1/B1/x1","host":"https://127.0.0.1/x"}`, "host is not an http or https URL of a host"},
		{"a bad duration", `{"url":"slack://T1/B1/x1","timeout":"30"}`, "timeout is not a duration"},
		{"no such ca", `{"url":"slack://T1/B1/x1","ca":"nowhere.pem"}`, "ca cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := spec.New(channels.Options{Config: []byte(c.config), Now: time.Now, Dir: t.TempDir()})
			require.ErrorContains(t, err, c.want)
		})
	}
}
