package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// connected is a connection of a transport whose other end the test holds.
func connected(t *testing.T) (*conn, net.Conn) {
	t.Helper()
	transport := New(Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	c := newConn(transport, "push.example")
	transport.hosts[c.host] = []*conn{c}
	ours, theirs := net.Pipe()
	c.nc = ours
	return c, theirs
}

// request is one with a body of n bytes.
func request(t *testing.T, n int) *stream {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://push.example/3/device/a", http.NoBody)
	require.NoError(t, err)
	return &stream{request: r, body: make([]byte, n), done: make(chan struct{})}
}

// TestWriterRests holds a connection at the server's limit of streams, with requests waiting: the
// writer has nothing to do and must do nothing. (In the bubble a goroutine that spins keeps Wait
// from returning.)
func TestWriterRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs := connected(t)
		go io.Copy(io.Discard, theirs) //nolint:errcheck // until the end of the test
		c.settled, c.maxStreams = true, 1
		go c.write()
		streams := []*stream{request(t, 10), request(t, 10), request(t, 10)}
		for _, s := range streams {
			c.start(s)
		}
		synctest.Wait()
		require.Len(t, c.streams, 1)
		require.Len(t, c.waiting, 2)
		c.fail(errClosed)
		for _, s := range streams {
			<-s.done
			require.ErrorIs(t, s.err, errClosed)
		}
		require.Zero(t, c.load.Load())
	})
}

// TestIDsRunOut has a connection use its last stream id: what waits moves on.
func TestIDsRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs := connected(t)
		go io.Copy(io.Discard, theirs) //nolint:errcheck // until the end of the test
		c.settled, c.nextID = true, lastID-1
		go c.write()
		last, next := request(t, 10), request(t, 10)
		c.start(last)
		c.start(next)
		<-next.done
		require.True(t, next.unseen, "it may go to another connection")
		require.Empty(t, c.t.hosts, "nobody chooses this one any more")
		require.False(t, last.ended)
		c.fail(errClosed)
	})
}

// FuzzServer lets a server say anything at all: the connection must end, and every request with it,
// without a panic and without keeping more of an answer than it may.
func FuzzServer(f *testing.F) {
	frames := func(write func(*http2.Framer) error) []byte {
		var out writer
		require.NoError(f, write(http2.NewFramer(&out, nil)))
		return out
	}
	f.Add(frames(func(fr *http2.Framer) error { return fr.WriteSettings() }))
	f.Add(frames(func(fr *http2.Framer) error {
		return errors.Join(
			fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}),
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true}),
			fr.WriteData(1, true, []byte("hello")),
			fr.WriteWindowUpdate(0, 1<<31-1),
			fr.WriteRSTStream(3, http2.ErrCodeRefusedStream),
			fr.WritePing(false, [8]byte{}),
			fr.WriteGoAway(1, http2.ErrCodeNo, []byte("bye")),
		)
	}))
	f.Fuzz(func(t *testing.T, says []byte) {
		c, theirs := connected(t)
		go io.Copy(io.Discard, theirs) //nolint:errcheck // until the end of the test
		go c.write()
		var streams []*stream
		for range 4 {
			s := request(t, 100)
			streams = append(streams, s)
			c.start(s)
		}
		go func() {
			theirs.Write(says) //nolint:errcheck // it may hang up before the end
			theirs.Close()
		}()
		c.fail(c.readFrames(c.nc))
		for _, s := range streams {
			<-s.done
			require.LessOrEqual(t, len(s.answer), c.t.config.MaxBody)
			require.True(t, s.err != nil || s.status >= 100)
		}
		require.Zero(t, c.load.Load())
	})
}

// writer gathers what is written.
type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
