package chatd

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"nudge/channels/channeltest/provider"
)

// More secrets that are made up.
const (
	googleToken    = "madeUpGoogleToken00000000"
	googleKey      = "madeUpGoogleKey00000000"
	rocketPath     = "/hooks/madeUpRocketA0000/madeUpRocketB0000"
	matrixToken    = "madeUpMatrixToken00000000"
	zulipKey       = "madeUpZulipKey00000000"
	larkToken      = "madeUpLarkToken-00000000"
	weComKey       = "madeUpWeComKey-00000000"
	signalPassword = "madeUpSignalPassword"
	pushoverToken  = "madeUpPushoverToken00000000000"
	pushoverUser   = "madeUpPushoverUser000000000000"
	barkKey        = "madeUpBarkKey000000000"
	joinKey        = "madeUpJoinKey0000000000"
	iftttKey       = "madeUpIFTTTKey0000000"
	opsgenieKey    = "madeUp00-0000-4000-8000-000000000000"
	pagerDutyKey   = "00000000000000000000000000badeef"
	notifiarrKey   = "madeUp11-0000-4000-8000-000000000000"
)

// unauthorised tells a caller that it is not known.
func unauthorised(refuse func(int, string) provider.Answer, code string) provider.Answer {
	return refuse(http.StatusUnauthorized, code)
}

// nothing answers requests that are no posts as a web server without that page.
func nothing(*http.Request) provider.Answer {
	return plain(http.StatusNotFound, "", "page not found")
}

// form are the fields of a body that is a form.
func form(r *http.Request, raw []byte) (map[string]any, bool) {
	values, err := url.ParseQuery(string(raw))
	if err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, false
	}
	return firsts(values), true
}

// query are the fields of a request whose message stands in its URL.
func query(r *http.Request, _ []byte) (map[string]any, bool) { return firsts(r.URL.Query()), true }

// firsts are the first values.
func firsts(values url.Values) map[string]any {
	body := map[string]any{}
	for name := range values {
		body[name] = values.Get(name)
	}
	return body
}

// coded is a refusal with a code that is a number; without one it is a page of whatever stands before the service.
func coded(status int, code string, body func(n int) any) provider.Answer {
	n, err := strconv.Atoi(code)
	if err != nil {
		return plain(status, "", http.StatusText(status))
	}
	return answer(status, code, body(n))
}

// googleChat is an incoming webhook of a space.
func googleChat() service {
	refuse := func(status int, code string) provider.Answer {
		failure := map[string]any{"code": status, "message": "Request refused: " + http.StatusText(status), "status": code}
		if code == "API_KEY_INVALID" {
			failure["status"], failure["details"] = "INVALID_ARGUMENT", []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "googleapis.com"}}
		}
		return answer(status, code, map[string]any{"error": failure})
	}
	const path = "/v1/spaces/AAAATEST/messages"
	return service{
		url: func(*Server) string {
			return "https://chat.googleapis.com" + path + "?key=" + googleKey + "&token=" + googleToken
		},
		path:   path,
		refuse: refuse,
		ask:    nothing,
		post: func(r *http.Request, body map[string]any) provider.Answer {
			q := r.URL.Query()
			switch n := utf8.RuneCountInString(text(body, "text")); {
			case q.Get("key") != googleKey:
				return refuse(http.StatusBadRequest, "API_KEY_INVALID")
			case q.Get("token") != googleToken:
				return unauthorised(refuse, "UNAUTHENTICATED")
			case n == 0 || n > 4096:
				return refuse(http.StatusBadRequest, "INVALID_ARGUMENT")
			}
			return answer(http.StatusOK, "", map[string]any{"name": "spaces/AAAATEST/messages/m1.m1", "text": text(body, "text")})
		},
	}
}

// rocketChat is an incoming webhook.
func rocketChat() service {
	refuse := func(status int, code string) provider.Answer {
		if code == "" {
			code = http.StatusText(status)
		}
		return answer(status, code, map[string]any{"success": false, "error": code})
	}
	return service{
		url: func(s *Server) string {
			return "rocketchat://nudge@" + s.address() + strings.TrimPrefix(rocketPath, "/hooks") + "/alerts"
		},
		own:    true,
		path:   rocketPath,
		refuse: refuse,
		ask:    nothing,
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			switch {
			case text(body, "channel") != "#alerts":
				return refuse(http.StatusBadRequest, "invalid-channel")
			case text(body, "text") == "":
				return refuse(http.StatusBadRequest, "error-invalid-message")
			}
			return answer(http.StatusOK, "", map[string]any{"success": true})
		},
	}
}

// matrix is the client-server API: a room is joined, and then written to.
func matrix() service {
	refuse := func(status int, code string) provider.Answer {
		body := map[string]any{"errcode": code, "error": "Refused: " + http.StatusText(status)}
		if code == "" {
			body["errcode"] = "M_UNKNOWN"
		}
		if status == http.StatusTooManyRequests {
			body["retry_after_ms"] = 2000
		}
		return answer(status, code, body)
	}
	const room = "!room:madeup.example"
	known := func(r *http.Request) bool {
		return r.URL.Query().Get("access_token") == matrixToken || r.Header.Get("Authorization") == "Bearer "+matrixToken
	}
	return service{
		url: func(s *Server) string {
			return "matrix://:" + matrixToken + "@" + s.address() + "/?rooms=alerts:madeup.example"
		},
		own:    true,
		path:   "/_matrix/client/r0/rooms/" + room + "/send/m.room.message",
		refuse: refuse,
		before: func(r *http.Request) (provider.Answer, bool) {
			alias, joins := strings.CutPrefix(r.URL.Path, "/_matrix/client/r0/join/")
			switch {
			case !joins:
				return provider.Answer{}, false
			case !known(r):
				return unauthorised(refuse, "M_UNKNOWN_TOKEN"), true
			case alias != "#alerts:madeup.example":
				return refuse(http.StatusNotFound, "M_NOT_FOUND"), true
			}
			return answer(http.StatusOK, "", map[string]any{"room_id": room}), true
		},
		ask: func(r *http.Request) provider.Answer {
			switch {
			case r.URL.Path != "/_matrix/client/r0/account/whoami":
				return refuse(http.StatusNotFound, "M_UNRECOGNIZED")
			case !known(r):
				return unauthorised(refuse, "M_UNKNOWN_TOKEN")
			}
			return answer(http.StatusOK, "", map[string]any{"user_id": "@nudge:madeup.example"})
		},
		post: func(r *http.Request, body map[string]any) provider.Answer {
			switch {
			case !known(r):
				return unauthorised(refuse, "M_UNKNOWN_TOKEN")
			case text(body, "msgtype") != "m.text" || text(body, "body") == "":
				return refuse(http.StatusBadRequest, "M_BAD_JSON")
			}
			return answer(http.StatusOK, "", map[string]any{"event_id": "$event1"})
		},
	}
}

// zulip is the API by which bots write to a stream.
func zulip() service {
	refuse := func(status int, code string) provider.Answer {
		body := map[string]any{"result": "error", "msg": http.StatusText(status), "code": code}
		if status == http.StatusTooManyRequests {
			body["retry-after"] = 1.5
		}
		return answer(status, code, body)
	}
	known := func(r *http.Request) bool {
		mail, key, ok := r.BasicAuth()
		return ok && mail == "nudge-bot@madeup.example" && key == zulipKey
	}
	return service{
		url: func(*Server) string {
			return "zulip://nudge-bot%40madeup.example:" + zulipKey + "@madeup.zulipchat.example?stream=alerts&topic=nudge"
		},
		path:   "/api/v1/messages",
		fields: form,
		refuse: refuse,
		ask: func(r *http.Request) provider.Answer {
			switch {
			case r.URL.Path != "/api/v1/users/me":
				return refuse(http.StatusNotFound, "")
			case !known(r):
				return unauthorised(refuse, "INVALID_API_KEY")
			}
			return answer(http.StatusOK, "", map[string]any{"result": "success", "msg": "", "user_id": 7})
		},
		post: func(r *http.Request, body map[string]any) provider.Answer {
			switch {
			case !known(r):
				return unauthorised(refuse, "INVALID_API_KEY")
			case text(body, "type") != "stream" || text(body, "content") == "":
				return refuse(http.StatusBadRequest, "BAD_REQUEST")
			case text(body, "to") != "alerts" || text(body, "topic") != "nudge":
				return refuse(http.StatusBadRequest, "STREAM_DOES_NOT_EXIST")
			}
			return answer(http.StatusOK, "", map[string]any{"result": "success", "msg": "", "id": 42})
		},
	}
}

// lark is a custom bot of a group. It refuses with 200.
func lark() service {
	refuse := func(status int, code string) provider.Answer {
		return coded(status, code, func(n int) any { return map[string]any{"code": n, "msg": "refused", "data": map[string]any{}} })
	}
	return service{
		url:    func(*Server) string { return "lark://open.larksuite.com/" + larkToken },
		path:   "/open-apis/bot/v2/hook/" + larkToken,
		refuse: refuse,
		says:   true,
		ask:    func(*http.Request) provider.Answer { return refuse(http.StatusOK, "19001") },
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			content, _ := body["content"].(map[string]any)
			if kind := text(body, "msg_type"); (kind != "text" || text(content, "text") == "") && (kind != "post" || content["post"] == nil) {
				return refuse(http.StatusOK, "19002")
			}
			return answer(http.StatusOK, "", map[string]any{"code": 0, "msg": "success", "data": map[string]any{}})
		},
	}
}

// weCom is a robot of a group. It refuses with 200.
func weCom() service {
	refuse := func(status int, code string) provider.Answer {
		return coded(status, code, func(n int) any { return map[string]any{"errcode": n, "errmsg": "refused, hint: [1700000000]"} })
	}
	return service{
		url:    func(*Server) string { return "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=" + weComKey },
		path:   "/cgi-bin/webhook/send",
		refuse: refuse,
		says:   true,
		ask:    nothing,
		post: func(r *http.Request, body map[string]any) provider.Answer {
			content, _ := body["text"].(map[string]any)
			switch n := len(text(content, "content")); {
			case r.URL.Query().Get("key") != weComKey:
				return refuse(http.StatusOK, "93000")
			case text(body, "msgtype") != "text":
				return refuse(http.StatusOK, "40008")
			case n == 0:
				return refuse(http.StatusOK, "44004")
			case n > 2048:
				return refuse(http.StatusOK, "45002")
			}
			return answer(http.StatusOK, "", map[string]any{"errcode": 0, "errmsg": "ok"})
		},
	}
}

// signal is signal-cli-rest-api.
func signal() service {
	refuse := func(status int, _ string) provider.Answer {
		return answer(status, "", map[string]any{"error": "Couldn't send: " + http.StatusText(status)})
	}
	return service{
		url: func(s *Server) string {
			return "signal://nudge:" + signalPassword + "@" + s.address() + "/+4915100000000/+4915100000001/group.madeUpGroup0000="
		},
		own:    true,
		path:   "/v2/send",
		refuse: refuse,
		ask:    nothing,
		post: func(r *http.Request, body map[string]any) provider.Answer {
			user, password, _ := r.BasicAuth()
			to, _ := body["recipients"].([]any)
			switch {
			case user != "nudge" || password != signalPassword:
				return unauthorised(refuse, "")
			case text(body, "number") != "+4915100000000" || len(to) != 2 || text(body, "message") == "":
				return refuse(http.StatusBadRequest, "")
			}
			return answer(http.StatusCreated, "", map[string]any{"timestamp": "1700000000000"})
		},
	}
}

// pushover is the API of messages, which names the field that it refuses.
func pushover() service {
	refuse := func(status int, code string) provider.Answer {
		body := map[string]any{"status": 0, "request": "00000000-0000-4000-8000-000000000001", "errors": []string{"refused: " + http.StatusText(status)}}
		if field, what, ok := strings.Cut(code, " "); ok && field != "application" {
			body[field], body["errors"] = what, []string{code}
		} else if ok {
			body["errors"] = []string{code}
		}
		return answer(status, code, body)
	}
	return service{
		url:    func(*Server) string { return "pushover://:" + pushoverToken + "@" + pushoverUser + "/?devices=desk" },
		path:   "/1/messages.json",
		fields: form,
		refuse: refuse,
		ask:    nothing,
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			switch {
			case text(body, "token") != pushoverToken:
				return refuse(http.StatusBadRequest, "token invalid")
			case text(body, "user") != pushoverUser:
				return refuse(http.StatusBadRequest, "user invalid")
			case text(body, "message") == "":
				return refuse(http.StatusBadRequest, "message cannot be blank")
			}
			return answer(http.StatusOK, "", map[string]any{"status": 1, "request": "00000000-0000-4000-8000-000000000002"})
		},
	}
}

// bark is bark-server.
func bark() service {
	refuse := func(status int, code string) provider.Answer {
		message := http.StatusText(status)
		if code != "" {
			message = code + ": refused"
		}
		return answer(status, code, map[string]any{"code": status, "message": message, "timestamp": 1700000000})
	}
	return service{
		url:    func(s *Server) string { return "bark://:" + barkKey + "@" + s.address() + "/" },
		own:    true,
		path:   "/push",
		refuse: refuse,
		ask:    nothing,
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			if text(body, "device_key") != barkKey {
				return refuse(http.StatusBadRequest, "failed to get device token")
			}
			return answer(http.StatusOK, "", map[string]any{"code": 200, "message": "success", "timestamp": 1700000000})
		},
	}
}

// join is the API of pushes, whose message stands in the URL.
func join() service {
	refuse := func(status int, _ string) provider.Answer {
		return answer(status, "", map[string]any{"success": false, "errorMessage": "refused"})
	}
	return service{
		url:    func(*Server) string { return "join://:" + joinKey + "@join/?devices=desk" },
		path:   "/_ah/api/messaging/v1/sendPush",
		fields: query,
		refuse: refuse,
		ask:    nothing,
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			if text(body, "apikey") != joinKey || text(body, "deviceIds") != "desk" || text(body, "text") == "" {
				return refuse(http.StatusOK, "")
			}
			return answer(http.StatusOK, "", map[string]any{"success": true, "errorMessage": ""})
		},
	}
}

// ifttt is an event of the service Webhooks.
func ifttt() service {
	refuse := func(status int, _ string) provider.Answer {
		return answer(status, "", map[string]any{"errors": []any{map[string]any{"message": "Refused: " + http.StatusText(status)}}})
	}
	return service{
		url:    func(*Server) string { return "ifttt://" + iftttKey + "/?events=alert" },
		path:   "/trigger/alert/with/key/" + iftttKey,
		refuse: refuse,
		ask:    func(*http.Request) provider.Answer { return refuse(http.StatusUnauthorized, "") },
		post: func(*http.Request, map[string]any) provider.Answer {
			return plain(http.StatusOK, "", "Congratulations! You've fired the alert event")
		},
	}
}

// opsgenie is the API of alerts.
func opsgenie() service {
	refuse := func(status int, _ string) provider.Answer {
		return answer(status, "", map[string]any{"message": "Refused: " + http.StatusText(status), "took": 0.001, "requestId": "r0"})
	}
	return service{
		url:    func(s *Server) string { return "opsgenie://" + s.address() + "/" + opsgenieKey },
		own:    true,
		path:   "/v2/alerts",
		refuse: refuse,
		ask:    nothing,
		post: func(r *http.Request, body map[string]any) provider.Answer {
			n := utf8.RuneCountInString(text(body, "message"))
			switch {
			case r.Header.Get("Authorization") != "GenieKey "+opsgenieKey:
				return unauthorised(refuse, "")
			case n == 0 || n > 130:
				return refuse(http.StatusUnprocessableEntity, "")
			}
			return answer(http.StatusAccepted, "", map[string]any{"result": "Request will be processed", "took": 0.1, "requestId": "r1"})
		},
	}
}

// pagerDuty is the Events API.
func pagerDuty() service {
	refuse := func(status int, _ string) provider.Answer {
		return answer(status, "", map[string]any{"status": "invalid event", "message": "Event object is invalid", "errors": []string{http.StatusText(status)}})
	}
	return service{
		url:    func(s *Server) string { return "pagerduty://" + s.address() + "/" + pagerDutyKey + "?source=nudge" },
		own:    true,
		path:   "/v2/enqueue",
		refuse: refuse,
		ask:    nothing,
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			payload, _ := body["payload"].(map[string]any)
			if text(body, "routing_key") != pagerDutyKey || text(body, "event_action") != "trigger" ||
				text(payload, "summary") == "" || text(payload, "severity") == "" || text(payload, "source") != "nudge" {
				return refuse(http.StatusBadRequest, "")
			}
			key := text(body, "dedup_key")
			if len(key) > 255 {
				return refuse(http.StatusBadRequest, "")
			}
			if key == "" { // the service makes one up
				key = "d1"
			}
			return answer(http.StatusAccepted, "", map[string]any{"status": "success", "message": "Event processed", "dedup_key": key})
		},
	}
}

// notifiarr is the integration "passthrough".
func notifiarr() service {
	refuse := func(status int, _ string) provider.Answer {
		return answer(status, "", map[string]any{"result": "error", "details": map[string]any{"response": "refused"}})
	}
	return service{
		url:    func(*Server) string { return "notifiarr://" + notifiarrKey + "?channel=123456789012345678" },
		path:   "/api/v1/notification/passthrough/" + notifiarrKey,
		refuse: refuse,
		ask:    func(*http.Request) provider.Answer { return refuse(http.StatusUnauthorized, "") },
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			discord, _ := body["discord"].(map[string]any)
			if words, _ := discord["text"].(map[string]any); text(words, "description") == "" {
				return refuse(http.StatusBadRequest, "")
			}
			return answer(http.StatusOK, "", map[string]any{"result": "success", "details": map[string]any{"response": "sent"}})
		},
	}
}

// Refusal is the body of a service's refusal, and whether the service gives it with 200.
func Refusal(name string, status int, code string) (body []byte, says bool) {
	s := services()[name]
	return s.refuse(status, code).Body, s.says
}

// decoded is a body in which a message's text stands as it is: forms and URLs have it escaped.
func (s *Server) decoded(r *http.Request, body []byte) string {
	if json.Valid(body) {
		return string(body)
	}
	raw := string(body)
	if len(body) == 0 {
		raw = r.URL.RawQuery
	}
	if plain, err := url.QueryUnescape(raw); err == nil {
		return plain
	}
	return raw
}
