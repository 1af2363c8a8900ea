package clickhouse

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
)

// See clickhousetest, which this package's own tests cannot import.
var _ = func() bool { embedded.MaybeRunChild(); return true }()

// A store that a DSN names: the embedded engine behind a TCP port.
func TestDSN(t *testing.T) {
	ctx := context.Background()
	engine, err := embedded.Start(ctx, embedded.Config{Dir: t.TempDir()})
	if _, ok := errors.AsType[*embedded.MissingLibError](err); ok {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "embedded"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return engine.Dial(ctx, "")
		}},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)

	s, err := Open(ctx, Config{DSN: server.URL + "/shop"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Equal(t, "shop", s.Database())
	require.Nil(t, s.Engine())
	require.NoError(t, s.Migrate(ctx, Layout{}))

	b := NewEventBatch()
	b.Str("name", "one")
	b.Num("price", 1.5)
	b.Append(&EventRow{Person: 1, Time: 1_760_000_000_000, Pos: 1, Event: "Product Viewed", Violations: []string{"x"}})
	b.Append(&EventRow{Person: 2, Time: 1_760_000_000_000, Pos: 2, Properties: []byte("{}")})
	require.NoError(t, s.InsertEvents(ctx, b))
	// The way that the native protocol takes, over the only protocol that there is here.
	query := "INSERT INTO events (" + strings.Join(b.names, ", ") + ")"
	require.NoError(t, b.insertColumns(ctx, s.Conn(), query))
	var n, different uint64
	require.NoError(t, s.Conn().QueryRow(ctx, "SELECT count(), uniqExact(tuple(*)) FROM events").Scan(&n, &different))
	require.Equal(t, []uint64{4, 2}, []uint64{n, different})
}

func TestOpenErrors(t *testing.T) {
	ctx := context.Background()
	_, err := Open(ctx, Config{})
	require.ErrorContains(t, err, "neither a DSN nor a data folder is set")
	_, err = Open(ctx, Config{DSN: "mysql://x:y"})
	require.ErrorContains(t, err, "the DSN is not a ClickHouse one")
	_, err = Open(ctx, Config{DSN: "http://127.0.0.1:1/x"})
	require.ErrorContains(t, err, "connect to ClickHouse")
	require.True(t, Unavailable(err))
}
