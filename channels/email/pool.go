package email

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/smtp"
	"slices"
	"strings"
	"sync"
	"time"

	"nudge/channels"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// maxReply is how much a server may say at once, in bytes; go-smtp bounds lines, but not how many.
const maxReply = 64 << 10

// goodbye is how long a server may take to answer QUIT.
const goodbye = 2 * time.Second

// errReply is what a server gets that does not stop talking.
var errReply = errors.New("the server's reply does not end")

// bounded is a connection on which only so much may be read between two writes.
type bounded struct {
	net.Conn
	left int
}

// Read implements net.Conn.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errReply
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Write implements net.Conn. Reads and writes of SMTP take turns, on one goroutine.
func (b *bounded) Write(p []byte) (int, error) {
	b.left = maxReply
	return b.Conn.Write(p)
}

// server is how to reach a server.
type server struct {
	host, addr string
	security   string // tls, starttls, none
	tls        *tls.Config
	helo       string
	auth       string
	username   string
	password   channels.Secret
	timeout    time.Duration
}

// conn is one connection, signed in.
type conn struct {
	*gosmtp.Client
	raw   net.Conn
	sent  int
	dirty bool // a message was refused half way: RSET comes first
	idle  *time.Timer
}

// guard closes the connection when ctx ends: go-smtp knows no contexts. The function it returns
// ends the watch and says whether the connection was left open.
func (c *conn) guard(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { _ = c.raw.Close() })
}

// dial makes a connection and signs in.
func (s *server) dial(ctx context.Context) (*conn, error) {
	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{raw: tcp}
	stop := c.guard(ctx)
	if err := s.greet(c); err != nil {
		stop()
		_ = tcp.Close()
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return c, nil
}

// greet goes from a bare connection to one that takes messages.
func (s *server) greet(c *conn) error {
	raw := &bounded{Conn: c.raw, left: maxReply}
	switch s.security {
	case "tls":
		c.Client = gosmtp.NewClient(tls.Client(raw, s.tls))
	case "starttls":
		client, err := gosmtp.NewClientStartTLS(raw, s.tls)
		if err != nil && strings.Contains(err.Error(), "support STARTTLS") { // it has no type
			return &channels.DeliveryError{Class: channels.ClassCredential, Code: "tls", Err: errors.New("the server does not offer STARTTLS")}
		}
		if err != nil {
			return err
		}
		c.Client = client
	default:
		c.Client = gosmtp.NewClient(raw)
	}
	c.CommandTimeout, c.SubmissionTimeout = s.timeout, s.timeout
	if err := c.Hello(s.helo); err != nil {
		return err
	}
	if s.username == "" {
		return nil
	}
	client := s.mechanism(c)
	if client == nil {
		return &channels.DeliveryError{Class: channels.ClassCredential, Code: "auth", Err: errors.New("the server offers no way to sign in that is known here and allowed: " + s.auth)}
	}
	return c.Auth(client)
}

// mechanism is the way to sign in: the one that the config names, else the first that the server has.
func (s *server) mechanism(c *conn) sasl.Client {
	ways := []string{sasl.Plain, sasl.Login, "CRAM-MD5"}
	if s.security == "none" { // CRAM-MD5 does not show the password
		ways = []string{"CRAM-MD5", sasl.Plain, sasl.Login}
	}
	for _, way := range ways {
		if (s.auth != "auto" && !strings.EqualFold(s.auth, way)) || !c.SupportsAuth(way) {
			continue
		}
		switch way {
		case sasl.Plain:
			return sasl.NewPlainClient("", s.username, s.password.Reveal())
		case sasl.Login:
			return &login{username: s.username, password: s.password}
		default:
			return cram{smtp.CRAMMD5Auth(s.username, s.password.Reveal())}
		}
	}
	return nil
}

// login is the LOGIN mechanism, which go-sasl has only for servers that ask by the very word.
type login struct {
	username string
	password channels.Secret
	asked    int
}

// Start implements sasl.Client.
func (l *login) Start() (string, []byte, error) { return sasl.Login, nil, nil }

// Next implements sasl.Client.
func (l *login) Next([]byte) ([]byte, error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.username), nil
	case 2:
		return []byte(l.password.Reveal()), nil
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}

// cram is the CRAM-MD5 mechanism of the standard library.
type cram struct{ smtp.Auth }

// Start implements sasl.Client.
func (c cram) Start() (string, []byte, error) { return c.Auth.Start(nil) }

// Next implements sasl.Client.
func (c cram) Next(challenge []byte) ([]byte, error) { return c.Auth.Next(challenge, true) }

// pool keeps connections: at most so many at once, each for so many messages, and closed when they
// have been idle.
type pool struct {
	server server
	slots  chan struct{}
	most   int // messages of one connection
	keep   time.Duration

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// enter waits for one of the slots; leave gives it back.
func (p *pool) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pool) leave() { <-p.slots }

// take returns a connection, an idle one where there is one and a fresh one is not asked for.
func (p *pool) take(ctx context.Context, fresh bool) (c *conn, reused bool, err error) {
	for !fresh {
		if c = p.pop(); c == nil {
			break
		}
		if !c.dirty {
			return c, true, nil
		}
		stop := c.guard(ctx)
		err := c.Reset()
		if stop() && err == nil {
			c.dirty = false
			return c, true, nil
		}
		_ = c.raw.Close()
	}
	c, err = p.server.dial(ctx)
	return c, false, err
}

// pop returns the connection that was used last.
func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if c.idle.Stop() {
			return c
		}
		_ = c.raw.Close() // its time was up this very moment
	}
	return nil
}

// put gives a connection back.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	full := p.closed || (p.most > 0 && c.sent >= p.most)
	if !full {
		c.idle = time.AfterFunc(p.keep, func() { p.expire(c) })
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if full {
		c.quit()
	}
}

// expire ends a connection that nobody used.
func (p *pool) expire(c *conn) {
	p.mu.Lock()
	i := slices.Index(p.idle, c)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		c.quit()
	}
}

// close ends the idle connections; those in use end when they are given back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var group sync.WaitGroup
	for _, c := range idle {
		if c.idle.Stop() {
			group.Go(c.quit)
		}
	}
	group.Wait()
}

// quit says goodbye; a server that does not answer is left.
func (c *conn) quit() {
	c.CommandTimeout = goodbye
	_ = c.Quit()
	_ = c.raw.Close()
}
