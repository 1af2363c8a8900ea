// Package fcmd is a local Firebase Cloud Messaging: the HTTP v1 API over HTTP/2 and TLS, with the
// OAuth token endpoint that service accounts use. It validates messages, and answers errors in the
// JSON form with the codes that Google documents.
//
// It follows Google's pages "Method: projects.messages.send", "ErrorCode", "FCM error codes" and
// "Using OAuth 2.0 for server to server applications".
package fcmd

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nudge/channels/channeltest/h2d"
	"nudge/channels/channeltest/provider"

	"golang.org/x/net/http2/hpack"
)

// Domain is the host that the server stands for.
const Domain = "fcm.googleapis.com"

// Config sets a server up.
type Config struct {
	Project string // "" is "shop-1234"
	// MaxStreams is what a connection may have open; 0 is 100, as Google's fronts say.
	MaxStreams uint32
	// TokenLife is how long an access token is good; 0 is an hour.
	TokenLife time.Duration
	// Key is the service account's; nil makes one, which takes a moment.
	Key *rsa.PrivateKey
	Now func() time.Time
}

// Device is what the server knows of one registration token.
type Device struct {
	Unregistered bool // the app is gone: 404 UNREGISTERED
	OtherSender  bool // 403 SENDER_ID_MISMATCH
	Invalid      bool // 400 INVALID_ARGUMENT about message.token
}

// Server is FCM on this machine. Its Log has every request to messages:send; the ID of a request
// is its notification's tag.
type Server struct {
	*provider.Log
	// CA is whom clients must trust.
	CA *provider.CA
	// Credentials is a service account's JSON key file whose token_uri is this server's.
	Credentials []byte

	config Config
	server *h2d.Server
	oauth  *httptest.Server
	key    *rsa.PublicKey
	email  string

	grants atomic.Int64
	broken atomic.Int64 // status that the token endpoint answers; 0 is its ordinary work

	mu      sync.Mutex
	devices map[string]Device
	access  map[string]time.Time // access tokens and when they end
}

// Start begins to serve.
func Start(c Config) (*Server, error) {
	if c.Project == "" {
		c.Project = "shop-1234"
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 100
	}
	if c.TokenLife == 0 {
		c.TokenLife = time.Hour
	}
	ca, err := provider.NewCA(c.Now())
	if err != nil {
		return nil, err
	}
	cert, err := ca.Server(Domain)
	if err != nil {
		return nil, err
	}
	key := c.Key
	if key == nil {
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, fmt.Errorf("making a service account's key: %w", err)
		}
	}
	s := &Server{
		Log: provider.NewLog(), CA: ca, config: c, key: &key.PublicKey,
		email:   "nudge@" + c.Project + ".iam.gserviceaccount.com",
		devices: make(map[string]Device), access: make(map[string]time.Time),
	}
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.oauth = httptest.NewUnstartedServer(http.HandlerFunc(s.grant))
	s.oauth.TLS = tlsConfig.Clone()
	s.oauth.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that go away are expected
	s.oauth.StartTLS()
	if s.Credentials, err = s.credentials(key); err != nil {
		return nil, err
	}
	s.server, err = h2d.Start(h2d.Config{TLS: tlsConfig, MaxStreams: c.MaxStreams, MaxBody: 64 << 10, Handler: s.handle})
	if err != nil {
		return nil, fmt.Errorf("starting the local FCM: %w", err)
	}
	return s, nil
}

// credentials writes the service account's file.
func (s *Server) credentials(key *rsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing a service account's key: %w", err)
	}
	return json.Marshal(map[string]string{
		"type": "service_account", "project_id": s.config.Project, "private_key_id": "0123456789abcdef0123456789abcdef01234567",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": s.email, "client_id": "100000000000000000001", "token_uri": s.TokenURL(),
	})
}

// Endpoint is the server's URL without a path, for the `endpoint` field of the fcm channel.
func (s *Server) Endpoint() string { return "https://" + s.server.Addr() }

// TokenURL is the token endpoint's.
func (s *Server) TokenURL() string { return s.oauth.URL + "/token" }

// Close ends the servers and their connections.
func (s *Server) Close() {
	s.server.Close()
	s.oauth.CloseClientConnections()
	s.oauth.Close()
}

// Connections is how many connections to the API were ever opened.
func (s *Server) Connections() int64 { return s.server.Opened() }

// Grants is how many access tokens were given.
func (s *Server) Grants() int64 { return s.grants.Load() }

// BreakTokens has the token endpoint answer with a status; 0 mends it.
func (s *Server) BreakTokens(status int) { s.broken.Store(int64(status)) }

// RevokeTokens ends all access tokens before their time.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.access)
}

// SetDevice notes what a registration token is. Unknown ones are good.
func (s *Server) SetDevice(token string, d Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[token] = d
}

// refusal is an error answer.
type refusal struct {
	status  int
	code    string // FCM's, or the general one
	message string
	field   string // what is wrong with the request
}

// handle answers one request.
func (s *Server) handle(_ *h2d.Conn, r *h2d.Request) h2d.Reply {
	at := s.config.Now()
	var request sendRequest
	problem := decode(r.Body, &request)
	m := &request.Message
	id := m.tag()
	fault := s.Next(id, m.Token)
	var no *refusal
	switch {
	case fault.Status != 0 && fault.Status != http.StatusOK:
		no = &refusal{status: fault.Status, code: fault.Code, message: http.StatusText(fault.Status)}
		if no.code == "" {
			no.code = codeOf(fault.Status)
		}
	default:
		no = s.judge(r, &request, problem, at)
	}
	reply := h2d.Reply{
		Status: http.StatusOK, Fields: []hpack.HeaderField{{Name: "content-type", Value: "application/json; charset=UTF-8"}},
		Delay: fault.Delay, Hang: fault.Hang, Endless: fault.Endless, Cut: fault.Reset, Garbage: fault.Garbage,
	}
	if no != nil {
		reply.Status, reply.Body = no.status, no.body()
	} else {
		reply.Body = fmt.Appendf(nil, "{\n  \"name\": \"projects/%s/messages/0:%s\"\n}\n", s.config.Project, newID())
	}
	for name, values := range fault.Header {
		reply.Fields = append(reply.Fields, hpack.HeaderField{Name: strings.ToLower(name), Value: values[0]})
	}
	if fault.Body != nil {
		reply.Body = fault.Body
	}
	if fault.Echo {
		reply.Body = echo(r)
	}
	s.note(r, fault, id, m.Token, at, reply.Status, no, request.ValidateOnly)
	if fault.Hang {
		s.Hanging()
	}
	return reply
}

// note keeps the log.
func (s *Server) note(r *h2d.Request, fault provider.Fault, id, token string, at time.Time, status int, no *refusal, dry bool) {
	answered := !fault.Hang && !fault.Reset && !fault.Garbage
	received := provider.Received{ID: id, Address: token, At: at, Accepted: answered && no == nil && !dry}
	if answered {
		received.Status = status
		if no != nil {
			received.Code = no.code
		}
	}
	if s.Wanted() {
		received.Header, received.Body = r.Header(), slices.Clone(r.Body)
	}
	s.Add(received)
}

// judge decides on a request as Google does; nil accepts.
func (s *Server) judge(r *h2d.Request, request *sendRequest, problem *refusal, at time.Time) *refusal {
	project, ok := strings.CutPrefix(r.Path, "/v1/projects/")
	project, okSend := strings.CutSuffix(project, "/messages:send")
	switch {
	case !ok || !okSend || r.Method != http.MethodPost:
		return &refusal{status: http.StatusNotFound, code: "NOT_FOUND", message: "Requested entity was not found."}
	case !s.admitted(r, at):
		return &refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."}
	case project != s.config.Project:
		return &refusal{status: http.StatusForbidden, code: "PERMISSION_DENIED", message: "Permission 'cloudmessaging.messages.create' denied on resource."}
	case r.TooLarge:
		return &refusal{status: http.StatusBadRequest, code: "INVALID_ARGUMENT", message: "Request contains an invalid argument."}
	case problem != nil:
		return problem
	}
	if no := request.Message.check(); no != nil {
		return no
	}
	s.mu.Lock()
	device := s.devices[request.Message.Token]
	s.mu.Unlock()
	switch {
	case device.Invalid || len(request.Message.Token) < 8:
		return &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token", "message.token"}
	case device.OtherSender:
		return &refusal{status: http.StatusForbidden, code: "SENDER_ID_MISMATCH", message: "SenderId mismatch"}
	case device.Unregistered:
		return &refusal{status: http.StatusNotFound, code: "UNREGISTERED", message: "Requested entity was not found."}
	}
	return nil
}

// admitted checks the access token.
func (s *Server) admitted(r *h2d.Request, at time.Time) bool {
	bearer, ok := strings.CutPrefix(r.Get("authorization"), "Bearer ")
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end, known := s.access[bearer]
	return known && at.Before(end)
}

// codeOf is the usual code of a status, for faults that name none.
func codeOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "INVALID_ARGUMENT"
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "UNREGISTERED"
	case http.StatusTooManyRequests:
		return "QUOTA_EXCEEDED"
	case http.StatusInternalServerError:
		return "INTERNAL"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	}
	return ""
}

// general is the canonical code that stands beside FCM's own.
func general(status int, code string) string {
	switch code {
	case "UNREGISTERED":
		return "NOT_FOUND"
	case "SENDER_ID_MISMATCH":
		return "PERMISSION_DENIED"
	case "QUOTA_EXCEEDED":
		return "RESOURCE_EXHAUSTED"
	case "THIRD_PARTY_AUTH_ERROR":
		return "UNAUTHENTICATED"
	case "":
		return codeOf(status)
	}
	return code
}

// body is the JSON of an error.
func (no *refusal) body() []byte {
	type violation struct {
		Field       string `json:"field"`
		Description string `json:"description"`
	}
	type detail struct {
		Type       string      `json:"@type"`
		ErrorCode  string      `json:"errorCode,omitempty"`
		Violations []violation `json:"fieldViolations,omitempty"`
	}
	var answer struct {
		Error struct {
			Code    int      `json:"code"`
			Message string   `json:"message"`
			Status  string   `json:"status"`
			Details []detail `json:"details,omitempty"`
		} `json:"error"`
	}
	answer.Error.Code, answer.Error.Message, answer.Error.Status = no.status, no.message, general(no.status, no.code)
	if no.code != "UNAUTHENTICATED" && no.code != "PERMISSION_DENIED" && no.code != "NOT_FOUND" && no.code != "" {
		answer.Error.Details = append(answer.Error.Details, detail{Type: "type.googleapis.com/google.firebase.fcm.v1.FcmError", ErrorCode: no.code})
	}
	if no.field != "" {
		answer.Error.Details = append(answer.Error.Details, detail{Type: "type.googleapis.com/google.rpc.BadRequest", Violations: []violation{{no.field, no.message}}})
	}
	raw, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		return nil
	}
	return raw
}

// newID makes the end of a message's name.
func newID() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// echo is everything the client sent.
func echo(r *h2d.Request) []byte {
	var out strings.Builder
	out.WriteString(r.Path + "\n")
	for _, f := range r.Fields {
		out.WriteString(f.Name + ": " + f.Value + "\n")
	}
	out.Write(r.Body)
	return []byte(out.String())
}
