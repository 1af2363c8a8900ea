// Package chatd is a local server that answers as Slack, Discord, Telegram, Teams, ntfy, Gotify, Mattermost and other
// services document it.
package chatd

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"nudge/channels/channeltest/provider"
)

// Config is a server's set-up.
type Config struct {
	// Service is which one it is: one of Services.
	Service string
	Now     func() time.Time
}

// Server is a service on this machine. Its Log has every post; the services give messages no ids of the
// sender's, so it knows one by the #word that its text holds.
type Server struct {
	*provider.HTTPS

	config  Config
	service service
}

// service is what differs between them.
type service struct {
	// url is the service URL; own says that it leads to the server by itself.
	url func(s *Server) string
	own bool
	// path is where posts go.
	path string
	// before answers requests that lead up to a post; the Log has none of them.
	before func(r *http.Request) (provider.Answer, bool)
	// fields reads a post; nil is one whose body is JSON.
	fields func(r *http.Request, raw []byte) (map[string]any, bool)
	// says means that it refuses with 200 and a code.
	says bool
	// post judges a post.
	post func(r *http.Request, body map[string]any) provider.Answer
	// ask judges every other request.
	ask func(r *http.Request) provider.Answer
	// refuse is the service's error with a status and a reason of its own.
	refuse func(status int, code string) provider.Answer
}

// Services are the names of the services, sorted.
func Services() []string {
	return slices.Sorted(maps.Keys(services()))
}

// services are the services by name.
func services() map[string]service {
	return map[string]service{
		"discord": discord(), "gotify": gotify(), "mattermost": mattermost(), "ntfy": ntfy(),
		"slack": slack(), "slack-bot": slackBot(), "teams": teams(), "telegram": telegram(),
		"googlechat": googleChat(), "rocketchat": rocketChat(), "matrix": matrix(), "zulip": zulip(), "lark": lark(), "wecom": weCom(), "signal": signal(),
		"pushover": pushover(), "bark": bark(), "join": join(), "ifttt": ifttt(), "opsgenie": opsgenie(), "pagerduty": pagerDuty(), "notifiarr": notifiarr(),
	}
}

// Start begins to serve over TLS.
func Start(c Config) (*Server, error) {
	svc, ok := services()[c.Service]
	if !ok {
		return nil, fmt.Errorf("there is no local server for %q", c.Service)
	}
	s := &Server{config: c, service: svc}
	var err error
	s.HTTPS, err = provider.StartHTTPS(c.Now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Settings is a config for the adapter, secrets resolved.
func (s *Server) Settings() map[string]any {
	config := map[string]any{"url": s.service.url(s), "ca": string(s.CA.PEM)}
	if !s.service.own {
		config["host"] = s.Endpoint()
	}
	return config
}

// address is host and port.
func (s *Server) address() string { return strings.TrimPrefix(s.Endpoint(), "https://") }

// word is how a message is known.
var word = regexp.MustCompile(`#([^\s"\\*&]+)`)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.service.before != nil {
		if a, ok := s.service.before(r); ok {
			w.WriteHeader(a.Status)
			if _, err := w.Write(a.Body); err != nil {
				return // the client went away
			}
			return
		}
	}
	id := func(body []byte) string {
		if found := word.FindStringSubmatch(s.decoded(r, body)); found != nil {
			return found[1]
		}
		return ""
	}
	none := func([]byte) string { return "" }
	s.Serve(w, r, s.config.Now(), id, none, func(body []byte) provider.Answer { return s.judge(r, body) }, s.service.refuse)
}

// judge is what the service does with a request.
func (s *Server) judge(r *http.Request, raw []byte) provider.Answer {
	if r.Method != http.MethodPost || r.URL.Path != s.service.path {
		return s.service.ask(r)
	}
	fields := s.service.fields
	if fields == nil {
		fields = object
	}
	body, ok := fields(r, raw)
	if !ok {
		return s.service.refuse(http.StatusBadRequest, "")
	}
	return s.service.post(r, body)
}

// object are the fields of a body that is JSON.
func object(r *http.Request, raw []byte) (body map[string]any, ok bool) {
	return body, strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") && json.Unmarshal(raw, &body) == nil
}

// answer is one with a JSON body.
func answer(status int, code string, body any) provider.Answer {
	raw, err := json.Marshal(body)
	if err != nil {
		return provider.Answer{Status: http.StatusInternalServerError}
	}
	return provider.Answer{Status: status, Code: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: raw}
}

// plain is one with a text.
func plain(status int, code, text string) provider.Answer {
	return provider.Answer{Status: status, Code: code, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte(text)}
}

// text is a field of a body that is one.
func text(body map[string]any, name string) string {
	value, _ := body[name].(string)
	return value
}
