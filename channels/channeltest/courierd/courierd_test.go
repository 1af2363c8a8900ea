package courierd_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/courierd"

	"github.com/stretchr/testify/require"
)

// TestServerIsStrict makes requests by hand: what the server lets through, a channel's tests cannot find.
func TestServerIsStrict(t *testing.T) {
	server, err := courierd.Start(time.Now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CA.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	// in is a request whose message has a recipient and these parts beside it.
	in := func(parts string) string { return `{"message":{"to":{"user_id":"ann"},` + parts + `}}` }
	const template = `"template":"ORDER_SHIPPED"`
	for _, c := range []struct {
		name, method, path, key, mime, body string
		status                              int
		says                                string
	}{
		{"a template", "POST", "/send", courierd.Key, "application/json", in(template), 202, `"requestId":"1-`},
		{"content", "POST", "/send", courierd.Key, "application/json", in(`"content":{"title":"Hi","body":"x"}`), 202, `"requestId":"1-`},
		{"nobody", "POST", "/send", "another", "application/json", in(template), 401, "authentication_error"},
		{"another path", "POST", "/sends", courierd.Key, "application/json", in(template), 404, "invalid_request_error"},
		{"another method", "PUT", "/send", courierd.Key, "application/json", in(template), 404, "invalid_request_error"},
		{"a form", "POST", "/send", courierd.Key, "application/x-www-form-urlencoded", in(template), 400, "not JSON"},
		{"half of it", "POST", "/send", courierd.Key, "application/json", `{"message":`, 400, "Invalid JSON"},
		{"two of it", "POST", "/send", courierd.Key, "application/json", in(template) + "{}", 400, "'message' is required"},
		{"a part that is none", "POST", "/send", courierd.Key, "application/json", in(template + `,"mood":1`), 400, "mood"},
		{"no content", "POST", "/send", courierd.Key, "application/json", `{"message":{"to":{"user_id":"ann"}}}`, 400, "Either 'content' or 'template' must be defined."},
		{"no recipient", "POST", "/send", courierd.Key, "application/json", `{"message":{"to":{},` + template + `}}`, 400, "no recipient"},
		{"no such template", "POST", "/send", courierd.Key, "application/json", in(`"template":"NONE"`), 404, "template was not found"},
		{"content without a body", "POST", "/send", courierd.Key, "application/json", in(`"content":{"title":"Hi"}`), 400, "'content' must have"},
		{"elements without a version", "POST", "/send", courierd.Key, "application/json", in(`"content":{"elements":[{"type":"text","content":"x"}]}`), 400, "'content' must have"},
		{"an element that is none", "POST", "/send", courierd.Key, "application/json", in(`"content":{"version":"2022-01-01","elements":[{"type":"mood"}]}`), 400, "'content' must have"},
		{"routing without channels", "POST", "/send", courierd.Key, "application/json", in(template + `,"routing":{"method":"all","channels":[]}`), 400, "'routing' must have"},
		{"four days", "POST", "/send", courierd.Key, "application/json", in(template + `,"timeout":{"message":345600000}`), 400, "'timeout.message' must be"},
		{"above 6 MB", "POST", "/send", courierd.Key, "application/json", in(`"content":{"title":"Hi","body":"` + strings.Repeat("x", 6<<20) + `"}`), 413, "invalid_request_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, server.Endpoint()+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("Content-Type", c.mime)
			r.Header.Set("Authorization", "Bearer "+c.key)
			response, err := client.Do(r)
			require.NoError(t, err)
			defer response.Body.Close()
			raw, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, response.StatusCode, "%s", raw)
			require.Contains(t, string(raw), c.says)
		})
	}
}
