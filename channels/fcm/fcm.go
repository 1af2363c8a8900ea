// Package fcm sends pushes to Android devices and browsers through Firebase Cloud Messaging.
package fcm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/h2"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/messaging"
	"google.golang.org/api/option"
)

// Sizes of what is under way at once: of each of concurrency batches, width messages.
const (
	batch       = 500
	width       = 250
	concurrency = 8
)

// maxPayload is Google's limit for the payload of a message, in bytes, keys and values.
const maxPayload = 4096

// patience is how long Google asks to wait after a 429 without Retry-After: its quotas are of a
// minute.
const patience = time.Minute

// defaultEndpoint is the service.
const defaultEndpoint = "https://fcm.googleapis.com"

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "fcm",
		Kind:  "push",
		About: "Firebase Cloud Messaging (HTTP v1): Android, and browsers whose tokens come from the Firebase web SDK.",
		Config: []channels.Field{
			{Name: "credentials", Type: "string", Required: true, Secret: true, About: "the service account's JSON key file"},
			{Name: "project", Type: "string", Example: "shop-1234", About: "the Firebase project; by default the service account's"},
			{Name: "timeout", Type: "duration", Default: "30s", Example: "10s", About: "for each push"},
			{Name: "connections", Type: "int", Default: "20", Example: "2", About: "the most connections; one is used until it is busy. Google allows 100 messages under way on each"},
			{Name: "endpoint", Type: "string", Example: "https://127.0.0.1:8443", About: "instead of https://fcm.googleapis.com, for a local server"},
			{Name: "token_url", Type: "string", Example: "https://127.0.0.1:8444/token", About: "instead of the credentials' token_uri, for a local server"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message: channels.PushFields("title", "body", "link", "image", "actions", "data", "sound", "badge",
			"collapse", "silent", "ttl", "channel_id", "click_action", "icon", "color"),
		Needs:       "token",
		Platforms:   []string{"android", "web"},
		Takes:       isRegistration,
		MaxPayload:  maxPayload,
		Measure:     measure,
		Batch:       batch,
		Concurrency: concurrency,
		Repeat:      channels.RepeatHarmless,
		Answers:     answers(),
		Tried:       "Tried against a local server that follows Google's documentation (HTTP/2, OAuth service accounts, the v1 API's validation, limits and error codes). Not tried against Google's servers: that takes a Firebase project.",
		New:         open,
	}
}

// isRegistration says whether a token may be Google's: it is not the base64url of a JSON object,
// which a browser's own subscription is.
func isRegistration(token string) bool {
	return !strings.HasPrefix(token, "eyJ") || strings.Contains(token, ":")
}

// settings is the config.
type settings struct {
	Credentials channels.Secret   `json:"credentials"`
	Project     string            `json:"project"`
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	Endpoint    string            `json:"endpoint"`
	TokenURL    string            `json:"token_url"`
	CA          string            `json:"ca"`
}

// channel sends.
type channel struct {
	settings  settings
	now       func() time.Time
	table     []channels.Answer
	host      string // for errors
	transport *h2.Transport
	tokens    *tokens
	client    *messaging.Client
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel fcm: it needs a clock")
	}
	account, err := readAccount(s)
	if err != nil {
		return nil, fmt.Errorf("config of fcm: %w", err)
	}
	endpoint, err := url.Parse(first(s.Endpoint, defaultEndpoint))
	if err != nil || endpoint.Scheme != "https" || endpoint.Host == "" || strings.Trim(endpoint.Path, "/") != "" {
		return nil, fmt.Errorf("config of fcm: %w", channels.Problem{Field: "endpoint", Summary: "is not an https URL without a path", Suggest: "for example https://127.0.0.1:8443"})
	}
	if s.Connections < 1 {
		return nil, fmt.Errorf("config of fcm: %w", channels.Problem{Field: "connections", Summary: "is below 1"})
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if tlsConfig.RootCAs, err = channels.RootCAs(s.CA, o.Dir); err != nil {
		return nil, fmt.Errorf("config of fcm: %w", err)
	}
	c := &channel{
		settings: s, now: o.Now, table: answers(), host: endpoint.Host,
		transport: h2.New(h2.Config{TLS: tlsConfig, Connections: s.Connections, MaxBody: 16 << 10}),
		tokens:    newTokens(account, tlsConfig, time.Duration(s.Timeout), o.Now),
	}
	ctx := context.Background()
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: account.project},
		option.WithHTTPClient(&http.Client{Transport: once{c.transport}}),
		option.WithEndpoint(endpoint.Scheme+"://"+endpoint.Host+"/v1"))
	if err != nil {
		return nil, fmt.Errorf("channel fcm: setting up the Firebase library: %w", err)
	}
	if c.client, err = app.Messaging(ctx); err != nil {
		return nil, fmt.Errorf("channel fcm: setting up the Firebase library: %w", err)
	}
	return c, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, width, c.push)
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.tokens.close()
	return c.transport.Close()
}

// Test implements channels.Tester: it asks for an access token, then has Google check a message
// to a token that is none, without sending it. A complaint about the token says that all else is
// well.
func (c *channel) Test(ctx context.Context) error {
	r := c.deliver(ctx, &messaging.Message{Token: "none", Notification: &messaging.Notification{Title: "test"}}, c.client.SendDryRun)
	if r.Err == nil || channels.AsDelivery(r.Err).Class == channels.ClassAddress {
		return nil
	}
	return fmt.Errorf("asking %s: %w", c.host, r.Err)
}

// push sends one message.
func (c *channel) push(ctx context.Context, m *channels.Message) channels.Result {
	message, err := build(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	return c.deliver(ctx, message, c.client.Send)
}

// deliver hands one message to Google and reads the answer.
func (c *channel) deliver(ctx context.Context, m *messaging.Message, send func(context.Context, *messaging.Message) (string, error)) channels.Result {
	limited, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	access, err := c.tokens.get(limited)
	if err != nil {
		return c.failed(ctx, m, "", err)
	}
	a := &attempt{access: access}
	name, err := send(context.WithValue(limited, attemptKey{}, a), m)
	switch {
	case a.got.Status >= 200 && a.got.Status <= 299:
		return channels.Result{ProviderID: name} // accepted by its status, however the body reads
	case a.got.Status != 0:
		return c.refused(&a.got, m, access)
	case a.got.Err != nil:
		return c.failed(ctx, m, access, a.got.Err)
	case err != nil: // the library refused it before it sent anything
		return channels.Failed(channels.ClassMessage, "INVALID_ARGUMENT", errors.New(channels.Redact(err.Error(), m.Token)))
	}
	return c.failed(ctx, m, access, errors.New("there was no answer"))
}

// failed is the result of a broken connection, or of no access token.
func (c *channel) failed(ctx context.Context, m *messaging.Message, access string, err error) channels.Result {
	failure := channels.Transport(ctx, err, m.Token, access)
	wrapped := *failure // get's error is shared by those who waited for it
	wrapped.Err = fmt.Errorf("pushing to %s: %w", channels.ShortToken(m.Token), failure.Err)
	return channels.Result{Err: &wrapped}
}

// refused is the result of an error answer.
func (c *channel) refused(got *h2.Outcome, m *messaging.Message, access string) channels.Result {
	answer := readError(got.Body)
	code := answer.code()
	failure := &channels.DeliveryError{
		Class: channels.Classify(c.table, got.Status, code),
		Code:  first(code, strconv.Itoa(got.Status)),
		Err:   fmt.Errorf("pushing to %s: Google refused: %s", channels.ShortToken(m.Token), answer.text(got.Body, m.Token, access)),
	}
	if code == "INVALID_ARGUMENT" && answer.aboutToken() {
		failure.Class = channels.ClassAddress
	}
	if got.Status == http.StatusUnauthorized && code != "THIRD_PARTY_AUTH_ERROR" {
		c.tokens.drop(access) // revoked before its time: the next push asks for another
	}
	if failure.Class == channels.ClassRateLimit || failure.Class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(got.Header.Get("Retry-After"), c.now())
	}
	if failure.Class == channels.ClassRateLimit && failure.RetryAfter == 0 {
		failure.RetryAfter = patience
	}
	return channels.Result{Err: failure}
}

// attemptKey is the context key of *attempt.
type attemptKey struct{}

// attempt is one request on its way through the Firebase library: the access token for it, and
// what became of it.
type attempt struct {
	access string
	got    h2.Outcome
}

// once is the RoundTripper under the Firebase library. The library retries by itself whatever
// fails on the network or with 503, for minutes, unseen by the sender whose business retries are.
// It cannot be told not to; so it never gets to see a failure: that is noted in the attempt, and
// the library is shown an empty success.
type once struct{ base *h2.Transport }

// RoundTrip implements http.RoundTripper.
func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	a, ok := r.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return nil, errors.New("a request that is not ours")
	}
	r = r.WithContext(h2.Watch(r.Context(), &a.got))
	r.Header.Set("Authorization", "Bearer "+a.access)
	response, err := o.base.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{}`)), ContentLength: 2, Request: r}, nil
	}
	return response, nil
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
