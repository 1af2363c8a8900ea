package chat

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"nudge/channels"
)

// characters and bytesUnit are what limits count.
const (
	characters = "characters"
	bytesUnit  = "bytes"
)

// more is a service whose requests shoutrrr writes.
type more struct {
	scheme, name string
	form         string // of its URL, for people
	// host is where its requests go; "" is the URL's own, and port the one that it has if it says none.
	host, port string
	// known are the parameters of the URL, where shoutrrr passes over others; nil leaves it to shoutrrr.
	known   []string
	check   func(u *url.URL) (problem string)
	limit   int
	unit    string
	answers func() []channels.Answer
	read    func(body []byte) reply
	compose func(u *url.URL, p *post) (text string, params map[string]string)
	// requests is how many make up a post; 0 is one.
	requests int
	// probe sets how the service is asked about itself; nil asks only whether the host answers.
	probe func(u, base *url.URL, s *service)
}

// mores are the services whose requests shoutrrr writes, in the order of the docs.
func mores() []*more {
	return []*more{
		{
			scheme: "googlechat", name: "Google Chat", form: "`googlechat://chat.googleapis.com/v1/spaces/SPACE/messages?key=KEY&token=TOKEN`, or the webhook's own URL",
			known: []string{"key", "token", "threadKey", "messageReplyOption"}, check: checkGoogleChat,
			limit: 4096, unit: characters, answers: googleChatAnswers, read: readGoogleChat, compose: marked("*", "<users/", "<\u200busers/"),
		},
		{
			scheme: "rocketchat", name: "Rocket.Chat", form: "`rocketchat://HOST/TOKEN-A/TOKEN-B/CHANNEL`",
			known: []string{}, check: checkRocketChat,
			limit: 5000, unit: characters, answers: rocketChatAnswers, read: readRocketChat,
			compose: func(_ *url.URL, p *post) (string, map[string]string) {
				return callsMany.ReplaceAllString(p.whole(bold("*", p.title), p.link), "@\u200b$1"), nil
			},
		},
		{
			scheme: "matrix", name: "Matrix", form: "`matrix://:ACCESS-TOKEN@HOST/?rooms=ROOM` (an id with its !, or an alias without its #)",
			check: checkMatrix, requests: 2, limit: 60000, unit: bytesUnit, answers: matrixAnswers, read: readMatrix, compose: marked("", "@room", "@\u200broom"),
			probe: func(u, base *url.URL, s *service) {
				token, _ := u.User.Password()
				s.header = http.Header{"Authorization": {"Bearer " + token}}
				s.probe = probe{method: http.MethodGet, url: base.JoinPath("_matrix", "client", "r0", "account", "whoami").String()}
			},
		},
		{
			scheme: "zulip", name: "Zulip", form: "`zulip://BOT-MAIL:KEY@HOST/?stream=STREAM&topic=TOPIC` (the @ of the mail as %40)",
			known: []string{"stream", "topic"}, check: checkZulip,
			limit: 10000, unit: bytesUnit, answers: zulipAnswers, read: readZulip, compose: marked("**", "@*", "@\u200b*"),
			probe: func(u, base *url.URL, s *service) {
				key, _ := u.User.Password()
				pair := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + key))
				s.header = http.Header{"Authorization": {"Basic " + pair}}
				s.hide(pair)
				s.probe = probe{method: http.MethodGet, url: base.JoinPath("api", "v1", "users", "me").String()}
			},
		},
		{
			scheme: "lark", name: "Lark", form: "`lark://open.larksuite.com/TOKEN?secret=SECRET` (or open.feishu.cn), or the bot's own URL",
			limit: 4096, unit: bytesUnit, answers: larkAnswers, read: readLark,
			compose: func(_ *url.URL, p *post) (string, map[string]string) {
				harmless := strings.NewReplacer("<at ", "<\u200bat ")
				if p.title == "" {
					return harmless.Replace(p.whole("", p.link)), nil
				}
				_, text := p.notification()
				return harmless.Replace(text), map[string]string{"title": p.title, "link": p.link}
			},
		},
		{
			scheme: "wecom", name: "WeCom", form: "`wecom://KEY`, or the robot's own URL", host: "qyapi.weixin.qq.com",
			limit: 2048, unit: bytesUnit, answers: weComAnswers, read: readWeCom, compose: marked("", "<@", "<\u200b@"),
		},
		{
			scheme: "signal", name: "Signal", form: "`signal://USER:PASSWORD@HOST:PORT/NUMBER/RECIPIENT` (a server of signal-cli-rest-api; `?token=TOKEN`, `?disabletls=yes`)", port: "8080",
			limit: 2000, unit: characters, answers: func() []channels.Answer { return nil }, read: readSignal, compose: marked("", "", ""),
		},
		{
			scheme: "pushover", name: "Pushover", form: "`pushover://:TOKEN@USER/?devices=DEVICE`", host: "api.pushover.net",
			limit: 1024, unit: characters, answers: pushoverAnswers, read: readPushover,
			compose: func(_ *url.URL, p *post) (string, map[string]string) {
				text, params := titled(p)
				if p.level != normal {
					params["priority"] = map[level]string{low: "-1", high: "1", urgent: "1"}[p.level]
				}
				return text, params
			},
		},
		{
			scheme: "bark", name: "Bark", form: "`bark://:DEVICE-KEY@HOST/` (`?scheme=http` for a server without TLS)",
			limit: 3500, unit: bytesUnit, answers: barkAnswers, read: readBark,
			compose: func(_ *url.URL, p *post) (string, map[string]string) {
				title, text := p.notification()
				params := map[string]string{"title": title}
				if p.link != "" {
					params["url"] = p.link
				}
				return text, params
			},
		},
		{
			scheme: "join", name: "Join", form: "`join://:KEY@join/?devices=DEVICE`", host: "joinjoaomgcd.appspot.com",
			limit: 3500, unit: bytesUnit, answers: func() []channels.Answer { return nil }, read: readJoin,
			compose: func(_ *url.URL, p *post) (string, map[string]string) { return titled(p) },
		},
		{
			scheme: "ifttt", name: "IFTTT", form: "`ifttt://KEY/?events=EVENT` (Value1 is the title, Value2 the text, Value3 the link)", host: "maker.ifttt.com",
			check: checkIFTTT, limit: 10000, unit: bytesUnit, answers: func() []channels.Answer { return nil }, read: readIFTTT,
			compose: func(u *url.URL, p *post) (string, map[string]string) {
				for _, name := range []string{"value1", "value2", "value3", "messagevalue"} {
					if param(u, name) != "" {
						return p.whole(p.title, p.link), nil // the URL says which value is what
					}
				}
				title, text := p.notification()
				return text, map[string]string{"value1": title, "value3": p.link}
			},
		},
		{
			scheme: "opsgenie", name: "Opsgenie", form: "`opsgenie://api.opsgenie.com/KEY` (or api.eu.opsgenie.com)",
			limit: 15000, unit: characters, answers: func() []channels.Answer { return nil }, read: readOpsgenie,
			compose: func(_ *url.URL, p *post) (string, map[string]string) {
				title := p.title
				if title == "" {
					title, _, _ = strings.Cut(p.whole("", p.link), "\n")
				}
				params := map[string]string{"title": cut(title, 130)}
				if p.level != normal {
					params["priority"] = map[level]string{low: "P5", high: "P2", urgent: "P1"}[p.level]
				}
				return p.whole(p.title, p.link), params
			},
		},
		{
			scheme: "pagerduty", name: "PagerDuty", form: "`pagerduty://events.pagerduty.com/KEY?source=SOURCE` (or events.eu.pagerduty.com; a message that is repeated is the same incident, and `&dedup_key=NAME` makes all of them one)",
			limit: 1024, unit: characters, answers: func() []channels.Answer { return nil }, read: readPagerDuty,
			compose: func(u *url.URL, p *post) (string, map[string]string) {
				params := map[string]string{}
				if p.key != "" && param(u, "dedup_key") == "" {
					params["dedup_key"] = incident(p.key)
				}
				if p.level != normal {
					params["severity"] = map[level]string{low: "info", high: "error", urgent: "critical"}[p.level]
				}
				return p.whole(p.title, p.link), params
			},
		},
		{
			scheme: "notifiarr", name: "Notifiarr", form: "`notifiarr://KEY?channel=CHANNEL`", host: "notifiarr.com",
			known: []string{"name", "channel", "thumbnail", "image", "color"}, check: checkNotifiarr,
			limit: 4096, unit: characters, answers: func() []channels.Answer { return nil }, read: readNotifiarr,
			compose: func(_ *url.URL, p *post) (string, map[string]string) {
				text, params := titled(p)
				return strings.ReplaceAll(text, "<@", "<\u200b@"), params
			},
		},
	}
}

// marked makes one text of a post, with the title in marks, and a text that calls people broken.
func marked(mark, call, harmless string) func(u *url.URL, p *post) (string, map[string]string) {
	return func(_ *url.URL, p *post) (string, map[string]string) {
		text := p.whole(bold(mark, p.title), p.link)
		if call != "" {
			text = strings.ReplaceAll(text, call, harmless)
		}
		return text, nil
	}
}

// incident is the key by which PagerDuty knows a message again, of at most 255 characters, whatever the message's own is.
func incident(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "nudge-" + hex.EncodeToString(sum[:16])
}

// titled makes a title and a text with the link below.
func titled(p *post) (string, map[string]string) {
	text := p.whole("", p.link)
	if text == "" {
		return p.title, map[string]string{"title": ""}
	}
	return text, map[string]string{"title": p.title}
}

// cut is the beginning of a text of at most n characters.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// moreForms are the forms of URLs and the limits, a line each, for people.
func moreForms() string {
	var all []string
	for _, m := range mores() {
		all = append(all, fmt.Sprintf("- %s, %d %s: %s", m.name, m.limit, m.unit, m.form))
	}
	return strings.Join(all, "\n")
}

// moreSchemes are the schemes of URLs, for people.
func moreSchemes() string {
	var all []string
	for _, m := range mores() {
		all = append(all, m.scheme)
	}
	return strings.Join(all, ", ")
}

// allNames are the names of all services, for people.
func allNames() string {
	names := []string{"Slack", "Discord", "Telegram", "Microsoft Teams", "ntfy", "Gotify", "Mattermost"}
	for _, m := range mores() {
		names = append(names, m.name)
	}
	return strings.Join(names, ", ")
}

// moreAnswers are the answers of all.
func moreAnswers() []channels.Answer {
	var all []channels.Answer
	for _, m := range mores() {
		all = append(all, m.answers()...)
	}
	return all
}

// checkGoogleChat asks for what shoutrrr would do without.
func checkGoogleChat(u *url.URL) string {
	if u.Host != "chat.googleapis.com" || len(parts(u.Path)) != 4 || param(u, "key") == "" || param(u, "token") == "" {
		return "is not the whole URL of a webhook of Google Chat, which has a key and a token"
	}
	if param(u, "threadkey", "messagereplyoption") != "" {
		return "names a thread, and shoutrrr cannot post to one: take the URL without threadKey and messageReplyOption"
	}
	return ""
}

// checkRocketChat asks for what shoutrrr would do without.
func checkRocketChat(u *url.URL) string {
	if n := len(parts(u.Path)); u.Host == "" || n < 2 || n > 3 {
		return "does not have the host and the two tokens of a webhook of Rocket.Chat, and after them at most a channel"
	}
	return ""
}

// checkMatrix keeps a post to one room: a part of it cannot be repeated.
func checkMatrix(u *url.URL) string {
	token, _ := u.User.Password()
	rooms := param(u, "rooms", "room")
	switch {
	case u.User.Username() != "":
		return "has a user of Matrix, and signing in for each post would soon be refused: give an access token, matrix://:ACCESS-TOKEN@HOST/…"
	case token == "" || u.Host == "":
		return "does not have the host and the access token of Matrix"
	case strings.Trim(rooms, "#!") == "":
		return "does not name a room of Matrix, ?rooms=!id:host or ?rooms=alias:host"
	case strings.Contains(rooms, ","):
		return "names several rooms, and a part of a message cannot be repeated: write a channel for each"
	}
	return ""
}

// zulipHost is what shoutrrr takes for a host of Zulip, which it looks at only when it posts.
var zulipHost = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}$`)

// checkZulip asks for what shoutrrr would only miss when it posts.
func checkZulip(u *url.URL) string {
	switch {
	case !zulipHost.MatchString(u.Hostname()) || u.Port() != "":
		return "does not have a host that shoutrrr takes for Zulip: a name with a dot in it, and no port; where the server has one, give the field host"
	case param(u, "stream") == "":
		return "does not name a stream of Zulip"
	case runes(param(u, "topic")) > 60:
		return "has a topic of Zulip above 60 characters"
	}
	return ""
}

// checkIFTTT keeps a post to one event: a part of it cannot be repeated.
func checkIFTTT(u *url.URL) string {
	if strings.Contains(param(u, "events"), ",") {
		return "names several events, and a part of a message cannot be repeated: write a channel for each"
	}
	return ""
}

// checkNotifiarr asks for what shoutrrr would do without.
func checkNotifiarr(u *url.URL) string {
	if channel := param(u, "channel"); channel != "" && !snowflake.MatchString(channel) {
		return "has a channel of Discord that is none"
	}
	if u.Host == "" {
		return "does not have the key of Notifiarr"
	}
	return ""
}
