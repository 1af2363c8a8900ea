package fcm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"

	"firebase.google.com/go/v4/messaging"
)

// maxTTL is Google's limit: four weeks. More is cut to it.
const maxTTL = 28 * 24 * time.Hour

// reserved are the keys that data must not have, and what they must not begin with.
var (
	reserved         = []string{"from", "message_type", "collapse_key", "notification"}
	reservedPrefixes = []string{"google.", "gcm."}
)

// build makes what is sent. Its errors are *channels.DeliveryError.
func build(m *channels.Message) (*messaging.Message, error) {
	if m.Address.Token == "" || len(m.Address.Token) > 4096 || strings.ContainsAny(m.Address.Token, " \t\r\n") {
		return nil, refuse(channels.ClassAddress, "INVALID_ARGUMENT", "%s is not a registration token", channels.ShortToken(m.Address.Token))
	}
	out, err := Content(m)
	if err != nil {
		return nil, err
	}
	if size := Size(out); size > maxPayload {
		return nil, refuse(channels.ClassMessage, "INVALID_ARGUMENT", "the payload has %d bytes, Google takes %d: shorten the texts or the data", size, maxPayload)
	}
	out.Token = m.Address.Token
	return out, nil
}

// measure is how many bytes of Google's limit a message takes.
func measure(m *channels.Message) (int, error) {
	out, err := Content(m)
	if err != nil {
		return 0, err
	}
	return Size(out), nil
}

// Content is what a message is for Firebase, but for whom it goes to: whoever hands it over. Its errors are
// *channels.DeliveryError.
func Content(m *channels.Message) (*messaging.Message, error) {
	ttl, err := m.Lifetime()
	if err != nil {
		return nil, err
	}
	ttl = min(ttl, maxTTL)
	actions, err := m.Actions()
	if err != nil {
		return nil, err
	}
	data, err := dataOf(m, actions)
	if err != nil {
		return nil, err
	}
	out := &messaging.Message{Data: data}
	if m.Address.Platform == "web" {
		out.Webpush, err = webpush(m, actions, ttl)
	} else {
		out.Android, err = android(m, ttl)
	}
	if err != nil {
		return nil, err
	}
	if !m.Flag("silent") {
		out.Notification = &messaging.Notification{Title: m.Text("title"), Body: m.Text("body"), ImageURL: m.Text("image")}
		if *out.Notification == (messaging.Notification{}) {
			return nil, refuse(channels.ClassMessage, "INVALID_ARGUMENT", "there is nothing to show: give a title, a body or an image, or say silent: true")
		}
	}
	return out, nil
}

// android is the part that Android reads.
func android(m *channels.Message, ttl time.Duration) (*messaging.AndroidConfig, error) {
	config := &messaging.AndroidConfig{Priority: "normal"}
	if m.Urgent {
		config.Priority = "high"
	}
	if ttl > 0 {
		config.TTL = &ttl
	}
	if m.Flag("silent") {
		return config, nil
	}
	n := &messaging.AndroidNotification{
		// A newer notification with the same tag replaces the older on the device: a repeat of the
		// same message is then harmless. (collapse_key is no help: a device keeps four.)
		Tag:         tag(m),
		Sound:       m.Text("sound"),
		Icon:        m.Text("icon"),
		Color:       m.Text("color"),
		ChannelID:   m.Text("channel_id"),
		ClickAction: m.Text("click_action"),
	}
	badge, given, err := m.Int("badge")
	if err != nil {
		return nil, err
	}
	if given {
		if badge < 0 {
			return nil, refuse(channels.ClassMessage, "field", "the badge %d is below 0", badge)
		}
		n.NotificationCount = &badge
	}
	config.Notification = n
	return config, nil
}

// webpush is the part that browsers read.
func webpush(m *channels.Message, actions []channels.Action, ttl time.Duration) (*messaging.WebpushConfig, error) {
	config := &messaging.WebpushConfig{Headers: map[string]string{"Urgency": "normal"}}
	if m.Urgent {
		config.Headers["Urgency"] = "high"
	}
	if ttl > 0 {
		config.Headers["TTL"] = strconv.FormatInt(int64(ttl/time.Second), 10)
	}
	if m.Flag("silent") {
		return config, nil
	}
	n := &messaging.WebpushNotification{Tag: tag(m), Icon: m.Text("icon"), Image: m.Text("image")}
	for _, a := range actions {
		n.Actions = append(n.Actions, &messaging.WebpushNotificationAction{Action: a.ID, Title: a.Title, Icon: a.Icon})
	}
	config.Notification = n
	if link := m.Text("link"); strings.HasPrefix(link, "https://") { // Google refuses any other
		config.FCMOptions = &messaging.WebpushFCMOptions{Link: link}
	}
	return config, nil
}

// tag is what a later notification must share to replace this one.
func tag(m *channels.Message) string {
	if collapse := m.Text("collapse"); collapse != "" {
		return collapse
	}
	return channels.ShortHash(m.Key)
}

// dataOf is what the app reads: the rule's own data, and nudge's. All values are text, as Google
// wants them.
func dataOf(m *channels.Message, actions []channels.Action) (map[string]string, error) {
	own, err := m.Map("data")
	if err != nil {
		return nil, err
	}
	data := make(map[string]string, len(own)+4)
	of := channels.Message{Fields: own}
	for _, key := range slices.Sorted(maps.Keys(own)) {
		if slices.Contains(reserved, key) || slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			return nil, refuse(channels.ClassMessage, "INVALID_ARGUMENT", "the data must not have the key %.40q: Google reserves it", key)
		}
		data[key] = of.Text(key)
	}
	put := func(key, value string) {
		if value != "" {
			data[key] = value
		}
	}
	put("nudge_id", m.Signed)
	put("link", m.Text("link"))
	put("image", m.Text("image"))
	if m.Flag("silent") { // there is no notification that would carry the texts
		put("title", m.Text("title"))
		put("body", m.Text("body"))
	}
	if len(actions) > 0 {
		raw, err := json.Marshal(actions)
		if err != nil {
			return nil, refuse(channels.ClassMessage, "json", "encoding the actions: %w", err)
		}
		put("actions", string(raw))
	}
	return data, nil
}

// Size is the payload's size as Google counts it, in bytes: keys and values of data and notification.
func Size(m *messaging.Message) int {
	size := 0
	for k, v := range m.Data {
		size += len(k) + len(v)
	}
	if n := m.Notification; n != nil {
		for _, part := range []struct{ key, value string }{{"title", n.Title}, {"body", n.Body}, {"image", n.ImageURL}} {
			if part.value != "" {
				size += len(part.key) + len(part.value)
			}
		}
	}
	return size
}

// refuse is an error of this adapter's own, before anything is sent.
func refuse(class channels.Class, code, format string, args ...any) error {
	return &channels.DeliveryError{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}
