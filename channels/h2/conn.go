package h2

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// defaultStreams is how many streams are begun where the server sets no limit.
const defaultStreams = 1000

// lastID is the last stream id that a connection uses.
const lastID = 1 << 30

// maxGathered is above how many bytes that the network does not take no more requests are begun.
const maxGathered = 1 << 20

// The windows that we give servers, in bytes: a stream's is the protocol's initial one.
const (
	connWindow  = 1 << 20
	windowBatch = connWindow / 4 // it is topped up when this much was read
)

// conn is one connection. Requests are put into out under the lock by whoever makes them; one
// goroutine writes what has gathered, another reads.
type conn struct {
	t    *Transport
	host string
	load atomic.Int32 // streams begun and waiting

	mu      sync.Mutex
	nc      net.Conn // nil until connected
	out     bytes.Buffer
	framer  *http2.Framer // writes into out
	encoder *hpack.Encoder
	block   bytes.Buffer // what encoder writes
	wake    chan struct{}

	streams  map[uint32]*stream
	waiting  []*stream // not begun: no connection yet, or the server allows no more
	starved  []*stream // begun, with body left for which there is no window
	nextID   uint32
	settled  bool // the server has said what it allows
	draining bool // begins no more streams
	ended    bool
	err      error // why, once it ended or has to

	// What the server set.
	maxStreams uint32
	maxFrame   uint32
	initial    int32 // window of a new stream
	window     int32 // of the connection

	read    int // bytes read since the window was topped up
	frames  atomic.Int64
	stopped chan struct{}
}

// newConn makes a connection that run then brings up.
func newConn(t *Transport, host string) *conn {
	c := &conn{
		t: t, host: host, wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		streams: make(map[uint32]*stream), nextID: 1,
		maxStreams: defaultStreams, maxFrame: 16 << 10, initial: 65535, window: 65535,
	}
	c.framer = http2.NewFramer(&c.out, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	return c
}

// run connects, then reads until the connection ends.
func (c *conn) run() {
	nc, err := c.t.dial(c.host)
	if err != nil {
		c.fail(fmt.Errorf("connecting: %w", err))
		return
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		nc.Close()
		return
	}
	c.nc = nc
	c.out.WriteString(http2.ClientPreface)
	c.must(c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}))
	c.must(c.framer.WriteWindowUpdate(0, connWindow-65535))
	c.kick()
	c.mu.Unlock()
	go c.write()
	go c.watch()
	c.fail(c.readFrames(nc))
}

// must ends the connection if err is one. Writing into memory fails only for a frame that we built
// wrongly. c.mu is held.
func (c *conn) must(err error) {
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("building a frame: %w", err)
		c.hangUp()
	}
}

// kick wakes the writer.
func (c *conn) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends what gathers in out until the connection ends.
func (c *conn) write() {
	var batch bytes.Buffer
	for {
		select {
		case <-c.wake:
		case <-c.stopped:
			return
		}
		c.mu.Lock()
		batch, c.out = c.out, batch
		if len(c.waiting) > 0 {
			c.begin()
		}
		c.mu.Unlock()
		if batch.Len() == 0 {
			continue
		}
		if _, err := c.nc.Write(batch.Bytes()); err != nil {
			c.fail(fmt.Errorf("writing: %w", err))
			return
		}
		batch.Reset()
	}
}

// watch pings a connection on which nothing comes, and gives it up if nothing comes then either.
func (c *conn) watch() {
	ticker := time.NewTicker(c.t.config.Quiet)
	defer ticker.Stop()
	seen, pinged := c.frames.Load(), false
	for {
		select {
		case <-ticker.C:
		case <-c.stopped:
			return
		}
		now := c.frames.Load()
		switch {
		case now != seen:
			seen, pinged = now, false
		case pinged:
			c.fail(errors.New("the server does not answer pings"))
			return
		default:
			pinged = true
			c.mu.Lock()
			c.must(c.framer.WritePing(false, [8]byte{'n', 'u', 'd', 'g', 'e'}))
			c.mu.Unlock()
			c.kick()
		}
	}
}

// start gives the connection a request.
func (c *conn) start(s *stream) {
	c.load.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		c.end(s, errGone, true)
		return
	}
	c.waiting = append(c.waiting, s)
	c.begin()
}

// errGone is the error of a request that met a connection which was just ending.
var errGone = errors.New("the connection was closing")

// begin begins what waits, as far as the server and the network allow. c.mu is held.
func (c *conn) begin() {
	for len(c.waiting) > 0 && c.settled && !c.draining && uint32(len(c.streams)) < c.maxStreams && c.out.Len() < maxGathered {
		s := c.waiting[0]
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
		s.id, s.window = c.nextID, c.initial
		c.nextID += 2
		c.streams[s.id] = s
		c.writeHeaders(s)
		if len(s.body) > 0 && !c.writeBody(s) {
			c.starved = append(c.starved, s)
		}
		c.kick()
		if c.nextID > lastID { // ids run out: go on with a new connection
			c.drain()
		}
	}
}

// writeHeaders writes a request's header. c.mu is held.
func (c *conn) writeHeaders(s *stream) {
	c.block.Reset()
	r := s.request
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	c.field(":method", r.Method, false)
	c.field(":scheme", "https", false)
	c.field(":authority", host, false)
	c.field(":path", r.URL.RequestURI(), true)
	if len(s.body) > 0 {
		c.field("content-length", strconv.Itoa(len(s.body)), true)
	}
	for canonical, values := range r.Header {
		name := c.t.name(canonical)
		if name.hop {
			continue
		}
		for _, value := range values {
			c.field(name.lower, value, name.unique)
		}
	}
	if r.Header["User-Agent"] == nil {
		c.field("user-agent", "nudge", false)
	}
	block, first := c.block.Bytes(), true
	for {
		part := block[:min(len(block), int(c.maxFrame))]
		block = block[len(part):]
		if first {
			c.must(c.framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: s.id, BlockFragment: part, EndHeaders: len(block) == 0, EndStream: len(s.body) == 0,
			}))
		} else {
			c.must(c.framer.WriteContinuation(s.id, len(block) == 0, part))
		}
		if first = false; len(block) == 0 {
			return
		}
	}
}

// field encodes one header field; a unique one is kept out of the compression table. c.mu is held.
func (c *conn) field(name, value string, unique bool) {
	c.must(c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: unique}))
}

// writeBody writes what there is window for and says whether that was all. c.mu is held.
func (c *conn) writeBody(s *stream) bool {
	for len(s.body) > 0 {
		n := min(len(s.body), int(c.maxFrame), int(s.window), int(c.window))
		if n <= 0 {
			return false
		}
		c.must(c.framer.WriteData(s.id, n == len(s.body), s.body[:n]))
		s.body = s.body[n:]
		s.window -= int32(n)
		c.window -= int32(n)
	}
	return true
}

// feed goes on with bodies that waited for window. c.mu is held.
func (c *conn) feed() {
	left := c.starved[:0]
	for _, s := range c.starved {
		if !s.ended && !c.writeBody(s) {
			left = append(left, s)
		}
	}
	clear(c.starved[len(left):])
	c.starved = left
	c.kick()
}

// end ends a stream. c.mu is held.
func (c *conn) end(s *stream, err error, unseen bool) {
	if s.ended {
		return
	}
	s.ended, s.err, s.unseen = true, err, unseen
	delete(c.streams, s.id)
	c.load.Add(-1)
	close(s.done)
	if len(c.waiting) > 0 {
		c.begin()
	}
	if c.draining && len(c.streams) == 0 {
		c.hangUp()
	}
}

// abandon gives a request up for its caller; false says that it had already ended.
func (c *conn) abandon(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended {
		return false
	}
	if s.id == 0 {
		for i, w := range c.waiting {
			if w == s {
				c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
				break
			}
		}
	} else {
		c.reset(s.id, http2.ErrCodeCancel)
	}
	c.end(s, errGone, false)
	return true
}

// reset tells the server that we are done with a stream. c.mu is held.
func (c *conn) reset(id uint32, code http2.ErrCode) {
	c.must(c.framer.WriteRSTStream(id, code))
	c.kick()
}

// drain lets what is begun finish and sends what waits elsewhere. c.mu is held.
func (c *conn) drain() {
	c.draining = true
	c.t.drop(c)
	waiting := c.waiting
	c.waiting = nil
	for _, s := range waiting {
		c.end(s, errGone, true)
	}
}

// retire closes the connection if nothing is under way.
func (c *conn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams)+len(c.waiting) == 0 && c.err == nil {
		c.drain()
		c.hangUp()
	}
}

// hangUp closes the network connection; the reader then ends. c.mu is held.
func (c *conn) hangUp() {
	if c.nc != nil {
		c.nc.Close()
	}
}

// fail ends the connection and everything on it. What was never begun is sent elsewhere.
func (c *conn) fail(err error) {
	c.t.drop(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.draining = true, true
	if c.err == nil {
		c.err = err
	}
	close(c.stopped)
	c.hangUp()
	waiting := c.waiting
	c.waiting = nil
	for _, s := range waiting {
		// Where the connection never stood, the reason is worth more than another try.
		c.end(s, c.err, c.settled && !errors.Is(err, errClosed))
	}
	for _, s := range c.streams {
		c.end(s, c.err, false)
	}
}
