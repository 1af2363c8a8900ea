// Package h2d is an HTTP/2 server made of frames, for the local push providers: it does what real
// ones do and net/http's server cannot be made to do. It changes the number of allowed streams as
// it goes, refuses streams above it, closes connections with a reason (GOAWAY), resets, hangs, and
// it is cheap enough not to be what a bench on the same machine measures.
package h2d

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Config sets a server up.
type Config struct {
	TLS *tls.Config
	// MaxStreams is what is allowed on a new connection.
	MaxStreams uint32
	// MaxBody is how many bytes of a request are read; a longer one is answered by Handler with
	// TooLarge set.
	MaxBody int
	// Handler answers requests; it is called from the connection's reader, one at a time for each
	// connection, and must not block.
	Handler func(*Conn, *Request) Reply
}

// Request is one request, whole.
type Request struct {
	Method, Path, Authority string
	Fields                  []hpack.HeaderField // regular ones, as they came
	Body                    []byte              // valid until the handler returns
	TooLarge                bool
}

// Get returns a header's first value, "" where it is absent. The name is in lower case.
func (r *Request) Get(name string) string {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Header returns the header as net/http has it.
func (r *Request) Header() http.Header {
	h := make(http.Header, len(r.Fields))
	for _, f := range r.Fields {
		h.Add(f.Name, f.Value)
	}
	return h
}

// Reply is what a handler answers.
type Reply struct {
	Status int
	Fields []hpack.HeaderField
	Body   []byte
	// Delay waits before the answer, which is otherwise given at once.
	Delay time.Duration
	// Hang gives no answer.
	Hang bool
	// Endless lets the body never end.
	Endless bool
	// Reset cuts the stream, Cut the whole connection, Garbage breaks the protocol on it.
	Reset, Cut, Garbage bool
}

// Server serves on a port of this machine.
type Server struct {
	config   Config
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	conns  map[*Conn]struct{}
	closed bool
	opened atomic.Int64
}

// Start begins to serve on 127.0.0.1.
func Start(c Config) (*Server, error) {
	config := c.TLS.Clone()
	config.NextProtos = []string{"h2"}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, listener: listener, conns: make(map[*Conn]struct{})}
	s.group.Go(s.accept)
	return s, nil
}

// Addr is the host and port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Opened is how many connections were ever opened.
func (s *Server) Opened() int64 { return s.opened.Load() }

// Close ends everything at once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.listener.Close() //nolint:errcheck // it is of no use any more
	s.Each(func(c *Conn) { c.nc.Close() })
	s.group.Wait()
}

// Each calls f for every open connection.
func (s *Server) Each(f func(*Conn)) {
	s.mu.Lock()
	all := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// GoAway closes every connection as a provider does that moves its clients elsewhere: what it has
// begun is answered, what comes later is not looked at. reason is the GOAWAY's debug data.
func (s *Server) GoAway(reason string) {
	s.Each(func(c *Conn) { c.GoAway(reason) })
}

// accept takes connections until the listener closes.
func (s *Server) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		c := newConn(s, nc)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			nc.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.opened.Add(1)
		s.group.Go(func() {
			c.serve()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}
