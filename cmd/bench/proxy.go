package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// proxy is an HTTP proxy to which our local providers are those that they stand for: programs that know Apple's and
// Google's hosts alone reach them through it. It knows nobody else but this machine.
type proxy struct {
	server   *http.Server
	listener net.Listener
	real     map[string]string // addresses of the local providers, by those they stand for
}

// startProxy begins to serve.
func startProxy(ctx context.Context, all []*service) (*proxy, error) {
	p := &proxy{real: map[string]string{}}
	for _, s := range all {
		if s.real != "" {
			p.real[s.real] = s.addr
		}
	}
	var lc net.ListenConfig
	var err error
	if p.listener, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: p}
	go p.server.Serve(p.listener) //nolint:errcheck // it ends with close
	return p, nil
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) close() { p.server.Close() } //nolint:errcheck // nobody asks any more

// ServeHTTP answers CONNECT. The bytes of both ways are moved by the kernel, and cost next to nothing.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	addr, ok := p.real[r.Host]
	if host, _, err := net.SplitHostPort(r.Host); !ok && err == nil && host == "127.0.0.1" {
		addr, ok = r.Host, true
	}
	if r.Method != http.MethodConnect || !ok {
		http.Error(w, "this proxy knows the local providers only", http.StatusForbidden)
		return
	}
	var dialer net.Dialer
	there, err := dialer.DialContext(r.Context(), "tcp", addr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer here.Close()
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	if n := buffered.Reader.Buffered(); n > 0 { // a client that did not wait for the answer
		first, err := buffered.Peek(n)
		if err != nil {
			return
		}
		if _, err := there.Write(first); err != nil {
			return
		}
	}
	ended := make(chan struct{}, 2)
	move := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		ended <- struct{}{}
	}
	go move(there, here)
	go move(here, there)
	<-ended
}
