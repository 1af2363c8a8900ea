package provider

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"
)

// HTTPS is a local server over TLS with a log and a certificate authority of its own.
type HTTPS struct {
	*Log
	// CA is whom clients must trust.
	CA *CA

	http *httptest.Server
}

// StartHTTPS begins to serve on a port of this machine.
func StartHTTPS(now time.Time, handler http.Handler) (*HTTPS, error) {
	ca, err := NewCA(now)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Server()
	if err != nil {
		return nil, err
	}
	s := &HTTPS{Log: NewLog(), CA: ca, http: httptest.NewUnstartedServer(handler)}
	s.http.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that go away are expected
	s.http.StartTLS()
	return s, nil
}

// Endpoint is the server's URL.
func (s *HTTPS) Endpoint() string { return s.http.URL }

// Close ends the server and its connections.
func (s *HTTPS) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}
