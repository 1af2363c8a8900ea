// Package h2 is an HTTP/2 client for providers that are sent very many very small requests: push
// services. It is an http.RoundTripper, so that the providers' own libraries work on top of it.
//
// What it does differently from net/http's: requests of many goroutines leave in one write and one
// TLS record; the number of connections is bounded however few streams a server allows (APNs allows
// one until it has seen a valid token, and takes a burst of connections for an attack); answers are
// cut at a maximum; and a request is sent again only where the protocol proves that the server did
// not look at it (GOAWAY, REFUSED_STREAM, a connection that never stood).
package h2

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config sets a Transport up. Zero values are replaced by the defaults named.
type Config struct {
	// TLS is cloned; its NextProtos are set.
	TLS *tls.Config
	// Connections is the most there are to one host (2). A further one is opened when the present
	// ones are busy.
	Connections int
	// Busy is the number of requests on a connection above which a further one is opened (64).
	Busy int
	// MaxBody is how many bytes of an answer are kept; the rest is refused (64 KiB).
	MaxBody int
	// Proxy finds the proxy for a host, as in http.Transport (http.ProxyFromEnvironment). Only http
	// proxies are spoken to; TLS goes through them untouched.
	Proxy func(*http.Request) (*url.URL, error)
	// DialTimeout is for connecting, TLS included (20 s).
	DialTimeout time.Duration
	// Quiet is after how long without a frame a connection is pinged, and after another such
	// time given up (15 s).
	Quiet time.Duration
	// Unique are the headers (lower case) whose values hardly ever come twice; they are kept out
	// of the compression table, which they would flush.
	Unique []string
}

// How often a request is sent that the server refuses to look at, and how often one moves on from a
// connection that ended before its turn came, until it fails.
const (
	maxRefused = 4
	maxMoves   = 30
)

// errClosed is the error of requests on a closed Transport.
var errClosed = errors.New("the transport is closed")

// Transport is an http.RoundTripper, safe for concurrent use.
type Transport struct {
	config Config
	names  map[string]headerName // by the name that net/http has; not changed after New

	mu     sync.Mutex
	hosts  map[string][]*conn
	closed bool
}

// New makes a Transport; it connects at the first request.
func New(c Config) *Transport {
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c.TLS = c.TLS.Clone()
	c.TLS.NextProtos = []string{"h2"}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	setDefault(&c.Connections, 2)
	setDefault(&c.Busy, 64)
	setDefault(&c.MaxBody, 64<<10)
	setDefault(&c.DialTimeout, 20*time.Second)
	setDefault(&c.Quiet, 15*time.Second)
	t := &Transport{config: c, names: make(map[string]headerName), hosts: make(map[string][]*conn)}
	for _, name := range []string{
		"accept-encoding", "apns-expiration", "apns-priority", "apns-push-type", "apns-topic", "authorization", "content-type",
		"user-agent", "x-firebase-client", "x-goog-api-client", "x-goog-api-format-version",
	} {
		t.names[http.CanonicalHeaderKey(name)] = headerName{lower: name}
	}
	for _, name := range []string{
		"host", "connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection",
	} {
		t.names[http.CanonicalHeaderKey(name)] = headerName{lower: name, hop: true}
	}
	for _, name := range c.Unique {
		t.names[http.CanonicalHeaderKey(name)] = headerName{lower: name, unique: true}
	}
	return t
}

// headerName is a header's name as HTTP/2 has it.
type headerName struct {
	lower  string
	unique bool // not worth a place in the compression table
	hop    bool // belongs to HTTP/1 connections, or is written anyway
}

// name looks a header's name up; those that push libraries send cost no allocation.
func (t *Transport) name(canonical string) headerName {
	if name, ok := t.names[canonical]; ok {
		return name
	}
	return headerName{lower: strings.ToLower(canonical)}
}

// setDefault fills a zero value.
func setDefault[T comparable](value *T, def T) {
	var zero T
	if *value == zero {
		*value = def
	}
}

// RoundTrip implements http.RoundTripper. The answer's body is whole and in memory, cut at
// MaxBody. What it came to is also noted where the context asks for it by Watch.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	s, err := t.roundTrip(r)
	o := Watched(r)
	if err != nil {
		if o != nil {
			o.Err = err
		}
		return nil, err
	}
	if o != nil {
		o.Status, o.Header, o.Body = s.status, s.header, s.answer
	}
	return s.response(), nil
}

// roundTrip sends a request, again where it is proven that the server did not look at it.
func (t *Transport) roundTrip(r *http.Request) (*stream, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	refused, moves := 0, 0
	for {
		c, err := t.pick(r.URL.Scheme, r.URL.Host)
		if err != nil {
			return nil, err
		}
		s := &stream{request: r, body: body, done: make(chan struct{})}
		c.start(s)
		select {
		case <-s.done:
		case <-ctx.Done():
			if c.abandon(s) {
				return nil, ctx.Err()
			}
			<-s.done // it ended while we were giving up
		}
		if s.err == nil {
			return s, nil
		}
		if errors.Is(s.err, errRefused) {
			refused++
		} else {
			moves++
		}
		if !s.unseen || refused == maxRefused || moves == maxMoves {
			return nil, s.err
		}
	}
}

// CloseIdleConnections closes connections without requests.
func (t *Transport) CloseIdleConnections() {
	t.each((*conn).retire)
}

// Close ends all connections at once; requests under way fail.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.each(func(c *conn) { c.fail(errClosed) })
	return nil
}

// each calls f for every connection.
func (t *Transport) each(f func(*conn)) {
	t.mu.Lock()
	var all []*conn
	for _, conns := range t.hosts {
		all = append(all, conns...)
	}
	t.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// pick chooses a connection: the least loaded, or a new one if that is busy and there may be more.
func (t *Transport) pick(scheme, host string) (*conn, error) {
	if scheme != "https" {
		return nil, fmt.Errorf("%q is not https", scheme)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	var best *conn
	least := int32(0)
	conns := t.hosts[host]
	for _, c := range conns {
		if load := c.load.Load(); best == nil || load < least {
			best, least = c, load
		}
	}
	if best != nil && (int(least) < t.config.Busy || len(conns) >= t.config.Connections) {
		return best, nil
	}
	c := newConn(t, host)
	t.hosts[host] = append(conns, c)
	go c.run()
	return c, nil
}

// drop takes a connection out of the choice.
func (t *Transport) drop(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	conns := slices.DeleteFunc(slices.Clone(t.hosts[c.host]), func(other *conn) bool { return other == c })
	if len(conns) == 0 {
		delete(t.hosts, c.host)
		return
	}
	t.hosts[c.host] = conns
}

// readBody reads what is sent.
func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	defer r.Body.Close()
	if r.ContentLength > 0 {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, fmt.Errorf("reading the request's body: %w", err)
		}
		return body, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	return body, nil
}

// stream is one request and its answer. Its fields belong to the connection, under its lock, until
// done is closed; then to RoundTrip.
type stream struct {
	request *http.Request
	body    []byte // what is still to be sent
	id      uint32 // 0: not begun
	window  int32  // how many bytes of body the server takes now

	status int
	header http.Header
	answer []byte

	done   chan struct{}
	ended  bool
	err    error
	unseen bool // err proves that the server did nothing with the request
}

// response is the answer as net/http has it.
func (s *stream) response() *http.Response {
	return &http.Response{
		Status:        statusLine(s.status),
		StatusCode:    s.status,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        s.header,
		Body:          io.NopCloser(bytes.NewReader(s.answer)),
		ContentLength: int64(len(s.answer)),
		Request:       s.request,
	}
}

// statusLine is a status as net/http words it.
func statusLine(status int) string {
	if status == http.StatusOK {
		return "200 OK"
	}
	return strconv.Itoa(status) + " " + http.StatusText(status)
}
