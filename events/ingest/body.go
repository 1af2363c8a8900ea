package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	kgzip "github.com/klauspost/compress/gzip"
)

// MaxBodyBytes is the largest body, after decompression: 500 KB, as the tracking spec says.
const MaxBodyBytes = 500 << 10

// errTooLarge is answered with 400, as Segment does.
var errTooLarge = fmt.Errorf("the body is larger than %d bytes (500 KB); send smaller batches", MaxBodyBytes)

// readBody reads a body into dst's memory. It unpacks gzip where Content-Encoding says so and also
// where only the first bytes do, whatever the content type.
func (s *Server) readBody(r *http.Request, dst []byte) ([]byte, error) {
	if r.ContentLength > MaxBodyBytes {
		return dst, errTooLarge
	}
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	switch encoding {
	case "", "identity", "gzip", "x-gzip":
	default:
		return dst, fmt.Errorf("Content-Encoding %q is not understood; send gzip or plain JSON", encoding)
	}
	dst, err := appendAll(dst[:0], r.Body, int(max(r.ContentLength, 0)))
	if errors.Is(err, errTooLarge) {
		return dst, err
	}
	if err != nil {
		return dst, fmt.Errorf("read the body: %w", err)
	}
	if !bytes.HasPrefix(dst, []byte{0x1f, 0x8b}) {
		return dst, nil // also what a proxy has unpacked and left the header on
	}
	return s.unzip(dst)
}

// unzip unpacks packed into its own memory.
func (s *Server) unzip(packed []byte) ([]byte, error) {
	z, _ := s.unzippers.Get().(*unzipper)
	if z == nil {
		z = new(unzipper)
	}
	defer s.unzippers.Put(z)
	z.in = append(z.in[:0], packed...)
	z.source.Reset(z.in)
	if err := z.gz.Reset(&z.source); err != nil {
		return packed, fmt.Errorf("the body is not valid gzip: %w", err)
	}
	out, err := appendAll(packed[:0], &z.gz, 0)
	if err != nil && !errors.Is(err, errTooLarge) {
		err = fmt.Errorf("the body is not valid gzip: %w", err)
	}
	return out, err
}

// unzipper is what one decompression needs, for the next one.
type unzipper struct {
	in     []byte
	source bytes.Reader
	gz     kgzip.Reader
}

// appendAll reads all of r, but no more than MaxBodyBytes.
func appendAll(dst []byte, r io.Reader, expect int) ([]byte, error) {
	if cap(dst) <= expect {
		dst = make([]byte, 0, expect+512)
	}
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > MaxBodyBytes {
			return dst, errTooLarge
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}
