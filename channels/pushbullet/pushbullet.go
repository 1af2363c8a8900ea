// Package pushbullet pushes notes and links through Pushbullet.
package pushbullet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/rest"
)

// inFlight is how many requests of one batch are under way at once.
const inFlight = 8

// service is Pushbullet's API.
const service = "https://api.pushbullet.com"

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name: "pushbullet",
		Kind: "pushbullet",
		About: "Notes and links through Pushbullet, to phones, browsers and desktops. By default they go to the person's trait `email`: who has an account with Pushbullet under it gets a push, anybody else an e-mail from Pushbullet. " +
			"With `to` they go to one place instead, whoever the message is about: all devices of the access token's account, one of its devices, or a channel that people subscribe to. " +
			"A message's key is the push's `guid`, by which Pushbullet tells a repeat, in its own words \"mostly\". Without Pushbullet Pro an account has 500 pushes a month. Files cannot be pushed.",
		Config: append([]channels.Field{
			{Name: "access_token", Type: "string", Required: true, Secret: true, About: "an access token of the account that pushes, from its settings"},
			{Name: "to", Type: "string", Default: "email", Example: "channel:shop-news", About: "email (the person's), account (all devices of the access token's account), device:IDEN (one of them) or channel:TAG (its subscribers; the account must own it)"},
			{Name: "source_device", Type: "string", Example: "ujpah72o0sjAoRtnM0jc", About: "the iden of the device that pushes are shown to come from"},
		}, rest.Fields(service, "https://127.0.0.1:8443")...),
		Message: []channels.Field{
			{Name: "title", Type: "string", Template: true, Text: true, Example: "Still thinking about {{ product }}?", About: "the headline"},
			{Name: "body", Type: "string", Template: true, Text: true, Example: "It is waiting in your cart.", About: "the text"},
			{Name: "link", Type: "string", Template: true, Example: "https://shop.example/cart", About: "makes the note a link, which a tap opens"},
			{Name: "device", Type: "string", Template: true, Example: "{{ user.traits.pushbullet_device }}", About: "the iden of a device, instead of where the config sends"},
			{Name: "channel", Type: "string", Template: true, Example: "shop-news", About: "the tag of a channel, instead of where the config sends"},
		},
		Needs: "email",
		Fit: func(spec *channels.Spec, config map[string]any) {
			if to, ok := config["to"].(string); ok && to != "email" {
				spec.Needs = ""
			}
		},
		Batch:       20,
		Concurrency: 2,
		Repeat:      channels.RepeatHarmless,
		Answers:     answers(),
		Tried:       "Tried against a local server that follows Pushbullet's documentation (pushes, guid, errors, rate limits). Not tried against Pushbullet itself: that takes an account.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	rest.Settings

	Token  channels.Secret `json:"access_token"`
	To     string          `json:"to"`
	Source string          `json:"source_device"`
}

// channel pushes.
type channel struct {
	to     target // the zero value is the person's e-mail address
	source string
	table  []channels.Answer
	header http.Header
	client *rest.Client
	now    func() time.Time
}

// target is where a push goes: the parameter of Pushbullet's that names it, and its value. The account itself has an
// empty value.
type target struct{ parameter, value string }

// Forms of Pushbullet's ids, and of the tags of channels.
var (
	iden = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	tag  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// targetOf reads `to`.
func targetOf(to string) (target, bool) {
	kind, value, given := strings.Cut(to, ":")
	switch {
	case to == "email":
		return target{}, true
	case to == "account":
		return target{parameter: "account"}, true
	case kind == "device" && given && iden.MatchString(value):
		return target{"device_iden", value}, true
	case kind == "channel" && given && tag.MatchString(value):
		return target{"channel_tag", value}, true
	}
	return target{}, false
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel pushbullet: it needs a clock")
	}
	bad := func(field, summary, suggest string) error {
		return fmt.Errorf("config of pushbullet: %w", channels.Problem{Field: field, Summary: summary, Suggest: suggest})
	}
	to, ok := targetOf(s.To)
	switch {
	case !ok:
		return nil, bad("to", "is no place for pushes", "write email, account, device:IDEN or channel:TAG")
	case s.Source != "" && !iden.MatchString(s.Source):
		return nil, bad("source_device", "is not the iden of a device", "letters and digits, for example ujpah72o0sjAoRtnM0jc")
	case strings.ContainsFunc(s.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, bad("access_token", "is not an access token", "copy it from the account's settings, without spaces")
	}
	client, err := s.Open(o, rest.Service{URL: service}, s.Token.Reveal())
	if err != nil {
		return nil, fmt.Errorf("config of pushbullet: %w", err)
	}
	header := http.Header{"Access-Token": {s.Token.Reveal()}, "Content-Type": {"application/json"}}
	return &channel{to: to, source: s.Source, table: answers(), header: header, client: client, now: o.Now}, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.send)
}

// Close implements channels.Closer.
func (c *channel) Close() error { return c.client.Close() }

// Test implements channels.Tester: it asks whose the access token is.
func (c *channel) Test(ctx context.Context) error {
	got, failure := c.client.Do(ctx, http.MethodGet, "/v2/users/me", c.header, nil)
	if failure == nil && channels.Classify(c.table, got.Status, "") == "" {
		return nil
	}
	if failure == nil {
		failure = c.refused(got)
	}
	return fmt.Errorf("asking %s: %w", c.client.Host, failure)
}

// push is the body of POST /v2/pushes.
type push struct {
	Type    string `json:"type"` // note or link
	Title   string `json:"title,omitempty"`
	Body    string `json:"body,omitempty"`
	URL     string `json:"url,omitempty"`
	Email   string `json:"email,omitempty"`
	Device  string `json:"device_iden,omitempty"`
	Channel string `json:"channel_tag,omitempty"`
	Source  string `json:"source_device_iden,omitempty"`
	GUID    string `json:"guid"`
}

// render makes the push of a message. own says that the message names a target of its own.
func (c *channel) render(m *channels.Message) (p push, own bool, err error) {
	refuse := func(class channels.Class, code, text string) (push, bool, error) {
		return push{}, false, &channels.DeliveryError{Class: class, Code: code, Err: errors.New(text)}
	}
	p = push{Type: "note", Title: m.Text("title"), Body: m.Text("body"), URL: strings.TrimSpace(m.Text("link")), Source: c.source, GUID: channels.ShortHash(m.Key)}
	if p.URL != "" {
		p.Type = "link"
	}
	if strings.TrimSpace(p.Title+p.Body+p.URL) == "" {
		return refuse(channels.ClassMessage, "field", "there is nothing to show: give a title, a body or a link")
	}
	device, channel := strings.TrimSpace(m.Text("device")), strings.TrimSpace(m.Text("channel"))
	to := c.to
	switch own = device != "" || channel != ""; {
	case device != "" && channel != "":
		return refuse(channels.ClassMessage, "field", "the message names a device and a channel: keep one of them")
	case device != "" && !iden.MatchString(device):
		return refuse(channels.ClassMessage, "field", "the field device is not the iden of a device")
	case channel != "" && !tag.MatchString(channel):
		return refuse(channels.ClassMessage, "field", "the field channel is not the tag of a channel")
	case device != "":
		to = target{"device_iden", device}
	case channel != "":
		to = target{"channel_tag", channel}
	}
	switch to.parameter {
	case "account": // no target is all devices of the account
	case "device_iden":
		p.Device = to.value
	case "channel_tag":
		p.Channel = to.value
	default:
		address, err := mail.ParseAddress(m.Address.Email)
		if err != nil || address.Address != strings.TrimSpace(m.Address.Email) {
			return refuse(channels.ClassAddress, "not_an_address", "the e-mail address is not one")
		}
		p.Email = address.Address
	}
	return p, own, nil
}

// send pushes one message.
func (c *channel) send(ctx context.Context, m *channels.Message) channels.Result {
	p, own, err := c.render(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	body, err := json.Marshal(&p)
	if err != nil {
		return channels.Failed(channels.ClassMessage, "json", fmt.Errorf("encoding the push: %w", err))
	}
	hidden := []string{m.Address.Email, p.Email, m.Signed}
	got, failure := c.client.Do(ctx, http.MethodPost, "/v2/pushes", c.header, body, hidden...)
	if failure == nil {
		if channels.Classify(c.table, got.Status, "") == "" {
			return channels.Result{ProviderID: idenOf(got.Body)} // accepted by its status, however the body reads
		}
		failure = c.refused(got, hidden...)
		if own && slices.Contains([]string{"device_iden", "channel_tag", "404"}, failure.Code) {
			failure.Class = channels.ClassMessage // its own target is not our set-up
		}
	}
	failure.Err = fmt.Errorf("pushing through %s: %w", c.client.Host, failure.Err)
	return channels.Result{Err: failure}
}

// refused is the error of an answer. Pushbullet says when its rate limit is over as an instant, in seconds since 1970.
func (c *channel) refused(got rest.Response, hidden ...string) *channels.DeliveryError {
	code, text := errorOf(got.Body)
	failure := c.client.Refused(got, c.table, "Pushbullet", code, text, hidden...)
	if failure.Class == channels.ClassRateLimit && failure.RetryAfter == 0 {
		if reset, err := strconv.ParseInt(got.Header.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
			failure.RetryAfter = min(max(time.Unix(reset, 0).Sub(c.now()), 0), 24*time.Hour)
		}
	}
	return failure
}

// idenOf is Pushbullet's id of a push, "" in an answer that is not its JSON.
func idenOf(raw []byte) string {
	var said struct {
		Iden string `json:"iden"`
	}
	if json.Unmarshal(raw, &said) != nil {
		return ""
	}
	return said.Iden
}

// errorOf is what an error says, "" in an answer that is not Pushbullet's JSON. What complains about a parameter and
// has no code of its own has the parameter's name for one.
func errorOf(raw []byte) (code, text string) {
	var said struct {
		Error struct {
			Code    string `json:"code"`
			Type    string `json:"type"`
			Message string `json:"message"`
			Param   string `json:"param"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &said) != nil {
		return "", ""
	}
	return rest.Word(cmp.Or(said.Error.Code, said.Error.Param)), said.Error.Message
}
