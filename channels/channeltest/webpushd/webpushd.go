// Package webpushd is a local push service for browsers (RFC 8030 with VAPID, RFC 8292), and the
// browsers behind it: it makes subscriptions, and decrypts what is pushed to them (RFC 8291) by an
// implementation of its own, so that its log holds what the service worker would read.
package webpushd

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nudge/channels/channeltest/provider"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/net/websocket"
)

// maxBody is what RFC 8030 has every service take, in bytes.
const maxBody = 4096

// Config sets a server up.
type Config struct {
	// Key is the VAPID public key that the browsers subscribed with, in base64url; "" allows any.
	Key string
	// Addr is where it listens; "" is a free port of 127.0.0.1. Tokens hold it.
	Addr string
	Now  func() time.Time
}

// Message is a push that waits at the service.
type Message struct {
	TTL     time.Duration
	Urgency string
	Topic   string
	Plain   []byte // decrypted
}

// Server is a push service on this machine. Its Log has every push, decrypted; the ID of a push is
// its Topic and its address the subscription's name.
type Server struct {
	*provider.Log
	// CA is whom clients must trust.
	CA *provider.CA

	config Config
	http   *httptest.Server

	mu       sync.Mutex
	gone     map[string]bool
	waiting  map[string][]Message
	browsers map[string]*websocket.Conn // the real ones, by the names of their subscriptions
	opened   int64
	tokens   map[string]bool // the VAPID tokens seen
	next     int64
}

// Start begins to serve over TLS and HTTP/2.
func Start(c Config) (*Server, error) {
	ca, err := provider.NewCA(c.Now())
	if err != nil {
		return nil, err
	}
	cert, err := ca.Server()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Log: provider.NewLog(), CA: ca, config: c,
		gone: make(map[string]bool), waiting: make(map[string][]Message), tokens: make(map[string]bool),
		browsers: make(map[string]*websocket.Conn),
	}
	s.http = httptest.NewUnstartedServer(s)
	if c.Addr != "" {
		if err := s.http.Listener.Close(); err != nil {
			return nil, fmt.Errorf("closing a listener: %w", err)
		}
		if s.http.Listener, err = net.Listen("tcp", c.Addr); err != nil { //nolint:noctx // it is closed by Close
			return nil, fmt.Errorf("starting the local push service: %w", err)
		}
	}
	s.http.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.http.EnableHTTP2 = true
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that go away are expected
	s.http.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.opened++
			s.mu.Unlock()
		}
	}
	s.http.StartTLS()
	return s, nil
}

// Addr is the host and port, for the `services` field of the webpush channel.
func (s *Server) Addr() string { return s.http.Listener.Addr().String() }

// Token is the device token of the browser with that name.
func (s *Server) Token(name string) string { return Token(s.Addr(), name) }

// Close ends the server and its connections.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Connections is how many connections were ever opened.
func (s *Server) Connections() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// Tokens is how many different VAPID tokens came.
func (s *Server) Tokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

// Unsubscribe ends a browser's subscription: 410 from now on.
func (s *Server) Unsubscribe(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[name] = true
}

// Waiting are the pushes that a browser would get when it connects.
func (s *Server) Waiting(name string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.waiting[name])
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/push/")
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return // the client went away while it was sending
	}
	s.mu.Lock()
	own := s.browsers[name]
	s.mu.Unlock()
	var plain []byte
	var problem error
	if own == nil { // of a real one the keys are its own
		plain, problem = Decrypt(name, raw)
	}
	if plain != nil {
		r.Body = io.NopCloser(bytes.NewReader(plain)) // the log is to hold what can be read
	} else {
		r.Body = io.NopCloser(bytes.NewReader(raw))
	}
	id := func([]byte) string { return r.Header.Get("Topic") }
	address := func([]byte) string { return name }
	s.Serve(w, r, s.config.Now(), id, address, func([]byte) provider.Answer {
		return s.judge(r, name, raw, plain, problem)
	}, refuse)
}

// judge decides on a push as a service does; where it could not know better, as the browser does.
func (s *Server) judge(r *http.Request, name string, raw, plain []byte, problem error) provider.Answer {
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "")
	}
	if len(raw) > maxBody {
		return refuse(http.StatusRequestEntityTooLarge, "")
	}
	if status, code := s.admit(r); status != 0 {
		return refuse(status, code)
	}
	m, err := messageOf(r)
	if err != nil {
		return provider.Answer{Status: http.StatusBadRequest, Body: []byte(err.Error())}
	}
	if problem != nil {
		return provider.Answer{Status: http.StatusBadRequest, Body: []byte(problem.Error())}
	}
	m.Plain = plain
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone[name] {
		return refuse(http.StatusGone, "")
	}
	waiting := s.waiting[name]
	if m.Topic != "" {
		waiting = slices.DeleteFunc(waiting, func(old Message) bool { return old.Topic == m.Topic })
	}
	if to := s.browsers[name]; to != nil {
		if err := hand(to, name, m, raw); err != nil {
			return provider.Answer{Status: http.StatusServiceUnavailable, Body: []byte(err.Error())}
		}
	} else if s.Keep && m.TTL > 0 {
		s.waiting[name] = append(waiting, m)
	}
	s.next++
	location := fmt.Sprintf("https://%s/message/%d", r.Host, s.next)
	return provider.Answer{Status: http.StatusCreated, Header: http.Header{"Location": {location}, "Ttl": {r.Header.Get("TTL")}}}
}

// admit checks the VAPID header (RFC 8292); 0 is fine.
func (s *Server) admit(r *http.Request) (status int, code string) {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "vapid ")
	if !ok {
		return http.StatusUnauthorized, ""
	}
	params := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		params[key] = value
	}
	if s.config.Key != "" && params["k"] != s.config.Key {
		return http.StatusForbidden, "VapidPkHashMismatch"
	}
	s.mu.Lock()
	s.tokens[params["t"]] = true
	s.mu.Unlock()
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(params["t"], claims, func(*jwt.Token) (any, error) { return publicKey(params["k"]) },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience("https://"+r.Host), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.config.Now))
	if err != nil {
		return http.StatusForbidden, ""
	}
	until, err := claims.GetExpirationTime()
	subject, _ := claims["sub"].(string)
	if err != nil || until.Sub(s.config.Now()) > 24*time.Hour || (!strings.HasPrefix(subject, "mailto:") && !strings.HasPrefix(subject, "https://")) {
		return http.StatusForbidden, ""
	}
	return 0, ""
}

// messageOf reads the headers of a push.
func messageOf(r *http.Request) (Message, error) {
	seconds, err := strconv.ParseInt(r.Header.Get("TTL"), 10, 64)
	if err != nil || seconds < 0 {
		return Message{}, errors.New("TTL is missing or not a number of seconds")
	}
	m := Message{TTL: time.Duration(seconds) * time.Second, Urgency: r.Header.Get("Urgency"), Topic: r.Header.Get("Topic")}
	if !slices.Contains([]string{"", "very-low", "low", "normal", "high"}, m.Urgency) {
		return m, errors.New("Urgency is not one") //nolint:staticcheck // a header's name
	}
	if _, err := base64.RawURLEncoding.DecodeString(m.Topic); err != nil || len(m.Topic) > 32 {
		return m, errors.New("Topic is not at most 32 characters of base64url") //nolint:staticcheck // a header's name
	}
	if r.Header.Get("Content-Encoding") != "aes128gcm" {
		return m, errors.New("Content-Encoding is not aes128gcm")
	}
	return m, nil
}

// refuse is an error answer, in the words of the service that has such a one.
func refuse(status int, code string) provider.Answer {
	answer := provider.Answer{Status: status, Code: code, Body: []byte(http.StatusText(status))}
	switch {
	case code == "VapidPkHashMismatch" && status == http.StatusForbidden:
		answer.Body = []byte("the VAPID credentials in the authorization header do not correspond to the credentials used to create the subscriptions.\n")
	case code == "vapid":
		answer.Body = []byte(`{"code":400,"errno":110,"error":"Bad Request","message":"Invalid VAPID key or token"}`)
	case code != "":
		answer.Body = fmt.Appendf(nil, `{"reason":%q}`, code)
	}
	return answer
}
