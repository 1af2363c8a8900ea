package courier

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/sms"
)

// longest is the most that Courier keeps trying.
const longest = 72 * time.Hour

// elemental is the version of Courier's own form of content that this adapter writes.
const elemental = "2022-01-01"

// message is the body of POST /send. It follows Courier's official libraries (UserRecipient, ElementalContent,
// ElementalContentSugar, MessageRouting, Timeout, Expiry).
type message struct {
	To          recipient      `json:"to"`
	Template    string         `json:"template,omitempty"`
	Content     map[string]any `json:"content,omitempty"`
	Data        map[string]any `json:"data,omitempty"`
	Routing     *routing       `json:"routing,omitempty"`
	Channels    map[string]any `json:"channels,omitempty"`
	Providers   map[string]any `json:"providers,omitempty"`
	Brand       string         `json:"brand_id,omitempty"`
	Preferences *preferences   `json:"preferences,omitempty"`
	Timeout     *timeout       `json:"timeout,omitempty"`
	Expiry      *expiry        `json:"expiry,omitempty"`
	Metadata    metadata       `json:"metadata"`
}

// recipient is a person, by what Courier knows them and what it may need to reach them.
type recipient struct {
	UserID   string `json:"user_id,omitempty"`
	Email    string `json:"email,omitempty"`
	Phone    string `json:"phone_number,omitempty"`
	Firebase string `json:"firebaseToken,omitempty"`
	APN      *apn   `json:"apn,omitempty"`
}

type apn struct {
	Token string `json:"token"`
}

type routing struct {
	Method   string   `json:"method"`
	Channels []string `json:"channels"`
}

type preferences struct {
	Topic string `json:"subscription_topic_id"`
}

// timeout is in milliseconds.
type timeout struct {
	Message int64 `json:"message"`
}

// expiry is in milliseconds; Courier's inbox reads it.
type expiry struct {
	In int64 `json:"expires_in"`
}

type metadata struct {
	Event string `json:"event,omitempty"`
	Trace string `json:"trace_id"`
}

// refuse is an error of this adapter's own, before anything is sent.
func refuse(class channels.Class, code, format string, args ...any) error {
	return &channels.DeliveryError{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}

// measure is how many bytes of Courier's limit a message takes, without its recipient and what the config adds, which
// are small.
func measure(m *channels.Message) (int, error) {
	var s settings
	out, err := s.message(m)
	if err != nil {
		return 0, err
	}
	return contentSize(out)
}

// contentSize is the size that measure gives for a message.
func contentSize(m *message) (int, error) {
	bare := *m
	bare.To, bare.Brand, bare.Preferences, bare.Routing = recipient{}, "", nil, nil
	raw, err := json.Marshal(map[string]any{"message": bare})
	if err != nil {
		return 0, refuse(channels.ClassMessage, "json", "encoding the message: %w", err)
	}
	return len(raw), nil
}

// message makes what is sent, but for whom it goes to. Its errors are *channels.DeliveryError.
func (s *settings) message(m *channels.Message) (*message, error) {
	out := &message{
		Template: strings.TrimSpace(m.Text("template")), Brand: s.Brand,
		Metadata: metadata{Event: m.About["rule"], Trace: channels.UUID(m.Key)},
	}
	own, err := m.Map("data")
	if err != nil {
		return nil, err
	}
	if out.Data = maps.Clone(own); m.Signed != "" {
		if out.Data == nil {
			out.Data = make(map[string]any)
		}
		out.Data["nudge_id"] = m.Signed // to report an open or a click
	}
	if out.Content, err = contentOf(m); err != nil {
		return nil, err
	}
	switch {
	case out.Template != "" && out.Content != nil:
		return nil, refuse(channels.ClassMessage, "field", "the message has a template and texts of its own: keep one of them")
	case out.Template == "" && out.Content == nil:
		return nil, refuse(channels.ClassMessage, "field", "there is nothing to send: give a template, a title and a body, or content")
	}
	if out.Routing, err = s.routing(m); err != nil {
		return nil, err
	}
	if out.Providers, err = m.Map("providers"); err != nil {
		return nil, err
	}
	if out.Channels, err = m.Map("overrides"); err != nil {
		return nil, err
	}
	if topic := cmp.Or(strings.TrimSpace(m.Text("topic")), s.Topic); topic != "" {
		out.Preferences = &preferences{Topic: topic}
	}
	ttl, err := m.Lifetime()
	if err != nil {
		return nil, err
	}
	if ttl > 0 {
		ms := max(1, min(ttl, longest).Milliseconds())
		out.Timeout, out.Expiry = &timeout{Message: ms}, &expiry{In: ms}
	}
	return out, nil
}

// contentOf is the content of a message that has texts of its own, nil for one that has not.
func contentOf(m *channels.Message) (map[string]any, error) {
	actions, err := m.Actions()
	if err != nil {
		return nil, err
	}
	whole, err := m.Map("content")
	if err != nil {
		return nil, err
	}
	title, body := m.Text("title"), m.Text("body")
	texts := strings.TrimSpace(title+body) != "" || len(actions) > 0
	switch {
	case whole != nil && texts:
		return nil, refuse(channels.ClassMessage, "field", "the message has content, and a title, a body or actions beside it: keep one of them")
	case whole != nil:
		if elements, ok := whole["elements"].([]any); !ok || len(elements) == 0 {
			return nil, refuse(channels.ClassMessage, "field", "the field content has no elements: write {elements: [{type: text, content: …}]}")
		}
		content := maps.Clone(whole)
		if content["version"] == nil {
			content["version"] = elemental
		}
		return content, nil
	case len(actions) == 0 && texts:
		return map[string]any{"title": title, "body": body}, nil
	case !texts:
		return nil, nil
	}
	elements := []any{}
	if title != "" {
		elements = append(elements, map[string]any{"type": "meta", "title": title})
	}
	if body != "" {
		elements = append(elements, map[string]any{"type": "text", "content": body})
	}
	for _, a := range actions {
		if a.Link == "" {
			return nil, refuse(channels.ClassMessage, "field", "the action %.40q has no link", a.ID)
		}
		elements = append(elements, map[string]any{"type": "action", "content": a.Title, "href": a.Link, "action_id": a.ID})
	}
	return map[string]any{"version": elemental, "elements": elements}, nil
}

// routing is where Courier is told to send, nil to let it decide.
func (s *settings) routing(m *channels.Message) (*routing, error) {
	to := s.Channels
	if value, given := m.Fields["channels"]; given && value != nil {
		list, ok := value.([]any)
		if !ok {
			return nil, refuse(channels.ClassMessage, "field", "the field channels is not a list")
		}
		to = nil
		for _, item := range list {
			name, ok := item.(string)
			if !ok || name == "" {
				return nil, refuse(channels.ClassMessage, "field", "the field channels is not a list of names")
			}
			to = append(to, name)
		}
	}
	method := cmp.Or(strings.TrimSpace(m.Text("method")), s.Method, "single")
	switch {
	case !validMethod(method):
		return nil, refuse(channels.ClassMessage, "field", "the field method is neither single nor all")
	case len(to) == 0:
		return nil, nil
	}
	return &routing{Method: method, Channels: to}, nil
}

// recipient is the person, by all that the config allows Courier to know.
func (s *settings) recipient(m *channels.Message) (recipient, error) {
	a := &m.Address
	to := recipient{UserID: a.UserID}
	number, wrong := sms.Number(a.Phone)
	if s.Profile || s.To == "email" {
		to.Email = strings.TrimSpace(a.Email)
	}
	if wrong == nil && (s.Profile || s.To == "phone") {
		to.Phone = number
	}
	switch {
	case s.To == "user_id" && a.UserID == "":
		return to, refuse(channels.ClassAddress, "no_user_id", "the person has no user id")
	case s.To == "email" && !strings.Contains(to.Email, "@"):
		return to, refuse(channels.ClassAddress, "not_an_address", "the e-mail address is not one")
	case s.To == "phone" && wrong != nil:
		return to, wrong
	case s.To == "token" && a.Token == "":
		return to, refuse(channels.ClassAddress, "no_token", "there is no device token")
	case s.To == "token" && a.Platform == "ios":
		to.APN = &apn{Token: a.Token}
	case s.To == "token":
		to.Firebase = a.Token
	}
	return to, nil
}
