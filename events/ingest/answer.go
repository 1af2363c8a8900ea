package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// retryAfter is what a 503 says, in seconds.
const retryAfter = "2"

var success = []byte(`{"success":true}`)

// Answer is what the API answers.
type Answer struct {
	Success  bool           `json:"success"`            // false: nothing was taken
	Message  string         `json:"message,omitempty"`  // why not, for people
	Accepted *int           `json:"accepted,omitempty"` // of a batch of which something was refused: how many events were taken
	Refused  []RefusedEvent `json:"refused,omitempty"`  // of such a batch: which were not
}

// RefusedEvent is an event of a batch that was not taken.
type RefusedEvent struct {
	Index  int    `json:"index"`  // of the event in the batch, from 0
	Reason string `json:"reason"` // for people
}

// Status is what /healthz and /readyz answer.
type Status struct {
	Status string `json:"status" jsonschema:"enum=ok,enum=ready"` // ok: the process answers; ready: events can be taken
}

// statusWriter remembers the status for the metrics.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) {
	w.status = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// handle serves a route under the given name in the metrics.
func (s *Server) handle(pattern, route string, serve func(w http.ResponseWriter, r *http.Request)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		start := s.opts.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		serve(sw, r)
		s.metrics.answered(route, sw.status, s.opts.Now().Sub(start))
	})
}

func writeJSON(w http.ResponseWriter, code int, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if code != http.StatusOK {
		w.WriteHeader(code)
	}
	w.Write(body) //nolint:errcheck // the client is gone; its events are safe or it sends them again
}

// encoded is an answer as it is sent. One of strings and numbers cannot fail to be encoded.
func encoded(answer any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(answer); err != nil {
		panic(fmt.Sprintf("ingest: encode %T: %v", answer, err))
	}
	return bytes.TrimSpace(b.Bytes())
}

// fail answers with a reason.
func fail(w http.ResponseWriter, code int, reason string) {
	writeJSON(w, code, encoded(Answer{Message: strings.ToValidUTF8(reason, "\ufffd")}))
}

// unavailable answers that the sender should try again. Events that were written nevertheless are
// recognised by their messageId when they come again.
func (s *Server) unavailable(w http.ResponseWriter, err error) {
	if s.away.CompareAndSwap(false, true) { // once, not for each of thousands of requests
		s.log.Warn("events are turned away until the queue takes them again", "err", err)
	}
	w.Header().Set("Retry-After", retryAfter)
	fail(w, http.StatusServiceUnavailable, "the events could not be written; send them again")
}

// cors lets browsers of any site call the route. The API uses no cookies, so naming the origin gives
// nothing away; credentials are allowed because navigator.sendBeacon always asks for them.
func cors(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	h.Add("Vary", "Origin")
}

// preflight answers a browser's question before a call from another site.
func preflight(w http.ResponseWriter, r *http.Request) {
	cors(w, r)
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	} else {
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Encoding")
	}
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}

// presented is the key in the Authorization header or in the query; "" if it is in neither.
func presented(r *http.Request) string {
	if auth := r.Header.Get("Authorization"); auth != "" {
		scheme, rest, _ := strings.Cut(auth, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			return strings.TrimSpace(rest)
		case strings.EqualFold(scheme, "Basic"):
			plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
			if err != nil {
				return ""
			}
			user, _, _ := strings.Cut(string(plain), ":")
			return user
		}
	}
	if r.URL.RawQuery == "" {
		return ""
	}
	return r.URL.Query().Get("writeKey")
}
