// Package hookd is a local webhook endpoint that checks Standard Webhooks signatures.
package hookd

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"nudge/channels/channeltest/provider"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Config is a server's set-up.
type Config struct {
	Secret string // whsec_…; "" checks no signature
	Now    func() time.Time
}

// Server is an endpoint on this machine. Its Log has every request.
type Server struct {
	*provider.HTTPS

	config Config
}

// Start begins to serve over TLS.
func Start(c Config) (*Server, error) {
	s := &Server{config: c}
	var err error
	s.HTTPS, err = provider.StartHTTPS(c.Now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// URL is the endpoint's.
func (s *Server) URL() string { return s.Endpoint() + "/hook?team=17" }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := func([]byte) string { return r.Header.Get(standardwebhooks.HeaderWebhookID) }
	none := func([]byte) string { return "" }
	s.Serve(w, r, s.config.Now(), id, none, func(body []byte) provider.Answer { return s.judge(r, body) }, refuse)
}

// judge is what an endpoint does that follows the Standard Webhooks rules.
func (s *Server) judge(r *http.Request, body []byte) provider.Answer {
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "")
	}
	if s.config.Secret != "" {
		verifier, err := standardwebhooks.NewWebhook(s.config.Secret)
		if err != nil {
			return refuse(http.StatusInternalServerError, "")
		}
		seconds, err := strconv.ParseInt(r.Header.Get(standardwebhooks.HeaderWebhookTimestamp), 10, 64)
		age := s.config.Now().Sub(time.Unix(seconds, 0)).Abs()
		if err != nil || age > 5*time.Minute || verifier.VerifyIgnoringTimestamp(body, r.Header) != nil {
			return refuse(http.StatusUnauthorized, "")
		}
	}
	return provider.Answer{Status: http.StatusNoContent}
}

// refuse is an endpoint's error.
func refuse(status int, code string) provider.Answer {
	return provider.Answer{Status: status, Code: code, Body: fmt.Appendf(nil, `{"error":%q}`, http.StatusText(status))}
}
