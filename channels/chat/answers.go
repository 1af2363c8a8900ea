package chat

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"nudge/channels"
)

// What the services of more.go answer: the codes by which they refuse, and how their answers are read.

// googleChatAnswers are Google's canonical codes, by their reasons where they have one.
func googleChatAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "INVALID_ARGUMENT", Class: channels.ClassMessage, About: "Google Chat: the message is malformed or too long"},
		{Status: 400, Code: "API_KEY_INVALID", Class: channels.ClassCredential, About: "Google Chat: the key in the URL is wrong"},
		{Status: 401, Code: "UNAUTHENTICATED", Class: channels.ClassCredential, About: "Google Chat: the token in the URL is wrong"},
		{Status: 403, Code: "PERMISSION_DENIED", Class: channels.ClassCredential, About: "Google Chat: the webhook may not post in the space"},
		{Status: 404, Code: "NOT_FOUND", Class: channels.ClassCredential, About: "Google Chat: the webhook or the space is gone"},
		{Status: 429, Code: "RESOURCE_EXHAUSTED", Class: channels.ClassRateLimit, About: "Google Chat: above one message a second in the space"},
		{Status: 503, Code: "UNAVAILABLE", Class: channels.ClassTemporary, About: "Google Chat: an error there"},
	}
}

// readGoogleChat reads a message, or an error.
func readGoogleChat(body []byte) reply {
	var said struct {
		Name  string `json:"name"`
		Error struct {
			Status  string `json:"status"`
			Message string `json:"message"`
			Details []struct {
				Reason string `json:"reason"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	r := reply{id: said.Name, code: said.Error.Status, text: said.Error.Message}
	for _, d := range said.Error.Details {
		if d.Reason == "API_KEY_INVALID" {
			r.code = d.Reason
		}
	}
	return r
}

// rocketChatAnswers are Rocket.Chat's.
func rocketChatAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "Invalid integration id or token provided.", Class: channels.ClassCredential, About: "Rocket.Chat: the webhook's tokens are wrong, or it is switched off"},
		{Status: 400, Code: "invalid-channel", Class: channels.ClassCredential, About: "Rocket.Chat: no such channel, or the webhook may not post there"},
	}
}

// readRocketChat reads {"success":…}.
func readRocketChat(body []byte) reply {
	var said struct {
		Success *bool  `json:"success"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil || said.Success == nil {
		return reply{}
	}
	return reply{code: said.Error, text: said.Error, refused: !*said.Success}
}

// matrixAnswers are the client-server API's error codes that joining and posting meet.
func matrixAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "M_BAD_JSON", Class: channels.ClassMessage, About: "Matrix: the message is malformed"},
		{Status: 400, Code: "M_INVALID_PARAM", Class: channels.ClassCredential, About: "Matrix: the room's id or alias is malformed"},
		{Status: 401, Code: "M_MISSING_TOKEN", Class: channels.ClassCredential, About: "Matrix: no access token"},
		{Status: 401, Code: "M_UNKNOWN_TOKEN", Class: channels.ClassCredential, About: "Matrix: the access token is wrong or was revoked"},
		{Status: 403, Code: "M_FORBIDDEN", Class: channels.ClassCredential, About: "Matrix: the bot may not join the room, or not write there"},
		{Status: 404, Code: "M_NOT_FOUND", Class: channels.ClassCredential, About: "Matrix: no such room"},
		{Status: 413, Code: "M_TOO_LARGE", Class: channels.ClassMessage, About: "Matrix: the message is too long"},
		{Status: 429, Code: "M_LIMIT_EXCEEDED", Class: channels.ClassRateLimit, About: "Matrix: too fast; `retry_after_ms` in the answer is honoured"},
	}
}

// readMatrix reads an event, or an error.
func readMatrix(body []byte) reply {
	var said struct {
		ID    string  `json:"event_id"`
		Code  string  `json:"errcode"`
		Error string  `json:"error"`
		After float64 `json:"retry_after_ms"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{id: said.ID, code: said.Code, text: said.Error, after: seconds(said.After / 1000)}
}

// zulipAnswers are Zulip's error codes that a message meets.
func zulipAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "STREAM_DOES_NOT_EXIST", Class: channels.ClassCredential, About: "Zulip: no such stream, or the bot may not see it"},
		{Status: 400, Code: "BAD_REQUEST", Class: channels.ClassMessage, About: "Zulip: the message is refused"},
		{Status: 401, Code: "INVALID_API_KEY", Class: channels.ClassCredential, About: "Zulip: the bot's key is wrong"},
		{Status: 401, Code: "UNAUTHORIZED", Class: channels.ClassCredential, About: "Zulip: the bot's mail or key are wrong"},
		{Status: 401, Code: "USER_DEACTIVATED", Class: channels.ClassCredential, About: "Zulip: the bot is switched off"},
		{Status: 401, Code: "REALM_DEACTIVATED", Class: channels.ClassCredential, About: "Zulip: the organisation is switched off"},
		{Status: 429, Code: "RATE_LIMIT_HIT", Class: channels.ClassRateLimit, About: "Zulip: too fast; `retry-after` in the answer is honoured"},
	}
}

// readZulip reads {"result":…}.
func readZulip(body []byte) reply {
	var said struct {
		Result string  `json:"result"`
		Code   string  `json:"code"`
		Msg    string  `json:"msg"`
		ID     int64   `json:"id"`
		After  float64 `json:"retry-after"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{id: number(said.ID), code: said.Code, text: said.Msg, refused: said.Result == "error", after: seconds(said.After)}
}

// larkAnswers are the codes of Lark's custom bots, which come with 200 or 400.
func larkAnswers() []channels.Answer {
	return []channels.Answer{
		{Code: "19001", Class: channels.ClassCredential, About: "Lark: the bot's URL is wrong, or the bot was removed"},
		{Code: "19021", Class: channels.ClassCredential, About: "Lark: the signature is wrong (the secret, or this machine's clock)"},
		{Code: "19022", Class: channels.ClassCredential, About: "Lark: this machine's address is not allowed"},
		{Code: "19024", Class: channels.ClassMessage, About: "Lark: the message has none of the bot's keywords"},
		{Code: "19002", Class: channels.ClassMessage, About: "Lark: the message is malformed"},
		{Status: 400, Code: "9499", Class: channels.ClassMessage, About: "Lark: the request is malformed"},
		{Code: "11232", Class: channels.ClassRateLimit, About: "Lark: above 5 messages a second or 100 a minute"},
	}
}

// readLark reads {"code":…}.
func readLark(body []byte) reply {
	var said struct {
		Code int64  `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{code: number(said.Code), text: said.Msg, refused: said.Code != 0}
}

// weComAnswers are the codes of WeCom's group robots, which come with 200.
func weComAnswers() []channels.Answer {
	return []channels.Answer{
		{Code: "-1", Class: channels.ClassTemporary, About: "WeCom: an error there"},
		{Code: "93000", Class: channels.ClassCredential, About: "WeCom: the key is wrong, or the robot was removed"},
		{Code: "93008", Class: channels.ClassCredential, About: "WeCom: the robot is not in the group"},
		{Code: "40008", Class: channels.ClassMessage, About: "WeCom: the message is malformed"},
		{Code: "40058", Class: channels.ClassMessage, About: "WeCom: the message is empty or too long"},
		{Code: "44004", Class: channels.ClassMessage, About: "WeCom: the message is empty"},
		{Code: "45002", Class: channels.ClassMessage, About: "WeCom: the message is too long"},
		{Code: "45009", Class: channels.ClassRateLimit, About: "WeCom: above 20 messages a minute"},
		{Code: "45033", Class: channels.ClassRateLimit, About: "WeCom: too many at once"},
	}
}

// readWeCom reads {"errcode":…}.
func readWeCom(body []byte) reply {
	var said struct {
		Code int64  `json:"errcode"`
		Msg  string `json:"errmsg"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{code: number(said.Code), text: said.Msg, refused: said.Code != 0}
}

// readSignal reads signal-cli-rest-api's timestamp, or its error.
func readSignal(body []byte) reply {
	var said struct {
		Timestamp any    `json:"timestamp"`
		Error     string `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	r := reply{text: said.Error}
	switch at := said.Timestamp.(type) { // a string in newer versions
	case string:
		r.id = at
	case float64:
		r.id = number(int64(at))
	}
	return r
}

// pushoverAnswers are Pushover's: it names the field that it refuses.
func pushoverAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "token invalid", Class: channels.ClassCredential, About: "Pushover: the application's token is wrong"},
		{Status: 400, Code: "user invalid", Class: channels.ClassCredential, About: "Pushover: the user's key is wrong, or the user has no device of that name"},
		{Status: 400, Code: "message cannot be blank", Class: channels.ClassMessage, About: "Pushover: no text"},
		{Status: 429, Code: "application is over its quota", Class: channels.ClassRateLimit, About: "Pushover: the month's messages are used up"},
	}
}

// readPushover reads {"status":…}.
func readPushover(body []byte) reply {
	var said struct {
		Status  *int     `json:"status"`
		Request string   `json:"request"`
		Token   string   `json:"token"`
		User    string   `json:"user"`
		Message string   `json:"message"`
		Errors  []string `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil || said.Status == nil {
		return reply{}
	}
	r := reply{id: said.Request, text: strings.Join(said.Errors, "; "), refused: *said.Status != 1}
	switch {
	case said.Token != "":
		r.code = "token " + said.Token
	case said.User != "":
		r.code = "user " + said.User
	case said.Message != "":
		r.code = "message " + said.Message
	case len(said.Errors) > 0 && strings.Contains(said.Errors[0], "quota"):
		r.code = "application is over its quota"
	}
	return r
}

// barkAnswers are those of bark-server, which says all in its message.
func barkAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "failed to get device token", Class: channels.ClassCredential, About: "Bark: no device has this key"},
	}
}

// readBark reads {"code":…}.
func readBark(body []byte) reply {
	var said struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil || said.Code == 0 {
		return reply{}
	}
	code, _, _ := strings.Cut(said.Message, ":")
	return reply{code: code, text: said.Message, refused: said.Code != http.StatusOK}
}

// readJoin reads {"success":…}: Join refuses with 200.
func readJoin(body []byte) reply {
	var said struct {
		Success *bool  `json:"success"`
		Error   string `json:"errorMessage"`
	}
	if json.Unmarshal(body, &said) != nil || said.Success == nil {
		return reply{}
	}
	return reply{text: said.Error, refused: !*said.Success}
}

// readIFTTT reads {"errors":…}; what is accepted is answered with a sentence.
func readIFTTT(body []byte) reply {
	var said struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil || len(said.Errors) == 0 {
		return reply{}
	}
	return reply{text: said.Errors[0].Message, refused: true}
}

// readOpsgenie reads the id of a request that was taken, or an error.
func readOpsgenie(body []byte) reply {
	var said struct {
		ID      string `json:"requestId"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{id: said.ID, text: said.Message}
}

// readPagerDuty reads {"status":…}.
func readPagerDuty(body []byte) reply {
	var said struct {
		Key     string   `json:"dedup_key"`
		Message string   `json:"message"`
		Errors  []string `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{id: said.Key, text: strings.Join(slices.Concat([]string{said.Message}, said.Errors), "; ")}
}

// readNotifiarr reads {"result":…}.
func readNotifiarr(body []byte) reply {
	var said struct {
		Result  string `json:"result"`
		Details struct {
			Response any `json:"response"`
		} `json:"details"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	text, _ := said.Details.Response.(string)
	return reply{text: text, refused: said.Result == "error"}
}

// number is an id or a code, "" for 0.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
