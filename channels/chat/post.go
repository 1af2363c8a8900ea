package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"nudge/channels"
)

// level is how much a post presses.
type level int

// The levels, by the words of the field `priority`.
const (
	low level = iota + 1
	normal
	high
	urgent
)

// levels are the words of the field `priority`.
var levels = map[string]level{"low": low, "normal": normal, "high": high, "urgent": urgent}

// fields are the fields of a message.
func fields() []channels.Field {
	return []channels.Field{
		{Name: "title", Type: "string", Template: true, Text: true, Example: "{{ user.traits.name }} has cancelled", About: "the headline, in bold"},
		{Name: "body", Type: "string", Template: true, Text: true, Example: "After two years in the {{ plan }} plan.", About: "the text; Slack's, Discord's, Teams' and Mattermost's own formatting works in it"},
		{Name: "link", Type: "string", Template: true, Example: "https://crm.shop.example/people/{{ user.id }}", About: "a link below the text; with ntfy and Gotify where a tap leads"},
		{Name: "priority", Type: "string", Template: true, Example: "high", About: "low, normal, high or urgent. ntfy, Gotify, Mattermost, Pushover, Opsgenie and PagerDuty show it; Discord and Telegram deliver low without a sound"},
		{Name: "data", Type: "map", Template: true, Example: `{plan: "{{ plan }}"}`, About: "facts below the text, a line each; so is any other field that has a text or a number"},
	}
}

// fact is one line below the text.
type fact struct{ name, value string }

// post is a message as every service shows it.
type post struct {
	key   string // the message's, the same for every attempt
	title string // one line
	body  string
	facts []fact
	link  string
	level level
}

// newPost takes from a message what a chat shows. Messages of other kinds come too, where a chat stands in
// for their channel: of e-mails the subject is the title and the plain text the body.
func newPost(m *channels.Message) (*post, error) {
	p := &post{
		key:   m.Key,
		title: strings.Join(strings.Fields(first(m, "title", "subject")), " "),
		body:  strings.TrimSpace(first(m, "body", "text")),
		link:  strings.TrimSpace(m.Text("link")),
		level: normal,
	}
	if m.Urgent {
		p.level = high
	}
	if word := strings.TrimSpace(m.Text("priority")); word != "" {
		var known bool
		if p.level, known = levels[word]; !known {
			return nil, &channels.DeliveryError{Class: channels.ClassMessage, Code: "field", Err: errors.New("the field priority is none of low, normal, high, urgent")}
		}
	}
	shown := []string{"title", "subject", "body", "text", "link", "priority", "data", "html", "ttl"}
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		if !slices.Contains(shown, name) {
			p.add(name, m.Fields[name])
		}
	}
	data, err := m.Map("data")
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		p.add(name, data[name])
	}
	if p.title == "" && p.body == "" && len(p.facts) == 0 && p.link == "" {
		return nil, &channels.DeliveryError{Class: channels.ClassMessage, Code: "empty", Err: errors.New("the message has neither title nor body")}
	}
	return p, nil
}

// first is the first of the fields that has a text.
func first(m *channels.Message, names ...string) string {
	for _, name := range names {
		if text := m.Text(name); strings.TrimSpace(text) != "" {
			return text
		}
	}
	return ""
}

// add adds a fact. Lists and maps are left out: they are buttons and the like.
func (p *post) add(name string, value any) {
	switch value.(type) {
	case string, bool, float64, int, int64, uint64, json.Number:
		of := channels.Message{Fields: map[string]any{"value": value}}
		if text := strings.TrimSpace(of.Text("value")); text != "" {
			p.facts = append(p.facts, fact{name, text})
		}
	}
}

// lines is the text below the title, without the link.
func (p *post) lines() string {
	var lines []string
	if p.body != "" {
		lines = append(lines, p.body)
	}
	for _, f := range p.facts {
		lines = append(lines, fmt.Sprintf("%s: %s", f.name, f.value))
	}
	return strings.Join(lines, "\n")
}

// whole is everything in one text, with the title and the link as a service writes them.
func (p *post) whole(title, link string) string {
	return joined(title, p.lines(), link)
}

// joined sets what there is of some texts below each other.
func joined(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(text string) bool { return text == "" }), "\n")
}

// notification is a post for services that have a title of their own and need a text.
func (p *post) notification() (title, text string) {
	text = p.lines()
	if text == "" {
		text = p.link
	}
	if text == "" {
		return "", p.title
	}
	return p.title, text
}

// bold wraps a text in marks; nothing stays nothing.
func bold(mark, text string) string {
	if text == "" {
		return ""
	}
	return mark + text + mark
}

// runes counts characters.
func runes(text string) int { return utf8.RuneCountInString(text) }

// units counts characters as Telegram and JavaScript do: those beyond the basic plane, like most emojis,
// twice.
func units(text string) int {
	n := 0
	for _, r := range text {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// callsMany are the words that notify everybody in a channel of Mattermost.
var callsMany = regexp.MustCompile(`(?i)@(all|channel|here)\b`)
