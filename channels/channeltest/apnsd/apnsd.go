// Package apnsd is a local Apple Push Notification service: HTTP/2 over TLS, provider tokens and
// certificates checked, every documented limit and reason, and what real servers do to connections
// (one stream until a valid token has come, GOAWAY).
//
// It follows Apple's pages "Sending notification requests to APNs", "Handling notification
// responses from APNs" and "Establishing a token-based connection to APNs".
package apnsd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nudge/channels/channeltest/h2d"
	"nudge/channels/channeltest/provider"

	"golang.org/x/net/http2/hpack"
)

// Limits that Apple documents.
const (
	maxPayload     = 4096
	maxVoIPPayload = 5120
	maxCollapseID  = 64
	tokenLife      = time.Hour
	tokenRefresh   = 20 * time.Minute
)

// Domain is the host that the server stands for.
const Domain = "api.push.apple.com"

// Config sets a server up.
type Config struct {
	// Topics are the bundle ids that the provider may push to; nil is every one.
	Topics []string
	// Sandbox says which environment this is: tokens of devices noted for the other are bad.
	Sandbox bool
	// MaxStreams is what an authenticated connection may have open; 0 is 1000.
	MaxStreams uint32
	Now        func() time.Time
}

// Device is what the server knows of one device token.
type Device struct {
	Topic        string // "" takes every topic
	Sandbox      bool   // of the sandbox environment
	Unregistered bool   // the app is gone: 410 Unregistered
	Expired      bool   // 410 ExpiredToken
}

// Server is APNs on this machine. Its Log has every request.
type Server struct {
	*provider.Log
	// CA is whom clients must trust; it also signs provider certificates.
	CA *provider.CA
	// KeyPEM is a provider's signing key (.p8) of KeyID and TeamID.
	KeyPEM        []byte
	KeyID, TeamID string

	config Config
	server *h2d.Server
	public *ecdsa.PublicKey

	mu      sync.Mutex
	devices map[string]Device
	fresh   []freshToken // provider tokens first seen in the last 20 minutes
	known   map[string]verified
}

// freshToken is a provider token and when it was first seen.
type freshToken struct {
	bearer string
	at     time.Time
}

// verified is a provider token whose signature was right.
type verified struct{ issued time.Time }

// Start begins to serve.
func Start(c Config) (*Server, error) {
	if c.MaxStreams == 0 {
		c.MaxStreams = 1000
	}
	ca, err := provider.NewCA(c.Now())
	if err != nil {
		return nil, err
	}
	cert, err := ca.Server(Domain)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a provider key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing a provider key: %w", err)
	}
	s := &Server{
		Log: provider.NewLog(), CA: ca, config: c, public: &key.PublicKey,
		KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		KeyID:  "ABC123DEFG", TeamID: "DEF123GHIJ",
		devices: make(map[string]Device), known: make(map[string]verified),
	}
	s.server, err = h2d.Start(h2d.Config{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.Pool(),
		},
		MaxStreams: 1, // until a valid token has come
		MaxBody:    16 << 10,
		Handler:    s.handle,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the local APNs: %w", err)
	}
	return s, nil
}

// Host is the server's URL without a path, for the `host` field of the apns channel.
func (s *Server) Host() string { return "https://" + s.server.Addr() }

// Close ends the server and its connections.
func (s *Server) Close() { s.server.Close() }

// Connections is how many connections were ever opened.
func (s *Server) Connections() int64 { return s.server.Opened() }

// GoAway closes every connection after what it has begun, with a reason as Apple gives one.
func (s *Server) GoAway(reason string) {
	s.server.GoAway(fmt.Sprintf(`{"reason":%q}`, reason))
}

// Trust takes over another server's provider key: one key serves both of Apple's environments. Call
// it before the first request.
func (s *Server) Trust(other *Server) {
	s.KeyPEM, s.KeyID, s.TeamID, s.public = other.KeyPEM, other.KeyID, other.TeamID, other.public
}

// SetDevice notes what a device token is. Unknown tokens are good for every topic and of this
// server's environment.
func (s *Server) SetDevice(token string, d Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[token] = d
}

// session is what the server remembers of a connection.
type session struct {
	cert   string // the certificate's name; "" for token authentication
	bearer string // the last good one
}

// refusal is an error answer.
type refusal struct {
	status int
	reason string
}

// handle answers one request.
func (s *Server) handle(c *h2d.Conn, r *h2d.Request) h2d.Reply {
	at := s.config.Now()
	token, _ := strings.CutPrefix(r.Path, "/3/device/")
	id := r.Get("apns-id")
	fault := s.Next(id, token)
	var no *refusal
	if fault.Status != 0 && fault.Status != http.StatusOK {
		no = &refusal{fault.Status, fault.Code}
		if no.reason == "" {
			no.reason = reasonOf(fault.Status)
		}
		s.admit(c, r, at) // the connection still learns that its token is good
	} else {
		no = s.judge(c, r, token, at)
	}
	reply := h2d.Reply{
		Status: http.StatusOK, Fields: make([]hpack.HeaderField, 0, 2),
		Delay: fault.Delay, Hang: fault.Hang, Endless: fault.Endless, Cut: fault.Reset, Garbage: fault.Garbage,
	}
	if id == "" || !isUUID(id) {
		id = newUUID()
	}
	reply.Fields = append(reply.Fields, hpack.HeaderField{Name: "apns-id", Value: id, Sensitive: true})
	if s.config.Sandbox {
		reply.Fields = append(reply.Fields, hpack.HeaderField{Name: "apns-unique-id", Value: newUUID(), Sensitive: true})
	}
	if no != nil {
		reply.Status, reply.Body = no.status, no.body(at)
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
	s.note(r, fault, id, token, at, reply.Status, no)
	if fault.Hang {
		s.Hanging()
	}
	return reply
}

// note keeps the log.
func (s *Server) note(r *h2d.Request, fault provider.Fault, id, token string, at time.Time, status int, no *refusal) {
	if !s.Wanted() {
		s.Add(provider.Received{Accepted: no == nil && !fault.Hang && !fault.Reset && !fault.Garbage})
		return
	}
	received := provider.Received{ID: id, Address: token, At: at, Header: r.Header(), Body: slices.Clone(r.Body)}
	if !fault.Hang && !fault.Reset && !fault.Garbage {
		received.Status, received.Accepted = status, no == nil
		if no != nil {
			received.Code = no.reason
		}
	}
	s.Add(received)
}

// body is the JSON of an error.
func (no *refusal) body(at time.Time) []byte {
	if no.status == http.StatusGone {
		return fmt.Appendf(nil, `{"reason":%q,"timestamp":%d}`, no.reason, at.Add(-time.Hour).UnixMilli())
	}
	return fmt.Appendf(nil, `{"reason":%q}`, no.reason)
}

// judge decides on a request as Apple does; nil accepts.
func (s *Server) judge(c *h2d.Conn, r *h2d.Request, token string, at time.Time) *refusal {
	switch {
	case r.Method != http.MethodPost:
		return &refusal{http.StatusMethodNotAllowed, "MethodNotAllowed"}
	case r.Path == "/3/device/" || r.Path == "/3/device":
		return &refusal{http.StatusBadRequest, "MissingDeviceToken"}
	case !strings.HasPrefix(r.Path, "/3/device/") || strings.Contains(token, "/"):
		return &refusal{http.StatusNotFound, "BadPath"}
	}
	if no := s.admit(c, r, at); no != nil {
		return no
	}
	if no := headers(r); no != nil {
		return no
	}
	limit := maxPayload
	if r.Get("apns-push-type") == "voip" {
		limit = maxVoIPPayload
	}
	switch {
	case r.TooLarge || len(r.Body) > limit:
		return &refusal{http.StatusRequestEntityTooLarge, "PayloadTooLarge"}
	case len(r.Body) == 0 || !json.Valid(r.Body):
		return &refusal{http.StatusBadRequest, "PayloadEmpty"}
	}
	return s.address(r, token)
}

// admit checks who the provider is, and lets the connection have more streams once it knows.
func (s *Server) admit(c *h2d.Conn, r *h2d.Request, at time.Time) *refusal {
	known, ok := c.Memory.(*session)
	if !ok {
		known = &session{cert: c.ClientName()}
		c.Memory = known
	}
	auth := r.Get("authorization")
	if known.cert != "" && auth == "" {
		c.Allow(s.config.MaxStreams)
		return nil
	}
	bearer, ok := strings.CutPrefix(auth, "bearer ")
	if !ok || bearer == "" {
		return &refusal{http.StatusForbidden, "MissingProviderToken"}
	}
	issued, no := s.verify(bearer, at)
	if no != nil {
		c.Allow(1)
		return no
	}
	if at.Sub(issued) > tokenLife {
		return &refusal{http.StatusForbidden, "ExpiredProviderToken"}
	}
	if known.bearer != bearer {
		known.bearer = bearer
		c.Allow(s.config.MaxStreams)
	}
	return nil
}

// headers checks the request's fields in the order of Apple's table.
func headers(r *h2d.Request) *refusal {
	for i, f := range r.Fields {
		for _, other := range r.Fields[:i] {
			if other.Name == f.Name {
				return &refusal{http.StatusBadRequest, "DuplicateHeaders"}
			}
		}
	}
	pushType, priority := r.Get("apns-push-type"), r.Get("apns-priority")
	_, expirationErr := strconv.ParseInt(orZero(r.Get("apns-expiration")), 10, 64)
	switch {
	case r.Get("apns-id") != "" && !isUUID(r.Get("apns-id")):
		return &refusal{http.StatusBadRequest, "BadMessageId"}
	case expirationErr != nil:
		return &refusal{http.StatusBadRequest, "BadExpirationDate"}
	case priority != "" && priority != "1" && priority != "5" && priority != "10":
		return &refusal{http.StatusBadRequest, "BadPriority"}
	case pushType == "background" && (priority == "10" || priority == ""):
		return &refusal{http.StatusBadRequest, "BadPriority"}
	case len(r.Get("apns-collapse-id")) > maxCollapseID:
		return &refusal{http.StatusBadRequest, "BadCollapseId"}
	case !slices.Contains(pushTypes, pushType):
		return &refusal{http.StatusBadRequest, "InvalidPushType"}
	case r.Get("apns-topic") == "":
		return &refusal{http.StatusBadRequest, "MissingTopic"}
	}
	return nil
}

// pushTypes are the values of apns-push-type.
var pushTypes = []string{
	"alert", "background", "complication", "controls", "fileprovider", "liveactivity", "location", "mdm", "pushtotalk", "voip", "widgets",
}

// orZero stands in for an absent number.
func orZero(text string) string {
	if text == "" {
		return "0"
	}
	return text
}

// address checks the device and the topic.
func (s *Server) address(r *h2d.Request, token string) *refusal {
	topic := r.Get("apns-topic")
	if s.config.Topics != nil && !slices.Contains(s.config.Topics, topic) {
		return &refusal{http.StatusBadRequest, "TopicDisallowed"}
	}
	if len(token) < 64 || len(token) > 200 || !isHex(token) {
		return &refusal{http.StatusBadRequest, "BadDeviceToken"}
	}
	s.mu.Lock()
	device, known := s.devices[token]
	s.mu.Unlock()
	switch {
	case !known:
		return nil
	case device.Sandbox != s.config.Sandbox:
		return &refusal{http.StatusBadRequest, "BadDeviceToken"}
	case device.Topic != "" && device.Topic != topic:
		return &refusal{http.StatusBadRequest, "DeviceTokenNotForTopic"}
	case device.Unregistered:
		return &refusal{http.StatusGone, "Unregistered"}
	case device.Expired:
		return &refusal{http.StatusGone, "ExpiredToken"}
	}
	return nil
}

// isHex says whether a text is hexadecimal.
func isHex(text string) bool {
	for i := range len(text) {
		b := text[i]
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') && (b < 'A' || b > 'F') {
			return false
		}
	}
	return true
}

// isUUID says whether a text has the canonical form 8-4-4-4-12.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (text[i] == '-') {
			return false
		}
	}
	return isHex(strings.ReplaceAll(text, "-", ""))
}

// newUUID makes a random UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// reasonOf is the usual reason of a status, for faults that name none.
func reasonOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "BadDeviceToken"
	case http.StatusForbidden:
		return "InvalidProviderToken"
	case http.StatusGone:
		return "Unregistered"
	case http.StatusRequestEntityTooLarge:
		return "PayloadTooLarge"
	case http.StatusTooManyRequests:
		return "TooManyRequests"
	case http.StatusInternalServerError:
		return "InternalServerError"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailable"
	}
	return ""
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

// errToken is the error of a malformed provider token.
var errToken = errors.New("not a provider token")
