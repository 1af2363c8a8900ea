package h2d

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Conn is one client's connection.
type Conn struct {
	// Memory is for the handler: what it knows of this connection. Only the handler touches it.
	Memory any

	server *Server
	nc     net.Conn
	in     *bufio.Reader

	mu       sync.Mutex
	wake     *sync.Cond // windows grew, or streams ended
	out      bytes.Buffer
	framer   *http2.Framer
	encoder  *hpack.Encoder
	block    bytes.Buffer
	streams  map[uint32]*stream
	last     uint32 // highest stream looked at
	allowed  uint32 // what the client knows it may have open
	promised uint32 // what was announced last, in force once the client has acknowledged it
	greeted  bool   // our settings were sent
	leaving  bool   // GOAWAY was sent, with gone as the last stream
	gone     uint32
	closed   bool
	initial  int64
	window   int64
	read     int
}

// stream is one request under way.
type stream struct {
	request Request
	body    []byte
	window  int64
	hanging bool
}

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{
		server: s, nc: nc, in: bufio.NewReaderSize(nc, 64<<10), streams: make(map[uint32]*stream),
		initial: 65535, window: 65535, allowed: s.config.MaxStreams, promised: s.config.MaxStreams,
	}
	c.wake = sync.NewCond(&c.mu)
	c.framer = http2.NewFramer(&c.out, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	return c
}

// serve reads until the connection ends.
func (c *Conn) serve() {
	defer func() {
		c.nc.Close()
		c.mu.Lock()
		c.closed = true
		clear(c.streams)
		c.wake.Broadcast()
		c.mu.Unlock()
	}()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.in, preface); err != nil || string(preface) != http2.ClientPreface {
		return
	}
	c.mu.Lock()
	c.put(c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingHeaderTableSize, Val: 4096},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.promised},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 8000},
	))
	c.greeted = true
	c.flush()
	c.mu.Unlock()
	framer := http2.NewFramer(io.Discard, c.in)
	framer.SetReuseFrames()
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.MaxHeaderListSize = 8000
	for {
		frame, err := framer.ReadFrame()
		c.mu.Lock()
		if err == nil {
			err = c.frame(frame)
		} else if se, ok := errors.AsType[http2.StreamError](err); ok {
			c.reset(se.StreamID, se.Code)
			err = nil
		}
		if c.in.Buffered() == 0 || c.out.Len() > 64<<10 || err != nil {
			c.flush()
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// put ends the connection if a frame could not be built, which is a mistake of this server. c.mu
// is held.
func (c *Conn) put(err error) {
	if err != nil {
		panic("h2d: building a frame: " + err.Error())
	}
}

// flush writes what has gathered. c.mu is held.
func (c *Conn) flush() {
	if c.out.Len() == 0 {
		return
	}
	if _, err := c.nc.Write(c.out.Bytes()); err != nil {
		c.nc.Close()
	}
	c.out.Reset()
}

// reset cuts a stream. c.mu is held.
func (c *Conn) reset(id uint32, code http2.ErrCode) {
	delete(c.streams, id)
	c.put(c.framer.WriteRSTStream(id, code))
	c.wake.Broadcast()
}

// errEnd ends a connection.
var errEnd = errors.New("the connection ends")

// frame does what one frame asks. c.mu is held.
func (c *Conn) frame(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.DataFrame:
		return c.data(f)
	case *http2.RSTStreamFrame:
		delete(c.streams, f.StreamID)
		c.wake.Broadcast()
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
		} else if s := c.streams[f.StreamID]; s != nil {
			s.window += int64(f.Increment)
		}
		c.wake.Broadcast()
	case *http2.SettingsFrame:
		if f.IsAck() {
			c.allowed = c.promised
			return nil
		}
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
			for _, s := range c.streams {
				s.window += int64(v) - c.initial
			}
			c.initial = int64(v)
		}
		if v, ok := f.Value(http2.SettingHeaderTableSize); ok {
			c.encoder.SetMaxDynamicTableSizeLimit(v)
		}
		c.put(c.framer.WriteSettingsAck())
	case *http2.PingFrame:
		if !f.IsAck() {
			c.put(c.framer.WritePing(true, f.Data))
		}
	case *http2.GoAwayFrame:
		return errEnd
	}
	return nil
}

// headers begins a request. c.mu is held.
func (c *Conn) headers(f *http2.MetaHeadersFrame) error {
	if s := c.streams[f.StreamID]; s != nil { // a trailer
		if f.StreamEnded() {
			return c.answer(f.StreamID, s)
		}
		return nil
	}
	if c.leaving && f.StreamID > c.gone {
		return nil // not looked at, as GOAWAY has announced
	}
	if f.StreamID <= c.last {
		return errEnd
	}
	c.last = f.StreamID
	if uint32(len(c.streams)) >= max(c.allowed, c.promised) {
		c.reset(f.StreamID, http2.ErrCodeRefusedStream)
		return nil
	}
	s := &stream{window: c.initial, request: Request{
		Method: f.PseudoValue("method"), Path: f.PseudoValue("path"), Authority: f.PseudoValue("authority"),
		Fields: append([]hpack.HeaderField(nil), f.RegularFields()...),
	}}
	c.streams[f.StreamID] = s
	if f.StreamEnded() {
		return c.answer(f.StreamID, s)
	}
	return nil
}

// data takes a part of a request's body. c.mu is held.
func (c *Conn) data(f *http2.DataFrame) error {
	if c.read += int(f.Length); c.read >= 16<<10 {
		c.put(c.framer.WriteWindowUpdate(0, uint32(c.read)))
		c.read = 0
	}
	s := c.streams[f.StreamID]
	if s == nil || s.hanging {
		return nil
	}
	if len(s.body)+len(f.Data()) > c.server.config.MaxBody {
		s.request.TooLarge = true
		return c.answer(f.StreamID, s)
	}
	if f.StreamEnded() && s.body == nil {
		s.request.Body = f.Data() // the usual case: one frame, not copied
		return c.answer(f.StreamID, s)
	}
	s.body = append(s.body, f.Data()...)
	if f.StreamEnded() {
		s.request.Body = s.body
		return c.answer(f.StreamID, s)
	}
	if f.Length > 0 {
		c.put(c.framer.WriteWindowUpdate(f.StreamID, f.Length))
	}
	return nil
}

// answer asks the handler and does what it says. c.mu is held.
func (c *Conn) answer(id uint32, s *stream) error {
	c.mu.Unlock()
	reply := c.server.config.Handler(c, &s.request)
	c.mu.Lock()
	s.hanging = true
	if reply.Delay > 0 {
		time.AfterFunc(reply.Delay, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.closed && c.streams[id] == s {
				if err := c.reply(id, s, reply); err != nil {
					c.nc.Close()
				}
				c.flush()
			}
		})
		return nil
	}
	return c.reply(id, s, reply)
}

// reply gives an answer now. c.mu is held.
func (c *Conn) reply(id uint32, s *stream, r Reply) error {
	switch {
	case r.Hang:
		return nil
	case r.Cut:
		return errEnd
	case r.Garbage:
		c.out.WriteString("\x00\x00\x04\x08\x00\x00\x00\x00\x00\xff\xff\xff\xffnot a frame at all, sorry")
		return nil
	case r.Reset:
		c.reset(id, http2.ErrCodeInternal)
		return nil
	}
	c.block.Reset()
	c.field(":status", strconv.Itoa(r.Status))
	for _, f := range r.Fields {
		c.put(c.encoder.WriteField(f))
	}
	end := len(r.Body) == 0 && !r.Endless
	c.put(c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: end}))
	if r.Endless {
		c.server.group.Go(func() { c.endless(id, s) })
		return nil
	}
	if !end {
		if int64(len(r.Body)) > min(c.window, s.window) { // answers are small; a client that leaves no room for one gets none
			c.reset(id, http2.ErrCodeFlowControl)
			return nil
		}
		c.window -= int64(len(r.Body))
		for body := r.Body; len(body) > 0; {
			part := body[:min(len(body), 16384)]
			body = body[len(part):]
			c.put(c.framer.WriteData(id, len(body) == 0, part))
		}
	}
	delete(c.streams, id)
	if s.request.TooLarge {
		c.put(c.framer.WriteRSTStream(id, http2.ErrCodeNo))
	}
	return nil
}

// field encodes a field of an answer. c.mu is held.
func (c *Conn) field(name, value string) {
	c.put(c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}))
}

// endless sends a body, as far as the windows allow, until the client has had enough.
func (c *Conn) endless(id uint32, s *stream) {
	chunk := bytes.Repeat([]byte("x"), 16384)
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && c.streams[id] == s {
		n := min(int64(len(chunk)), c.window, s.window)
		if n <= 0 {
			c.wake.Wait()
			continue
		}
		c.window -= n
		s.window -= n
		c.put(c.framer.WriteData(id, false, chunk[:n]))
		c.flush()
	}
}

// Allow changes how many streams the client may have open; c's own handler may call it.
func (c *Conn) Allow(streams uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.promised == streams || c.closed || c.leaving {
		return
	}
	c.promised = streams
	c.put(c.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: streams}))
	c.flush()
}

// GoAway announces the end of this connection.
func (c *Conn) GoAway(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.leaving || !c.greeted {
		return
	}
	c.leaving, c.gone = true, c.last
	c.put(c.framer.WriteGoAway(c.last, http2.ErrCodeNo, []byte(reason)))
	c.flush()
}

// ClientName is the name in the client's certificate, "" where it showed none.
func (c *Conn) ClientName() string {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return ""
	}
	certs := tc.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return ""
	}
	return certs[0].Subject.CommonName
}
