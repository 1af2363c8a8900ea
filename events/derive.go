package events

import (
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"
)

// Fix is a position that a device reported.
type Fix struct {
	Lat, Lon float64 // degrees, WGS 84
	Accuracy float64 // radius in metres; 0 is unknown
}

// DeviceOf is the device that an event was sent from or that a KindDevice record is about, if it has
// a push token.
func DeviceOf(ev *Event) (DeviceChange, bool) {
	if ev.Kind == KindDevice {
		d := DeviceChange{
			Token:       lookupString(ev.Properties, "token"),
			Platform:    lookupString(ev.Properties, "platform"),
			App:         lookupString(ev.Properties, "app"),
			Environment: lookupString(ev.Properties, "environment"),
			Device:      lookupString(ev.Properties, "device"),
			Reason:      lookupString(ev.Properties, "reason"),
		}
		removed, _ := Lookup(ev.Properties, "removed")
		d.Removed = string(removed) == "true"
		return d, d.Token != ""
	}
	if !mentions(ev.Context, `"device"`) {
		return DeviceChange{}, false
	}
	device, ok := Lookup(ev.Context, "device")
	if !ok {
		return DeviceChange{}, false
	}
	d := DeviceChange{Token: lookupString(device, "token")}
	if d.Token == "" {
		return DeviceChange{}, false
	}
	d.Platform = platform(lookupString(device, "type"))
	if d.Platform == "" {
		d.Platform = platform(lookupString(ev.Context, "os", "name"))
	}
	d.App = lookupString(ev.Context, "app", "namespace")
	d.Environment = strings.ToLower(lookupString(device, "environment"))
	d.Device = lookupString(device, "id")
	return d, true
}

// mentions says whether a normalised object may have the quoted key somewhere; false is certain. It is
// many times faster than Lookup, and most events have neither device nor location.
func mentions(object []byte, quoted string) bool { return strings.Contains(view(object), quoted) }

// platform maps what SDKs call a device to ios, android or web; "" if it is none of them.
func platform(name string) string {
	switch strings.ToLower(name) {
	case "ios", "ipados", "iphone", "ipad", "iphone os", "tvos", "watchos", "visionos":
		return "ios"
	case "android":
		return "android"
	case "web", "browser", "mobile web", "desktop":
		return "web"
	default:
		return ""
	}
}

// ZoneOf is the time zone that the sender's device is in (context.timezone), if it is one that
// time.LoadLocation knows.
func ZoneOf(ev *Event) (string, bool) {
	zone := lookupString(ev.Context, "timezone")
	zone = zones.of(zone)
	return zone, zone != ""
}

// LocaleOf is the language that the sender's device is set to (context.locale), as Locale has it.
func LocaleOf(ev *Event) (string, bool) { return Locale(lookupString(ev.Context, "locale")) }

// Locale is what apps call a locale ("de_DE", "pt-br", "zh-Hans_CN", "en_US.UTF-8") as a BCP 47 tag in its canonical
// form, of language, script and region alone: "de-DE", "pt-BR". It is false where there is no such language.
func Locale(text string) (string, bool) {
	tag := locales.of(text)
	return tag, tag != ""
}

// FixOf is the position that an event reports: the properties of a "Location Updated" call, or else
// context.location. Coordinates must be numbers and on the globe.
func FixOf(ev *Event) (Fix, bool) {
	if ev.Kind == KindTrack && ev.Name == LocationUpdated {
		if f, ok := fix(ev.Properties); ok {
			return f, true
		}
	}
	if !mentions(ev.Context, `"location"`) {
		return Fix{}, false
	}
	location, ok := Lookup(ev.Context, "location")
	if !ok {
		return Fix{}, false
	}
	return fix(location)
}

func fix(object []byte) (f Fix, ok bool) {
	var has int
	members(object, func(key, value []byte) bool {
		leaf, ok := LeafOf(value)
		if !ok || leaf.Kind != LeafFloat && leaf.Kind != LeafInt {
			return true
		}
		switch string(key) {
		case "latitude":
			f.Lat, has = leaf.Num, has|1
		case "longitude":
			f.Lon, has = leaf.Num, has|2
		case "accuracy":
			f.Accuracy = max(leaf.Num, 0)
		}
		return true
	})
	return f, has == 3 && f.Lat >= -90 && f.Lat <= 90 && f.Lon >= -180 && f.Lon <= 180
}

// What names of zones and of locales mean is remembered, for finding it out reads files or tables each time. The
// answers never change within a process, so one memory serves all.
var (
	zones   = memo{read: zone, seen: map[string]string{}}
	locales = memo{read: locale, seen: map[string]string{}}
)

// zone is the name itself of a zone that time.LoadLocation knows.
func zone(name string) string {
	if _, err := time.LoadLocation(name); err != nil || name == "Local" { // "Local" would be the server's own zone
		return ""
	}
	return name
}

func locale(text string) string {
	text, _, _ = strings.Cut(text, ".") // of POSIX: the encoding
	text, _, _ = strings.Cut(text, "@") // and what is said beside it, by Apple too
	tag, err := language.Parse(text)
	if err != nil {
		return ""
	}
	base, script, region := tag.Raw()
	if base == (language.Base{}) || base.String() == "und" {
		return ""
	}
	out := base.String()
	if script != (language.Script{}) && script.String() != "Zzzz" {
		out += "-" + script.String()
	}
	if region != (language.Region{}) && region.String() != "ZZ" {
		out += "-" + region.String()
	}
	return out
}

// memo remembers what read makes of texts. It is safe for concurrent use.
type memo struct {
	read func(string) string
	mu   sync.RWMutex
	seen map[string]string
}

// A memory is bounded against senders of invented names; there are about 600 real zones, and fewer locales.
const (
	maxRemembered = 2048
	maxName       = 64 // bytes
)

func (m *memo) of(text string) string {
	if text == "" {
		return ""
	}
	m.mu.RLock()
	out, seen := m.seen[text]
	m.mu.RUnlock()
	if seen || len(text) > maxName {
		return out
	}
	out = m.read(strings.Clone(text)) // the text may be a part of something large
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.seen) >= maxRemembered {
		clear(m.seen)
	}
	m.seen[strings.Clone(text)] = out
	return out
}
