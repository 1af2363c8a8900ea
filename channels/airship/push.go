package airship

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"nudge/channels"
	"nudge/channels/rest"
)

// Limits of Airship: bytes of one platform's part of a push, characters of a named user, bytes of iOS's collapse_id.
const (
	maxOverride   = 4096
	maxNamedUser  = 128
	maxCollapseID = 64
)

// platforms are the device types of pushes, in the order of documentation. Airship's other types (email, sms, open
// ones) are no pushes.
var platforms = []string{"ios", "android", "amazon", "web"}

var (
	channelID   = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	deviceToken = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	iconColor   = regexp.MustCompile(`^#[0-9a-f]{6}$`)
)

// The keys that Android's extra must not have, and what they must not begin with.
var (
	reserved         = []string{"from", "message_type", "data"}
	reservedPrefixes = []string{"google", "gcm"}
)

// object is a JSON object of a push.
type object map[string]any

// put sets a key to a text that is not empty.
func (o object) put(key, text string) {
	if text != "" {
		o[key] = text
	}
}

// push makes the push object of a message. Its errors are *channels.DeliveryError.
func (c *channel) push(m *channels.Message) (json.RawMessage, error) {
	types := c.types
	if c.settings.Reach == "token" {
		if !takes(m.Address.Token) {
			return nil, refuse(channels.ClassAddress, "token", "%s is neither a channel id of Airship's nor a device token", channels.ShortToken(m.Address.Token))
		}
		if !slices.Contains(types, m.Address.Platform) {
			return nil, refuse(channels.ClassMessage, "device_types", "the device is of the type %.20q, which `device_types` of the channel lacks", m.Address.Platform)
		}
		types = []string{m.Address.Platform}
	}
	audience, err := c.audience(m)
	if err != nil {
		return nil, err
	}
	own, err := overrides(m, types)
	if err != nil {
		return nil, err
	}
	size, err := measure(m)
	if err != nil {
		return nil, err
	}
	if size > maxOverride {
		return nil, refuse(channels.ClassMessage, "too_long", "the push has %d bytes for one platform, Airship takes %d: shorten the texts or the data", size, maxOverride)
	}
	notification, err := content(m, types, own)
	if err != nil {
		return nil, err
	}
	ttl, err := m.Lifetime()
	if err != nil {
		return nil, err
	}
	push := object{"audience": audience, "device_types": types, "notification": notification}
	if ttl > 0 {
		push["options"] = object{"expiry": max(1, int64(ttl/time.Second))} // seconds from when Airship takes it
	}
	return rest.JSON(push)
}

// audience says who gets a message.
func (c *channel) audience(m *channels.Message) (any, error) {
	own, err := m.Map("audience")
	if err != nil {
		return nil, err
	}
	if len(own) > 0 {
		return own, nil
	}
	to := m.Address
	if c.settings.Reach == "user_id" && (to.UserID == "" || utf8.RuneCountInString(to.UserID) > maxNamedUser) {
		return nil, refuse(channels.ClassAddress, "named_user", "the user id is no named user of Airship's: those have 1 to %d characters", maxNamedUser)
	}
	if c.who != nil {
		values := map[string]any{"user_id": to.UserID, "token": to.Token, "email": to.Email, "phone": to.Phone}
		if name := c.who.Missing(values); name != "" {
			return nil, refuse(channels.ClassMessage, "audience", "the person has no %s, which `audience` of the channel names", name)
		}
		return c.who.Fill(values), nil
	}
	switch {
	case c.settings.Reach == "user_id":
		return object{"named_user": to.UserID}, nil
	case deviceToken.MatchString(to.Token):
		return object{"device_token": strings.ToUpper(to.Token)}, nil
	case to.Platform == "web":
		return object{"channel": to.Token}, nil
	}
	return object{to.Platform + "_channel": strings.ToLower(to.Token)}, nil
}

// takes says whether a token may be Airship's: the id of a channel, or a device token of Apple's, which Airship knows
// its channel by.
func takes(token string) bool { return channelID.MatchString(token) || deviceToken.MatchString(token) }

// overrides are the message's own words for single platforms.
func overrides(m *channels.Message, types []string) (map[string]map[string]any, error) {
	given, err := m.Map("overrides")
	if err != nil {
		return nil, err
	}
	out := make(map[string]map[string]any, len(given))
	for _, platform := range slices.Sorted(maps.Keys(given)) {
		part, ok := given[platform].(map[string]any)
		switch {
		case !slices.Contains(platforms, platform):
			return nil, refuse(channels.ClassMessage, "field", "overrides has %.40q: there are %s", platform, strings.Join(platforms, ", "))
		case !ok:
			return nil, refuse(channels.ClassMessage, "field", "overrides.%s is not a map", platform)
		case slices.Contains(types, platform):
			out[platform] = part
		}
	}
	return out, nil
}

// measure is how many bytes the largest of the platforms' parts takes, with the text, which all share. It counts
// every platform, because which ones a message goes to is the address's and the config's.
func measure(m *channels.Message) (int, error) {
	own, err := overrides(m, platforms)
	if err != nil {
		return 0, err
	}
	all, err := content(m, platforms, own)
	if err != nil {
		return 0, err
	}
	size := 0
	for _, platform := range platforms {
		part := maps.Clone(all[platform].(object))
		if _, own := part["alert"]; !own && all["alert"] != nil {
			part["alert"] = all["alert"]
		}
		raw, err := rest.JSON(part)
		if err != nil {
			return 0, err
		}
		size = max(size, len(raw))
	}
	return size, nil
}

// content is the notification: what all platforms share, and what each has of its own.
func content(m *channels.Message, types []string, own map[string]map[string]any) (object, error) {
	extra, err := extraOf(m)
	if err != nil {
		return nil, err
	}
	out := object{}
	if !m.Flag("silent") {
		alert := cmp.Or(m.Text("body"), m.Text("title")) // Airship shows nothing without an alert
		badge, given, err := m.Int("badge")
		if err != nil {
			return nil, err
		}
		if alert == "" && !given && m.Text("sound") == "" && len(own) == 0 {
			return nil, refuse(channels.ClassMessage, "empty", "there is nothing to show: give a title, a body, a badge or a sound, or say silent: true")
		}
		if given && badge < 0 {
			return nil, refuse(channels.ClassMessage, "field", "the badge %d is below 0", badge)
		}
		out.put("alert", alert)
		if link := m.Text("link"); link != "" {
			kind := "deep_link"
			if strings.HasPrefix(link, "https://") || strings.HasPrefix(link, "http://") {
				kind = "url"
			}
			out["actions"] = object{"open": object{"type": kind, "content": link}}
		}
	}
	for _, platform := range types {
		part, err := partOf(platform, m)
		if err != nil {
			return nil, err
		}
		if len(extra) > 0 {
			part["extra"] = extra
		}
		if out["alert"] != nil && m.Text("body") != "" {
			part.put("title", m.Text("title"))
		}
		maps.Copy(part, own[platform])
		out[platform] = part
	}
	return out, nil
}

// partOf is a platform's part, but for what the platforms share.
func partOf(platform string, m *channels.Message) (object, error) {
	switch platform {
	case "ios":
		return ios(m)
	case "web":
		return web(m), nil
	}
	return android(m, platform)
}

// ios is the part of iPhones and iPads.
func ios(m *channels.Message) (object, error) {
	part := object{"priority": 5}
	if m.Flag("silent") {
		part["content_available"] = true
		return part, nil
	}
	if m.Urgent {
		part["priority"] = 10
	}
	part["collapse_id"] = collapse(m, maxCollapseID)
	for name, field := range map[string]string{"sound": "sound", "subtitle": "subtitle", "category": "category", "thread_id": "thread"} {
		part.put(name, m.Text(field))
	}
	if badge, given, err := m.Int("badge"); err != nil {
		return nil, err
	} else if given {
		part["badge"] = badge
	}
	if image := m.Text("image"); image != "" {
		part["media_attachment"] = object{"url": image}
	}
	if m.Flag("mutable") {
		part["mutable_content"] = true
	}
	switch level := m.Text("interruption"); level {
	case "":
	case "passive", "active", "time-sensitive", "critical":
		part["interruption_level"] = level
	default:
		return nil, refuse(channels.ClassMessage, "field", "interruption is %.40q: write passive, active, time-sensitive or critical", level)
	}
	relevance, given, err := m.Number("relevance")
	if err != nil {
		return nil, err
	}
	if given {
		if !(relevance >= 0 && relevance <= 1) {
			return nil, refuse(channels.ClassMessage, "field", "relevance is %v: write 0 to 1", relevance)
		}
		part["relevance_score"] = relevance
	}
	return part, nil
}

// android is the part of Android, and of Amazon's devices, which have less of it.
func android(m *channels.Message, platform string) (object, error) {
	part := object{}
	if platform == "android" {
		part["delivery_priority"] = "normal"
		if m.Urgent {
			part["delivery_priority"] = "high"
		}
	}
	if m.Flag("silent") {
		return part, nil
	}
	// A newer notification with the same tag replaces the older one on the device.
	part["notification_tag"] = collapse(m, 0)
	part.put("sound", m.Text("sound"))
	part.put("notification_channel", m.Text("channel_id"))
	if icon := m.Text("icon"); !strings.Contains(icon, ":") { // a URL is for browsers
		part.put("icon", icon)
	}
	if color := strings.ToLower(m.Text("color")); color != "" {
		if !iconColor.MatchString(color) {
			return nil, refuse(channels.ClassMessage, "field", "color is %.40q: write #rrggbb", color)
		}
		part["icon_color"] = color
	}
	if image := m.Text("image"); image != "" && platform == "android" {
		part["style"] = object{"type": "big_picture", "big_picture": image}
	}
	return part, nil
}

// web is the part of browsers.
func web(m *channels.Message) object {
	part := object{}
	if m.Flag("silent") {
		return part
	}
	if icon := m.Text("icon"); strings.HasPrefix(icon, "https://") {
		part["icon"] = object{"url": icon}
	}
	if image := m.Text("image"); image != "" {
		part["image"] = object{"url": image}
	}
	if m.Flag("require_interaction") {
		part["require_interaction"] = true
	}
	return part
}

// collapse is what a later notification must share to replace this one, at most limit bytes; 0 is no limit.
func collapse(m *channels.Message, limit int) string {
	own := m.Text("collapse")
	switch {
	case own == "":
		return channels.ShortHash(m.Key)
	case limit > 0 && len(own) > limit:
		return channels.ShortHash(own)
	}
	return own
}

// extraOf is what the app reads: the rule's own data, and nudge's. All values are text, as Android has them.
func extraOf(m *channels.Message) (map[string]string, error) {
	own, err := m.Map("data")
	if err != nil {
		return nil, err
	}
	extra := make(map[string]string, len(own)+4)
	of := channels.Message{Fields: own}
	for _, key := range slices.Sorted(maps.Keys(own)) {
		if slices.Contains(reserved, key) || slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			return nil, refuse(channels.ClassMessage, "field", "the data must not have the key %.40q: Google reserves it", key)
		}
		extra[key] = of.Text(key)
	}
	put := func(key, value string) {
		if value != "" {
			extra[key] = value
		}
	}
	put("nudge_id", m.Signed)
	put("link", m.Text("link"))
	if m.Flag("silent") { // there is no notification that would carry the texts
		put("title", m.Text("title"))
		put("body", m.Text("body"))
	}
	return extra, nil
}

// refuse is an error of this adapter's own, before anything is sent.
func refuse(class channels.Class, code, format string, args ...any) error {
	return &channels.DeliveryError{Class: class, Code: code, Err: fmt.Errorf(format, args...)}
}
