package webpush_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/webpushd"

	"github.com/stretchr/testify/require"
)

func TestWhatBrowsersFetch(t *testing.T) {
	_, config := start(t, webpushd.Config{Now: time.Now})
	handler := open(t, config, time.Now).(channels.Served).Handler()
	get := func(method, path, have string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
		r.Header.Set("Origin", "https://shop.example")
		r.Header.Set("If-None-Match", have)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	for path, c := range map[string]struct{ kind, part string }{
		"/web/nudge.js": {"text/javascript; charset=utf-8", "window.nudgePush"},
		"/web/sw.js":    {"text/javascript; charset=utf-8", `addEventListener("push"`},
		"/web/key":      {"application/json", keys().Public},
	} {
		t.Run(path, func(t *testing.T) {
			w := get(http.MethodGet, path, "")
			require.Equal(t, http.StatusOK, w.Code)
			require.Contains(t, w.Body.String(), c.part)
			require.NotContains(t, w.Body.String(), keys().Private)
			require.Equal(t, [3]string{c.kind, "*", "cross-origin"}, [3]string{
				w.Header().Get("Content-Type"), w.Header().Get("Access-Control-Allow-Origin"), w.Header().Get("Cross-Origin-Resource-Policy"),
			})
			require.Equal(t, http.StatusNotModified, get(http.MethodGet, path, w.Header().Get("Etag")).Code)
			require.Equal(t, http.StatusMethodNotAllowed, get(http.MethodPost, path, "").Code)
		})
	}
	require.Equal(t, http.StatusNotFound, get(http.MethodGet, "/web/other.js", "").Code)
	var key struct{ Key string }
	require.NoError(t, json.Unmarshal(get(http.MethodGet, "/web/key", "").Body.Bytes(), &key))
	require.Equal(t, keys().Public, key.Key)
}
