package fcmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits that Google documents.
const (
	maxPayload = 4096
	maxTTL     = 2419200 // seconds: four weeks
)

// sendRequest is the body of messages:send: the fields of the v1 API that a sender to single
// devices uses. A field that is not here is refused, as Google refuses unknown names.
type sendRequest struct {
	ValidateOnly bool    `json:"validate_only"`
	Message      message `json:"message"`
}

type message struct {
	Token        string            `json:"token"`
	Topic        string            `json:"topic"`
	Condition    string            `json:"condition"`
	Data         map[string]string `json:"data"`
	Notification *notification     `json:"notification"`
	Android      *android          `json:"android"`
	Webpush      *webpush          `json:"webpush"`
	APNS         json.RawMessage   `json:"apns"`
	FCMOptions   json.RawMessage   `json:"fcm_options"`
}

type notification struct {
	Title string `json:"title"`
	Body  string `json:"body"`
	Image string `json:"image"`
}

type android struct {
	CollapseKey    string            `json:"collapse_key"`
	Priority       string            `json:"priority"`
	TTL            string            `json:"ttl"`
	PackageName    string            `json:"restricted_package_name"`
	Data           map[string]string `json:"data"`
	DirectBootOK   bool              `json:"direct_boot_ok"`
	BandwidthLimit bool              `json:"bandwidth_constrained_ok"`
	FCMOptions     json.RawMessage   `json:"fcm_options"`
	Notification   *struct {
		notification
		Icon        string `json:"icon"`
		Color       string `json:"color"`
		Sound       string `json:"sound"`
		Tag         string `json:"tag"`
		ClickAction string `json:"click_action"`
		ChannelID   string `json:"channel_id"`
		Ticker      string `json:"ticker"`
		Sticky      bool   `json:"sticky"`
		Priority    string `json:"notification_priority"`
		Visibility  string `json:"visibility"`
		Count       *int   `json:"notification_count"`
	} `json:"notification"`
}

type webpush struct {
	Headers      map[string]string `json:"headers"`
	Data         map[string]string `json:"data"`
	Notification map[string]any    `json:"notification"`
	FCMOptions   *struct {
		Link           string `json:"link"`
		AnalyticsLabel string `json:"analytics_label"`
	} `json:"fcm_options"`
}

// decode reads a request strictly.
func decode(raw []byte, into *sendRequest) *refusal {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return invalid("message", "Invalid JSON payload received. "+err.Error())
	}
	return nil
}

// tag is the id by which the log knows a message.
func (m *message) tag() string {
	if m.Android != nil && m.Android.Notification != nil && m.Android.Notification.Tag != "" {
		return m.Android.Notification.Tag
	}
	if m.Webpush != nil {
		if tag, ok := m.Webpush.Notification["tag"].(string); ok {
			return tag
		}
	}
	return ""
}

// invalid is a refusal because of one field.
func invalid(field, message string) *refusal {
	return &refusal{http.StatusBadRequest, "INVALID_ARGUMENT", message, field}
}

var color = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// check validates a message.
func (m *message) check() *refusal {
	targets := 0
	for _, target := range []string{m.Token, m.Topic, m.Condition} {
		if target != "" {
			targets++
		}
	}
	switch {
	case targets == 0:
		return invalid("message", "Recipient of the message is not set.")
	case targets > 1:
		return invalid("message", "Multiple recipients of the message are set.")
	}
	size := 0
	for key, value := range m.Data {
		if slices.Contains([]string{"from", "message_type", "notification"}, key) || strings.HasPrefix(key, "google") || strings.HasPrefix(key, "gcm") {
			return invalid("message.data", "Invalid data payload key: "+key)
		}
		size += len(key) + len(value)
	}
	if n := m.Notification; n != nil {
		size += len(n.Title) + len(n.Body) + len(n.Image)
	}
	if size > maxPayload {
		return &refusal{status: http.StatusBadRequest, code: "INVALID_ARGUMENT", message: "Message is too big"}
	}
	if no := m.Android.check(); no != nil {
		return no
	}
	return m.Webpush.check()
}

// check validates Android's part.
func (a *android) check() *refusal {
	if a == nil {
		return nil
	}
	if !slices.Contains([]string{"", "normal", "high", "NORMAL", "HIGH"}, a.Priority) {
		return invalid("message.android.priority", fmt.Sprintf("Invalid value at 'message.android.priority' (TYPE_ENUM), %q", a.Priority))
	}
	if a.TTL != "" {
		seconds, err := strconv.ParseFloat(strings.TrimSuffix(a.TTL, "s"), 64)
		if err != nil || !strings.HasSuffix(a.TTL, "s") || seconds < 0 || seconds > maxTTL {
			return invalid("message.android.ttl", "Invalid time to live")
		}
	}
	if n := a.Notification; n != nil {
		if n.Color != "" && !color.MatchString(n.Color) {
			return invalid("message.android.notification.color", "Invalid color")
		}
	}
	return nil
}

// check validates the browsers' part.
func (w *webpush) check() *refusal {
	if w == nil {
		return nil
	}
	if ttl, ok := w.Headers["TTL"]; ok {
		if n, err := strconv.Atoi(ttl); err != nil || n < 0 || n > maxTTL {
			return invalid("message.webpush.headers", "Invalid TTL header")
		}
	}
	if urgency, ok := w.Headers["Urgency"]; ok && !slices.Contains([]string{"very-low", "low", "normal", "high"}, urgency) {
		return invalid("message.webpush.headers", "Invalid Urgency header")
	}
	if w.FCMOptions != nil && w.FCMOptions.Link != "" && !strings.HasPrefix(w.FCMOptions.Link, "https://") {
		return invalid("message.webpush.fcm_options.link", "Must be a valid HTTPS URL")
	}
	return nil
}
