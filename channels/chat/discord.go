package chat

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"nudge/channels"
)

// withoutSound is Discord's flag SUPPRESS_NOTIFICATIONS.
const withoutSound = 1 << 12

// discordAnswers are Discord's JSON error codes that a webhook meets.
func discordAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 404, Code: "10003", Class: channels.ClassCredential, About: "Discord: the channel or thread is gone"},
		{Status: 404, Code: "10015", Class: channels.ClassCredential, About: "Discord: the webhook was deleted"},
		{Status: 401, Code: "50027", Class: channels.ClassCredential, About: "Discord: the webhook's token is wrong"},
		{Status: 403, Code: "50013", Class: channels.ClassCredential, About: "Discord: not allowed"},
		{Status: 400, Code: "50006", Class: channels.ClassMessage, About: "Discord: the message is empty"},
		{Status: 400, Code: "50035", Class: channels.ClassMessage, About: "Discord: the message is malformed or above 2000 characters"},
		{Status: 400, Code: "50083", Class: channels.ClassCredential, About: "Discord: the thread is archived"},
		{Status: 400, Code: "220001", Class: channels.ClassCredential, About: "Discord: the webhook is of a forum, and the URL has no thread_id"},
		{Status: 429, Code: "20028", Class: channels.ClassRateLimit, About: "Discord: the channel's write limit"},
		{Status: 429, Code: "20029", Class: channels.ClassRateLimit, About: "Discord: the server's write limit"},
	}
}

// snowflake is Discord's form of ids.
var snowflake = regexp.MustCompile(`^[0-9]{5,25}$`)

// discordHook is a webhook by its own URL, /api/webhooks/ID/TOKEN or /api/v10/webhooks/ID/TOKEN.
func discordHook(u *url.URL) (*service, string) {
	segments := parts(u.Path)
	if len(segments) == 5 {
		segments = append(segments[:1:1], segments[2:]...)
	}
	if len(segments) != 4 || segments[0] != "api" || segments[1] != "webhooks" {
		return nil, "is not the URL of a webhook of Discord"
	}
	return discord(u, segments[2], segments[3])
}

// discordURL is discord://TOKEN@ID.
func discordURL(u *url.URL) (*service, string) {
	return discord(u, u.Host, u.User.Username())
}

// discord posts to a webhook.
func discord(u *url.URL, id, token string) (*service, string) {
	if problem := onlyQuery(u, "thread_id", "wait"); problem != "" {
		return nil, problem
	}
	if !snowflake.MatchString(id) || token == "" {
		return nil, "does not have the id and the token of a Discord webhook"
	}
	at := url.URL{Scheme: "https", Host: "discord.com", Path: "/api/webhooks/" + id + "/" + token}
	s := &service{
		name: "Discord", answers: discordAnswers(), limit: 2000, unit: "characters", read: readDiscord,
		probe: probe{method: http.MethodGet, url: at.String()},
		encode: func(p *post) (any, int) {
			text := p.whole(bold("**", p.title), p.link)
			body := map[string]any{"content": text, "allowed_mentions": map[string]any{"parse": []string{}}}
			if p.level == low {
				body["flags"] = withoutSound
			}
			return body, units(text)
		},
	}
	// Without wait Discord answers before it has saved the message, and does not say if it fails.
	query := url.Values{"wait": {"true"}}
	if thread := u.Query().Get("thread_id"); thread != "" {
		if !snowflake.MatchString(thread) {
			return nil, "has a thread_id that is none"
		}
		query.Set("thread_id", thread)
	}
	at.RawQuery = query.Encode()
	s.post = at.String()
	s.hide(token)
	return s, ""
}

// readDiscord reads a message, or an error.
func readDiscord(body []byte) reply {
	var said struct {
		ID      string  `json:"id"`
		Code    int     `json:"code"`
		Message string  `json:"message"`
		After   float64 `json:"retry_after"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	r := reply{id: said.ID, text: said.Message, after: seconds(said.After)}
	if said.Code != 0 {
		r.code = strconv.Itoa(said.Code)
	}
	if said.Code == 50035 {
		r.text = "" // "Invalid Form Body": what is wrong stands in the rest
	}
	return r
}

// seconds is a duration of at most a day.
func seconds(n float64) time.Duration {
	return time.Duration(min(max(n, 0), 86400) * float64(time.Second))
}
