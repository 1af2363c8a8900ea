package airshipd_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/airshipd"

	"github.com/stretchr/testify/require"
)

func TestDocumentedAnswers(t *testing.T) {
	server, err := airshipd.Start(airshipd.Config{Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CA.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	const good = `{"audience":{"ios_channel":"9c36e8c7-5a73-47c0-9716-99fd3d4197d5"},"device_types":["ios"],"notification":{"alert":"Hello"}}`
	push := func(audience, types, notification string) string {
		return fmt.Sprintf(`{"audience":%s,"device_types":%s,"notification":%s}`, audience, types, notification)
	}
	basic := func(r *http.Request) { r.SetBasicAuth(airshipd.AppKey, airshipd.Secret) }
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(airshipd.AppKey, airshipd.Secret); r.Header.Set(name, value) }
	}
	bearer := func(key string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+airshipd.Token)
			r.Header.Set("X-UA-Appkey", key)
		}
	}
	for _, c := range []struct {
		name, method, path, body string
		as                       func(*http.Request)
		status, code             int
		at                       string
	}{
		{"a push", "POST", "/api/push", good, basic, 202, 0, ""},
		{"with a slash, as the libraries do", "POST", "/api/push/", good, basic, 202, 0, ""},
		{"by a token", "POST", "/api/push", good, bearer(airshipd.AppKey), 202, 0, ""},
		{"several", "POST", "/api/push", "[" + good + "," + good + "]", basic, 202, 0, ""},
		{"validated alone", "POST", "/api/push/validate", good, basic, 200, 0, ""},
		{"to all", "POST", "/api/push", push(`"all"`, `["ios"]`, `{"alert":"x"}`), basic, 202, 0, ""},
		{"a token for another app", "POST", "/api/push", good, bearer("another"), 401, 40101, ""},
		{"nobody", "POST", "/api/push", good, func(*http.Request) {}, 401, 40101, ""},
		{"another path", "POST", "/api/pushes", good, basic, 404, 40401, ""},
		{"another method", "GET", "/api/push", "", basic, 405, 40501, ""},
		{"another version", "POST", "/api/push", good, header("Accept", "application/vnd.urbanairship+json; version=2"), 406, 40600, ""},
		{"another content", "POST", "/api/push", good, header("Content-Type", "text/plain"), 415, 41500, ""},
		{"no JSON", "POST", "/api/push", "alert=x", basic, 400, 40000, ""},
		{"too many", "POST", "/api/push", "[" + strings.Repeat(good+",", 100) + good + "]", basic, 400, 40000, ""},
		{"none", "POST", "/api/push", "[]", basic, 400, 40000, ""},
		{"one of several is wrong", "POST", "/api/push", "[" + good + `,{"audience":"all"}]`, basic, 400, 40000, "device_types"},
		{"the example of the documentation", "POST", "/api/push", push(`"all"`, `["ios"]`, `{"alert1":"x"}`), basic, 400, 40000, "notification.alert1"},
		{"no notification", "POST", "/api/push", `{"audience":"all","device_types":["ios"]}`, basic, 400, 40000, "notification"},
		{"an empty one", "POST", "/api/push", push(`"all"`, `["ios"]`, `{}`), basic, 400, 40000, "notification"},
		{"a platform that is none", "POST", "/api/push", push(`"all"`, `["symbian"]`, `{"alert":"x"}`), basic, 400, 40000, "device_types"},
		{"an unknown selector", "POST", "/api/push", push(`{"channel_id":"x"}`, `["ios"]`, `{"alert":"x"}`), basic, 400, 40000, "audience.channel_id"},
		{"a channel that is none", "POST", "/api/push", push(`{"or":[{"tag":"a"},{"ios_channel":"x"}]}`, `["ios"]`, `{"alert":"x"}`), basic, 400, 40000, "audience.or[1].ios_channel"},
		{"two selectors in one", "POST", "/api/push", push(`{"tag":"a","alias":"b"}`, `["ios"]`, `{"alert":"x"}`), basic, 400, 40000, "audience"},
		{"numbers in Android's extra", "POST", "/api/push", push(`"all"`, `["android"]`, `{"android":{"extra":{"a":1}}}`), basic, 400, 40000, "notification.android.extra.a"},
		{"Google's keys in Android's extra", "POST", "/api/push", push(`"all"`, `["android"]`, `{"android":{"extra":{"google.a":"1"}}}`), basic, 400, 40000, "notification.android.extra.google.a"},
		{"a part that is too large", "POST", "/api/push", push(`"all"`, `["android"]`, `{"android":{"alert":"`+strings.Repeat("x", 4096)+`"}}`), basic, 400, 40000, "notification.android"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := server.Accepted()
			r, err := http.NewRequestWithContext(t.Context(), c.method, server.Endpoint()+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", "application/vnd.urbanairship+json; version=3;")
			c.as(r)
			response, err := client.Do(r)
			require.NoError(t, err)
			defer func() { require.NoError(t, response.Body.Close()) }()
			raw, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, response.StatusCode, "%s", raw)
			var answer struct {
				OK      bool     `json:"ok"`
				Code    int      `json:"error_code"`
				PushIDs []string `json:"push_ids"`
				Details struct {
					Path string `json:"path"`
				} `json:"details"`
			}
			require.NoError(t, json.Unmarshal(raw, &answer))
			require.Equal(t, c.code, answer.Code)
			require.Equal(t, c.at, answer.Details.Path)
			require.Equal(t, c.status < 300, answer.OK)
			require.EqualValues(t, len(answer.PushIDs), server.Accepted()-before, "a push that was taken has an id, and no other")
			require.Equal(t, c.status == http.StatusAccepted, len(answer.PushIDs) > 0)
		})
	}
}
