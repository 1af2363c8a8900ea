// Package smtpd is a local SMTP server that takes mail only if it is well-formed, and fails on order.
package smtpd

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"nudge/channels/channeltest/provider"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Stage is a point of a conversation at which a fault may be ordered beside those of the Log, which
// are the answers to whole messages.
type Stage int

// The stages.
const (
	Connect Stage = iota // the greeting
	Hello
	Auth
	Mail
	Rcpt
	MidData // while the message is on its way
)

// Config is a server's set-up.
type Config struct {
	Now func() time.Time
	// Security is tls, starttls or none.
	Security string
	// Mechanisms of signing in, any of PLAIN, LOGIN and CRAM-MD5; none lets everybody send.
	Mechanisms         []string
	Username, Password string
	// Key looks up DKIM keys as DNS does; nil asks for no signature.
	Key func(name string) ([]string, error)
	// MaxBytes is announced and kept to; 0 is no limit.
	MaxBytes int64
	UTF8     bool
}

// Server is an SMTP server on this machine. Its Log has every message.
type Server struct {
	*provider.Log
	CA       *provider.CA
	config   Config
	smtp     *smtp.Server
	listener net.Listener
	served   sync.WaitGroup

	connections atomic.Int64
	open        atomic.Int64
	mu          sync.Mutex
	faults      map[Stage]func(address string) provider.Fault
}

// Start begins to serve.
func Start(c Config) (*Server, error) {
	ca, err := provider.NewCA(c.Now())
	if err != nil {
		return nil, err
	}
	cert, err := ca.Server()
	if err != nil {
		return nil, err
	}
	s := &Server{Log: provider.NewLog(), CA: ca, config: c, faults: map[Stage]func(string) provider.Fault{}}
	security := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(conn *smtp.Conn) (smtp.Session, error) {
		if err := s.at(Hello, "", conn.Conn()); err != nil {
			return nil, err
		}
		return &session{server: s, conn: conn}, nil
	}))
	s.smtp.ErrorLog = log.New(io.Discard, "", 0) // clients that go away are expected
	s.smtp.Domain, s.smtp.MaxMessageBytes, s.smtp.EnableSMTPUTF8, s.smtp.AllowInsecureAuth = "localhost", c.MaxBytes, c.UTF8, c.Security == "none"
	if c.Security == "starttls" {
		s.smtp.TLSConfig = security
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens until it is closed
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	s.listener = &door{Listener: listener, server: s}
	if c.Security == "tls" {
		s.listener = tls.NewListener(s.listener, security)
	}
	s.listener = &greeter{Listener: s.listener, server: s}
	s.served.Go(func() { _ = s.smtp.Serve(s.listener) }) // until Close, which is no error
	return s, nil
}

// Port is where it listens, on 127.0.0.1.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Connections is how many there were, Open how many there are.
func (s *Server) Connections() int64 { return s.connections.Load() }

// Open is how many connections there are.
func (s *Server) Open() int64 { return s.open.Load() }

// At orders faults at a stage; address is that of Mail and Rcpt. nil ends them.
func (s *Server) At(stage Stage, fault func(address string) provider.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[stage] = fault
}

// Close ends the server and its connections.
func (s *Server) Close() {
	_ = s.smtp.Close()     // a second time is harmless
	_ = s.listener.Close() // the server does not know it yet if it has only just begun
	s.served.Wait()
}

// ordered is the fault ordered for a stage.
func (s *Server) ordered(stage Stage, address string) provider.Fault {
	s.mu.Lock()
	fault := s.faults[stage]
	s.mu.Unlock()
	if fault == nil {
		return provider.Fault{}
	}
	return fault(address)
}

// at obeys the fault ordered for a stage.
func (s *Server) at(stage Stage, address string, conn net.Conn) error {
	return s.obey(s.ordered(stage, address), conn, "")
}

// door counts connections.
type door struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.server.connections.Add(1)
	d.server.open.Add(1)
	return &counted{Conn: conn, server: d.server}, nil
}

// counted is a connection that is counted out.
type counted struct {
	net.Conn
	server *Server
	once   sync.Once
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.once.Do(func() { c.server.open.Add(-1) })
	return c.Conn.Close()
}

// greeter obeys the faults of the greeting, which go-smtp leaves to nobody.
type greeter struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (g *greeter) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		fault := g.server.ordered(Connect, "")
		if fault.Status == 0 && !fault.Reset && !fault.Garbage && !fault.Endless && !fault.Hang {
			return conn, nil
		}
		go func() {
			defer conn.Close()
			if reply := g.server.obey(fault, conn, ""); reply != nil && fault.Status != 0 {
				fmt.Fprintf(conn, "%d %s\r\n", fault.Status, text(fault, ""))
			}
		}()
	}
}

// errCut is what go-smtp is told after the connection was ended under it.
var errCut = errors.New("cut")

// obey does what a fault says; nil is to go on. heard is what an echo says back.
func (s *Server) obey(fault provider.Fault, conn net.Conn, heard string) error {
	if fault.Delay > 0 {
		<-time.NewTimer(fault.Delay).C
	}
	switch {
	case fault.Hang:
		s.Hanging()
		_, _ = conn.Read(make([]byte, 1)) // until the client hangs up: it has nothing to say
		_ = conn.Close()
		return errCut
	case fault.Reset:
		_ = conn.Close()
		return errCut
	case fault.Garbage:
		_, _ = io.WriteString(conn, "\x16\x03\x01 this is not the protocol you are looking for\r\n\r\n")
		_ = conn.Close()
		return errCut
	case fault.Endless:
		status := fault.Status
		if status == 0 {
			status = 250
		}
		chunk := strings.Repeat(fmt.Sprintf("%d-%s\r\n", status, strings.Repeat("x", 500)), 100)
		for {
			if _, err := io.WriteString(conn, chunk); err != nil {
				_ = conn.Close()
				return errCut
			}
		}
	case fault.Status != 0 || fault.Body != nil || fault.Echo:
		status := fault.Status
		if status == 0 {
			status = 250
		}
		return &smtp.SMTPError{Code: status, EnhancedCode: enhanced(status, fault.Code), Message: text(fault, heard)}
	}
	return nil
}

// enhanced reads an enhanced code; "" is none.
func enhanced(status int, code string) smtp.EnhancedCode {
	var e smtp.EnhancedCode
	if _, err := fmt.Sscanf(code, "%d.%d.%d", &e[0], &e[1], &e[2]); err != nil {
		if status < 400 {
			return smtp.EnhancedCodeNotSet
		}
		return smtp.NoEnhancedCode
	}
	return e
}

// text is what a reply says.
func text(fault provider.Fault, heard string) string {
	switch {
	case fault.Echo:
		return heard
	case fault.Body != nil:
		return strings.ReplaceAll(string(fault.Body), "\r", "")
	}
	return "as it was ordered"
}

// session is one client's.
type session struct {
	server *Server
	conn   *smtp.Conn
	signed bool
	said   []string // of signing in, for the echo
	from   string
	to     string
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.from, s.to = "", "" }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if len(s.server.config.Mechanisms) > 0 && !s.signed {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	if s.from != "" {
		return &smtp.SMTPError{Code: 503, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "Nested MAIL: RSET comes first"}
	}
	if err := s.server.at(Mail, from, s.conn.Conn()); err != nil {
		return err
	}
	s.from = from
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.server.at(Rcpt, to, s.conn.Conn()); err != nil {
		return err
	}
	if s.to != "" {
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 5, 3}, Message: "One recipient a message: people must not see each other"}
	}
	s.to = to
	return nil
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	if fault := s.server.ordered(MidData, s.to); fault.Reset || fault.Hang {
		_, _ = io.CopyN(io.Discard, r, 200)
		return s.server.obey(fault, s.conn.Conn(), "")
	}
	raw, err := io.ReadAll(r)
	if errors.Is(err, smtp.ErrDataTooLarge) {
		return err
	}
	if err != nil {
		return errCut // the client went away while it was sending
	}
	got, problem := read(raw, s.server.config.Key)
	received := provider.Received{ID: got.id(), Address: s.to, At: s.server.config.Now(), Header: http.Header(got.header), Body: got.describe(s.from, s.to)}
	fault := s.server.Next(received.ID, received.Address)
	heard := strings.Join(append(s.said, s.from, s.to, string(raw)), "\n")
	reply, ordered := error(nil), fault.Hang || fault.Reset || fault.Garbage || fault.Endless
	if ordered {
		s.server.Add(received) // before the client knows
	}
	if reply = s.server.obey(fault, s.conn.Conn(), heard); ordered {
		return reply
	}
	if problem != nil && reply == nil {
		reply = problem
	}
	answer := &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}}
	if refusal, ok := errors.AsType[*smtp.SMTPError](reply); ok {
		answer = refusal
	}
	received.Status, received.Accepted = answer.Code, answer.Code < 300
	if answer.EnhancedCode[0] > 2 {
		received.Code = fmt.Sprintf("%d.%d.%d", answer.EnhancedCode[0], answer.EnhancedCode[1], answer.EnhancedCode[2])
	}
	s.server.Add(received)
	return reply
}

// describe is the message as JSON, without what a repeat may have anew: its signature.
func (m *letter) describe(from, to string) []byte {
	header := textproto.MIMEHeader{}
	for name, values := range m.header {
		if name != "Dkim-Signature" {
			header[name] = values
		}
	}
	out, err := json.Marshal(map[string]any{"from": from, "to": to, "header": header, "parts": m.parts})
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(out)
}

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string { return s.server.config.Mechanisms }

// Auth implements smtp.AuthSession.
func (s *session) Auth(mech string) (sasl.Server, error) {
	if err := s.server.at(Auth, "", s.conn.Conn()); err != nil {
		return nil, err
	}
	return &signIn{session: s, mechanism: mech}, nil
}
