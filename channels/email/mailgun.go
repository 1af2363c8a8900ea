package email

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"nudge/channels"
)

// mailgun is Mailgun: "Webhook Payloads" and "Securing Webhooks", and for what comes back "Attaching Metadata to
// Messages".
type mailgun struct {
	key []byte
	now func() time.Time

	// The signature is over a token and not over what is told, so a token is good for one body: who got hold of a call
	// could make another of it. Mailgun itself may repeat one. Those of the last half hour are enough, since older ones
	// are stale; two maps take turns.
	mu     sync.Mutex
	seen   [2]map[string][sha256.Size]byte
	turned time.Time
}

// newMailgun takes the signing key.
func newMailgun(key channels.Secret, now func() time.Time) *mailgun {
	return &mailgun{key: []byte(key.Reveal()), now: now, turned: now()}
}

// mark implements caller.
func (*mailgun) mark(headers map[string]any, signed string) error {
	return markJSON(headers, "X-Mailgun-Variables", signed)
}

// mailgunCall is what is read of a call.
type mailgunCall struct {
	Signature struct {
		Timestamp json.RawMessage `json:"timestamp"` // Unix s, as text or as a number
		Token     string          `json:"token"`
		Signature string          `json:"signature"`
	} `json:"signature"`
	Event mailgunEvent `json:"event-data"`
}

// mailgunEvent is what is read of an event.
type mailgunEvent struct {
	Event     string          `json:"event"`
	Timestamp float64         `json:"timestamp"` // Unix s
	Recipient string          `json:"recipient"`
	Variables json.RawMessage `json:"user-variables"` // an object; where there are none, an empty list
	Severity  string          `json:"severity"`
	Reason    string          `json:"reason"`
	URL       string          `json:"url"`
	Status    struct {
		Code        int    `json:"code"`
		Message     string `json:"message"`
		Description string `json:"description"`
		Enhanced    string `json:"enhanced-code"`
		BounceType  string `json:"bounce-type"`
	} `json:"delivery-status"`
	Client struct {
		UserAgent string `json:"user-agent"`
		Bot       string `json:"bot"`
	} `json:"client-info"`
}

// reports implements caller.
func (m *mailgun) reports(_ *http.Request, body []byte) ([]channels.Report, error) {
	var call mailgunCall
	if err := json.Unmarshal(body, &call); err != nil {
		return nil, fmt.Errorf("read what Mailgun posts: %w", err)
	}
	stamp := strings.Trim(string(call.Signature.Timestamp), `"`)
	h := hmac.New(sha256.New, m.key)
	h.Write([]byte(stamp + call.Signature.Token))
	if !hmac.Equal([]byte(hex.EncodeToString(h.Sum(nil))), []byte(call.Signature.Signature)) {
		return nil, channels.ErrForged("the signature is not Mailgun's: is callback_key the HTTP webhook signing key?")
	}
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || stale(time.Unix(at, 0), m.now()) {
		return nil, errStale()
	}
	if !m.first(call.Signature.Token, body) {
		return nil, channels.ErrForged("the token is that of another call")
	}
	return call.Event.reports(), nil
}

// first says whether a token comes with this body for the first time, or with the same as before.
func (m *mailgun) first(token string, body []byte) bool {
	sum := sha256.Sum256(body)
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.now(); m.seen[0] == nil || now.Sub(m.turned) > 2*oldest {
		m.seen[0], m.seen[1], m.turned = make(map[string][sha256.Size]byte), m.seen[0], now
	}
	for _, some := range m.seen {
		if before, ok := some[token]; ok {
			return before == sum
		}
	}
	m.seen[0][token] = sum
	return true
}

// reports is what an event tells.
func (e *mailgunEvent) reports() []channels.Report {
	var variables map[string]any
	_ = json.Unmarshal(e.Variables, &variables) // a list has none
	signed, _ := variables[markName].(string)
	if signed == "" {
		return nil
	}
	one := channels.Report{Signed: unfolded(signed), At: time.UnixMilli(int64(e.Timestamp * 1000)).UTC()}
	machine := channels.ByMachine(e.Client.UserAgent) || e.Client.Bot != ""
	switch e.Event {
	case "delivered":
		one.What = channels.Delivered
	case "failed":
		return e.failed(one)
	case "rejected":
		one.What, one.Code, one.Detail = channels.Bounced, "rejected", channels.Excerpt([]byte(e.Reason))
	case "complained":
		one.What = channels.Complained
	case "unsubscribed":
		one.What = channels.Unsubscribed
	case "opened":
		one.What, one.Machine = channels.Opened, machine
	case "clicked":
		one.What, one.Machine, one.Link = channels.Clicked, machine, e.URL
	default: // accepted, stored
		return nil
	}
	return []channels.Report{one}
}

// failed is what a failure tells; one that is temporary is tried again by Mailgun.
func (e *mailgunEvent) failed(one channels.Report) []channels.Report {
	if e.Severity != "permanent" {
		return nil
	}
	said := strings.TrimSpace(e.Status.Message + " " + e.Status.Description)
	code := enhancedForm.FindString(e.Status.Enhanced)
	if code == "" {
		code = strings.TrimSpace(enhancedForm.FindString(e.Status.Message))
	}
	one.What, one.Code, one.Detail = channels.Bounced, code, channels.Excerpt([]byte(said))
	if code == "" {
		one.Code = e.Reason
	}
	switch e.Reason {
	case "suppress-bounce":
		one.Dead = addressIn(e.Recipient)
	case "suppress-unsubscribe", "suppress-complaint":
		left := one
		left.What = channels.Unsubscribed
		return []channels.Report{one, left}
	case "bounce":
		if e.Status.BounceType != "soft" && nobody(code) {
			one.Dead = addressIn(e.Recipient)
		}
	}
	return []channels.Report{one}
}
