package render_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/render"
	"nudge/rules"
	"nudge/segments"
)

// TestLanguage: what a decision keeps of a person decides the language, so that every rendering says the same.
func TestLanguage(t *testing.T) {
	const src = `rule: r
on: {event: Opened Door}
again: each_time
message: {sms: {text: "hi {{ user.locale | default: 'you' }}", locales: {de: {text: "hallo {{ user.locale }}"}}}}
`
	r, findings := rules.ParseRule("r.yaml", []byte(src), rules.Options{
		Locale: "en", Channels: []rules.ChannelSpec{{Name: "sms", Kind: "sms", Fields: []rules.FieldSpec{{Name: "text", Type: "string", Template: true, Text: true}}}},
	})
	require.Empty(t, findings)
	for _, c := range []struct {
		name    string
		profile *segments.Profile
		locale  string
		text    string
	}{
		{"theirs", &segments.Profile{Locale: "de-CH"}, "de", "hallo de-CH"},
		{"another", &segments.Profile{Locale: "fi"}, "", "hi fi"},
		{"unknown", &segments.Profile{}, "", "hi you"},
		{"nothing is known of them", nil, "", "hi you"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := json.Marshal(c.profile) // as a decision has it
			require.NoError(t, err)
			profile, err := render.Profile(raw)
			require.NoError(t, err)
			m := render.Message{Channel: "sms", Profile: profile, Zone: time.UTC, Location: time.LoadLocation}
			of, err := render.Of(r, m)
			require.NoError(t, err)
			require.Equal(t, c.locale, of.Locale)
			fields, err := render.Fields(r, m)
			require.NoError(t, err)
			require.Equal(t, map[string]any{"text": c.text}, fields)
		})
	}
	_, err := render.Of(r, render.Message{Channel: "push"})
	require.EqualError(t, err, "the rule has no message for push")
}
