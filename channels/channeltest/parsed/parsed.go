// Package parsed is a local Parse Server, as far as it takes pushes: POST /push and GET /serverInfo of its REST API over
// TLS, with its keys, its validation and its errors, and installations that pushes find.
//
// It follows Parse Server's source (PushRouter, PushController, middlewares, PushQueue) and what a Parse Server 9.10
// answered to the same requests.
package parsed

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nudge/channels/channeltest/provider"
)

// Mount is where the API is.
const Mount = "/parse"

// The keys of the server's one app.
const (
	AppID       = "nudge-test"
	MasterKey   = "master-key-of-the-test"
	ReadOnlyKey = "read-only-key-of-the-test"
	RESTKey     = "rest-key-of-the-test"
)

// Codes of Parse's errors.
const (
	internalError      = 1
	pushMisconfigured  = 115
	operationForbidden = 119
)

// Config is how the server behaves.
type Config struct {
	Now func() time.Time
	// NoAdapter is a server without the option push.
	NoAdapter bool
}

// Installation is an app on a device.
type Installation struct {
	DeviceType  string
	DeviceToken string
	Channels    []string
	Fields      map[string]any // of the app's own
}

// Push is one that the server has given to its push adapter.
type Push struct {
	ID   string         // of _PushStatus
	Body map[string]any // as the adapter sees it: with expiration_time
	To   []string       // device tokens
}

// Server is a Parse Server on this machine. Its Log has every request; the ID of one is its collapse_id.
type Server struct {
	*provider.HTTPS

	config Config

	mu            sync.Mutex
	installations []Installation
	pushes        []Push
}

// Start begins to serve.
func Start(c Config) (*Server, error) {
	s := &Server{config: c}
	var err error
	s.HTTPS, err = provider.StartHTTPS(c.Now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// URL is where the API is.
func (s *Server) URL() string { return s.Endpoint() + Mount }

// Install adds an installation. A token of 64 characters is Apple's, and kept small.
func (s *Server) Install(i Installation) {
	if len(i.DeviceToken) == 64 {
		i.DeviceToken = strings.ToLower(i.DeviceToken)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.installations = append(s.installations, i)
}

// Pushes are those that found an installation.
func (s *Server) Pushes() []Push {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pushes)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := func(body []byte) string {
		var push struct {
			ID string `json:"collapse_id"`
		}
		if json.Unmarshal(body, &push) != nil {
			return ""
		}
		return push.ID
	}
	none := func([]byte) string { return "" }
	s.Serve(w, r, s.config.Now(), id, none, func(body []byte) provider.Answer { return s.judge(r, body) }, func(status int, code string) provider.Answer {
		n, err := strconv.Atoi(code)
		if err != nil {
			n = 0
		}
		return refuse(status, n, http.StatusText(status))
	})
}

// judge does what Parse Server does with a request.
func (s *Server) judge(r *http.Request, body []byte) provider.Answer {
	path, ok := strings.CutPrefix(strings.TrimSuffix(r.URL.Path, "/"), Mount)
	if !ok {
		return page(r)
	}
	// Bodies are read before anybody is asked who they are, and as JSON whatever their type.
	var push map[string]any
	if len(body) > 0 {
		var value any
		if json.Unmarshal(body, &value) != nil || !strings.ContainsAny(string(body[:1]), "{[") {
			return refuse(http.StatusBadRequest, 0, "Unexpected token in JSON")
		}
		push, _ = value.(map[string]any)
	}
	key := r.Header.Get("X-Parse-Master-Key")
	master, readOnly := same(key, MasterKey), same(key, ReadOnlyKey)
	if !same(r.Header.Get("X-Parse-Application-Id"), AppID) || !master && !readOnly && !same(r.Header.Get("X-Parse-REST-API-Key"), RESTKey) {
		return refuse(http.StatusForbidden, 0, "unauthorized")
	}
	switch {
	case path == "/serverInfo" && r.Method == http.MethodGet:
		if !master && !readOnly {
			return refuse(http.StatusForbidden, 0, "Permission denied")
		}
		answer := encode(http.StatusOK, "", map[string]any{
			"features":           map[string]any{"push": map[string]any{"immediatePush": !s.config.NoAdapter, "scheduledPush": false, "storedPushData": !s.config.NoAdapter}},
			"parseServerVersion": "9.10.0",
		})
		answer.Checked = true
		return answer
	case path != "/push" || r.Method != http.MethodPost:
		return page(r)
	case !master && !readOnly:
		return refuse(http.StatusForbidden, 0, "Permission denied")
	case readOnly:
		return refuse(http.StatusBadRequest, operationForbidden, "Permission denied")
	}
	return s.push(push)
}

// push takes a push.
func (s *Server) push(body map[string]any) provider.Answer {
	misconfigured := func(what string) provider.Answer { return refuse(http.StatusBadRequest, pushMisconfigured, what) }
	where, hasWhere := body["where"]
	list, hasChannels := body["channels"]
	switch {
	case hasWhere && hasChannels:
		return misconfigured("Channels and query can not be set at the same time.")
	case !hasWhere && !hasChannels:
		return misconfigured(`Sending a push requires either "channels" or a "where" query.`)
	case hasChannels:
		where = map[string]any{"channels": map[string]any{"$in": list}}
	}
	if s.config.NoAdapter {
		return misconfigured("Missing push configuration")
	}
	if err := s.expiry(body); err != "" {
		return misconfigured(err)
	}
	if at, ok := body["push_time"]; ok && !isTime(at) {
		return misconfigured(fmt.Sprintf("%v is not valid time.", at))
	}
	if data, ok := body["data"].(map[string]any); ok {
		if badge := data["badge"]; badge != nil && badge != 0.0 {
			if _, number := badge.(float64); !number && badge != "Increment" {
				return refuse(http.StatusInternalServerError, internalError, "Internal server error.") // so it says: Parse Server throws a text
			}
		}
	}
	id := newID()
	s.deliver(id, where, body)
	answer := encode(http.StatusOK, "", map[string]any{"result": true})
	answer.Header.Set("X-Parse-Push-Status-Id", id)
	return answer
}

// expiry makes expiration_time of what a push says of it, and says what is wrong with that.
func (s *Server) expiry(body map[string]any) string {
	at, hasTime := body["expiration_time"]
	interval, hasInterval := body["expiration_interval"]
	if hasTime && !isTime(at) {
		return fmt.Sprintf("%v is not valid time.", at)
	}
	seconds, isNumber := interval.(float64)
	switch {
	case hasInterval && (!isNumber || seconds <= 0):
		return "expiration_interval must be a number greater than 0"
	case hasTime && hasInterval:
		return "Both expiration_time and expiration_interval cannot be set"
	}
	if _, scheduled := body["push_time"]; hasInterval && !scheduled {
		body["expiration_time"] = float64(s.config.Now().UnixMilli()) + 1000*seconds
	}
	return ""
}

// deliver gives a push to the adapter, if an installation fits. Whether one does is said to nobody: a query that is
// none finds nothing.
func (s *Server) deliver(id string, where any, body map[string]any) {
	if !s.Wanted() {
		return
	}
	query, ok := where.(map[string]any)
	s.mu.Lock()
	defer s.mu.Unlock()
	var to []string
	for _, i := range s.installations {
		if ok && i.DeviceToken != "" && i.fits(query) {
			to = append(to, i.DeviceToken)
		}
	}
	if len(to) > 0 {
		s.pushes = append(s.pushes, Push{ID: id, Body: body, To: to})
	}
}

// fits says whether a query finds the installation: by equal fields, and lists that have one of the values.
func (i Installation) fits(query map[string]any) bool {
	fields := map[string]any{"deviceType": i.DeviceType, "deviceToken": i.DeviceToken}
	maps.Copy(fields, i.Fields)
	for name, want := range query {
		if name == "channels" {
			of, _ := want.(map[string]any)
			among, ok := of["$in"].([]any)
			if !ok || !slices.ContainsFunc(among, func(v any) bool { name, _ := v.(string); return slices.Contains(i.Channels, name) }) {
				return false
			}
			continue
		}
		if text, ok := want.(string); !ok || fields[name] != text {
			return false
		}
	}
	return true
}

// iso is the form of instants that are text.
var iso = regexp.MustCompile(`^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$`)

// isTime says whether a value is an instant: seconds, or ISO 8601.
func isTime(value any) bool {
	switch v := value.(type) {
	case float64:
		return true
	case string:
		return iso.MatchString(v)
	}
	return false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// newID is an id as Parse makes them: ten letters and digits.
func newID() string { return rand.Text()[:10] }

// refuse is Parse's error; refusals of keys have no code, and uncaught errors have another form.
func refuse(status, code int, what string) provider.Answer {
	body := map[string]any{"error": what}
	switch {
	case status == http.StatusInternalServerError:
		body = map[string]any{"code": internalError, "message": "Internal server error."}
		code = internalError
	case code != 0:
		body["code"] = code
	}
	word := ""
	if code != 0 {
		word = strconv.Itoa(code)
	}
	return encode(status, word, body)
}

// page is the answer to a path that there is not, which is not Parse's own.
func page(r *http.Request) provider.Answer {
	text := fmt.Sprintf("<!DOCTYPE html>\n<html lang=\"en\"><body><pre>Cannot %s %s</pre></body></html>\n", r.Method, r.URL.Path)
	return provider.Answer{Status: http.StatusNotFound, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: []byte(text)}
}

// encode is an answer with a JSON body.
func encode(status int, code string, body any) provider.Answer {
	raw, err := json.Marshal(body)
	if err != nil {
		return provider.Answer{Status: http.StatusInternalServerError}
	}
	return provider.Answer{Status: status, Code: code, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, Body: raw}
}
