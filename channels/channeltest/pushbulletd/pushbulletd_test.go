package pushbulletd_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/pushbulletd"

	"github.com/stretchr/testify/require"
)

// TestServerIsStrict makes requests by hand: what the server lets through, a channel's tests cannot find.
func TestServerIsStrict(t *testing.T) {
	server, err := pushbulletd.Start(time.Now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CA.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	const path, mime = "/v2/pushes", "application/json"
	for _, c := range []struct {
		name, method, path, token, mime, body string
		status                                int
		says                                  string
	}{
		{"a note", "POST", path, pushbulletd.Token, mime, `{"type":"note","body":"x"}`, 200, `"iden":"ujpah72o0`},
		{"who am I", "GET", "/v2/users/me", pushbulletd.Token, "", "", 200, `"iden":"ujpah72o0"`},
		{"nobody", "POST", path, "", mime, `{"type":"note","body":"x"}`, 401, `"error_code":"invalid_access_token"`},
		{"another path", "POST", "/v2/push", pushbulletd.Token, mime, `{"type":"note","body":"x"}`, 404, `"invalid_request"`},
		{"another method", "PUT", path, pushbulletd.Token, mime, `{"type":"note","body":"x"}`, 404, `"invalid_request"`},
		{"a form", "POST", path, pushbulletd.Token, "application/x-www-form-urlencoded", "type=note", 400, `"invalid_request"`},
		{"half of it", "POST", path, pushbulletd.Token, mime, `{"type":"note",`, 400, `"invalid_request"`},
		{"two of it", "POST", path, pushbulletd.Token, mime, `{"type":"note","body":"x"}{}`, 400, `"invalid_request"`},
		{"a parameter that is none", "POST", path, pushbulletd.Token, mime, `{"type":"note","body":"x","mood":"good"}`, 400, `"invalid_request"`},
		{"a file", "POST", path, pushbulletd.Token, mime, `{"type":"file","body":"x"}`, 400, `"param":"type"`},
		{"nothing to show", "POST", path, pushbulletd.Token, mime, `{"type":"note"}`, 400, `"param":"body"`},
		{"a note that links", "POST", path, pushbulletd.Token, mime, `{"type":"note","body":"x","url":"https://x"}`, 400, `"param":"url"`},
		{"two targets", "POST", path, pushbulletd.Token, mime, `{"type":"note","body":"x","email":"a@b.example","channel_tag":"shop-news"}`, 400, `"param":"target"`},
		{"an address that is none", "POST", path, pushbulletd.Token, mime, `{"type":"note","body":"x","email":"ann"}`, 400, `"param":"email"`},
		{"a device that is none", "POST", path, pushbulletd.Token, mime, `{"type":"note","body":"x","device_iden":"x"}`, 400, `"param":"device_iden"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, server.Endpoint()+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("Content-Type", c.mime)
			r.Header.Set("Access-Token", c.token)
			response, err := client.Do(r)
			require.NoError(t, err)
			defer response.Body.Close()
			raw, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, response.StatusCode, "%s", raw)
			require.Contains(t, string(raw), c.says)
			require.NotEmpty(t, response.Header.Get("X-Ratelimit-Reset"))
		})
	}
}
