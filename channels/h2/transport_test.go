package h2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nudge/channels/channeltest/h2d"
	"nudge/channels/channeltest/provider"
	"nudge/channels/h2"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// local is a server and a transport that trusts it.
type local struct {
	*h2d.Server
	transport *h2.Transport
	client    *http.Client
}

// start begins a server with a handler.
func start(t *testing.T, streams uint32, config h2.Config, handler func(*h2d.Conn, *h2d.Request) h2d.Reply) local {
	t.Helper()
	ca, cert := authority(t)
	server, err := h2d.Start(h2d.Config{
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, MaxStreams: streams, MaxBody: 1 << 20, Handler: handler,
	})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	config.TLS = &tls.Config{RootCAs: ca.Pool()}
	transport := h2.New(config)
	t.Cleanup(func() { require.NoError(t, transport.Close()) })
	return local{server, transport, &http.Client{Transport: transport}}
}

func authority(t *testing.T) (*provider.CA, tls.Certificate) {
	t.Helper()
	ca, err := provider.NewCA(time.Now())
	require.NoError(t, err)
	cert, err := ca.Server()
	require.NoError(t, err)
	return ca, cert
}

// post sends a body and returns the status and the answer's body.
func (l local) post(ctx context.Context, path, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.Addr()+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("X-Test", "a")
	r.Header.Add("X-Test", "b")
	response, err := l.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return response.StatusCode, string(raw), err
}

// get asks for a URL; the answer's body is not wanted.
func get(t *testing.T, transport *h2.Transport, url string) (status string, header http.Header, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return "", nil, err
	}
	return response.Status, response.Header, response.Body.Close()
}

// echo answers with what came.
func echo(_ *h2d.Conn, r *h2d.Request) h2d.Reply {
	return h2d.Reply{Status: 200, Fields: []hpack.HeaderField{{Name: "x-path", Value: r.Path}}, Body: []byte(r.Method + " " + r.Path + " " + string(r.Body))}
}

func TestRequestAndAnswer(t *testing.T) {
	var seen atomic.Pointer[h2d.Request]
	l := start(t, 100, h2.Config{Unique: []string{"x-test"}}, func(c *h2d.Conn, r *h2d.Request) h2d.Reply {
		seen.Store(&h2d.Request{Method: r.Method, Path: r.Path, Authority: r.Authority, Fields: r.Fields})
		return echo(c, r)
	})
	status, body, err := l.post(t.Context(), "/a?b=c%20d", "hello")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "POST /a?b=c%20d hello", body)
	require.Equal(t, l.Addr(), seen.Load().Authority)
	require.Equal(t, []string{"a", "b"}, seen.Load().Header().Values("X-Test"))
	require.Equal(t, "5", seen.Load().Get("content-length"))

	line, header, err := get(t, l.transport, "https://"+l.Addr()+"/none")
	require.NoError(t, err)
	require.Equal(t, "200 OK", line)
	require.Equal(t, "/none", header.Get("X-Path"))
}

func TestBodiesLargerThanEveryWindow(t *testing.T) {
	l := start(t, 100, h2.Config{}, func(_ *h2d.Conn, r *h2d.Request) h2d.Reply {
		return h2d.Reply{Status: 200, Body: fmt.Append(nil, len(r.Body), " ", string(r.Body[:1]))}
	})
	var group sync.WaitGroup
	for i := range 8 { // together 4 MB through a connection's window of 64 KB
		group.Go(func() {
			status, got, err := l.post(t.Context(), "/", strings.Repeat(strconv.Itoa(i), 500_000))
			if want := fmt.Sprint(500_000, " ", i); err != nil || status != 200 || got != want {
				t.Errorf("%d: %d %.40q %v", i, status, got, err)
			}
		})
	}
	group.Wait()
}

func TestOneStreamUntilTheServerAllowsMore(t *testing.T) {
	var most, open atomic.Int64
	l := start(t, 1, h2.Config{Connections: 3, Busy: 1 << 20}, func(c *h2d.Conn, _ *h2d.Request) h2d.Reply {
		if n := open.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer open.Add(-1)
		c.Allow(50)
		return h2d.Reply{Status: 200, Delay: time.Millisecond}
	})
	var group sync.WaitGroup
	for range 500 {
		group.Go(func() {
			if status, _, err := l.post(t.Context(), "/", "x"); err != nil || status != 200 {
				t.Error(status, err)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 1, l.Opened(), "a limit of streams is no reason to open connections")
}

func TestConnectionsAreBounded(t *testing.T) {
	l := start(t, 10, h2.Config{Connections: 3, Busy: 5}, func(*h2d.Conn, *h2d.Request) h2d.Reply {
		return h2d.Reply{Status: 200, Delay: time.Millisecond}
	})
	var group sync.WaitGroup
	for range 300 {
		group.Go(func() {
			if status, _, err := l.post(t.Context(), "/", "x"); err != nil || status != 200 {
				t.Error(status, err)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 3, l.Opened())
}

func TestGoAwayLosesAndDoublesNothing(t *testing.T) {
	const n = 2000
	var mu sync.Mutex
	seen := map[string]int{}
	goAway := make(chan struct{}, n)
	l := start(t, 100, h2.Config{Connections: 2}, func(_ *h2d.Conn, r *h2d.Request) h2d.Reply {
		mu.Lock()
		seen[string(r.Body)]++
		i := len(seen)
		mu.Unlock()
		if i%200 == 0 {
			goAway <- struct{}{}
		}
		return h2d.Reply{Status: 200, Delay: time.Duration(i%3) * time.Millisecond}
	})
	var chaos sync.WaitGroup
	chaos.Go(func() {
		for range goAway {
			l.GoAway(`{"reason":"Shutdown"}`)
		}
	})
	var group sync.WaitGroup
	gate := make(chan struct{}, 50)
	for i := range n {
		gate <- struct{}{}
		group.Go(func() {
			defer func() { <-gate }()
			if status, _, err := l.post(t.Context(), "/", strconv.Itoa(i)); err != nil || status != 200 {
				t.Errorf("%d: %d %v", i, status, err)
			}
		})
	}
	group.Wait()
	close(goAway)
	chaos.Wait()
	require.Equal(t, n, len(seen)) //nolint:testifylint // the map itself would fill the screen
	for body, times := range seen {
		require.Equal(t, 1, times, body)
	}
	require.Greater(t, l.Opened(), int64(2))
}

func TestAnswersThatEndInErrors(t *testing.T) {
	var reply atomic.Pointer[h2d.Reply]
	l := start(t, 100, h2.Config{}, func(*h2d.Conn, *h2d.Request) h2d.Reply { return *reply.Load() })
	for _, c := range []struct {
		name  string
		reply h2d.Reply
		want  string
	}{
		{"the stream is reset", h2d.Reply{Reset: true}, "reset the stream"},
		{"the connection is cut", h2d.Reply{Cut: true}, "reading"},
		{"garbage", h2d.Reply{Garbage: true}, ""},
		{"a malformed status", h2d.Reply{Status: -1}, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply.Store(&c.reply)
			_, _, err := l.post(t.Context(), "/", "x")
			require.ErrorContains(t, err, c.want)
			reply.Store(&h2d.Reply{Status: 204})
			status, _, err := l.post(t.Context(), "/", "x")
			require.NoError(t, err)
			require.Equal(t, 204, status)
		})
	}
}

func TestEndlessAnswerIsCut(t *testing.T) {
	l := start(t, 100, h2.Config{MaxBody: 100_000}, func(_ *h2d.Conn, r *h2d.Request) h2d.Reply {
		return h2d.Reply{Status: 200, Endless: r.Path == "/endless"}
	})
	for range 30 { // more than the connection's window in all
		_, body, err := l.post(t.Context(), "/endless", "x")
		require.NoError(t, err)
		require.Len(t, body, 100_000)
	}
	_, _, err := l.post(t.Context(), "/", "x")
	require.NoError(t, err)
	require.EqualValues(t, 1, l.Opened())
}

func TestCancelledRequestsLeaveRoom(t *testing.T) {
	hung := make(chan struct{}, 100)
	l := start(t, 5, h2.Config{Connections: 1}, func(_ *h2d.Conn, r *h2d.Request) h2d.Reply {
		if r.Path == "/hang" {
			hung <- struct{}{}
			return h2d.Reply{Hang: true}
		}
		return h2d.Reply{Status: 200}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 20 { // five hang, fifteen wait for a stream
		group.Go(func() {
			if _, _, err := l.post(ctx, "/hang", "x"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	for range 5 {
		<-hung
	}
	cancel()
	group.Wait()
	for range 20 {
		status, _, err := l.post(t.Context(), "/", "x")
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	require.EqualValues(t, 1, l.Opened())
}

func TestRefusedStreamsGoElsewhereOrFail(t *testing.T) {
	// A server that refuses every stream, by frames of our own.
	ca, cert := authority(t)
	var streams atomic.Int64
	addr := frames(t, cert, func(framer *http2.Framer, frame http2.Frame) {
		if f, ok := frame.(*http2.HeadersFrame); ok {
			streams.Add(1)
			require.NoError(t, framer.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream))
		}
	})
	transport := h2.New(h2.Config{TLS: &tls.Config{RootCAs: ca.Pool()}})
	defer func() { require.NoError(t, transport.Close()) }()
	_, _, err := get(t, transport, "https://"+addr)
	require.ErrorContains(t, err, "refused the stream")
	require.EqualValues(t, 4, streams.Load(), "it is tried again, but not for ever")
}

func TestQuietConnectionIsGivenUp(t *testing.T) {
	ca, cert := authority(t)
	pings := make(chan struct{}, 10)
	addr := frames(t, cert, func(_ *http2.Framer, frame http2.Frame) {
		if _, ok := frame.(*http2.PingFrame); ok {
			pings <- struct{}{} // and no answer
		}
	})
	transport := h2.New(h2.Config{TLS: &tls.Config{RootCAs: ca.Pool()}, Quiet: 50 * time.Millisecond})
	defer func() { require.NoError(t, transport.Close()) }()
	_, _, err := get(t, transport, "https://"+addr)
	require.ErrorContains(t, err, "does not answer pings")
	// The client gives up when it has waited; the server may only then come to read what it was sent.
	require.Eventually(t, func() bool { return len(pings) > 0 }, time.Minute, time.Millisecond)
}

func TestServersThatAreNotHTTP2(t *testing.T) {
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	plain.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain.StartTLS()
	defer plain.Close()
	transport := h2.New(h2.Config{TLS: plain.Client().Transport.(*http.Transport).TLSClientConfig})
	defer func() { require.NoError(t, transport.Close()) }()
	_, _, err := get(t, transport, plain.URL)
	require.ErrorContains(t, err, "no application protocol")
	_, _, err = get(t, transport, "http://127.0.0.1:1")
	require.ErrorContains(t, err, "is not https")
	_, _, err = get(t, transport, "https://127.0.0.1:1")
	require.ErrorContains(t, err, "connecting")

	ca, cert := authority(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	go func() {
		var open []net.Conn // not closed, so that the client must see by what it reads
		for {
			nc, err := listener.Accept()
			if err != nil {
				break
			}
			open = append(open, nc)
			nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) //nolint:errcheck // the client may have gone
		}
		for _, nc := range open {
			nc.Close()
		}
	}()
	transport = h2.New(h2.Config{TLS: &tls.Config{RootCAs: ca.Pool()}})
	defer func() { require.NoError(t, transport.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+listener.Addr().String(), http.NoBody)
	require.NoError(t, err)
	_, err = transport.RoundTrip(r)
	require.Error(t, err)
	require.NoError(t, ctx.Err())
}

func TestThroughAProxy(t *testing.T) {
	var tunnels atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic dXNlcjpodW50ZXIyaHVudGVyMg==" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		tunnels.Add(1)
		far, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		near, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n") //nolint:errcheck // the client's business
		go func() { io.Copy(far, near); far.Close() }() //nolint:errcheck // until one side ends
		io.Copy(near, far)                              //nolint:errcheck // until one side ends
		near.Close()
	}))
	defer proxy.Close()
	with := func(text string) h2.Config {
		return h2.Config{Proxy: func(r *http.Request) (*url.URL, error) {
			require.Equal(t, "https", r.URL.Scheme)
			return url.Parse(text)
		}}
	}
	host := strings.TrimPrefix(proxy.URL, "http://")
	l := start(t, 10, with("http://user:hunter2hunter2@"+host), echo)
	_, body, err := l.post(t.Context(), "/", "x")
	require.NoError(t, err)
	require.Equal(t, "POST / x", body)
	require.EqualValues(t, 1, tunnels.Load())
	for text, want := range map[string]string{
		"http://user:wrong@" + host:              "answered 407",
		"https://user:hunter2hunter2@" + host:    "is not an http one",
		"http://user:hunter2hunter2@127.0.0.1:1": "the proxy: dial tcp",
	} {
		_, _, err := start(t, 10, with(text), echo).post(t.Context(), "/", "x")
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestClosedTransport(t *testing.T) {
	hung := make(chan struct{}, 1)
	l := start(t, 5, h2.Config{}, func(*h2d.Conn, *h2d.Request) h2d.Reply {
		hung <- struct{}{}
		return h2d.Reply{Hang: true}
	})
	failed := make(chan error, 1)
	go func() {
		_, _, err := l.post(context.Background(), "/", "x")
		failed <- err
	}()
	<-hung
	require.NoError(t, l.transport.Close())
	require.ErrorContains(t, <-failed, "the transport is closed")
	_, _, err := l.post(t.Context(), "/", "x")
	require.ErrorContains(t, err, "the transport is closed")
}

// TestAgainstNetHTTP runs the transport against the standard library's own server.
func TestAgainstNetHTTP(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusAccepted)
		w.Write(body) //nolint:errcheck // the client's business
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	transport := h2.New(h2.Config{TLS: server.Client().Transport.(*http.Transport).TLSClientConfig, MaxBody: 1 << 20})
	defer func() { require.NoError(t, transport.Close()) }()
	client := &http.Client{Transport: transport}
	var group sync.WaitGroup
	for i := range 300 {
		group.Go(func() {
			body := bytes.Repeat([]byte{byte('a' + i%26)}, i*100)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			response, err := client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			got, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusAccepted || !bytes.Equal(body, got) || response.Header.Get("X-Length") != strconv.Itoa(len(body)) {
				t.Errorf("%d: %d %d bytes %v", i, response.StatusCode, len(got), err)
			}
		})
	}
	group.Wait()
}

// frames is a server that greets and then leaves every frame to f.
func frames(t *testing.T, cert tls.Certificate, f func(*http2.Framer, http2.Frame)) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	var group sync.WaitGroup
	var open sync.Map
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		open.Range(func(nc, _ any) bool { return nc.(net.Conn).Close() == nil || true })
		group.Wait()
	})
	group.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			open.Store(nc, true)
			group.Go(func() {
				defer nc.Close()
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(nc, preface); err != nil {
					return
				}
				framer := http2.NewFramer(nc, nc)
				if framer.WriteSettings() != nil {
					return
				}
				for {
					frame, err := framer.ReadFrame()
					if err != nil {
						return
					}
					f(framer, frame)
				}
			})
		}
	})
	return listener.Addr().String()
}
