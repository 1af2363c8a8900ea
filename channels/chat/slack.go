package chat

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"nudge/channels"
)

// slackAnswers are Slack's, of webhooks and of chat.postMessage, which answers 200 with an error inside.
func slackAnswers() []channels.Answer {
	table := []channels.Answer{}
	add := func(class channels.Class, about string, codes ...string) {
		for _, code := range codes {
			table = append(table, channels.Answer{Code: code, Class: class, About: "Slack: " + about})
		}
	}
	add(channels.ClassMessage, "the message is malformed or empty", "invalid_payload", "no_text", "invalid_blocks")
	add(channels.ClassMessage, "the message is too long", "msg_too_long")
	add(channels.ClassCredential, "the webhook is switched off, removed or wrong", "no_service", "no_service_id", "no_active_hooks", "invalid_token")
	add(channels.ClassCredential, "the workspace is gone or wrong", "no_team", "team_disabled")
	add(channels.ClassCredential, "the channel is gone, or never was", "channel_not_found", "channel_is_archived", "is_archived", "user_not_found")
	add(channels.ClassCredential, "we may not post in the channel", "action_prohibited", "posting_to_general_channel_denied", "restricted_action", "not_in_channel")
	add(channels.ClassCredential, "the bot's token is wrong, revoked, or lacks chat:write", "not_authed", "invalid_auth", "account_inactive", "token_revoked", "token_expired", "missing_scope", "not_allowed_token_type", "no_permission")
	add(channels.ClassRateLimit, "too fast: about one message a second", "ratelimited", "rate_limited", "message_limit_exceeded")
	add(channels.ClassTemporary, "an error at Slack", "rollup_error", "fatal_error", "internal_error", "service_unavailable", "request_timeout")
	return table
}

// slackHook is a webhook by its own URL.
func slackHook(u *url.URL) (*service, string) {
	tokens := parts(u.Path)
	if len(tokens) != 4 || tokens[0] != "services" {
		return nil, "is not the URL of an incoming webhook of Slack"
	}
	return slackWebhook(u.Host, tokens[1:])
}

// slackToken tells a webhook's three parts from each other.
var slackToken = regexp.MustCompile(`^[A-Za-z0-9]+$`)

// slackURL is a webhook or a bot by a service URL.
func slackURL(u *url.URL) (*service, string) {
	if problem := onlyQuery(u); problem != "" {
		return nil, problem
	}
	kind := u.User.Username()
	secret, split := u.User.Password()
	if head, tail, ok := strings.Cut(kind, "-"); ok && !split { // slack://xoxb-…@C0123
		kind, secret, split = head, tail, true
	}
	switch {
	case kind == "hook" && split:
		return slackWebhook("hooks.slack.com", strings.FieldsFunc(secret, func(r rune) bool { return r == '-' || r == '/' || r == ',' }))
	case strings.HasPrefix(kind, "xox") && split:
		return slackBot(kind+"-"+secret, u.Host)
	}
	return slackWebhook("hooks.slack.com", append([]string{u.Host}, parts(u.Path)...)) // slack://A/B/C
}

// slackWebhook posts to an incoming webhook.
func slackWebhook(host string, tokens []string) (*service, string) {
	if len(tokens) != 3 {
		return nil, "does not have the three parts of a Slack webhook"
	}
	for _, token := range tokens {
		if !slackToken.MatchString(token) {
			return nil, "does not have the three parts of a Slack webhook"
		}
	}
	at := url.URL{Scheme: "https", Host: host, Path: "/services/" + strings.Join(tokens, "/")}
	s := newSlack(at.String())
	s.probe = probe{method: http.MethodPost, url: at.String(), body: `{"text":""}`, empty: true}
	s.encode = func(p *post) (any, int) {
		text := slackText(p)
		return map[string]any{"text": text}, runes(text)
	}
	s.hide(strings.Join(tokens, "/"), strings.Join(tokens, "-"), tokens[2])
	return s, ""
}

// slackBot posts by chat.postMessage.
func slackBot(token, to string) (*service, string) {
	if to == "" {
		return nil, "does not name the channel of Slack"
	}
	s := newSlack("https://slack.com/api/chat.postMessage")
	s.probe = probe{method: http.MethodPost, url: "https://slack.com/api/auth.test", body: "{}"}
	s.header = http.Header{"Authorization": {"Bearer " + token}}
	s.encode = func(p *post) (any, int) {
		text := slackText(p)
		return map[string]any{"channel": to, "text": text}, runes(text)
	}
	_, bare, _ := strings.Cut(token, "-")
	s.hide(token, bare)
	return s, ""
}

// newSlack is what webhooks and bots share.
func newSlack(at string) *service {
	return &service{name: "Slack", post: at, answers: slackAnswers(), limit: 40000, unit: "characters", read: readSlack}
}

// slackText is a post in mrkdwn. Escaping is what keeps <!channel> from calling anybody.
func slackText(p *post) string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	link := p.link
	if link != "" {
		link = "<" + strings.ReplaceAll(escape.Replace(link), "|", "%7C") + ">"
	}
	return joined(bold("*", escape.Replace(p.title)), escape.Replace(p.lines()), link)
}

// readSlack reads {"ok":…}, or the one word of a webhook.
func readSlack(body []byte) reply {
	var said struct {
		OK    *bool  `json:"ok"`
		Error string `json:"error"`
		TS    string `json:"ts"`
	}
	if json.Unmarshal(body, &said) == nil && said.OK != nil {
		return reply{id: said.TS, code: said.Error, text: said.Error, refused: !*said.OK}
	}
	word := strings.TrimSpace(string(body))
	if word == "ok" || strings.ContainsAny(word, " <{") {
		return reply{}
	}
	return reply{code: word}
}
