package apns

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"nudge/channels"

	"github.com/sideshow/apns2"
)

// maxCollapseID is Apple's limit, in bytes.
const maxCollapseID = 64

// aps is the part of the payload that the system reads.
type aps struct {
	Alert             *alert   `json:"alert,omitempty"`
	Badge             *int     `json:"badge,omitempty"`
	Sound             string   `json:"sound,omitempty"`
	ThreadID          string   `json:"thread-id,omitempty"`
	Category          string   `json:"category,omitempty"`
	ContentAvailable  int      `json:"content-available,omitempty"`
	MutableContent    int      `json:"mutable-content,omitempty"`
	InterruptionLevel string   `json:"interruption-level,omitempty"`
	RelevanceScore    *float64 `json:"relevance-score,omitempty"`
}

// alert is the text.
type alert struct {
	Title    string `json:"title,omitempty"`
	Subtitle string `json:"subtitle,omitempty"`
	Body     string `json:"body,omitempty"`
}

// extra is what nudge gives the app: under the key "nudge" of the payload.
type extra struct {
	ID      string            `json:"id,omitempty"` // to report an open or a click
	Link    string            `json:"link,omitempty"`
	Image   string            `json:"image,omitempty"` // for the service extension to attach
	Actions []channels.Action `json:"actions,omitempty"`
}

// payload is a whole payload without the rule's own data.
type payload struct {
	APS   aps   `json:"aps"`
	Nudge extra `json:"nudge"`
}

// notification makes what is pushed. Its errors are *channels.DeliveryError.
func (c *channel) notification(m *channels.Message) (*apns2.Notification, error) {
	if !isToken(m.Address.Token) {
		return nil, refuse(channels.ClassAddress, apns2.ReasonBadDeviceToken, "%s is not a device token of Apple's", channels.ShortToken(m.Address.Token))
	}
	body, err := Payload(m)
	if err != nil {
		return nil, err
	}
	if len(body) > maxPayload {
		return nil, refuse(channels.ClassMessage, apns2.ReasonPayloadTooLarge, "the payload has %d bytes, Apple takes %d: shorten the texts or the data", len(body), maxPayload)
	}
	ttl, err := m.Lifetime()
	if err != nil {
		return nil, err
	}
	n := &apns2.Notification{
		ApnsID:      channels.UUID(m.Key),
		CollapseID:  CollapseID(m),
		DeviceToken: m.Address.Token,
		Topic:       first(c.settings.Apps[m.Address.App], c.settings.Topic),
		Payload:     body,
		PushType:    apns2.PushTypeAlert,
		Priority:    apns2.PriorityLow,
	}
	if ttl > 0 {
		n.Expiration = c.now().Add(ttl)
	}
	switch {
	case m.Flag("silent"):
		n.PushType = apns2.PushTypeBackground // only ever at low priority
	case m.Urgent:
		n.Priority = apns2.PriorityHigh
	}
	return n, nil
}

// measure is how many bytes of Apple's limit a message takes.
func measure(m *channels.Message) (int, error) {
	b, err := Payload(m)
	return len(b), err
}

// CollapseID is the id by which a newer message replaces an older one on an Apple device: the message's own, or that of
// its key, by which a repeat replaces the first.
func CollapseID(m *channels.Message) string {
	id := first(m.Text("collapse"), channels.ShortHash(m.Key))
	if len(id) > maxCollapseID {
		return channels.ShortHash(id)
	}
	return id
}

// Payload is the JSON that a message is for an Apple device, whoever hands it to Apple. Its errors are
// *channels.DeliveryError.
func Payload(m *channels.Message) ([]byte, error) {
	var p payload
	var err error
	if p.Nudge.Actions, err = m.Actions(); err != nil {
		return nil, err
	}
	p.Nudge.ID, p.Nudge.Link, p.Nudge.Image = m.Signed, m.Text("link"), m.Text("image")
	if m.Flag("silent") {
		p.APS.ContentAvailable = 1
	} else if err := p.APS.show(m, &p.Nudge); err != nil {
		return nil, err
	}
	data, err := m.Map("data")
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(&p)
	if err != nil {
		return nil, refuse(channels.ClassMessage, "json", "encoding the payload: %w", err)
	}
	if len(data) == 0 {
		return raw, nil
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if key == "aps" || key == "nudge" {
			return nil, refuse(channels.ClassMessage, "field", "the data must not have the key %q: it is taken", key)
		}
	}
	own, err := json.Marshal(data)
	if err != nil {
		return nil, refuse(channels.ClassMessage, "json", "encoding the data: %w", err)
	}
	raw[len(raw)-1] = ',' // both are objects: one into the other
	return append(raw, own[1:]...), nil
}

// show fills in what is seen and heard.
func (a *aps) show(m *channels.Message, with *extra) error {
	text := alert{Title: m.Text("title"), Subtitle: m.Text("subtitle"), Body: m.Text("body")}
	a.Sound, a.ThreadID, a.Category, a.InterruptionLevel = m.Text("sound"), m.Text("thread"), m.Text("category"), m.Text("interruption")
	if text != (alert{}) {
		a.Alert = &text
	}
	badge, given, err := m.Int("badge")
	if err != nil {
		return err
	}
	if given {
		if badge < 0 || badge > math.MaxInt32 {
			return refuse(channels.ClassMessage, "field", "the badge %d is out of range", badge)
		}
		a.Badge = &badge
	}
	if a.Alert == nil && a.Badge == nil && a.Sound == "" {
		return refuse(channels.ClassMessage, apns2.ReasonPayloadEmpty, "there is nothing to show: give a title, a body, a badge or a sound, or say silent: true")
	}
	switch a.InterruptionLevel {
	case "", "passive", "active", "time-sensitive", "critical":
	default:
		return refuse(channels.ClassMessage, "field", "interruption is %.40q: write passive, active, time-sensitive or critical", a.InterruptionLevel)
	}
	relevance, given, err := m.Number("relevance")
	if err != nil {
		return err
	}
	if given {
		if !(relevance >= 0 && relevance <= 1) {
			return refuse(channels.ClassMessage, "field", "relevance is %v: write 0 to 1", relevance)
		}
		a.RelevanceScore = &relevance
	}
	if m.Flag("mutable") || with.Image != "" || len(with.Actions) > 0 {
		a.MutableContent = 1
	}
	return nil
}

// isToken says whether a text can be a device token: hexadecimal. Apple fixes no length.
func isToken(text string) bool {
	if len(text) < 8 || len(text) > 400 {
		return false
	}
	for i := range len(text) {
		b := text[i]
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') && (b < 'A' || b > 'F') {
			return false
		}
	}
	return true
}

// refuse is an error of this adapter's own, before anything is sent.
func refuse(class channels.Class, code, format string, args ...any) error {
	return &channels.DeliveryError{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}
