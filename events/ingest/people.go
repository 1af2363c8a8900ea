package ingest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"nudge/events"
)

// maxPeopleBody is plenty for a device or a list of consents.
const maxPeopleBody = 64 << 10

// people serves a call about the person in the path. It authenticates, hands the work to make, and
// answers when the records that make returns are durable. Where secret, only a secret key will do.
func (s *Server) people(secret bool, make func(r *http.Request, user string) ([]events.Event, error)) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if !secret {
			cors(w, r) // secret keys do not belong into browsers
		}
		key, ok := s.allowed(w, r, secret)
		if !ok {
			return
		}
		user := r.PathValue("id")
		if err := checkPath("user id", user); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		evs, err := make(r, user)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		now := s.opts.Now().UnixMilli()
		for i := range evs {
			ev := &evs[i]
			ev.Source, ev.UserID, ev.MessageID, ev.Time, ev.ReceivedAt = key.Name, user, "nudge-"+rand.Text(), now, now
		}
		if err := s.Commit(evs); err != nil {
			s.unavailable(w, err)
			return
		}
		writeJSON(w, http.StatusOK, success)
	}
}

// allowed says whose key a request has. Without one, or where secret without a secret one, it answers.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request, secret bool) (Key, bool) {
	key, ok := s.key(presented(r))
	if !ok {
		unauthorized(w)
		return Key{}, false
	}
	if secret && !key.Secret {
		fail(w, http.StatusForbidden, fmt.Sprintf("the key %q is public (apps ship with it); this call needs a secret key", key.Name))
		return Key{}, false
	}
	return key, true
}

// Secret is h for requests with a secret key; others are refused.
func (s *Server) Secret(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := s.allowed(w, r, true); ok {
			h.ServeHTTP(w, r)
		}
	})
}

func checkPath(what, id string) error {
	if !utf8.ValidString(id) {
		return fmt.Errorf("the %s in the address is not valid UTF-8", what)
	}
	if len(id) > events.MaxIDBytes {
		return fmt.Errorf("the %s has %d bytes; at most %d are allowed", what, len(id), events.MaxIDBytes)
	}
	return nil
}

// MaxTokenBytes is the longest device token; a Web Push subscription is the longest kind.
const MaxTokenBytes = 4 << 10

// putDevice gives a device to a person.
func putDevice(r *http.Request, _ string) ([]events.Event, error) {
	d, err := device(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Platform    string `json:"platform"`
		App         string `json:"app"`
		Environment string `json:"environment"`
		Device      string `json:"device"`
	}
	if err := decodeBody(r, &body); err != nil {
		return nil, err
	}
	switch body.Platform {
	case "ios", "android", "web":
	case "":
		return nil, errors.New(`platform is missing; send {"platform": "ios"}, "android" or "web"`)
	default:
		return nil, fmt.Errorf(`platform is %q; send "ios", "android" or "web"`, body.Platform)
	}
	switch body.Environment {
	case "", "production", "sandbox":
	default:
		return nil, fmt.Errorf(`environment is %q; send "production" or "sandbox", or leave it out`, body.Environment)
	}
	if len(body.App) > events.MaxNameBytes {
		return nil, fmt.Errorf("app has %d bytes; at most %d are allowed", len(body.App), events.MaxNameBytes)
	}
	if len(body.Device) > events.MaxIDBytes {
		return nil, fmt.Errorf("device has %d bytes; at most %d are allowed", len(body.Device), events.MaxIDBytes)
	}
	d.Platform, d.App, d.Environment, d.Device = body.Platform, body.App, body.Environment, body.Device
	return record(events.KindDevice, d)
}

// removeDevice takes a device from a person. Whoever knows the token may do so.
func removeDevice(r *http.Request, _ string) ([]events.Event, error) {
	d, err := device(r)
	if err != nil {
		return nil, err
	}
	d.Removed, d.Reason = true, "app"
	return record(events.KindDevice, d)
}

func device(r *http.Request) (events.DeviceChange, error) {
	token := r.PathValue("token")
	if !utf8.ValidString(token) {
		return events.DeviceChange{}, errors.New("the token in the address is not valid UTF-8")
	}
	if len(token) > MaxTokenBytes {
		return events.DeviceChange{}, fmt.Errorf("the token has %d bytes; at most %d are allowed", len(token), MaxTokenBytes)
	}
	return events.DeviceChange{Token: token}, nil
}

// putConsents records one consent or a list of them.
func putConsents(r *http.Request, _ string) ([]events.Event, error) {
	const want = `send {"channel": "push", "category": "promotional", "granted": true}, or a list of such; an empty channel or category means all`
	type consent struct {
		Channel  string `json:"channel"`
		Category string `json:"category"`
		Granted  *bool  `json:"granted"`
	}
	var raw json.RawMessage
	if err := decodeBody(r, &raw); err != nil {
		return nil, err
	}
	var list []consent
	var err error
	if bytes.HasPrefix(raw, []byte("[")) {
		err = strict(raw, &list)
	} else {
		list = make([]consent, 1)
		err = strict(raw, &list[0])
	}
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, want)
	}
	if len(list) == 0 {
		return nil, errors.New("the list is empty; " + want)
	}
	var evs []events.Event
	for i, c := range list {
		if c.Granted == nil {
			return nil, fmt.Errorf("consent %d has no \"granted\"; %s", i, want)
		}
		if len(c.Channel) > events.MaxNameBytes || len(c.Category) > events.MaxNameBytes {
			return nil, fmt.Errorf("consent %d: channel and category may have %d bytes", i, events.MaxNameBytes)
		}
		one, err := record(events.KindConsent, events.ConsentChange{Channel: c.Channel, Category: c.Category, Granted: *c.Granted})
		if err != nil {
			return nil, err
		}
		evs = append(evs, one...)
	}
	return evs, nil
}

// erase records that a person is to be forgotten.
func erase(*http.Request, string) ([]events.Event, error) {
	return []events.Event{{Kind: events.KindErase}}, nil
}

func record(kind events.Kind, body any) ([]events.Event, error) {
	properties, err := normalJSON(body)
	return []events.Event{{Kind: kind, Properties: properties}}, err
}

// normalJSON is the body in the normal form that readers of events expect.
func normalJSON(body any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return nil, fmt.Errorf("write the record: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// decodeBody reads a small JSON body into v; none leaves v as it is.
func decodeBody(r *http.Request, v any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPeopleBody+1))
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	if len(body) > maxPeopleBody {
		return fmt.Errorf("the body is larger than %d bytes", maxPeopleBody)
	}
	if body = bytes.TrimSpace(body); len(body) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return errors.New("the body is not valid UTF-8")
	}
	return strict(body, v)
}

func strict(body []byte, v any) error {
	if raw, ok := v.(*json.RawMessage); ok {
		*raw = body
		return nil
	}
	if len(body) == 0 {
		return errors.New("the body is empty")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the body is not what this call expects: %w", err)
	}
	if dec.More() {
		return errors.New("the body holds more than one value")
	}
	return nil
}
