package webpush

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed site/nudge.js
var snippet []byte

//go:embed site/sw.js
var worker []byte

// Handler implements channels.Served: the snippet, the service worker's script, and the public key
// that browsers subscribe with.
func (c *channel) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /web/nudge.js", script("text/javascript; charset=utf-8", snippet))
	mux.Handle("GET /web/sw.js", script("text/javascript; charset=utf-8", worker))
	mux.Handle("GET /web/key", script("application/json", []byte(`{"key":"`+c.vapid.public+`"}`+"\n")))
	return mux
}

// script serves what every site may load. It is asked for again after a while, so that a new
// version of nudge reaches the browsers.
func script(kind string, body []byte) http.Handler {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Etag", tag)
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
}
