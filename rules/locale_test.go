package rules_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/rules"
)

// inLanguages is a rule whose message and variants are in several languages.
const inLanguages = `rule: r
on: {event: Opened Door}
again: each_time
message:
  push:
    title: Hello
    body: It is {{ user.locale }}
    link: https://shop.example
    ttl: 4h
    locales:
      de: {title: Hallo, body: "Es ist {{ user.locale }}", ttl: 1h}
      pt-BR: {title: Olá, body: É, link: https://shop.example/br}
      zh-Hans: {title: 你好, body: 是}
variants:
  plain:
  short:
    message:
      push:
        body: Hey
        locales:
          de: {body: Hey du}
          pt-BR: {body: Ei}
          zh-Hans: {body: 嘿}
          fr: {title: Salut, body: Hé}
`

func TestLocales(t *testing.T) {
	for _, c := range []struct {
		name        string
		own         string // locale of nudge.yaml
		variant     string
		locale      string // the person's
		want        string // the locale chosen
		title, link string
		body        string
		ttl         time.Duration
	}{
		{name: "the same", locale: "de", want: "de", title: "Hallo", link: "https://shop.example", body: "Es ist de", ttl: time.Hour},
		{name: "of a region", locale: "de-AT", want: "de", title: "Hallo", link: "https://shop.example", body: "Es ist de-AT", ttl: time.Hour},
		{name: "close", locale: "pt-PT", want: "pt-BR", title: "Olá", link: "https://shop.example/br", body: "É", ttl: 4 * time.Hour},
		{name: "another script", locale: "zh-TW", title: "Hello", link: "https://shop.example", body: "It is zh-TW", ttl: 4 * time.Hour},
		{name: "the script that a region writes", locale: "zh-CN", want: "zh-Hans", title: "你好", link: "https://shop.example", body: "是", ttl: 4 * time.Hour},
		{name: "none, and nobody says which the texts are in", locale: "en", title: "Hello", link: "https://shop.example", body: "It is en", ttl: 4 * time.Hour},
		{name: "none", own: "en", locale: "sv", title: "Hello", link: "https://shop.example", body: "It is sv", ttl: 4 * time.Hour},
		{name: "the texts' own", own: "en", locale: "en-NZ", title: "Hello", link: "https://shop.example", body: "It is en-NZ", ttl: 4 * time.Hour},
		{name: "the texts' own is closer", own: "pt-PT", locale: "pt-AO", title: "Hello", link: "https://shop.example", body: "It is pt-AO", ttl: 4 * time.Hour},
		{name: "no locale at all", locale: "~", title: "Hello", link: "https://shop.example", body: "It is ~", ttl: 4 * time.Hour},
		{name: "a variant without a message", variant: "plain", locale: "de", want: "de", title: "Hallo", link: "https://shop.example", body: "Es ist de", ttl: time.Hour},
		{name: "a variant's text", variant: "short", locale: "de", want: "de", title: "Hallo", link: "https://shop.example", body: "Hey du", ttl: time.Hour},
		{name: "a variant's own locale", variant: "short", locale: "fr-CA", want: "fr", title: "Salut", link: "https://shop.example", body: "Hé", ttl: 4 * time.Hour},
		{name: "a variant's base", variant: "short", locale: "sv", title: "Hello", link: "https://shop.example", body: "Hey", ttl: 4 * time.Hour},
		{name: "which the others do not have", variant: "plain", locale: "fr", title: "Hello", link: "https://shop.example", body: "It is fr", ttl: 4 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t)
			o.Locale = c.own
			r, findings := rules.ParseRule("r.yaml", []byte(inLanguages), o)
			require.Empty(t, findings)
			m, ok := r.MessageOf(c.variant, "push")
			require.True(t, ok)
			m = m.For(c.locale)
			require.Equal(t, c.want, m.Locale)
			require.Equal(t, c.ttl, m.TTL)
			fields, err := m.Render(map[string]any{"user": map[string]any{"locale": c.locale}})
			require.NoError(t, err)
			delete(fields, "ttl")
			require.Equal(t, map[string]any{"title": c.title, "body": c.body, "link": c.link}, fields)
		})
	}
}

// TestNoRussianForUkrainians: languages that the tables of Unicode have people fall back to are not what they get a message in.
func TestNoRussianForUkrainians(t *testing.T) {
	const src = `rule: r
on: {event: Opened Door}
again: each_time
message: {push: {body: hi, locales: {ru: {body: привет}, es: {body: hola}, sr: {body: здраво}, da: {body: hej}, de: {body: hallo}}}}
`
	r, findings := rules.ParseRule("r.yaml", []byte(src), options(t))
	require.Empty(t, findings)
	m, _ := r.MessageOf("", "push")
	for locale, want := range map[string]string{
		"uk": "", "be": "", "eu": "", "sr-Latn": "", "ru-UA": "ru", "es-MX": "es", "sr-RS": "sr", "nb": "da", "nb-NO": "da", "gsw": "de", "de-CH": "de", "kk": "", "en": "", "": "", "not a tag": "",
	} {
		require.Equal(t, want, m.For(locale).Locale, locale)
	}
}

// TestLocaleOfTheWorkspace: a locale beside texts that are in it already is never chosen.
func TestLocaleOfTheWorkspace(t *testing.T) {
	const src = `rule: r
on: {event: Opened Door}
again: each_time
message: {push: {body: hi, locales: {en: {body: hello}}}}
`
	o := options(t)
	o.Locale = "en"
	r, findings := rules.ParseRule("r.yaml", []byte(src), o)
	require.Len(t, findings, 1)
	require.Equal(t, "rule/no-effect", findings[0].Check)
	require.Equal(t, rules.Warning, findings[0].Severity)
	require.Equal(t, 4, findings[0].Line)
	m, _ := r.MessageOf("", "push")
	require.Empty(t, m.For("en").Locale)
}

// TestLocalesAreText: a translation changes what is said, and not who gets it.
func TestLocalesAreText(t *testing.T) {
	const plain = "rule: r\non: {event: Opened Door}\nagain: each_time\nmessage: {push: {body: hi}}\n"
	const more = "rule: r\non: {event: Opened Door}\nagain: each_time\nmessage: {push: {body: hi, locales: {de: {body: hallo}}}}\n"
	a, _ := rules.ParseRule("r.yaml", []byte(plain), options(t))
	b, _ := rules.ParseRule("r.yaml", []byte(more), options(t))
	require.NotEqual(t, a.Version, b.Version)
	require.NotEqual(t, a.Hash, b.Hash)
}
