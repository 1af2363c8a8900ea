package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDeviceOf(t *testing.T) {
	for _, c := range []struct {
		name, context string
		want          DeviceChange
	}{
		{"ios", `{"device":{"token":"t","type":"ios","name":"maguro"},"app":{"namespace":"com.shop"}}`, DeviceChange{Token: "t", Platform: "ios", App: "com.shop"}},
		{"android by its system", `{"os":{"name":"Android"},"device":{"token":"t"}}`, DeviceChange{Token: "t", Platform: "android"}},
		{"iPad by its system", `{"os":{"name":"iPadOS"},"device":{"token":"t","type":"tablet"}}`, DeviceChange{Token: "t", Platform: "ios"}},
		{"web", `{"device":{"token":"t","type":"web"}}`, DeviceChange{Token: "t", Platform: "web"}},
		{"sandbox", `{"device":{"token":"t","type":"iOS","environment":"Sandbox"}}`, DeviceChange{Token: "t", Platform: "ios", Environment: "sandbox"}},
		{"unknown system", `{"device":{"token":"t","type":"fridge"}}`, DeviceChange{Token: "t"}},
		{"no token", `{"device":{"type":"ios"}}`, DeviceChange{}},
		{"token a number", `{"device":{"token":1}}`, DeviceChange{}},
		{"device a string", `{"device":"ios"}`, DeviceChange{}},
		{"no device", `{}`, DeviceChange{}},
		{"no context", ``, DeviceChange{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := DeviceOf(&Event{Kind: KindTrack, Context: json.RawMessage(c.context)})
			require.Equal(t, c.want, got)
			require.Equal(t, c.want.Token != "", ok)
		})
	}
	t.Run("a record", func(t *testing.T) {
		want := DeviceChange{Token: "t", Platform: "web", App: "a", Environment: "production", Removed: true, Reason: "dead"}
		body, err := json.Marshal(want)
		require.NoError(t, err)
		got, ok := DeviceOf(&Event{Kind: KindDevice, Properties: body})
		require.True(t, ok)
		require.Equal(t, want, got)
	})
}

func TestZoneOf(t *testing.T) {
	for zone, valid := range map[string]bool{
		"Europe/Berlin": true, "UTC": true, "America/Argentina/Buenos_Aires": true,
		"": false, "Local": false, "Mars/Olympus": false, "../../etc/passwd": false, "europe berlin": false,
	} {
		for range 2 { // the second answer comes from memory
			got, ok := ZoneOf(&Event{Context: json.RawMessage(`{"timezone":"` + zone + `"}`)})
			require.Equal(t, valid, ok, zone)
			if valid {
				require.Equal(t, zone, got)
			}
		}
	}
	_, ok := ZoneOf(&Event{Context: json.RawMessage(`{"timezone":1}`)})
	require.False(t, ok)
	m := memo{read: zone, seen: map[string]string{}}
	for i := range maxRemembered + 5 {
		require.Empty(t, m.of(fmt.Sprintf("No/Such%d", i)))
	}
	require.LessOrEqual(t, len(m.seen), maxRemembered)
}

func TestLocaleOf(t *testing.T) {
	for said, want := range map[string]string{
		"de": "de", "en-US": "en-US", "de_DE": "de-DE", "pt-br": "pt-BR", "zh-Hans_CN": "zh-Hans-CN", "zh-hant": "zh-Hant", "es-419": "es-419",
		"en_US.UTF-8": "en-US", "en_GB@rg=dezzzz": "en-GB", "de-DE-u-co-phonebk": "de-DE", "deu": "de", "iw": "he", "ca-valencia": "ca", "no": "no", "nb-NO": "nb-NO",
		"": "", "C": "", "und": "", "POSIX": "", "german": "", "xx": "", "de-de-de-de": "", "und-DE": "", "*": "", strings.Repeat("a", 70): "",
	} {
		for range 2 { // the second answer comes from memory
			raw, err := json.Marshal(map[string]string{"locale": said})
			require.NoError(t, err)
			got, ok := LocaleOf(&Event{Context: raw})
			require.Equal(t, want, got, said)
			require.Equal(t, want != "", ok, said)
		}
	}
	_, ok := LocaleOf(&Event{Context: json.RawMessage(`{"locale":7}`)})
	require.False(t, ok)
}

func TestFixOf(t *testing.T) {
	track := func(name, properties, context string) Event {
		return Event{Kind: KindTrack, Name: name, Properties: json.RawMessage(properties), Context: json.RawMessage(context)}
	}
	for _, c := range []struct {
		name string
		ev   Event
		want Fix
		ok   bool
	}{
		{"context", track("E", ``, `{"location":{"latitude":52.5,"longitude":13.4,"accuracy":12}}`), Fix{52.5, 13.4, 12}, true},
		{"whole numbers", track("E", ``, `{"location":{"latitude":-90,"longitude":180}}`), Fix{-90, 180, 0}, true},
		{"Location Updated", track(LocationUpdated, `{"latitude":1.5,"longitude":2.5,"accuracy":-1}`, `{"location":{"latitude":9,"longitude":9}}`), Fix{1.5, 2.5, 0}, true},
		{"Location Updated without coordinates", track(LocationUpdated, `{}`, `{"location":{"latitude":9,"longitude":8}}`), Fix{9, 8, 0}, true},
		{"properties of another event", track("E", `{"latitude":1,"longitude":2}`, ``), Fix{}, false},
		{"off the globe", track("E", ``, `{"location":{"latitude":90.1,"longitude":0}}`), Fix{}, false},
		{"strings", track("E", ``, `{"location":{"latitude":"1","longitude":"2"}}`), Fix{}, false},
		{"half", track("E", ``, `{"location":{"latitude":1}}`), Fix{}, false},
		{"a city", track("E", ``, `{"location":{"city":"Ulm"}}`), Fix{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := FixOf(&c.ev)
			require.Equal(t, c.ok, ok)
			if ok {
				require.Equal(t, c.want, got)
			}
		})
	}
}
