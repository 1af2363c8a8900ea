package channels

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Action is a button of a message.
type Action struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Link  string `json:"link,omitempty"`
	Icon  string `json:"icon,omitempty"`
}

// Text returns a field as text, "" where it is absent. Numbers and bools are printed.
func (m *Message) Text(name string) string {
	switch v := m.Fields[name].(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	}
	if n, ok := number(m.Fields[name]); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	raw, err := json.Marshal(m.Fields[name])
	if err != nil {
		return ""
	}
	return string(raw)
}

// Int returns a field as a whole number, and whether it is there. A rendered template is text, so
// text that is a number counts. Anything else is a ClassMessage error.
func (m *Message) Int(name string) (n int, given bool, err error) {
	f, given, err := m.Number(name)
	if err == nil && f != float64(int(f)) {
		err = refusedField(name, "a whole number")
	}
	return int(f), given, err
}

// Number is Int for numbers with a fraction.
func (m *Message) Number(name string) (n float64, given bool, err error) {
	value := m.Fields[name]
	if text, ok := value.(string); ok {
		text = strings.TrimSpace(text)
		if text == "" {
			return 0, false, nil
		}
		n, perr := strconv.ParseFloat(text, 64)
		if perr != nil {
			return 0, true, refusedField(name, "a number")
		}
		return n, true, nil
	}
	if value == nil {
		return 0, false, nil
	}
	n, ok := number(value)
	if !ok {
		return 0, true, refusedField(name, "a number")
	}
	return n, true, nil
}

// Flag returns a yes-or-no field; absent is false.
func (m *Message) Flag(name string) bool {
	switch v := m.Fields[name].(type) {
	case bool:
		return v
	case string:
		return strings.TrimSpace(v) == "true"
	}
	return false
}

// Map returns a field that holds a map, nil where it is absent.
func (m *Message) Map(name string) (map[string]any, error) {
	switch v := m.Fields[name].(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	}
	return nil, refusedField(name, "a map")
}

// Actions returns the buttons.
func (m *Message) Actions() ([]Action, error) {
	switch v := m.Fields["actions"].(type) {
	case nil:
		return nil, nil
	case []Action:
		return v, nil
	case []any:
		actions := make([]Action, 0, len(v))
		for _, item := range v {
			part, ok := item.(map[string]any)
			if !ok {
				return nil, refusedField("actions", "a list of {id, title}")
			}
			of := Message{Fields: part}
			actions = append(actions, Action{ID: of.Text("id"), Title: of.Text("title"), Link: of.Text("link"), Icon: of.Text("icon")})
		}
		return actions, nil
	}
	return nil, refusedField("actions", "a list of {id, title}")
}

// Lifetime returns how long the provider may keep trying: TTL, else the field `ttl` where whoever
// made the message left it there; 0 is the provider's default.
func (m *Message) Lifetime() (time.Duration, error) {
	text := m.Text("ttl")
	if m.TTL != 0 || text == "" {
		return m.TTL, nil
	}
	ttl, err := ParseDuration(text)
	if err != nil {
		return 0, refusedField("ttl", "a duration")
	}
	return ttl, nil
}

// refusedField is the error of a field that no provider could take.
func refusedField(name, want string) error {
	return &DeliveryError{Class: ClassMessage, Code: "field", Err: fmt.Errorf("the field %s is not %s", name, want)}
}

// keySpace is the namespace of the UUIDs made of message keys. It must never change: a changed
// one would let a retry after an upgrade arrive twice.
var keySpace = uuid.MustParse("6f1d6a52-6f3b-5f3e-9d59-1f3c8d2f7a10")

// UUID returns the UUIDv5 of a message key: the same for every attempt.
func UUID(key string) string { return uuid.NewSHA1(keySpace, []byte(key)).String() }

// ShortHash returns 22 URL-safe characters (128 bits) that stand for a message key where a
// provider wants a short id: collapse ids, tags, topics.
func ShortHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// ShortToken shortens a device token for logs and people: enough to find it, too little to send.
func ShortToken(token string) string {
	if len(token) < 16 {
		return "…"
	}
	return token[:4] + "…" + token[len(token)-4:]
}
