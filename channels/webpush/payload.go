package webpush

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
)

// maxTTL is four weeks, the most that Google's service takes. More is cut to it.
const maxTTL = 28 * 24 * time.Hour

// payload is what the service worker (site/sw.js) reads. Names are short: a push has 4 KB.
type payload struct {
	ID       string            `json:"id,omitempty"` // the signed message id, for reports
	Title    string            `json:"title,omitempty"`
	Body     string            `json:"body,omitempty"`
	Link     string            `json:"link,omitempty"`
	Icon     string            `json:"icon,omitempty"`
	Image    string            `json:"image,omitempty"`
	Badge    string            `json:"badge,omitempty"`     // image, one colour
	AppBadge *int              `json:"app_badge,omitempty"` // number on the icon of an installed app
	Tag      string            `json:"tag"`
	Require  bool              `json:"require_interaction,omitempty"`
	Silent   bool              `json:"silent,omitempty"`
	Actions  []channels.Action `json:"actions,omitempty"`
	Data     map[string]any    `json:"data,omitempty"`
}

// push is one request in the making.
type push struct {
	to      *subscription
	plain   []byte
	ttl     time.Duration
	urgency string
	topic   string
}

// build makes what is sent. Its errors are *channels.DeliveryError.
func (c *channel) build(m *channels.Message) (*push, error) {
	to, err := readSubscription(m.Address.Token)
	if err != nil {
		return nil, refuse(channels.ClassAddress, "subscription", "%s is not a browser's subscription: %w", channels.ShortToken(m.Address.Token), err)
	}
	if !c.services.allows(to.endpoint) {
		return nil, refuse(channels.ClassMessage, "service", "%.100s is not among the push services of the config (services)", to.endpoint.Host)
	}
	p := &push{to: to}
	if p.ttl, err = m.Lifetime(); err != nil {
		return nil, err
	}
	if p.ttl == 0 {
		p.ttl = time.Duration(c.settings.TTL)
	}
	p.ttl = min(p.ttl, maxTTL)
	if p.urgency, err = urgency(m); err != nil {
		return nil, err
	}
	// A newer message with the same topic replaces one that still waits at the service, and one
	// with the same tag one that is shown: a repeat of the same message is then harmless.
	p.topic = topicOf(m)
	body, err := payloadOf(m)
	if err != nil {
		return nil, err
	}
	if body.Silent && strings.HasSuffix(to.endpoint.Hostname(), ".push.apple.com") {
		return nil, refuse(channels.ClassMessage, "silent", "Safari ends the subscriptions of sites that push without showing anything")
	}
	if p.plain, err = body.encode(); err != nil {
		return nil, err
	}
	if len(p.plain) > maxPlain {
		return nil, refuse(channels.ClassMessage, "413", "the message has %d bytes as JSON, a push takes %d: shorten the texts or the data", len(p.plain), maxPlain)
	}
	return p, nil
}

// topicOf is the topic of a push.
func topicOf(m *channels.Message) string {
	if tag := m.Text("collapse"); tag != "" {
		return channels.ShortHash("collapse/" + tag)
	}
	return channels.ShortHash(m.Key)
}

// measure is how many bytes a push takes before it is encrypted.
func measure(m *channels.Message) (int, error) {
	p, err := payloadOf(m)
	if err != nil {
		return 0, err
	}
	plain, err := p.encode()
	return len(plain), err
}

func (p *payload) encode() ([]byte, error) {
	plain, err := json.Marshal(p)
	if err != nil {
		return nil, refuse(channels.ClassMessage, "json", "encoding the message: %w", err)
	}
	return plain, nil
}

// payloadOf is the part that the service worker reads.
func payloadOf(m *channels.Message) (payload, error) {
	tag := m.Text("collapse")
	if tag == "" {
		tag = topicOf(m)
	}
	p := payload{
		ID: m.Signed, Title: m.Text("title"), Body: m.Text("body"), Link: m.Text("link"), Icon: m.Text("icon"),
		Image: m.Text("image"), Badge: m.Text("badge_icon"), Tag: tag, Require: m.Flag("require_interaction"), Silent: m.Flag("silent"),
	}
	if p.Title == "" && p.Body == "" && !p.Silent {
		return p, refuse(channels.ClassMessage, "empty", "there is nothing to show: give a title or a body, or say silent: true")
	}
	number, given, err := m.Int("badge")
	if err != nil {
		return p, err
	}
	if given {
		if number < 0 {
			return p, refuse(channels.ClassMessage, "field", "the badge %d is below 0", number)
		}
		p.AppBadge = &number
	}
	if p.Actions, err = m.Actions(); err != nil {
		return p, err
	}
	p.Data, err = m.Map("data")
	return p, err
}

// urgency is RFC 8030's header: what the message says, else whether it is urgent.
func urgency(m *channels.Message) (string, error) {
	said := m.Text("urgency")
	switch {
	case said != "" && !slices.Contains([]string{"very-low", "low", "normal", "high"}, said):
		return "", refuse(channels.ClassMessage, "field", "the field urgency is not one of very-low, low, normal and high")
	case said != "":
		return said, nil
	case m.Urgent:
		return "high", nil
	}
	return "normal", nil
}

// seconds is the TTL header.
func (p *push) seconds() string { return strconv.FormatInt(int64(p.ttl/time.Second), 10) }

// refuse is an error of this adapter's own, before anything is sent.
func refuse(class channels.Class, code, format string, args ...any) error {
	return &channels.DeliveryError{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}
