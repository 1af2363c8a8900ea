package fcmd_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/fcmd"
	"nudge/channels/h2"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// client sends requests as a sender would.
type client struct {
	server *fcmd.Server
	http   *http.Client
	oauth  *http.Client
	access string
}

func start(t *testing.T) client {
	t.Helper()
	server, err := fcmd.Start(fcmd.Config{Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	tlsConfig := &tls.Config{RootCAs: server.CA.Pool()}
	transport := h2.New(h2.Config{TLS: tlsConfig})
	t.Cleanup(func() { require.NoError(t, transport.Close()) })
	c := client{server: server, http: &http.Client{Transport: transport}, oauth: &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}}}
	t.Cleanup(c.oauth.CloseIdleConnections)
	config, err := google.JWTConfigFromJSON(server.Credentials, "https://www.googleapis.com/auth/firebase.messaging")
	require.NoError(t, err)
	token, err := config.TokenSource(context.WithValue(t.Context(), oauth2.HTTPClient, c.oauth)).Token()
	require.NoError(t, err)
	c.access = token.AccessToken
	return c
}

// answer is what the server says.
type answer struct {
	Name  string `json:"name"`
	Error struct {
		Code    int    `json:"code"`
		Status  string `json:"status"`
		Message string `json:"message"`
		Details []struct {
			Type       string `json:"@type"`
			ErrorCode  string `json:"errorCode"`
			Violations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

func (c client) send(t *testing.T, path, access, body string) (int, answer) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.server.Endpoint()+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+access)
	response, err := c.http.Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var a answer
	require.NoError(t, json.Unmarshal(raw, &a), "%s", raw)
	return response.StatusCode, a
}

const path = "/v1/projects/shop-1234/messages:send"

func TestDocumentedAnswers(t *testing.T) {
	c := start(t)
	c.server.SetDevice("gone-token", fcmd.Device{Unregistered: true})
	c.server.SetDevice("other-token", fcmd.Device{OtherSender: true})
	c.server.SetDevice("wrong-token", fcmd.Device{Invalid: true})
	for _, tc := range []struct {
		name, path, access, body string
		status                   int
		general, code, field     string
	}{
		{"accepted", path, c.access, `{"message":{"token":"good-token","notification":{"title":"x"}}}`, 200, "", "", ""},
		{"validated only", path, c.access, `{"validate_only":true,"message":{"token":"good-token"}}`, 200, "", "", ""},
		{"no access token", path, "", `{"message":{"token":"good-token"}}`, 401, "UNAUTHENTICATED", "", ""},
		{"a stranger's access token", path, "ya29.x", `{"message":{"token":"good-token"}}`, 401, "UNAUTHENTICATED", "", ""},
		{"another project", "/v1/projects/other/messages:send", c.access, `{"message":{"token":"good-token"}}`, 403, "PERMISSION_DENIED", "", ""},
		{"another path", "/v1/projects/shop-1234/messages", c.access, `{}`, 404, "NOT_FOUND", "", ""},
		{"not JSON", path, c.access, `hello`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message"},
		{"an unknown field", path, c.access, `{"message":{"token":"good-token","titel":"x"}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message"},
		{"data that is no text", path, c.access, `{"message":{"token":"good-token","data":{"n":1}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message"},
		{"nobody", path, c.access, `{"message":{}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message"},
		{"two recipients", path, c.access, `{"message":{"token":"good-token","topic":"all"}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message"},
		{"a reserved key", path, c.access, `{"message":{"token":"good-token","data":{"from":"x"}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.data"},
		{"4096 bytes", path, c.access, `{"message":{"token":"good-token","data":{"k":"` + strings.Repeat("x", 4095) + `"}}}`, 200, "", "", ""},
		{"4097 bytes", path, c.access, `{"message":{"token":"good-token","data":{"k":"` + strings.Repeat("x", 4096) + `"}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ""},
		{"100 KB", path, c.access, `{"message":{"token":"good-token","data":{"k":"` + strings.Repeat("x", 100_000) + `"}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ""},
		{"a priority", path, c.access, `{"message":{"token":"good-token","android":{"priority":"urgent"}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.priority"},
		{"a time to live of five weeks", path, c.access, `{"message":{"token":"good-token","android":{"ttl":"3024000s"}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.ttl"},
		{"a time to live without a unit", path, c.access, `{"message":{"token":"good-token","android":{"ttl":"3600"}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.ttl"},
		{"a colour", path, c.access, `{"message":{"token":"good-token","android":{"notification":{"color":"red"}}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.notification.color"},
		{"a link without TLS", path, c.access, `{"message":{"token":"good-token","webpush":{"fcm_options":{"link":"http://x.example"}}}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.webpush.fcm_options.link"},
		{"a malformed token", path, c.access, `{"message":{"token":"wrong-token"}}`, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.token"},
		{"another sender's token", path, c.access, `{"message":{"token":"other-token"}}`, 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", ""},
		{"the app is gone", path, c.access, `{"message":{"token":"gone-token"}}`, 404, "NOT_FOUND", "UNREGISTERED", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, a := c.send(t, tc.path, tc.access, tc.body)
			require.Equal(t, tc.status, status, a.Error.Message)
			require.Equal(t, tc.general, a.Error.Status)
			require.Equal(t, status == 200, a.Name != "")
			code, field := "", ""
			for _, d := range a.Error.Details {
				if d.ErrorCode != "" {
					code = d.ErrorCode
				}
				for _, v := range d.Violations {
					field = v.Field
				}
			}
			require.Equal(t, tc.code, code)
			require.Equal(t, tc.field, field)
		})
	}
	require.EqualValues(t, 2, c.server.Accepted(), "what is only validated is not sent")
}

func TestTokenEndpointRefuses(t *testing.T) {
	c := start(t)
	var account map[string]string
	require.NoError(t, json.Unmarshal(c.server.Credentials, &account))
	strangers, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	stranger, err := fcmd.Start(fcmd.Config{Now: time.Now, Key: strangers})
	require.NoError(t, err)
	defer stranger.Close()
	grant := func(credentials []byte, mend func(map[string]string), scope string) error {
		var account map[string]string
		require.NoError(t, json.Unmarshal(credentials, &account))
		account["token_uri"] = c.server.TokenURL()
		mend(account)
		raw, err := json.Marshal(account)
		require.NoError(t, err)
		config, err := google.JWTConfigFromJSON(raw, scope)
		require.NoError(t, err)
		_, err = config.TokenSource(context.WithValue(t.Context(), oauth2.HTTPClient, c.oauth)).Token()
		return err
	}
	const scope = "https://www.googleapis.com/auth/firebase.messaging"
	nothing := func(map[string]string) {}
	require.NoError(t, grant(c.server.Credentials, nothing, scope))
	require.ErrorContains(t, grant(stranger.Credentials, nothing, scope), "Invalid JWT Signature")
	require.ErrorContains(t, grant(c.server.Credentials, func(a map[string]string) { a["client_email"] = "x@y.example" }, scope), "account not found")
	require.ErrorContains(t, grant(c.server.Credentials, nothing, "https://www.googleapis.com/auth/drive"), "Invalid OAuth scope")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.server.TokenURL(), strings.NewReader("grant_type=password"))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := c.oauth.Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.NoError(t, response.Body.Close())
}
