package h2

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// dial connects to a host, through a proxy where there is one.
func (t *Transport) dial(host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.config.DialTimeout)
	defer cancel()
	addr := host
	if _, _, err := net.SplitHostPort(host); err != nil {
		addr = net.JoinHostPort(host, "443")
	}
	proxy, err := t.config.Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: host}})
	if err != nil {
		return nil, fmt.Errorf("choosing a proxy: %w", err)
	}
	var dialer net.Dialer
	var nc net.Conn
	if proxy == nil {
		nc, err = dialer.DialContext(ctx, "tcp", addr)
	} else {
		nc, err = tunnel(ctx, &dialer, proxy, addr)
	}
	if err != nil {
		return nil, err
	}
	config := t.config.TLS
	if config.ServerName == "" {
		config = config.Clone()
		if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, errors.Join(err, nc.Close())
		}
	}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		return nil, errors.Join(fmt.Errorf("%s does not speak HTTP/2", host), secure.Close())
	}
	return secure, nil
}

// tunnel asks a proxy for a connection to addr. Its errors do not show the proxy's password.
func tunnel(ctx context.Context, dialer *net.Dialer, proxy *url.URL, addr string) (net.Conn, error) {
	if proxy.Scheme != "http" {
		return nil, fmt.Errorf("the proxy %s is not an http one", proxy.Host)
	}
	at := proxy.Host
	if proxy.Port() == "" {
		at = net.JoinHostPort(proxy.Hostname(), "80")
	}
	nc, err := dialer.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("the proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	connect := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		connect.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := connect.Write(nc); err != nil {
		return nil, errors.Join(fmt.Errorf("asking the proxy %s: %w", proxy.Host, err), nc.Close())
	}
	// The server says nothing before we do, so nothing of its is read with the proxy's answer.
	response, err := http.ReadResponse(bufio.NewReader(nc), connect) //nolint:bodyclose // the answer to CONNECT has none
	if err != nil {
		return nil, errors.Join(fmt.Errorf("asking the proxy %s: %w", proxy.Host, err), nc.Close())
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the proxy %s answered %d", proxy.Host, response.StatusCode), nc.Close())
	}
	return nc, nil
}
