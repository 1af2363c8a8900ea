package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/provider"
	"nudge/channels/rest"

	"github.com/stretchr/testify/require"
)

// echo answers with the request's line and body.
type echo struct{}

func (echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := new(strings.Builder)
	if err := r.Write(body); err != nil {
		panic(http.ErrAbortHandler)
	}
	if _, err := w.Write([]byte(body.String())); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func TestClient(t *testing.T) {
	server, err := provider.StartHTTPS(time.Now(), echo{})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	s := rest.Settings{Timeout: channels.Duration(10 * time.Second), Connections: 1, URL: server.Endpoint() + "/behind/", CA: string(server.CA.PEM)}
	c, err := s.Open(channels.Options{Now: time.Now}, rest.Service{URL: "https://api.example"}, "hunter2hunter2")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	got, failure := c.Do(t.Context(), http.MethodPost, "/v2/x?a=1", http.Header{"Authorization": {"Bearer hunter2hunter2"}}, []byte("to ann@customer.example"), "ann@customer.example")
	require.Nil(t, failure)
	require.Equal(t, 200, got.Status)
	require.Contains(t, string(got.Body), "POST /behind/v2/x?a=1 HTTP/1.1")
	require.Contains(t, string(got.Body), "User-Agent: nudge")
	got.Status = 503
	got.Header.Set("Retry-After", "7")
	refused := c.Refused(got, nil, "Example", "", "no: hunter2hunter2, ann@customer.example", "ann@customer.example")
	require.Equal(t, 7*time.Second, refused.RetryAfter)
	require.EqualError(t, refused, "temporary (503): refused by Example: no: ***, ***")
}

func TestWrongURLs(t *testing.T) {
	open := func(url string, service rest.Service) error {
		s := rest.Settings{Connections: 1, URL: url}
		service.URL = "https://api.example"
		_, err := s.Open(channels.Options{Now: time.Now}, service)
		return err
	}
	for name, url := range map[string]string{
		"without TLS": "http://x.example", "no host": "https:///v2", "a name and a password": "https://ann:hunter2@x.example",
		"a query": "https://x.example/?token=hunter2", "no URL": "x.example", "malformed": "https://x.example/%zz",
	} {
		t.Run(name, func(t *testing.T) {
			require.EqualError(t, open(url, rest.Service{}), "url is not an https URL: for example https://api.example")
		})
	}
	require.NoError(t, open("", rest.Service{}))
	require.NoError(t, open("https://x.example/", rest.Service{Root: true}))
	require.EqualError(t, open("https://x.example/v2", rest.Service{Field: "endpoint", Root: true}), "endpoint is not an https URL without a path: for example https://api.example")
	require.ErrorContains(t, open("x", rest.Service{Example: "https://eu.example"}), "for example https://eu.example")
	require.NoError(t, open("http://x.example/v2", rest.Service{Plain: true}))
	require.EqualError(t, open("ftp://x.example/v2", rest.Service{Plain: true}), "url is not an http or https URL: for example https://api.example")
}

func TestWord(t *testing.T) {
	for code, want := range map[string]string{
		"invalid_request_error": "invalid_request_error", "KMSDisabled": "KMSDisabled", "": "", "<html>": "", "two words": "", strings.Repeat("x", 61): "",
	} {
		require.Equal(t, want, rest.Word(code), code)
	}
}
