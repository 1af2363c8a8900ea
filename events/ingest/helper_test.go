package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"nudge/events"
)

// memory is an Appender that keeps copies, as the contract asks. gate, if set, is received from
// before each append; err is returned instead of keeping.
type memory struct {
	mu       sync.Mutex
	messages [][]events.Event
	err      error
	gate     chan struct{}
	entered  chan int // receives the number of events of an append before it waits at the gate
}

func (m *memory) Append(ctx context.Context, evs []events.Event) (uint64, error) {
	if m.entered != nil {
		m.entered <- len(evs)
	}
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	data := events.AppendBatch(nil, evs)
	kept, err := events.DecodeBatch(data)
	if err != nil {
		return 0, err
	}
	if len(data) > 900_000 {
		panic("message too large")
	}
	m.messages = append(m.messages, kept)
	return uint64(len(m.messages)), nil
}

func (m *memory) all() []events.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var evs []events.Event
	for _, msg := range m.messages {
		evs = append(evs, msg...)
	}
	return evs
}

var testTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var testKeys = []Key{
	{Name: "web", WriteKey: "public-web"},
	{Name: "shop-server", WriteKey: "secret-shop", Secret: true},
}

type fixture struct {
	*Server
	queue *memory
	url   string
	reg   *prometheus.Registry
}

func start(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	f := &fixture{queue: &memory{}, reg: prometheus.NewRegistry()}
	o := Options{
		Queue: f.queue, Keys: func() []Key { return testKeys }, Now: func() time.Time { return testTime }, Registerer: f.reg,
	}
	if change != nil {
		change(&o)
	}
	var err error
	f.Server, err = New(o)
	require.NoError(t, err)
	srv := httptest.NewServer(f.Handler())
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

type request struct {
	method, path, body string
	key                string // by Basic auth
	header             http.Header
}

func (f *fixture) do(t *testing.T, q request) (int, string, http.Header) {
	t.Helper()
	code, body, header, err := f.send(t.Context(), q)
	require.NoError(t, err)
	return code, body, header
}

// send is do for goroutines, which must not end the test.
func (f *fixture) send(ctx context.Context, q request) (int, string, http.Header, error) {
	if q.method == "" {
		q.method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, q.method, f.url+q.path, bytes.NewBufferString(q.body))
	if err != nil {
		return 0, "", nil, err
	}
	maps.Copy(req.Header, q.header)
	if q.key != "" {
		req.SetBasicAuth(q.key, "")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header, err
}

func zip(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(body))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return m.GetCounter().GetValue()
}
