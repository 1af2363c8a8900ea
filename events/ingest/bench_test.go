package ingest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nudge/events"
	"nudge/events/queue"
)

// encoder is an Appender that does what every queue must, encode, and nothing else.
type encoder struct{ pool sync.Pool }

func (e *encoder) Append(_ context.Context, evs []events.Event) (uint64, error) {
	buf, _ := e.pool.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	*buf = events.AppendBatch((*buf)[:0], evs)
	e.pool.Put(buf)
	return 1, nil
}

func benchEvent(i int) string {
	return fmt.Sprintf(`{"timestamp":"2025-12-31T23:59:58.123Z","integrations":{},"type":"track","event":"Product Added","properties":{"cart_id":"cart-%d","product_id":"507f1f77bcf86cd799439011","sku":"G-32","category":"Games","name":"Monopoly: 3rd Edition","brand":"Hasbro","variant":"200 pieces","price":18.99,"quantity":1,"coupon":"MAYDEALS","currency":"usd","position":3,"value":18.99,"url":"https://www.example.com/product/path","image_url":"https://www.example.com/product/path.jpg"},"context":{"page":{"path":"/academy/","referrer":"https://www.example.com/","search":"","title":"Analytics Academy","url":"https://www.example.com/academy/"},"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/40.0.2214.115 Safari/537.36","locale":"en-US","timezone":"Europe/Berlin","ip":"108.0.78.21","library":{"name":"analytics.js","version":"2.11.1"},"campaign":{"name":"TPS Innovation","source":"Newsletter","medium":"email"}},"messageId":"ajs-next-1767225598123-%08d","userId":"user-%d","anonymousId":"23adfd82-aa0f-45a7-a756-24f2a7a4c895"}`, i, i, i%5000)
}

func benchBatch(n int) []byte {
	evs := make([]string, n)
	for i := range evs {
		evs[i] = benchEvent(i)
	}
	return []byte(`{"batch":[` + strings.Join(evs, ",") + `],"sentAt":"2025-12-31T23:59:59.000Z"}`)
}

func benchServer(b *testing.B, q Appender) *Server {
	b.Helper()
	s, err := New(Options{Queue: q, Keys: func() []Key { return testKeys }, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// discard is an http.ResponseWriter that keeps the status.
type discard struct {
	h    http.Header
	code int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(code int)        { d.code = code }

// BenchmarkHandler is the endpoint without sockets and without a disk. One operation is one event.
func BenchmarkHandler(b *testing.B) {
	for _, c := range []struct {
		name, path string
		body       []byte
		events     int
	}{{"batch of 100", "/v1/batch", benchBatch(100), 100}, {"single", "/v1/track", []byte(benchEvent(1)), 1}} {
		b.Run(c.name, func(b *testing.B) {
			h := benchServer(b, &encoder{}).Handler()
			req := httptest.NewRequest(http.MethodPost, c.path, nil)
			req.SetBasicAuth("public-web", "")
			req.ContentLength = int64(len(c.body))
			b.ReportAllocs()
			for i := 0; i < b.N; i += c.events {
				req.Body = io.NopCloser(bytes.NewReader(c.body))
				w := &discard{h: http.Header{}, code: 200}
				h.ServeHTTP(w, req)
				if w.code != 200 {
					b.Fatal(w.code)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkDurable is the whole way: loopback HTTP, the embedded queue, every message synced, with
// the clients on the same cores. One operation is one event.
func BenchmarkDurable(b *testing.B) {
	for _, c := range []struct {
		name, path       string
		body             []byte
		events, sendings int
	}{
		{"batches of 100, 16 connections", "/v1/batch", benchBatch(100), 100, 16},
		{"singles, 64 connections", "/v1/track", []byte(benchEvent(1)), 1, 64},
		{"singles, 512 connections", "/v1/track", []byte(benchEvent(1)), 1, 512},
	} {
		b.Run(c.name, func(b *testing.B) {
			q, err := queue.Open(b.Context(), queue.Config{Dir: b.TempDir(), Now: time.Now, KeepBytes: 64 << 20, MaxBacklog: 64 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			srv := httptest.NewServer(benchServer(b, q).Handler())
			defer srv.Close()
			tr := &http.Transport{MaxIdleConnsPerHost: c.sendings}
			defer tr.CloseIdleConnections()
			took := make([][]time.Duration, c.sendings)
			var wg sync.WaitGroup
			b.ResetTimer()
			for i := range c.sendings {
				wg.Go(func() {
					for n := i * c.events; n < b.N; n += c.sendings * c.events {
						req, err := http.NewRequest(http.MethodPost, srv.URL+c.path, bytes.NewReader(c.body))
						if err != nil {
							b.Error(err)
							return
						}
						req.SetBasicAuth("public-web", "")
						start := time.Now()
						res, err := tr.RoundTrip(req)
						if err != nil {
							b.Error(err)
							return
						}
						io.Copy(io.Discard, res.Body) //nolint:errcheck // a benchmark
						res.Body.Close()
						took[i] = append(took[i], time.Since(start))
						if res.StatusCode != 200 {
							b.Error(res.Status)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			all := slices.Concat(took...)
			slices.Sort(all)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-p50")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "ms-p99")
		})
	}
}
