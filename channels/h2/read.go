package h2

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// maxReadFrame is the largest frame that a server may send, in bytes: we do not announce another (RFC 9113, 6.5.2).
const maxReadFrame = 16 << 10

// errRefused is the error of a request whose stream the server refused to look at.
var errRefused = errors.New("the server refused the stream")

// readFrames reads until the connection ends and returns why.
func (c *conn) readFrames(nc net.Conn) error {
	in := bufio.NewReaderSize(nc, 64<<10)
	framer := http2.NewFramer(io.Discard, in)
	framer.SetReuseFrames()
	framer.SetMaxReadFrameSize(maxReadFrame) // else a server that speaks HTTP/1.1 announces a frame of megabytes, and never sends it
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.MaxHeaderListSize = maxHeader
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if se, ok := errors.AsType[http2.StreamError](err); ok {
				c.streamError(se)
				continue
			}
			return fmt.Errorf("reading: %w", err)
		}
		c.frames.Add(1)
		if err := c.frame(frame); err != nil {
			return err
		}
	}
}

// streamError ends one stream whose frames are malformed.
func (c *conn) streamError(se http2.StreamError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(se.StreamID, se.Code)
	if s := c.streams[se.StreamID]; s != nil {
		c.end(s, fmt.Errorf("the server sent a malformed answer: %s", se.Code), false)
	}
}

// frame does what one frame asks. An error ends the connection.
func (c *conn) frame(frame http2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := frame.(*http2.SettingsFrame); !ok && !c.settled {
		return errors.New("the server did not begin with its settings")
	}
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		c.headers(f)
	case *http2.DataFrame:
		c.data(f)
	case *http2.RSTStreamFrame:
		if s := c.streams[f.StreamID]; s != nil {
			switch {
			case f.ErrCode == http2.ErrCodeRefusedStream:
				c.end(s, errRefused, true)
			case f.ErrCode == http2.ErrCodeNo && s.status != 0:
				c.end(s, nil, false) // answered before it had read everything
			default:
				c.end(s, fmt.Errorf("the server reset the stream: %s", f.ErrCode), false)
			}
		}
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			if int64(c.window)+int64(f.Increment) > 1<<31-1 {
				return errors.New("the server overflowed the connection's window")
			}
			c.window += int32(f.Increment)
		} else if s := c.streams[f.StreamID]; s != nil {
			if int64(s.window)+int64(f.Increment) > 1<<31-1 {
				c.reset(s.id, http2.ErrCodeFlowControl)
				c.end(s, errors.New("the server overflowed the stream's window"), false)
				return nil
			}
			s.window += int32(f.Increment)
		}
		if len(c.starved) > 0 {
			c.feed()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			c.must(c.framer.WritePing(true, f.Data))
			c.kick()
		}
	case *http2.GoAwayFrame:
		c.goAway(f)
	case *http2.PushPromiseFrame:
		return errors.New("the server pushed, which we have forbidden")
	}
	return nil
}

// goAway moves what the server did not look at to another connection. c.mu is held.
func (c *conn) goAway(f *http2.GoAwayFrame) {
	reason := fmt.Errorf("the server closed the connection: %s %.100q", f.ErrCode, f.DebugData())
	c.drain()
	for id, s := range c.streams {
		if id > f.LastStreamID {
			c.end(s, reason, true)
		}
	}
	if len(c.streams) == 0 {
		c.hangUp()
	}
}

// headers takes an answer's header, or its trailer. c.mu is held.
func (c *conn) headers(f *http2.MetaHeadersFrame) {
	s := c.streams[f.StreamID]
	if s == nil {
		return
	}
	if s.status == 0 {
		status, err := strconv.Atoi(f.PseudoValue("status"))
		if err != nil || status < 100 || status > 999 || f.Truncated {
			c.reset(s.id, http2.ErrCodeProtocol)
			c.end(s, errors.New("the server sent a malformed header"), false)
			return
		}
		if status >= 100 && status < 200 && !f.StreamEnded() {
			return
		}
		s.status = status
		fields := f.RegularFields()
		s.header = make(http.Header, len(fields))
		values := make([]string, len(fields)) // one allocation for all values
		for i, field := range fields {
			name := canonicalName(field.Name)
			if s.header[name] == nil {
				values[i] = field.Value
				s.header[name] = values[i : i+1 : i+1]
			} else {
				s.header[name] = append(s.header[name], field.Value)
			}
		}
	}
	if f.StreamEnded() {
		c.answered(s)
	}
}

// data takes a part of an answer's body. c.mu is held.
func (c *conn) data(f *http2.DataFrame) {
	if c.read += int(f.Length); c.read >= windowBatch {
		c.must(c.framer.WriteWindowUpdate(0, uint32(c.read)))
		c.read = 0
		c.kick()
	}
	s := c.streams[f.StreamID]
	if s == nil {
		return
	}
	if s.status == 0 {
		c.reset(s.id, http2.ErrCodeProtocol)
		c.end(s, errors.New("the server sent a body without a header"), false)
		return
	}
	room := c.t.config.MaxBody - len(s.answer)
	s.answer = append(s.answer, f.Data()[:min(room, len(f.Data()))]...)
	switch {
	case f.StreamEnded():
		c.answered(s)
	case len(s.answer) >= c.t.config.MaxBody:
		c.reset(s.id, http2.ErrCodeCancel) // enough
		c.end(s, nil, false)
	case f.Length > 0:
		c.must(c.framer.WriteWindowUpdate(s.id, f.Length))
		c.kick()
	}
}

// answered ends a stream whose answer is whole. c.mu is held.
func (c *conn) answered(s *stream) {
	if len(s.body) > 0 { // the server did not want to read it all
		c.reset(s.id, http2.ErrCodeNo)
	}
	c.end(s, nil, false)
}

// settings takes the server's limits. c.mu is held.
func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(set http2.Setting) error {
		if err := set.Valid(); err != nil {
			return err
		}
		switch set.ID {
		case http2.SettingMaxConcurrentStreams:
			c.maxStreams = set.Val
		case http2.SettingMaxFrameSize:
			c.maxFrame = set.Val
		case http2.SettingInitialWindowSize:
			change := int32(set.Val) - c.initial
			c.initial = int32(set.Val)
			for _, s := range c.streams {
				s.window += change
			}
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSizeLimit(set.Val)
			c.encoder.SetMaxDynamicTableSize(min(set.Val, 4096))
		default: // of no use to a client that is never pushed to
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the server's settings: %w", err)
	}
	c.must(c.framer.WriteSettingsAck())
	c.kick()
	c.settled = true
	c.begin()
	if len(c.starved) > 0 {
		c.feed()
	}
	return nil
}

// canonicalName is a header's name as net/http has it.
func canonicalName(lower string) string {
	switch lower {
	case "apns-id":
		return "Apns-Id"
	case "apns-unique-id":
		return "Apns-Unique-Id"
	case "content-type":
		return "Content-Type"
	}
	return http.CanonicalHeaderKey(lower)
}
