// Package webhook posts messages as JSON to an HTTP endpoint, signed as standardwebhooks.com says.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/rest"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// inFlight is how many requests of one batch are under way at once.
const inFlight = 16

// maxAnswer is how much of an answer is read, in bytes: enough for an error, and for the
// connection to be used again after an ordinary one.
const maxAnswer = 16 << 10

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "webhook",
		Kind:  "webhook",
		About: "Posts each message as JSON to your endpoint, signed by the Standard Webhooks rules (webhook-id, webhook-timestamp, webhook-signature). webhook-id stays the same over retries: an endpoint that has seen it answers 2xx and does nothing. It can stand in for any other channel.",
		Config: []channels.Field{
			{Name: "url", Type: "string", Required: true, Example: "https://example.com/hooks/nudge", About: "the endpoint; redirects are not followed. Only its host is ever shown in errors"},
			{Name: "secrets", Type: "list", Secret: true, Example: "[{env: WEBHOOK_SECRET}]", About: "signing secrets (whsec_… or base64, 24 to 64 bytes); with several each message carries a signature by each, so that you can change them without a gap"},
			{Name: "headers", Type: "map", Secret: true, Example: "{authorization: {env: HOOK_TOKEN}}", About: "further request headers"},
			{Name: "body", Type: "map", Example: `{text: "{{ fields.title }}"}`, About: "the JSON to post; texts may name parts of the message as {{ key }}, {{ message_id }}, {{ timestamp }}, {{ user_id }}, {{ address.… }}, {{ fields.… }}, {{ about.… }}. Default: {type, timestamp, data}"},
			{Name: "timeout", Type: "duration", Default: "15s", Example: "5s", About: "for each request"},
			{Name: "connections", Type: "int", Default: "64", Example: "16", About: "connections kept and used at once"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message:     channels.TextFields(),
		Batch:       100,
		Concurrency: 4,
		Repeat:      channels.RepeatHarmless,
		Any:         true,
		Answers:     answers(),
		Tried:       "The protocol is the provider: signatures are checked by the reference library in the tests.",
		New:         open,
	}
}

// answers says what an endpoint's statuses mean.
func answers() []channels.Answer {
	return []channels.Answer{
		{Status: 200, About: "any 2xx: accepted"},
		{Status: 301, Class: channels.ClassCredential, About: "any 3xx: the URL is out of date; never followed"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 4xx: the endpoint refuses this message"},
		{Status: 401, Class: channels.ClassCredential, About: "the endpoint does not know us"},
		{Status: 403, Class: channels.ClassCredential, About: "the endpoint does not allow us"},
		{Status: 404, Class: channels.ClassCredential, About: "nothing is there: the URL is wrong"},
		{Status: 405, Class: channels.ClassCredential, About: "the URL does not take POST"},
		{Status: 408, Class: channels.ClassTemporary, About: "the endpoint gave up waiting"},
		{Status: 409, Class: channels.ClassTemporary, About: "the endpoint is still at an earlier attempt"},
		{Status: 410, Class: channels.ClassCredential, About: "the endpoint is gone (Standard Webhooks: stop sending)"},
		{Status: 425, Class: channels.ClassTemporary, About: "too early"},
		{Status: 429, Class: channels.ClassRateLimit, About: "slow down; Retry-After is honoured"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

// settings is the config.
type settings struct {
	URL         string                     `json:"url"`
	Secrets     []channels.Secret          `json:"secrets"`
	Headers     map[string]channels.Secret `json:"headers"`
	Body        map[string]any             `json:"body"`
	Timeout     channels.Duration          `json:"timeout"`
	Connections int                        `json:"connections"`
	CA          string                     `json:"ca"`
}

// channel posts.
type channel struct {
	settings settings
	host     string   // for errors
	hidden   []string // what no error may contain
	signers  []*standardwebhooks.Webhook
	body     *channels.Blank // nil: the default
	client   *http.Client
	now      func() time.Time
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel webhook: it needs a clock")
	}
	bad := func(field, summary, suggest string) error {
		return fmt.Errorf("config of webhook: %w", channels.Problem{Field: field, Summary: summary, Suggest: suggest})
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, bad("url", "is not an http or https URL", "for example https://example.com/hooks/nudge")
	}
	if s.Connections < 1 {
		return nil, bad("connections", "is below 1", "")
	}
	c := &channel{settings: s, host: u.Host, now: o.Now}
	for i, secret := range s.Secrets {
		signer, err := standardwebhooks.NewWebhook(secret.Reveal())
		if err != nil {
			return nil, bad(fmt.Sprintf("secrets[%d]", i), "is not base64", "use whsec_ and the base64 of 24 to 64 random bytes")
		}
		c.signers = append(c.signers, signer)
		c.hidden = append(c.hidden, secret.Reveal())
	}
	for name, value := range s.Headers {
		if !validHeader(name, value.Reveal()) {
			return nil, bad("headers."+name, "is not a header", "")
		}
		c.hidden = append(c.hidden, value.Reveal())
		for part := range strings.FieldsSeq(value.Reveal()) { // "Bearer …": the endpoint may quote the rest alone
			if len(part) >= 8 {
				c.hidden = append(c.hidden, part)
			}
		}
	}
	c.hidden = append(c.hidden, hiddenOf(u)...)
	c.hidden = slices.Clip(c.hidden) // concurrent sends append to it
	if s.Body != nil {
		body, err := channels.NewBlank("body", s.Body, roots...)
		if err != nil {
			return nil, fmt.Errorf("config of webhook: %w", err)
		}
		c.body = &body
	}
	roots, err := channels.RootCAs(s.CA, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("config of webhook: %w", err)
	}
	c.client = rest.HTTP(roots, s.Connections)
	return c, nil
}

// hiddenOf are the parts of a URL that may be secret: everything but the host.
func hiddenOf(u *url.URL) []string {
	hidden := []string{u.String()}
	if path := u.RequestURI(); len(path) > 1 {
		hidden = append(hidden, path)
	}
	if password, ok := u.User.Password(); ok {
		hidden = append(hidden, password)
	}
	for _, values := range u.Query() {
		for _, value := range values {
			if len(value) >= 8 {
				hidden = append(hidden, value)
			}
		}
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if len(part) >= 16 { // shorter ones are words
			hidden = append(hidden, part)
		}
	}
	return hidden
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.post)
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// Test implements channels.Tester: it posts nothing, it only asks whether the endpoint answers.
func (c *channel) Test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, c.settings.URL, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking %s: the URL cannot be requested", c.host)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", c.host, channels.Transport(ctx, err, c.hidden...))
	}
	return response.Body.Close()
}

// post sends one message.
func (c *channel) post(ctx context.Context, m *channels.Message) channels.Result {
	at := c.now()
	body, err := c.render(m, at)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	request, err := http.NewRequestWithContext(limited, http.MethodPost, c.settings.URL, bytes.NewReader(body))
	if err != nil {
		return channels.Failed(channels.ClassCredential, "url", fmt.Errorf("posting to %s: the URL cannot be requested", c.host))
	}
	for name, value := range c.settings.Headers {
		request.Header.Set(name, value.Reveal())
	}
	id := channels.UUID(m.Key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "nudge")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	signatures := make([]string, len(c.signers))
	for i, signer := range c.signers {
		if signatures[i], err = signer.Sign(id, at, body); err != nil {
			return channels.Failed(channels.ClassCredential, "sign", errors.New("signing the message failed"))
		}
	}
	if len(signatures) > 0 {
		request.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	}
	response, err := c.client.Do(request)
	if err != nil {
		return c.failed(ctx, m, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	class := channels.Classify(answers(), response.StatusCode, "")
	if class == "" {
		return channels.Result{ProviderID: id} // accepted by its status, however the body ends
	}
	if err != nil && len(answer) == 0 {
		return c.failed(ctx, m, err)
	}
	failure := &channels.DeliveryError{
		Class: class,
		Code:  strconv.Itoa(response.StatusCode),
		Err:   fmt.Errorf("%s answered %s", c.host, channels.Excerpt(answer, append(c.hidden, m.Address.Token, m.Signed)...)),
	}
	if class == channels.ClassRateLimit || class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(response.Header.Get("Retry-After"), at)
	}
	return channels.Result{Err: failure}
}

// failed is the result of a broken connection.
func (c *channel) failed(ctx context.Context, m *channels.Message, err error) channels.Result {
	failure := channels.Transport(ctx, err, append(c.hidden, m.Address.Token)...)
	failure.Err = fmt.Errorf("posting to %s: %w", c.host, failure.Err)
	return channels.Result{Err: failure}
}

// render makes the body.
func (c *channel) render(m *channels.Message, at time.Time) ([]byte, error) {
	values := valuesOf(m, at)
	var body any
	if c.body != nil {
		body = c.body.Fill(values)
	} else {
		delete(values, "timestamp")
		body = map[string]any{"type": "message", "timestamp": at.UTC().Format(time.RFC3339Nano), "data": values}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the message: %w", err)
	}
	return raw, nil
}

// validHeader says whether a header of the config can be sent.
func validHeader(name, value string) bool {
	if name == "" || strings.ContainsAny(value, "\r\n\x00") {
		return false
	}
	for _, r := range name {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) {
			return false
		}
	}
	return true
}
