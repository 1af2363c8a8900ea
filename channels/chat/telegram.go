package chat

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"nudge/channels"
)

// telegramAnswers are the Bot API's. It has no codes: the words of its description stand for them.
func telegramAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "chat not found", Class: channels.ClassCredential, About: "Telegram: no such chat, or the bot is not in it"},
		{Status: 400, Code: "group chat was upgraded to a supergroup chat", Class: channels.ClassCredential, About: "Telegram: the group has a new id"},
		{Status: 400, Code: "message thread not found", Class: channels.ClassCredential, About: "Telegram: no such topic in the group"},
		{Status: 400, Code: "not enough rights to send text messages to the chat", Class: channels.ClassCredential, About: "Telegram: the bot may not write there"},
		{Status: 400, Code: "message is too long", Class: channels.ClassMessage, About: "Telegram: above 4096 characters"},
		{Status: 400, Code: "message text is empty", Class: channels.ClassMessage, About: "Telegram: no text"},
		{Status: 401, Code: "Unauthorized", Class: channels.ClassCredential, About: "Telegram: the bot's token is wrong or revoked"},
		{Status: 403, Code: "bot was kicked from the group chat", Class: channels.ClassCredential, About: "Telegram: the bot was removed from the group"},
		{Status: 403, Code: "bot was blocked by the user", Class: channels.ClassCredential, About: "Telegram: the person of the chat has blocked the bot"},
		{Status: 404, Code: "Not Found", Class: channels.ClassCredential, About: "Telegram: the bot's token is malformed"},
	}
}

// telegramToken and telegramChat are the forms of a bot's token and of a chat (@name, or an id) with an
// optional topic.
var (
	telegramToken = regexp.MustCompile(`^[0-9]{3,}:[A-Za-z0-9_-]{10,}$`)
	telegramChat  = regexp.MustCompile(`^(@[A-Za-z0-9_]{3,}|-?[0-9]+)(:[0-9]+)?$`)
)

// telegramURL is telegram://TOKEN@telegram?chats=CHAT.
func telegramURL(u *url.URL) (*service, string) {
	if problem := onlyQuery(u, "chats", "channels"); problem != "" {
		return nil, problem
	}
	secret, _ := u.User.Password()
	token := u.User.Username() + ":" + secret
	if !telegramToken.MatchString(token) {
		return nil, "does not have the token of a Telegram bot"
	}
	chat := u.Query().Get("chats") + u.Query().Get("channels")
	switch {
	case strings.Contains(chat, ","):
		return nil, "names several chats, and a part of a message cannot be repeated: write a channel for each"
	case !telegramChat.MatchString(chat):
		return nil, "does not name a chat of Telegram, ?chats=@name or ?chats=-1001234567890"
	}
	chat, topic, _ := strings.Cut(chat, ":")
	to := map[string]any{"chat_id": chat}
	if id, err := strconv.ParseInt(chat, 10, 64); err == nil {
		to["chat_id"] = id
	}
	base := "https://api.telegram.org/bot" + token
	s := &service{
		name: "Telegram", post: base + "/sendMessage", answers: telegramAnswers(), limit: 4096, unit: "characters", read: readTelegram,
		probe: probe{method: http.MethodGet, url: base + "/getChat?" + url.Values{"chat_id": {chat}}.Encode()},
		encode: func(p *post) (any, int) {
			text := p.whole(p.title, p.link)
			body := map[string]any{"chat_id": to["chat_id"], "text": text}
			if p.title != "" { // an entity needs no escaping, as Telegram's formats would
				body["entities"] = []any{map[string]any{"type": "bold", "offset": 0, "length": units(p.title)}}
			}
			if thread, err := strconv.ParseInt(topic, 10, 64); err == nil {
				body["message_thread_id"] = thread
			}
			if p.level == low {
				body["disable_notification"] = true
			}
			return body, units(text)
		},
	}
	s.hide(token, secret)
	return s, ""
}

// readTelegram reads {"ok":…}.
func readTelegram(body []byte) reply {
	var said struct {
		OK          *bool           `json:"ok"`
		Description string          `json:"description"`
		Result      json.RawMessage `json:"result"`
		Parameters  struct {
			After float64 `json:"retry_after"`
		} `json:"parameters"`
	}
	if json.Unmarshal(body, &said) != nil || said.OK == nil {
		return reply{}
	}
	r := reply{text: said.Description, refused: !*said.OK, after: seconds(said.Parameters.After)}
	for _, prefix := range []string{"Bad Request: ", "Forbidden: ", ""} {
		if rest, ok := strings.CutPrefix(said.Description, prefix); ok {
			r.code = rest
			break
		}
	}
	if strings.HasPrefix(r.code, "Too Many Requests") { // goes on with the seconds, and a code is no place for them
		r.code = "Too Many Requests"
	}
	var message struct {
		ID int64 `json:"message_id"`
	}
	if json.Unmarshal(said.Result, &message) == nil && message.ID != 0 {
		r.id = strconv.FormatInt(message.ID, 10)
	}
	return r
}
