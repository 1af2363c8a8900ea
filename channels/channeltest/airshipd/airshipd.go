// Package airshipd is a local Airship: pushes by version 3 of its API over TLS, sent or validated, with both ways to
// sign in, the validation and the JSON that Airship documents.
//
// It follows Airship's pages "Push", "Audience selection", "Platform overrides" and "Responses", and its own libraries
// for Python and Java where the pages leave a form open.
package airshipd

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nudge/channels/channeltest/provider"
)

// Who may sign in: an app key with its master secret or with a token.
const (
	AppKey = "AppKeyOfTheTestProject"
	Secret = "MasterSecretForTests00"
	Token  = "MTptYWRlVXBUb2tlbk9mVGhlVGVzdFByb2plY3Q"
)

// maxPushes is how many pushes a request may have.
const maxPushes = 100

// Config is how the server behaves.
type Config struct {
	Now func() time.Time
	// Types are the platforms that the project has; nil is ios, android, amazon and web.
	Types []string
}

// Server is Airship on this machine. Its Log has every push of every request for itself; the ID of one is what
// collapses it on a device, else the user that it is to.
type Server struct {
	*provider.HTTPS

	config Config
}

// Start begins to serve.
func Start(c Config) (*Server, error) {
	if c.Types == nil {
		c.Types = []string{"ios", "android", "amazon", "web"}
	}
	s := &Server{config: c}
	var err error
	s.HTTPS, err = provider.StartHTTPS(c.Now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.ServeBatch(w, r, s.config.Now(), partsOf, func(body []byte) provider.Answer { return s.judge(r, body) }, func(status int, code string) provider.Answer {
		return refuse(status, code, nil)
	})
}

// pushesOf are the pushes of a body: an object or an array of them.
func pushesOf(body []byte) ([]json.RawMessage, error) {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		var several []json.RawMessage
		err := json.Unmarshal(body, &several)
		return several, err
	}
	var one map[string]any
	err := json.Unmarshal(body, &one)
	return []json.RawMessage{body}, err
}

// partsOf are the pushes of a request as the log knows them.
func partsOf(body []byte) []provider.Part {
	pushes, err := pushesOf(body)
	if err != nil {
		return []provider.Part{{Body: body}}
	}
	parts := make([]provider.Part, len(pushes))
	for i, raw := range pushes {
		var push struct {
			Audience     json.RawMessage `json:"audience"`
			Notification struct {
				IOS struct {
					Collapse string `json:"collapse_id"`
				} `json:"ios"`
				Android struct {
					Tag string `json:"notification_tag"`
				} `json:"android"`
			} `json:"notification"`
		}
		parts[i].Body = raw
		if json.Unmarshal(raw, &push) != nil {
			continue
		}
		parts[i].Address = string(push.Audience)
		for _, id := range []string{push.Notification.IOS.Collapse, push.Notification.Android.Tag, parts[i].Address} {
			if id != "" {
				parts[i].ID = id
				break
			}
		}
	}
	return parts
}

// judge does what Airship does with a request.
func (s *Server) judge(r *http.Request, body []byte) provider.Answer {
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case path != "/api/push" && path != "/api/push/validate":
		return refuse(http.StatusNotFound, "40401", nil)
	case r.Method != http.MethodPost:
		return refuse(http.StatusMethodNotAllowed, "40501", nil)
	case !known(r):
		return refuse(http.StatusUnauthorized, "40101", nil)
	case !versionThree(r.Header.Get("Accept")):
		return refuse(http.StatusNotAcceptable, "40600", nil)
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "41500", nil)
	}
	pushes, err := pushesOf(body)
	if err != nil {
		return refuse(http.StatusBadRequest, "40000", &problem{"", "the body is not JSON"})
	}
	if len(pushes) < 1 || len(pushes) > maxPushes {
		return refuse(http.StatusBadRequest, "40000", &problem{"", "a request has 1 to 100 pushes"})
	}
	ids := make([]string, len(pushes))
	for i, raw := range pushes {
		if p := s.check(raw); p != nil {
			return refuse(http.StatusBadRequest, "40000", p)
		}
		ids[i] = newID()
	}
	if path == "/api/push/validate" {
		answer := encode(http.StatusOK, "", map[string]any{"ok": true})
		answer.Checked = true
		return answer
	}
	return encode(http.StatusAccepted, "", map[string]any{
		"ok": true, "operation_id": newID(), "push_ids": ids, "message_ids": []string{}, "content_urls": []string{}, "localized_ids": []string{},
	})
}

// known says whether a request is signed in.
func known(r *http.Request) bool {
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	if user, password, ok := r.BasicAuth(); ok {
		return same(user, AppKey) && same(password, Secret)
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && same(token, Token) && same(r.Header.Get("X-UA-Appkey"), AppKey)
}

// versionThree says whether an Accept header asks for version 3 of the API.
func versionThree(accept string) bool {
	kind, params, err := mime.ParseMediaType(strings.TrimSuffix(accept, ";"))
	return err == nil && kind == "application/vnd.urbanairship+json" && params["version"] == "3"
}

// newID is a random UUID.
func newID() string {
	var id [16]byte
	rand.Read(id[:])
	text := hex.EncodeToString(id[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// refuse is Airship's error.
func refuse(status int, code string, p *problem) provider.Answer {
	body := map[string]any{"ok": false, "error": says(status), "operation_id": newID()}
	if n, err := strconv.Atoi(code); err == nil {
		body["error_code"] = n
	}
	if p != nil {
		body["details"] = map[string]any{"error": p.what, "path": p.path}
	}
	return encode(status, code, body)
}

// says words the errors by their status.
func says(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "Could not parse request body."
	case http.StatusUnauthorized:
		return "Unauthorized"
	case http.StatusTooManyRequests:
		return "Rate limit exceeded"
	}
	return fmt.Sprintf("Error %d", status)
}

// encode is an answer with a JSON body.
func encode(status int, code string, body any) provider.Answer {
	raw, err := json.Marshal(body)
	if err != nil {
		return provider.Answer{Status: http.StatusInternalServerError}
	}
	return provider.Answer{Status: status, Code: code, Header: http.Header{"Content-Type": {"application/vnd.urbanairship+json; version=3;charset=utf-8"}}, Body: raw}
}
