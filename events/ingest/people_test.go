package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events"
)

func TestPeople(t *testing.T) {
	token := "fcm:a/b+c"
	device := "/v1/users/u%201/devices/" + url.PathEscape(token)
	for _, c := range []struct {
		name, method, path, body, key string
		want                          []events.Event
	}{
		{
			"a device", http.MethodPut, device, `{"platform":"android","app":"shop.example"}`, "public-web",
			[]events.Event{{Kind: events.KindDevice, Properties: json.RawMessage(`{"token":"fcm:a/b+c","platform":"android","app":"shop.example"}`)}},
		},
		{
			"a sandbox device", http.MethodPut, device, `{"platform":"ios","app":"a","environment":"sandbox"}`, "secret-shop",
			[]events.Event{{Kind: events.KindDevice, Properties: json.RawMessage(`{"token":"fcm:a/b+c","platform":"ios","app":"a","environment":"sandbox"}`)}},
		},
		{
			"a device removed", http.MethodDelete, device, ``, "public-web",
			[]events.Event{{Kind: events.KindDevice, Properties: json.RawMessage(`{"token":"fcm:a/b+c","removed":true,"reason":"app"}`)}},
		},
		{
			"a consent", http.MethodPut, "/v1/users/u%201/consents", `{"channel":"push","category":"promotional","granted":true}`, "secret-shop",
			[]events.Event{{Kind: events.KindConsent, Properties: json.RawMessage(`{"channel":"push","category":"promotional","granted":true}`)}},
		},
		{
			"two consents", http.MethodPut, "/v1/users/u%201/consents", ` [{"channel":"sms","granted":false},{"granted":true}]`, "secret-shop",
			[]events.Event{
				{Kind: events.KindConsent, Properties: json.RawMessage(`{"channel":"sms","granted":false}`)},
				{Kind: events.KindConsent, Properties: json.RawMessage(`{"granted":true}`)},
			},
		},
		{
			"erasing", http.MethodDelete, "/v1/users/u%201", ``, "secret-shop",
			[]events.Event{{Kind: events.KindErase}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			code, body, _ := f.do(t, request{method: c.method, path: c.path, body: c.body, key: c.key})
			require.Equal(t, 200, code, body)
			require.Equal(t, `{"success":true}`, body)
			evs := f.queue.all()
			require.Len(t, evs, len(c.want))
			source := map[string]string{"public-web": "web", "secret-shop": "shop-server"}[c.key]
			for i, want := range c.want {
				require.Regexp(t, `^nudge-\w{26}$`, evs[i].MessageID)
				want.MessageID, want.UserID, want.Source = evs[i].MessageID, "u 1", source
				want.Time, want.ReceivedAt = testTime.UnixMilli(), testTime.UnixMilli()
				require.Equal(t, want, evs[i])
			}
			if d, ok := events.DeviceOf(&evs[0]); ok {
				require.Equal(t, token, d.Token)
			}
		})
	}
}

func TestPeopleRefused(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		name, method, path, body, key string
		code                          int
		want                          string
	}{
		{"no key", http.MethodPut, "/v1/users/u/devices/t", `{"platform":"ios"}`, "", 401, "the write key is missing or unknown"},
		{"consent by a public key", http.MethodPut, "/v1/users/u/consents", `{"granted":true}`, "public-web", 403, `the key "web" is public (apps ship with it); this call needs a secret key`},
		{"erasing by a public key", http.MethodDelete, "/v1/users/u", ``, "public-web", 403, "needs a secret key"},
		{"no platform", http.MethodPut, "/v1/users/u/devices/t", ``, "public-web", 400, `platform is missing; send {"platform": "ios"}, "android" or "web"`},
		{"odd platform", http.MethodPut, "/v1/users/u/devices/t", `{"platform":"iPhone"}`, "public-web", 400, `platform is "iPhone"; send "ios", "android" or "web"`},
		{"odd environment", http.MethodPut, "/v1/users/u/devices/t", `{"platform":"ios","environment":"test"}`, "public-web", 400, `environment is "test"; send "production" or "sandbox", or leave it out`},
		{"unknown field", http.MethodPut, "/v1/users/u/devices/t", `{"platform":"ios","apps":"a"}`, "public-web", 400, `unknown field "apps"`},
		{"long app", http.MethodPut, "/v1/users/u/devices/t", `{"platform":"ios","app":"` + strings.Repeat("a", 256) + `"}`, "public-web", 400, `app has 256 bytes; at most 255 are allowed`},
		{"long token", http.MethodPut, "/v1/users/u/devices/" + strings.Repeat("t", 4097), `{"platform":"ios"}`, "public-web", 400, `the token has 4097 bytes; at most 4096 are allowed`},
		{"long id", http.MethodDelete, "/v1/users/" + strings.Repeat("u", 513), ``, "secret-shop", 400, `the user id has 513 bytes; at most 512 are allowed`},
		{"id not UTF-8", http.MethodDelete, "/v1/users/%ff", ``, "secret-shop", 400, `the user id in the address is not valid UTF-8`},
		{"token not UTF-8", http.MethodDelete, "/v1/users/u/devices/%ff", ``, "public-web", 400, `the token in the address is not valid UTF-8`},
		{"body not UTF-8", http.MethodPut, "/v1/users/u/devices/t", "{\"app\":\"\xff\"}", "public-web", 400, `the body is not valid UTF-8`},
		{"large body", http.MethodPut, "/v1/users/u/devices/t", strings.Repeat(" ", 70000), "public-web", 400, `the body is larger than 65536 bytes`},
		{"consent without granted", http.MethodPut, "/v1/users/u/consents", `{"channel":"push"}`, "secret-shop", 400, `consent 0 has no "granted"; send {"channel": "push"`},
		{"no consent", http.MethodPut, "/v1/users/u/consents", `[]`, "secret-shop", 400, `the list is empty; send`},
		{"consent without body", http.MethodPut, "/v1/users/u/consents", ``, "secret-shop", 400, `the body is empty; send`},
		{"granted a string", http.MethodPut, "/v1/users/u/consents", `{"granted":"yes"}`, "secret-shop", 400, `cannot unmarshal string`},
		{"two values", http.MethodPut, "/v1/users/u/consents", `{"granted":true}{}`, "secret-shop", 400, `the body holds more than one value`},
		{"wrong method", http.MethodGet, "/v1/track", ``, "public-web", 405, "use POST here, not GET"},
		{"wrong method on a person", http.MethodPost, "/v1/users/u", ``, "secret-shop", 405, "use DELETE here, not POST"},
		{"wrong method on consents", http.MethodPost, "/v1/users/u/consents", ``, "secret-shop", 405, "use PUT here, not POST"},
		{"unknown address", http.MethodPost, "/v1/trak", ``, "public-web", 404, "there is nothing at /v1/trak; events go to POST /v1/track"},
		{"unknown address above", http.MethodGet, "/", ``, "", 404, "there is nothing at /; events go to"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body, _ := f.do(t, request{method: c.method, path: c.path, body: c.body, key: c.key})
			require.Equal(t, c.code, code, body)
			var answer struct {
				Success bool
				Message string
			}
			require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
			require.False(t, answer.Success)
			require.Contains(t, answer.Message, c.want)
		})
	}
	require.Empty(t, f.queue.all())
}

func TestSettings(t *testing.T) {
	f := start(t, nil)
	var segment struct {
		Integrations map[string]struct {
			APIKey, APIHost, Protocol string
		}
	}
	code, body, _ := f.do(t, request{method: http.MethodGet, path: "/v1/projects/public-web/settings"})
	require.Equal(t, 200, code)
	require.NoError(t, json.Unmarshal([]byte(body), &segment))
	require.Len(t, segment.Integrations, 1)
	require.Equal(t, "public-web", segment.Integrations["Segment.io"].APIKey)
	require.Equal(t, strings.TrimPrefix(f.url, "http://")+"/v1", segment.Integrations["Segment.io"].APIHost)
	require.Equal(t, "http", segment.Integrations["Segment.io"].Protocol)

	f2 := start(t, func(o *Options) { o.PublicURL = "https://in.shop.example/nudge/" })
	_, body, _ = f2.do(t, request{method: http.MethodGet, path: "/v1/projects/public-web/settings"})
	require.NoError(t, json.Unmarshal([]byte(body), &segment))
	require.Equal(t, "in.shop.example/nudge/v1", segment.Integrations["Segment.io"].APIHost)
	require.Equal(t, "https", segment.Integrations["Segment.io"].Protocol)

	code, _, _ = f.do(t, request{method: http.MethodGet, path: "/v1/projects/nobody/settings"})
	require.Equal(t, 404, code)

	var rudder struct {
		Source struct {
			ID, WriteKey string
			Enabled      bool
			Config       map[string]any
			Destinations []any
		}
	}
	for _, q := range []request{
		{method: http.MethodGet, path: "/sourceConfig?p=npm&v=3.34.1", key: "public-web"},
		{method: http.MethodGet, path: "/sourceConfig/?writeKey=public-web"},
	} {
		code, body, _ = f.do(t, q)
		require.Equal(t, 200, code)
		require.NoError(t, json.Unmarshal([]byte(body), &rudder))
		require.True(t, rudder.Source.Enabled)
		require.Equal(t, "web", rudder.Source.ID)
		require.NotNil(t, rudder.Source.Destinations)
		require.Contains(t, rudder.Source.Config, "statsCollection")
	}
	code, body, _ = f.do(t, request{method: http.MethodGet, path: "/sourceConfig", key: "nobody"})
	require.Equal(t, 400, code)
	require.Contains(t, body, "Invalid write key")
}

func TestHealth(t *testing.T) {
	var notReady error
	f := start(t, func(o *Options) { o.Ready = func(context.Context) error { return notReady } })
	f.Mount("GET /v1/messages/{id}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.PathValue("id"))) //nolint:errcheck // a test
	}))
	code, _, _ := f.do(t, request{method: http.MethodGet, path: "/healthz"})
	require.Equal(t, 200, code)
	code, _, _ = f.do(t, request{method: http.MethodGet, path: "/readyz"})
	require.Equal(t, 200, code)
	notReady = errors.New("the store is starting")
	code, body, _ := f.do(t, request{method: http.MethodGet, path: "/readyz"})
	require.Equal(t, 503, code)
	require.Contains(t, body, "not ready: the store is starting")
	_, body, _ = f.do(t, request{method: http.MethodGet, path: "/v1/messages/42"})
	require.Equal(t, "42", body)
}
