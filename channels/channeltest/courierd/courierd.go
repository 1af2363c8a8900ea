// Package courierd is a local Courier: POST /send over TLS, with the validation, the errors and the idempotency keys
// that Courier documents.
//
// It follows Courier's pages "Send a message", "Responses & Error Codes" and "API overview" (payload limit,
// idempotency), and the types of its official libraries. Where those leave a field open (data, overrides), so does it.
package courierd

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"nudge/channels/channeltest/provider"
)

// What the server knows: one workspace with a template, a brand and a subscription topic.
const (
	Key      = "pk_prod_0123456789ABCDEFGHJKMNPQRSTV"
	Template = "ORDER_SHIPPED"
	Brand    = "BRAND-1"
	Topic    = "PT4KDD5Q0BMFXN"
)

// maxRequest is the most of a request that Courier takes, in bytes.
const maxRequest = 6 << 20

// keep is how long a request with an idempotency key is answered as the first time.
const keep = 24 * time.Hour

// Server is Courier on this machine. Its Log has every request to /send; the ID of one is its idempotency key, its
// address whatever the recipient is known by.
type Server struct {
	*provider.HTTPS

	now func() time.Time

	mu    sync.Mutex
	known map[string]known // by idempotency key
	made  int
}

// known is an answer that a repeat gets again.
type known struct {
	answer provider.Answer
	until  time.Time
}

// Start begins to serve.
func Start(now func() time.Time) (*Server, error) {
	s := &Server{now: now, known: make(map[string]known)}
	var err error
	s.HTTPS, err = provider.StartHTTPS(now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Made is how many messages there are: an idempotency key that came twice is one.
func (s *Server) Made() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made
}

// Forget lets every idempotency key be a new one.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// message is a request's, as Courier's libraries type it. What they leave open is any JSON object.
type message struct {
	To          *recipient      `json:"to"`
	Template    string          `json:"template"`
	Content     json.RawMessage `json:"content"`
	Data        map[string]any  `json:"data"`
	Brand       string          `json:"brand_id"`
	Channels    map[string]any  `json:"channels"`
	Providers   map[string]any  `json:"providers"`
	Context     map[string]any  `json:"context"`
	Delay       map[string]any  `json:"delay"`
	Preferences *struct {
		Topic string `json:"subscription_topic_id"`
	} `json:"preferences"`
	Routing *struct {
		Method   string   `json:"method"`
		Channels []string `json:"channels"`
	} `json:"routing"`
	Timeout *struct {
		Message *int64 `json:"message"`
	} `json:"timeout"`
	Expiry *struct {
		In json.RawMessage `json:"expires_in"`
		At string          `json:"expires_at"`
	} `json:"expiry"`
	Metadata *struct {
		Event string   `json:"event"`
		Tags  []string `json:"tags"`
		Trace string   `json:"trace_id"`
	} `json:"metadata"`
}

// recipient is a person, with the profile that the providers for push want.
type recipient struct {
	UserID   string          `json:"user_id"`
	Email    string          `json:"email"`
	Phone    string          `json:"phone_number"`
	Firebase string          `json:"firebaseToken"`
	Data     json.RawMessage `json:"data"`
	Locale   string          `json:"locale"`
	APN      *struct {
		Token string `json:"token"`
	} `json:"apn"`
}

// read reads a request, strictly; why says what is wrong with it.
func read(body []byte) (m message, why string) {
	var request struct {
		Message *message `json:"message"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&request); err != nil {
		return m, "Invalid JSON: " + err.Error()
	}
	if dec.Decode(&struct{}{}) != io.EOF || request.Message == nil {
		return m, "Invalid Request. 'message' is required."
	}
	return *request.Message, ""
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	id := func([]byte) string { return key }
	address := func(body []byte) string {
		m, _ := read(body)
		if m.To == nil {
			return ""
		}
		return m.To.UserID
	}
	seen := &recorder{ResponseWriter: w}
	s.Serve(seen, r, s.now(), id, address, func(body []byte) provider.Answer { return s.judge(r, body) }, refuse)
	// What Courier itself has answered stands, an error too. That an earlier attempt is under way does not, nor what is
	// said before anybody looks at the request: Courier does not document that, but cannot well do otherwise.
	passing := []int{http.StatusConflict, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}
	if !slices.Contains(passing, seen.status) && seen.own() && key != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, have := s.known[key]; !have {
			s.known[key] = known{answer: provider.Answer{Status: seen.status, Header: jsonHeader(), Body: seen.body}, until: s.now().Add(keep)}
		}
	}
}

// judge does what Courier does with a request.
func (s *Server) judge(r *http.Request, body []byte) provider.Answer {
	if r.Header.Get("Authorization") != "Bearer "+Key {
		return refuse(http.StatusUnauthorized, "authentication_error")
	}
	if r.URL.Path != "/send" || r.Method != http.MethodPost {
		return refuse(http.StatusNotFound, "invalid_request_error")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, seen := s.known[r.Header.Get("Idempotency-Key")]; seen && s.now().Before(first.until) {
		return first.answer
	}
	if len(body) > maxRequest {
		return refuse(http.StatusRequestEntityTooLarge, "invalid_request_error")
	}
	if r.Header.Get("Content-Type") != "application/json" {
		return refusal(http.StatusBadRequest, "Invalid Request. The body is not JSON.")
	}
	m, why := read(body)
	if why != "" {
		return refusal(http.StatusBadRequest, why)
	}
	if status, why := check(&m); why != "" {
		return refusal(status, "Invalid Request. "+why)
	}
	s.made++
	var id [12]byte
	rand.Read(id[:])
	text := hex.EncodeToString(id[:])
	return encode(http.StatusAccepted, "", map[string]any{"requestId": "1-" + text[:8] + "-" + text[8:]})
}

// check is what is wrong with a message.
func check(m *message) (status int, why string) {
	bad := func(why string) (int, string) { return http.StatusBadRequest, why }
	switch {
	case m.Content == nil && m.Template == "":
		return bad("Either 'content' or 'template' must be defined.")
	case m.Content != nil && m.Template != "":
		return bad("Only one of 'content' and 'template' may be defined.")
	case m.To == nil || m.To.UserID == "" && m.To.Email == "" && m.To.Phone == "" && m.To.Firebase == "" && m.To.APN == nil:
		return bad("'to' has no recipient.")
	case m.Template != "" && m.Template != Template:
		return http.StatusNotFound, "The template was not found."
	case m.Brand != "" && m.Brand != Brand:
		return http.StatusNotFound, "The brand was not found."
	case m.Preferences != nil && m.Preferences.Topic != Topic:
		return http.StatusNotFound, "The subscription topic was not found."
	case m.Routing != nil && (len(m.Routing.Channels) == 0 || m.Routing.Method != "single" && m.Routing.Method != "all"):
		return bad("'routing' must have a method and channels.")
	case m.Timeout != nil && (m.Timeout.Message == nil || *m.Timeout.Message < 1 || *m.Timeout.Message > (72*time.Hour).Milliseconds()):
		return bad("'timeout.message' must be from 1 ms to 72 h.")
	case m.Expiry != nil && m.Expiry.In == nil:
		return bad("'expiry.expires_in' is required.")
	case m.Metadata != nil && len(m.Metadata.Tags) > 9:
		return bad("'metadata.tags' has more than 9 tags.")
	}
	if m.Content != nil && !validContent(m.Content) {
		return bad("'content' must have a title and a body, or a version and elements.")
	}
	return 0, ""
}

// nodes are the types of Elemental's elements.
func nodes() []string {
	return []string{"text", "meta", "channel", "image", "action", "divider", "quote", "html", "group", "list"}
}

// validContent says whether content is a title and a body, or Elemental.
func validContent(raw json.RawMessage) bool {
	var c struct {
		Title    *string `json:"title"`
		Body     *string `json:"body"`
		Version  string  `json:"version"`
		Elements []struct {
			Type    string `json:"type"`
			Content string `json:"content"`
			Href    string `json:"href"`
		} `json:"elements"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return false
	}
	if c.Elements == nil {
		return c.Title != nil && c.Body != nil
	}
	for _, e := range c.Elements {
		if !slices.Contains(nodes(), e.Type) || e.Type == "action" && (e.Content == "" || e.Href == "") {
			return false
		}
	}
	return c.Version != ""
}

// refuse is Courier's error by its type.
func refuse(status int, code string) provider.Answer {
	if code == "" {
		code = "api_error"
	}
	return encode(status, code, map[string]any{"message": "The request was refused.", "type": code})
}

// refusal is Courier's error of a request that is not valid.
func refusal(status int, why string) provider.Answer {
	return encode(status, "invalid_request_error", map[string]any{"message": why, "type": "invalid_request_error"})
}

// encode makes an answer of JSON.
func encode(status int, code string, body any) provider.Answer {
	raw, err := json.Marshal(body)
	if err != nil {
		raw = nil
	}
	return provider.Answer{Status: status, Code: code, Header: jsonHeader(), Body: raw}
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// recorder keeps the beginning of an answer as it goes out.
type recorder struct {
	http.ResponseWriter

	status int
	body   []byte
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if len(r.body) < 4096 {
		r.body = append(r.body, p...)
	}
	return r.ResponseWriter.Write(p)
}

// own says whether the answer is Courier's own, and no page of somebody between.
func (r *recorder) own() bool {
	return json.Valid(r.body) && (strings.Contains(string(r.body), `"type"`) || strings.Contains(string(r.body), `"requestId"`))
}
