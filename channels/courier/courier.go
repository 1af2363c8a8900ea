// Package courier sends messages through Courier, which routes each to e-mail, SMS, push, chat or its inbox.
package courier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"nudge/channels"
	"nudge/channels/rest"
)

// inFlight is how many requests of one batch are under way at once.
const inFlight = 16

// service is Courier's API.
const service = "https://api.courier.com"

// maxPayload is Courier's limit for a request, in bytes: its "6 MB" read as the smaller of the two that it can mean.
const maxPayload = 6_000_000

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name: "courier",
		Kind: "courier",
		About: "Messages through Courier, which renders them and routes each to e-mail, SMS, push, chat or its inbox through the providers of your workspace there. " +
			"A message is one of Courier's templates with data, a title and a body, or content in Courier's own form (Elemental). Courier is given the person's user id and, where they have them, the traits `email` and `phone`; with `to` the one that it cannot do without. " +
			"A message's key is sent as the Idempotency-Key, by which Courier tells a repeat for a day. What becomes of a message after Courier has taken it stands in Courier's log alone, so give a kind of message one channel here and let either nudge or Courier choose between channels, not both.",
		Config: append([]channels.Field{
			{Name: "api_key", Type: "string", Required: true, Secret: true, About: "an API key of the workspace and environment"},
			{Name: "to", Type: "string", Default: "user_id", Example: "email", About: "what of a person Courier must be given: user_id, email, phone, or token (each device: iOS as apn.token, others as firebaseToken)"},
			{Name: "profile", Type: "bool", Default: "true", Example: "false", About: "give Courier the e-mail address and the number too, beside `to`; false where it has profiles of its own"},
			{Name: "channels", Type: "list", Example: "[email, push]", About: "channels or providers of Courier's to route to, in this order; by default the template or the workspace decides"},
			{Name: "method", Type: "string", Default: "single", Example: "all", About: "with channels: single (the first that works) or all"},
			{Name: "brand", Type: "string", Example: "BRAND-1", About: "the id of a brand"},
			{Name: "topic", Type: "string", Example: "PT4KDD5Q0BMFXN", About: "the id of a subscription topic: who has unsubscribed from it in Courier gets nothing"},
		}, rest.Fields(service, "https://api.eu.courier.com")...),
		Message: []channels.Field{
			{Name: "template", Type: "string", Template: true, Example: "ORDER_SHIPPED", About: "the id of one of Courier's templates"},
			{Name: "title", Type: "string", Template: true, Text: true, Example: "Still thinking about {{ product }}?", About: "without a template: the headline, and the subject of an e-mail"},
			{Name: "body", Type: "string", Template: true, Text: true, Example: "It is waiting in your cart.", About: "without a template: the text"},
			{Name: "actions", Type: "actions", Template: true, Text: true, Example: "[{id: buy, title: Buy now, link: https://shop.example/cart}]", About: "buttons below the body, each with a link"},
			{Name: "content", Type: "map", Template: true, Example: `{elements: [{type: text, content: "Hi {{ name }}"}]}`, About: "instead of title and body: content in Courier's own form, Elemental"},
			{Name: "data", Type: "map", Template: true, Example: `{order: "{{ order }}"}`, About: "what the template or the content wants"},
			{Name: "channels", Type: "list", Example: "[email, push]", About: "instead of the config's"},
			{Name: "method", Type: "string", Example: "all", About: "instead of the config's"},
			{Name: "providers", Type: "map", Template: true, Example: "{sendgrid: {override: {body: {ip_pool_name: offers}}}}", About: "what is to be different for providers, as Courier's `message.providers`"},
			{Name: "overrides", Type: "map", Template: true, Example: "{email: {brand_id: BRAND-2}}", About: "what is to be different for channels, as Courier's `message.channels`"},
			{Name: "topic", Type: "string", Template: true, Example: "PT4KDD5Q0BMFXN", About: "instead of the config's"},
			{Name: "ttl", Type: "duration", Example: "4h", About: "how long Courier may keep trying: at most 3 days"},
		},
		Needs:       "user_id",
		Fit:         fit,
		MaxPayload:  maxPayload,
		Measure:     measure,
		Batch:       50,
		Concurrency: 2,
		Repeat:      channels.RepeatHarmless,
		Answers:     answers(),
		Tried:       "Tried against a local server that follows Courier's documentation and official libraries (the Send API, its errors, its idempotency keys). Not tried against Courier itself: that takes a workspace. The check of credentials posts a message without content to nobody, which Courier refuses.",
		New:         open,
	}
}

// recipients are the words of `to`, and with each what of an address it needs.
func recipients() []string { return []string{"user_id", "email", "phone", "token"} }

// fit makes the spec need what `to` says.
func fit(spec *channels.Spec, config map[string]any) {
	to, ok := config["to"].(string)
	if !ok || !slices.Contains(recipients(), to) {
		return
	}
	spec.Needs = to
	if to == "token" {
		spec.Platforms = []string{"ios", "android", "web"}
	}
}

// settings is the config.
type settings struct {
	rest.Settings

	Key      channels.Secret `json:"api_key"`
	To       string          `json:"to"`
	Profile  bool            `json:"profile"`
	Channels []string        `json:"channels"`
	Method   string          `json:"method"`
	Brand    string          `json:"brand"`
	Topic    string          `json:"topic"`
}

// channel sends.
type channel struct {
	settings settings
	table    []channels.Answer
	header   http.Header
	client   *rest.Client
	spent    *spent
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel courier: it needs a clock")
	}
	bad := func(field, summary, suggest string) error {
		return fmt.Errorf("config of courier: %w", channels.Problem{Field: field, Summary: summary, Suggest: suggest})
	}
	switch {
	case !slices.Contains(recipients(), s.To):
		return nil, bad("to", "is none of "+strings.Join(recipients(), ", "), "")
	case !validMethod(s.Method):
		return nil, bad("method", "is neither single nor all", "")
	case strings.ContainsFunc(s.Key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, bad("api_key", "is not an API key", "copy it from Courier's settings, without spaces")
	}
	client, err := s.Open(o, rest.Service{URL: service}, s.Key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("config of courier: %w", err)
	}
	return &channel{
		settings: s, table: answers(), client: client, spent: newSpent(),
		header: http.Header{"Authorization": {"Bearer " + s.Key.Reveal()}, "Content-Type": {"application/json"}},
	}, nil
}

func validMethod(method string) bool { return method == "single" || method == "all" }

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.send)
}

// Close implements channels.Closer.
func (c *channel) Close() error { return c.client.Close() }

// Test implements channels.Tester: it posts a message without content to nobody. Who may send is told that the request
// is not valid.
func (c *channel) Test(ctx context.Context) error {
	got, failure := c.client.Do(ctx, http.MethodPost, "/send", c.header, []byte(`{"message":{"to":{}}}`))
	if failure == nil {
		said := readAnswer(got.Body)
		if got.Status == http.StatusBadRequest && said.Type == "invalid_request_error" {
			return nil
		}
		failure = c.client.Refused(got, c.table, "Courier", said.Type, said.Message)
	}
	return fmt.Errorf("asking %s: %w", c.client.Host, failure)
}

// send sends one message.
func (c *channel) send(ctx context.Context, m *channels.Message) channels.Result {
	message, err := c.settings.message(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	size, err := contentSize(message)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	if size > maxPayload {
		return channels.Failed(channels.ClassMessage, "too_large", fmt.Errorf("the message has %d bytes, Courier takes %d: shorten the texts or the data", size, maxPayload))
	}
	if message.To, err = c.settings.recipient(m); err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	body, err := json.Marshal(map[string]any{"message": message})
	if err != nil {
		return channels.Failed(channels.ClassMessage, "json", fmt.Errorf("encoding the message: %w", err))
	}
	header := c.header.Clone()
	header.Set("Idempotency-Key", c.spent.key(m.Key))
	hidden := []string{m.Address.Token, m.Address.Email, m.Address.Phone, strings.TrimPrefix(message.To.Phone, "+"), m.Signed}
	got, failure := c.client.Do(ctx, http.MethodPost, "/send", header, body, hidden...)
	if failure == nil {
		said := readAnswer(got.Body)
		if channels.Classify(c.table, got.Status, "") == "" {
			return channels.Result{ProviderID: said.RequestID} // accepted by its status, however the body reads
		}
		if said.Type != "" && got.Status != http.StatusConflict {
			c.spent.refused(m.Key, got.Status)
		}
		failure = c.client.Refused(got, c.table, "Courier", said.Type, said.Message, hidden...)
	} else {
		c.spent.lost(m.Key)
	}
	failure.Err = fmt.Errorf("sending through %s: %w", c.client.Host, failure.Err)
	return channels.Result{Err: failure}
}
