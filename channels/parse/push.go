package parse

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/rest"
)

// maxData is the most of a push's data, in bytes. Parse Server itself has no limit and says nothing of what Apple and
// Google refuse: 4096 bytes, with what the server adds.
const maxData = 4000

// maxCollapseID is Apple's limit, in bytes.
const maxCollapseID = 64

// taken are the keys of a push's data that mean something to Parse Server's push adapter, or that are nudge's.
var taken = []string{
	"alert", "title", "badge", "sound", "category", "threadId", "content-available", "mutable-content", "interruptionLevel", "aps",
	"id", "topic", "expiry", "priority", "pushType", "push_type", "collapseId", "collapse_id", "requestId", "channelId", "expiration_time", "targetContentIdentifier",
	"nudge_id", "link", "uri", "image",
}

// instant is the form of push_time: ISO 8601, without a zone in each device's own time.
var instant = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?$`)

// push is the body of a request.
type push struct {
	Where    any            `json:"where,omitempty"`
	Channels any            `json:"channels,omitempty"`
	Data     map[string]any `json:"data"`
	// ExpirationInterval is in seconds, from push_time or from when the server has the push.
	ExpirationInterval int64  `json:"expiration_interval,omitempty"`
	PushTime           string `json:"push_time,omitempty"`
	// What follows is handed on by the server to its push adapter, for APNs.
	CollapseID string `json:"collapse_id,omitempty"`
	PushType   string `json:"push_type,omitempty"`
	Priority   any    `json:"priority"` // a number, or a text for iOS by FCM
}

// push makes the body of a message. Its errors are *channels.DeliveryError.
func (c *channel) push(m *channels.Message) ([]byte, error) {
	p := push{CollapseID: m.Text("collapse"), PushType: "alert", Priority: 5, PushTime: strings.TrimSpace(m.Text("push_time"))}
	var err error
	if p.Where, p.Channels, err = c.audience(m); err != nil {
		return nil, err
	}
	if p.Data, err = data(m); err != nil {
		return nil, err
	}
	if raw, err := rest.JSON(p.Data); err != nil {
		return nil, err
	} else if len(raw) > maxData {
		return nil, refuse(channels.ClassMessage, "too_long", "the data has %d bytes, Apple and Google take %d: shorten the texts or the data", len(raw), maxData)
	}
	switch {
	case p.CollapseID == "":
		p.CollapseID = channels.ShortHash(m.Key)
	case len(p.CollapseID) > maxCollapseID:
		p.CollapseID = channels.ShortHash(p.CollapseID)
	}
	switch {
	case m.Flag("silent"):
		p.PushType = "background" // only ever at low priority
	case m.Urgent:
		p.Priority = 10
	}
	if p.PushTime != "" && !instant.MatchString(p.PushTime) {
		return nil, refuse(channels.ClassMessage, "field", "push_time is %.40q: write an instant as 2026-11-25T09:00:00Z, or without Z for each device's own time", p.PushTime)
	}
	ttl, err := m.Lifetime()
	if err != nil {
		return nil, err
	}
	if c.settings.AppleByFCM && m.Address.Platform != "android" {
		// Its push adapter (8.4) makes headers for APNs of both, FCM takes none that is a number, and an expiry
		// always is one. The push adapter for APNs in turn takes no priority that is a text.
		p.Priority, ttl = fmt.Sprint(p.Priority), 0
	}
	if ttl > 0 {
		p.ExpirationInterval = max(1, int64(ttl/time.Second))
	}
	return rest.JSON(&p)
}

// audience says which installations get a message: by a query, or by the channels that they subscribed to.
func (c *channel) audience(m *channels.Message) (where, subscribed any, err error) {
	own, err := m.Map("where")
	if err != nil {
		return nil, nil, err
	}
	list, err := channelsOf(m)
	switch {
	case err != nil:
		return nil, nil, err
	case own != nil && list != nil:
		return nil, nil, refuse(channels.ClassMessage, "field", "the message has where and channels: keep one of them")
	case own != nil && len(own) == 0:
		return nil, nil, refuse(channels.ClassMessage, "field", "where is empty: it would be every installation")
	case own != nil:
		return own, nil, nil
	case list != nil:
		return nil, list, nil
	}
	to := m.Address
	if c.settings.Reach == "token" && to.Token == "" {
		return nil, nil, refuse(channels.ClassAddress, "token", "there is no device token")
	}
	if c.settings.Reach == "user_id" && to.UserID == "" {
		return nil, nil, refuse(channels.ClassAddress, "user_id", "there is no user id")
	}
	values := map[string]any{"user_id": to.UserID, "token": stored(to.Token), "email": to.Email, "phone": to.Phone}
	of, field := c.where, "where"
	if of == nil {
		of, field = c.channels, "channels"
	}
	if name := of.Missing(values); name != "" {
		return nil, nil, refuse(channels.ClassMessage, "audience", "the person has no %s, which `%s` of the channel names", name, field)
	}
	if field == "channels" {
		return nil, of.Fill(values), nil
	}
	return of.Fill(values), nil, nil
}

// stored is a device token as Parse Server keeps it: it takes what has 64 characters for Apple's, and writes it small.
func stored(token string) string {
	if len(token) == 64 {
		return strings.ToLower(token)
	}
	return token
}

// channelsOf are the message's own channels, nil for none.
func channelsOf(m *channels.Message) ([]any, error) {
	switch v := m.Fields["channels"].(type) {
	case nil:
		return nil, nil
	case []any:
		for _, item := range v {
			if name, ok := item.(string); !ok || name == "" {
				return nil, refuse(channels.ClassMessage, "field", "channels has an item that is no name")
			}
		}
		if len(v) > 0 {
			return v, nil
		}
	}
	return nil, refuse(channels.ClassMessage, "field", "the field channels is not a list of names")
}

// measure is how many bytes of the limit a message takes.
func measure(m *channels.Message) (int, error) {
	of, err := data(m)
	if err != nil {
		return 0, err
	}
	raw, err := rest.JSON(of)
	return len(raw), err
}

// data is what is shown, and what the app reads.
func data(m *channels.Message) (map[string]any, error) {
	out := map[string]any{}
	put := func(key, text string) {
		if text != "" {
			out[key] = text
		}
	}
	if m.Flag("silent") {
		out["content-available"] = 1
	} else if err := show(m, out); err != nil {
		return nil, err
	}
	put("nudge_id", m.Signed)
	put("link", m.Text("link"))
	put("uri", m.Text("link")) // what Parse's own receiver on Android opens
	put("image", m.Text("image"))
	own, err := m.Map("data")
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(own)) {
		if slices.Contains(taken, key) || strings.HasPrefix(key, "alert-") || strings.HasPrefix(key, "title-") {
			return nil, refuse(channels.ClassMessage, "field", "the data must not have the key %.40q: it is taken", key)
		}
		out[key] = own[key]
	}
	return out, nil
}

// show fills in what is seen and heard.
func show(m *channels.Message, out map[string]any) error {
	for key, field := range map[string]string{
		"alert": "body", "title": "title", "sound": "sound", "category": "category", "threadId": "thread", "interruptionLevel": "interruption",
	} {
		if text := m.Text(field); text != "" {
			out[key] = text
		}
	}
	badge, given, err := m.Int("badge")
	if err != nil {
		return err
	}
	if given {
		if badge < 0 {
			return refuse(channels.ClassMessage, "field", "the badge %d is below 0", badge)
		}
		out["badge"] = badge
	}
	if out["alert"] == nil && out["title"] == nil && !given && out["sound"] == nil {
		return refuse(channels.ClassMessage, "empty", "there is nothing to show: give a title, a body, a badge or a sound, or say silent: true")
	}
	switch level := m.Text("interruption"); level {
	case "", "passive", "active", "time-sensitive", "critical":
	default:
		return refuse(channels.ClassMessage, "field", "interruption is %.40q: write passive, active, time-sensitive or critical", level)
	}
	if m.Flag("mutable") || m.Text("image") != "" {
		out["mutable-content"] = 1
	}
	return nil
}

// refuse is an error of this adapter's own, before anything is sent.
func refuse(class channels.Class, code, format string, args ...any) error {
	return &channels.DeliveryError{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}
