package chatd

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"nudge/channels/channeltest/provider"
)

// The secrets are made up, and plainly so.
const (
	slackHook      = "T0000TEST/B0000TEST/madeUpHookSecret00000000"
	slackToken     = "madeUpBotSecret00000000"
	discordToken   = "madeUpDiscordSecret-00000000"
	telegramToken  = "123456789:madeUpTelegramSecret-00000000"
	teamsSignature = "madeUpTeamsSignature00000000"
	ntfyPassword   = "madeUpNtfyPassword"
	gotifyToken    = "AmadeUpGotify00"
	mattermostHook = "madeupmattermosthook000000"
)

// PatienceOf is how long a service's 429 asks to wait, in milliseconds, where it says so in its body.
func PatienceOf(service string) int {
	switch service {
	case "discord":
		return 1337
	case "telegram":
		return 5000
	case "matrix":
		return 2000
	case "zulip":
		return 1500
	}
	return 0
}

// slack is an incoming webhook.
func slack() service {
	refuse := func(status int, code string) provider.Answer {
		words := map[int]string{400: "invalid_payload", 403: "action_prohibited", 404: "no_service", 410: "channel_is_archived", 500: "rollup_error"}
		if code == "" {
			code = words[status]
		}
		return plain(status, code, code)
	}
	return service{
		url:    func(*Server) string { return "https://hooks.slack.com/services/" + slackHook },
		path:   "/services/" + slackHook,
		refuse: refuse,
		ask:    func(*http.Request) provider.Answer { return refuse(http.StatusNotFound, "no_service") },
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			if text(body, "text") == "" {
				return refuse(http.StatusBadRequest, "no_text")
			}
			return plain(http.StatusOK, "", "ok")
		},
	}
}

// slackBot is chat.postMessage, which answers 200 whatever happens, but for its rate limit.
func slackBot() service {
	refuse := func(status int, code string) provider.Answer {
		return answer(status, code, map[string]any{"ok": false, "error": code})
	}
	known := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer xoxb-"+slackToken }
	return service{
		says:   true,
		url:    func(*Server) string { return "slack://xoxb:" + slackToken + "@C0000TEST" },
		path:   "/api/chat.postMessage",
		refuse: refuse,
		ask: func(r *http.Request) provider.Answer {
			switch {
			case r.URL.Path != "/api/auth.test":
				return refuse(http.StatusOK, "unknown_method")
			case !known(r):
				return refuse(http.StatusOK, "invalid_auth")
			}
			return answer(http.StatusOK, "", map[string]any{"ok": true, "team": "Test"})
		},
		post: func(r *http.Request, body map[string]any) provider.Answer {
			switch {
			case !known(r):
				return refuse(http.StatusOK, "invalid_auth")
			case text(body, "channel") != "C0000TEST":
				return refuse(http.StatusOK, "channel_not_found")
			case text(body, "text") == "":
				return refuse(http.StatusOK, "no_text")
			}
			return answer(http.StatusOK, "", map[string]any{"ok": true, "channel": "C0000TEST", "ts": "1503435956.000247"})
		},
	}
}

// discord is a webhook.
func discord() service {
	refuse := func(status int, code string) provider.Answer {
		if status == http.StatusTooManyRequests {
			body := map[string]any{"message": "You are being rate limited.", "retry_after": 1.337, "global": false}
			if n, err := strconv.Atoi(code); err == nil {
				body["code"] = n
			}
			return answer(status, code, body)
		}
		n, err := strconv.Atoi(code)
		if err != nil {
			n = 0
		}
		return answer(status, code, map[string]any{"message": http.StatusText(status), "code": n})
	}
	const path = "/api/webhooks/123456789012345678/" + discordToken
	return service{
		url:    func(*Server) string { return "https://discord.com" + path },
		path:   path,
		refuse: refuse,
		ask: func(r *http.Request) provider.Answer {
			switch {
			case r.URL.Path == path && r.Method == http.MethodGet:
				return answer(http.StatusOK, "", map[string]any{"id": "123456789012345678", "type": 1, "name": "test"})
			case strings.HasPrefix(r.URL.Path, "/api/webhooks/123456789012345678/"):
				return refuse(http.StatusUnauthorized, "50027")
			}
			return refuse(http.StatusNotFound, "10015")
		},
		post: func(r *http.Request, body map[string]any) provider.Answer {
			switch n := utf8.RuneCountInString(text(body, "content")); {
			case n == 0:
				return refuse(http.StatusBadRequest, "50006")
			case n > 2000:
				return refuse(http.StatusBadRequest, "50035")
			case r.URL.Query().Get("wait") != "true":
				return provider.Answer{Status: http.StatusNoContent}
			}
			return answer(http.StatusOK, "", map[string]any{"id": "1234567890123456789", "content": text(body, "content")})
		},
	}
}

// telegram is the Bot API's sendMessage.
func telegram() service {
	refuse := func(status int, code string) provider.Answer {
		body := map[string]any{"ok": false, "error_code": status, "description": code}
		switch {
		case status == http.StatusTooManyRequests:
			body["description"], body["parameters"] = "Too Many Requests: retry after 5", map[string]any{"retry_after": 5}
		case status == http.StatusBadRequest && code != "":
			body["description"] = "Bad Request: " + code
		case status == http.StatusForbidden && code != "":
			body["description"] = "Forbidden: " + code
		case code == "":
			body["description"] = http.StatusText(status)
		}
		return answer(status, code, body)
	}
	const base = "/bot" + telegramToken
	return service{
		url:    func(*Server) string { return "telegram://" + telegramToken + "@telegram?chats=-1001234567890:17" },
		path:   base + "/sendMessage",
		refuse: refuse,
		ask: func(r *http.Request) provider.Answer {
			switch {
			case !strings.HasPrefix(r.URL.Path, base+"/"):
				return refuse(http.StatusUnauthorized, "Unauthorized")
			case r.URL.Path != base+"/getChat":
				return refuse(http.StatusNotFound, "Not Found")
			case r.URL.Query().Get("chat_id") != "-1001234567890":
				return refuse(http.StatusBadRequest, "chat not found")
			}
			return answer(http.StatusOK, "", map[string]any{"ok": true, "result": map[string]any{"id": -1001234567890, "type": "supergroup"}})
		},
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			switch n := utf8.RuneCountInString(text(body, "text")); {
			case body["chat_id"] != float64(-1001234567890):
				return refuse(http.StatusBadRequest, "chat not found")
			case body["message_thread_id"] != float64(17):
				return refuse(http.StatusBadRequest, "message thread not found")
			case n == 0:
				return refuse(http.StatusBadRequest, "message text is empty")
			case n > 4096:
				return refuse(http.StatusBadRequest, "message is too long")
			}
			return answer(http.StatusOK, "", map[string]any{"ok": true, "result": map[string]any{"message_id": 365}})
		},
	}
}

// teams is a workflow that posts cards to a channel.
func teams() service {
	refuse := func(status int, code string) provider.Answer {
		return answer(status, code, map[string]any{"error": map[string]any{"code": code, "message": fmt.Sprintf("The request was refused (%d).", status)}})
	}
	const path = "/workflows/0123456789abcdef/triggers/manual/paths/invoke"
	return service{
		url: func(s *Server) string {
			return "teams+https://" + s.address() + path + "?api-version=2016-06-01&sig=" + teamsSignature
		},
		own:    true,
		path:   path,
		refuse: refuse,
		ask:    func(*http.Request) provider.Answer { return refuse(http.StatusNotFound, "WorkflowNotFound") },
		post: func(r *http.Request, body map[string]any) provider.Answer {
			attachments, _ := body["attachments"].([]any)
			switch {
			case r.URL.Query().Get("sig") != teamsSignature:
				return refuse(http.StatusUnauthorized, "DirectApiAuthorizationRequired")
			case body["type"] != "message" || len(attachments) != 1:
				return refuse(http.StatusBadRequest, "TriggerInputSchemaMismatch")
			}
			return provider.Answer{Status: http.StatusAccepted}
		},
	}
}

// ntfy is a topic that wants a user and a password.
func ntfy() service {
	refuse := func(status int, code string) provider.Answer {
		n, err := strconv.Atoi(code)
		if err != nil {
			n = status * 100
		}
		return answer(status, code, map[string]any{"code": n, "http": status, "error": strings.ToLower(http.StatusText(status))})
	}
	known := func(r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		return ok && user == "nudge" && password == ntfyPassword
	}
	return service{
		url:    func(s *Server) string { return "ntfy://nudge:" + ntfyPassword + "@" + s.address() + "/team-alerts" },
		own:    true,
		path:   "/",
		refuse: refuse,
		ask: func(r *http.Request) provider.Answer {
			switch {
			case r.URL.Path == "/v1/health":
				return answer(http.StatusOK, "", map[string]any{"healthy": true})
			case r.URL.Path != "/v1/account":
				return refuse(http.StatusNotFound, "40401")
			case !known(r):
				return refuse(http.StatusUnauthorized, "40101")
			}
			return answer(http.StatusOK, "", map[string]any{"username": "nudge"})
		},
		post: func(r *http.Request, body map[string]any) provider.Answer {
			priority, _ := body["priority"].(float64)
			switch {
			case !known(r):
				return refuse(http.StatusUnauthorized, "40101")
			case text(body, "topic") != "team-alerts":
				return refuse(http.StatusForbidden, "40301")
			case priority < 1 || priority > 5:
				return refuse(http.StatusBadRequest, "40007")
			}
			return answer(http.StatusOK, "", map[string]any{"id": "sPs71M8A2T", "event": "message", "topic": "team-alerts"})
		},
	}
}

// gotify is an application's messages.
func gotify() service {
	refuse := func(status int, code string) provider.Answer {
		return answer(status, code, map[string]any{"error": http.StatusText(status), "errorCode": status, "errorDescription": code})
	}
	return service{
		url:    func(s *Server) string { return "gotify://" + s.address() + "/push/" + gotifyToken },
		own:    true,
		path:   "/push/message",
		refuse: refuse,
		ask:    func(*http.Request) provider.Answer { return refuse(http.StatusNotFound, "page not found") },
		post: func(r *http.Request, body map[string]any) provider.Answer {
			switch {
			case r.Header.Get("X-Gotify-Key") != gotifyToken:
				return refuse(http.StatusUnauthorized, "you need to provide a valid access token or user credentials to access this api")
			case text(body, "message") == "":
				return refuse(http.StatusBadRequest, "Field 'message' is required")
			}
			return answer(http.StatusOK, "", map[string]any{"id": 25, "appid": 5, "message": text(body, "message")})
		},
	}
}

// mattermost is an incoming webhook.
func mattermost() service {
	refuse := func(status int, code string) provider.Answer {
		message := "Failed to handle the payload of media type application/json for incoming webhook " + mattermostHook + "."
		return answer(status, code, map[string]any{"id": code, "message": message, "detailed_error": "", "status_code": status})
	}
	return service{
		url:    func(s *Server) string { return "mattermost://nudge@" + s.address() + "/" + mattermostHook + "/alerts" },
		own:    true,
		path:   "/hooks/" + mattermostHook,
		refuse: refuse,
		ask: func(r *http.Request) provider.Answer {
			if r.URL.Path == "/api/v4/system/ping" {
				return answer(http.StatusOK, "", map[string]any{"status": "OK"})
			}
			return refuse(http.StatusBadRequest, "web.incoming_webhook.general.app_error")
		},
		post: func(_ *http.Request, body map[string]any) provider.Answer {
			switch {
			case text(body, "text") == "":
				return refuse(http.StatusBadRequest, "web.incoming_webhook.general.app_error")
			case text(body, "channel") != "alerts":
				return refuse(http.StatusNotFound, "web.incoming_webhook.general.app_error")
			}
			return plain(http.StatusOK, "", "ok")
		},
	}
}
