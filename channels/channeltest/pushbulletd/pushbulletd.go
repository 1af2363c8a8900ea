// Package pushbulletd is a local Pushbullet: POST /v2/pushes and GET /v2/users/me over TLS, with the validation, the
// error object, the rate limit's headers and the guid that Pushbullet documents.
//
// It follows Pushbullet's API documentation (docs.pushbullet.com: "Push", "Errors", "Ratelimiting"). Where that is
// silent (a parameter that it does not know, a target that does not exist), it refuses.
package pushbulletd

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/mail"
	"slices"
	"strconv"
	"sync"
	"time"

	"nudge/channels/channeltest/provider"
)

// What the server knows: one account with a device and a channel.
const (
	Token   = "o.RUe7IZgC6384GrI1sjAoRtnM0jcAbCdE"
	Device  = "ujpah72o0sjAoRtnM0jc"
	Channel = "shop-news"
)

// Wait is how long after an answer its rate limit begins anew.
const Wait = 90 * time.Second

// Server is Pushbullet on this machine. Its Log has every request to /v2/pushes; the ID of one is its guid, its address
// whatever the push names as its target.
type Server struct {
	*provider.HTTPS

	now func() time.Time

	mu     sync.Mutex
	pushes map[string]json.RawMessage // by guid
}

// Start begins to serve.
func Start(now func() time.Time) (*Server, error) {
	s := &Server{now: now, pushes: make(map[string]json.RawMessage)}
	var err error
	s.HTTPS, err = provider.StartHTTPS(now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Made is how many pushes there are: a guid that came twice is one.
func (s *Server) Made() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pushes)
}

// push is the body of a request: exactly the parameters that Pushbullet documents, but for those of files.
type push struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Body    string `json:"body"`
	URL     string `json:"url"`
	Source  string `json:"source_device_iden"`
	Device  string `json:"device_iden"`
	Client  string `json:"client_iden"`
	Channel string `json:"channel_tag"`
	Email   string `json:"email"`
	GUID    string `json:"guid"`
}

// targets are the targets that a push names.
func (p *push) targets() []string {
	return slices.DeleteFunc([]string{p.Device, p.Client, p.Channel, p.Email}, func(t string) bool { return t == "" })
}

// read reads a push, strictly.
func read(body []byte) (push, bool) {
	var p push
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(&p)
	return p, err == nil && dec.Decode(&struct{}{}) == io.EOF
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := func(body []byte) string {
		p, _ := read(body)
		return p.GUID
	}
	address := func(body []byte) string {
		p, _ := read(body)
		for _, t := range p.targets() {
			return t
		}
		return ""
	}
	s.Serve(w, r, s.now(), id, address, func(body []byte) provider.Answer { return s.judge(r, body) }, s.refuse)
}

// judge does what Pushbullet does with a request.
func (s *Server) judge(r *http.Request, body []byte) provider.Answer {
	if r.Header.Get("Access-Token") != Token {
		return s.refuse(http.StatusUnauthorized, "invalid_access_token")
	}
	switch {
	case r.URL.Path == "/v2/users/me" && r.Method == http.MethodGet:
		return s.answer(http.StatusOK, "", map[string]any{"iden": "ujpah72o0", "email": "shop@example.com", "active": true})
	case r.URL.Path != "/v2/pushes" || r.Method != http.MethodPost:
		return s.refuse(http.StatusNotFound, "")
	case r.Header.Get("Content-Type") != "application/json":
		return s.refuse(http.StatusBadRequest, "")
	}
	p, ok := read(body)
	if !ok {
		return s.refuse(http.StatusBadRequest, "")
	}
	if param := check(&p); param != "" {
		return s.refuse(http.StatusBadRequest, param)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made, seen := s.pushes[p.GUID]
	if !seen || p.GUID == "" {
		made = s.made(&p)
		s.pushes[p.GUID] = made
	}
	return s.answer(http.StatusOK, "", made)
}

// check is the parameter that is wrong, "" for none.
func check(p *push) string {
	switch {
	case p.Type != "note" && p.Type != "link":
		return "type"
	case len(p.targets()) > 1:
		return "target"
	case p.Title == "" && p.Body == "" && p.URL == "":
		return "body"
	case p.Type == "note" && p.URL != "":
		return "url"
	case p.Source != "" && p.Source != Device:
		return "source_device_iden"
	case p.Device != "" && p.Device != Device:
		return "device_iden"
	case p.Channel != "" && p.Channel != Channel:
		return "channel_tag"
	case p.Client != "":
		return "client_iden"
	}
	if a, err := mail.ParseAddress(p.Email); p.Email != "" && (err != nil || a.Address != p.Email) {
		return "email"
	}
	return ""
}

// made is a new push as Pushbullet describes it.
func (s *Server) made(p *push) json.RawMessage {
	var id [12]byte
	rand.Read(id[:])
	at := float64(s.now().UnixMicro()) / 1e6
	direction := "self"
	if p.Email != "" || p.Channel != "" {
		direction = "outgoing"
	}
	out := map[string]any{
		"active": true, "iden": "ujpah72o0" + hex.EncodeToString(id[:]), "created": at, "modified": at, "type": p.Type, "dismissed": false,
		"direction": direction, "sender_iden": "ujpah72o0", "sender_email": "shop@example.com",
	}
	for name, value := range map[string]string{
		"title": p.Title, "body": p.Body, "url": p.URL, "guid": p.GUID, "target_device_iden": p.Device, "source_device_iden": p.Source, "receiver_email": p.Email,
	} {
		if value != "" {
			out[name] = value
		}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil
	}
	return raw
}

// refuse is Pushbullet's error. A code that is the name of a parameter stands in `param`, as a complaint about it does.
func (s *Server) refuse(status int, code string) provider.Answer {
	fault := map[string]any{"type": "invalid_request", "message": "The request was refused.", "cat": "~(=^‥^)"}
	body := map[string]any{"error": fault}
	if status >= 500 {
		fault["type"] = "server"
	}
	switch code {
	case "":
	case "invalid_access_token", "pushbullet_pro_required":
		fault["code"], body["error_code"] = code, code
	default:
		fault["param"] = code
	}
	return s.answer(status, code, body)
}

// answer has the rate limit's headers, as all of Pushbullet's answers have.
func (s *Server) answer(status int, code string, body any) provider.Answer {
	raw, err := json.Marshal(body)
	if err != nil {
		raw = nil
	}
	header := http.Header{
		"Content-Type": {"application/json"}, "X-Ratelimit-Limit": {"32768"}, "X-Ratelimit-Remaining": {"32765"},
		"X-Ratelimit-Reset": {strconv.FormatInt(s.now().Add(Wait).Unix(), 10)},
	}
	return provider.Answer{Status: status, Code: code, Header: header, Body: raw}
}
