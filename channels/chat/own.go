package chat

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"nudge/channels"
)

// Services that people run on servers of their own.

// ntfyAnswers are ntfy's codes that a post meets.
func ntfyAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "40009", Class: channels.ClassCredential, About: "ntfy: the topic's name is malformed"},
		{Status: 400, Code: "40010", Class: channels.ClassCredential, About: "ntfy: the topic's name is not allowed"},
		{Status: 401, Code: "40101", Class: channels.ClassCredential, About: "ntfy: user, password or token are wrong"},
		{Status: 403, Code: "40301", Class: channels.ClassCredential, About: "ntfy: we may not write to the topic"},
		{Status: 413, Code: "41303", Class: channels.ClassMessage, About: "ntfy: the message is too long"},
		{Status: 429, Code: "42901", Class: channels.ClassRateLimit, About: "ntfy: too many requests"},
		{Status: 429, Code: "42908", Class: channels.ClassRateLimit, About: "ntfy: too many messages today"},
		{Status: 500, Code: "50001", Class: channels.ClassTemporary, About: "ntfy: an error there"},
	}
}

// ntfyURL is ntfy://USER:PASSWORD@HOST/TOPIC, or https://ntfy.sh/TOPIC.
func ntfyURL(u *url.URL) (*service, string) {
	if problem := onlyQuery(u, "scheme", "disabletls"); problem != "" {
		return nil, problem
	}
	segments := parts(u.Path)
	if len(segments) == 0 {
		return nil, "does not name a topic of ntfy"
	}
	base, topic := own(u), segments[len(segments)-1]
	base.Path = "/" + strings.Join(segments[:len(segments)-1], "/")
	s := &service{
		name: "ntfy", post: base.String(), header: http.Header{}, answers: ntfyAnswers(), limit: 4096, unit: "bytes", read: readNtfy,
		probe: probe{method: http.MethodGet, url: base.JoinPath("v1", "health").String()},
		encode: func(p *post) (any, int) {
			title, text := p.notification()
			body := map[string]any{"topic": topic, "message": text, "priority": map[level]int{low: 2, normal: 3, high: 4, urgent: 5}[p.level]}
			if title != "" {
				body["title"] = title
			}
			if p.link != "" {
				body["click"] = p.link
			}
			return body, len(text)
		},
	}
	user := u.User.Username()
	secret, _ := u.User.Password()
	switch {
	case user == "" && secret != "":
		s.header.Set("Authorization", "Bearer "+secret)
	case user != "":
		pair := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
		s.header.Set("Authorization", "Basic "+pair)
		s.hide(pair)
	}
	if u.User != nil {
		s.probe.url = base.JoinPath("v1", "account").String()
	}
	s.hide(topic, secret) // whoever knows a topic of an open server can read it
	return s, ""
}

// readNtfy reads a message, or an error.
func readNtfy(body []byte) reply {
	var said struct {
		ID    string `json:"id"`
		Code  int    `json:"code"`
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	r := reply{id: said.ID, text: said.Error}
	if said.Code != 0 {
		r.code = strconv.Itoa(said.Code)
	}
	return r
}

// gotifyAnswers are Gotify's; it has no codes beside the status.
func gotifyAnswers() []channels.Answer { return nil }

// gotifyURL is gotify://HOST/PATH/TOKEN.
func gotifyURL(u *url.URL) (*service, string) {
	if problem := onlyQuery(u, "disabletls"); problem != "" {
		return nil, problem
	}
	segments := parts(u.Path)
	if len(segments) == 0 {
		return nil, "does not have the token of a Gotify application"
	}
	base, token := own(u), segments[len(segments)-1]
	base.Path = "/" + strings.Join(segments[:len(segments)-1], "/")
	at := base.JoinPath("message").String()
	s := &service{
		name: "Gotify", post: at, header: http.Header{"X-Gotify-Key": {token}}, answers: gotifyAnswers(), read: readGotify,
		probe: probe{method: http.MethodPost, url: at, body: `{"message":""}`, empty: true},
		encode: func(p *post) (any, int) {
			title, text := p.notification()
			body := map[string]any{"message": text}
			if title != "" {
				body["title"] = title
			}
			if p.level != normal { // without it Gotify takes the application's own
				body["priority"] = map[level]int{low: 2, high: 8, urgent: 10}[p.level]
			}
			if p.link != "" {
				body["extras"] = map[string]any{"client::notification": map[string]any{"click": map[string]any{"url": p.link}}}
			}
			return body, 0
		},
	}
	s.hide(token)
	return s, ""
}

// readGotify reads a message, or an error.
func readGotify(body []byte) reply {
	var said struct {
		ID          int64  `json:"id"`
		Error       string `json:"error"`
		Description string `json:"errorDescription"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	r := reply{text: strings.Join(strings.Fields(said.Error+" "+said.Description), " ")}
	if said.ID != 0 {
		r.id = strconv.FormatInt(said.ID, 10)
	}
	return r
}

// mattermostAnswers are Mattermost's ids of errors that a webhook meets.
func mattermostAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "web.incoming_webhook.general.app_error", Class: channels.ClassCredential, About: "Mattermost: its word for any refusal; with a text that is neither empty nor too long it is the webhook that is gone"},
		{Status: 400, Code: "web.incoming_webhook.invalid.app_error", Class: channels.ClassCredential, About: "Mattermost: no such webhook"},
		{Status: 404, Code: "web.incoming_webhook.channel.app_error", Class: channels.ClassCredential, About: "Mattermost: no such channel"},
		{Status: 403, Code: "web.incoming_webhook.channel_locked.app_error", Class: channels.ClassCredential, About: "Mattermost: the webhook is bound to another channel"},
		{Status: 403, Code: "web.incoming_webhook.permissions.app_error", Class: channels.ClassCredential, About: "Mattermost: the webhook's owner may not post there"},
		{Status: 400, Code: "web.incoming_webhook.text.app_error", Class: channels.ClassMessage, About: "Mattermost: no text"},
		{Status: 501, Code: "web.incoming_webhook.disabled.app_error", Class: channels.ClassCredential, About: "Mattermost: webhooks are switched off there"},
	}
}

// mattermostURL is mattermost://USER@HOST/TOKEN/CHANNEL.
func mattermostURL(u *url.URL) (*service, string) {
	if problem := onlyQuery(u, "disabletls"); problem != "" {
		return nil, problem
	}
	segments := parts(u.Path)
	if len(segments) == 0 || len(segments) > 2 {
		return nil, "does not have the token of a Mattermost webhook, and after it at most a channel"
	}
	base, token, user := own(u), segments[0], u.User.Username()
	s := &service{
		name: "Mattermost", post: base.JoinPath("hooks", token).String(), answers: mattermostAnswers(), limit: 16383, unit: "characters", read: readMattermost,
		probe: probe{method: http.MethodGet, url: base.JoinPath("api", "v4", "system", "ping").String(), any: true},
		encode: func(p *post) (any, int) {
			// A character of no width keeps @all from calling everybody.
			text := callsMany.ReplaceAllString(p.whole(bold("**", p.title), p.link), "@\u200b$1")
			body := map[string]any{"text": text}
			if len(segments) == 2 {
				body["channel"] = segments[1]
			}
			if user != "" {
				body["username"] = user
			}
			if word := map[level]string{high: "important", urgent: "urgent"}[p.level]; word != "" {
				body["priority"] = map[string]any{"priority": word}
			}
			return body, runes(text)
		},
	}
	s.hide(token)
	return s, ""
}

// readMattermost reads an error; what is accepted is answered with "ok".
func readMattermost(body []byte) reply {
	var said struct {
		ID      string `json:"id"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{code: said.ID, text: said.Message}
}
