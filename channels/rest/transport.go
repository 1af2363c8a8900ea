package rest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// HTTP is a client over Transport that follows no redirect: it would take a message, and what signs in, elsewhere.
func HTTP(roots *x509.CertPool, connections int) *http.Client {
	return &http.Client{
		Transport:     Transport(roots, connections),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Transport is how a service is reached: with TLS 1.2 at least, over HTTP/2 where it speaks that, with so many
// connections kept and used at once. roots nil is the system's authorities.
func Transport(roots *x509.CertPool, connections int) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections,
		MaxConnsPerHost:     connections,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
}
