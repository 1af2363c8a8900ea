// Package apns sends pushes to Apple devices through the Apple Push Notification service.
package apns

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/h2"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"
)

// Sizes of what is under way at once: of each of concurrency batches, width messages. At the 50 ms
// that a push service takes to answer, 2,000 are 40,000 a second.
const (
	batch       = 500
	width       = 250
	concurrency = 8
)

// maxPayload is Apple's limit for the payload of a notification, in bytes.
const maxPayload = 4096

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "apns",
		Kind:  "push",
		About: "Apple Push Notification service: iPhone, iPad, Mac, Watch. Authenticates by a signing key (.p8, the usual way) or by a certificate.",
		Config: []channels.Field{
			{Name: "topic", Type: "string", Required: true, Example: "example.shop", About: "the app's bundle id"},
			{Name: "apps", Type: "map", Example: "{Shop Pro: example.shop.pro}", About: "bundle ids of further apps, by the name that devices report as their app"},
			{Name: "key", Type: "string", Secret: true, About: "the signing key, an AuthKey_….p8 file"},
			{Name: "key_id", Type: "string", Example: "ABC123DEFG", About: "the signing key's id (10 characters)"},
			{Name: "team_id", Type: "string", Example: "DEF123GHIJ", About: "your Apple developer team's id (10 characters)"},
			{Name: "certificate", Type: "string", Secret: true, About: "instead of a key: a .p12 file, or a PEM file with certificate and private key"},
			{Name: "password", Type: "string", Secret: true, About: "the certificate's password"},
			{Name: "environment", Type: "string", Default: "production", Example: "sandbox", About: "for devices that do not say theirs: production or sandbox"},
			{Name: "timeout", Type: "duration", Default: "30s", Example: "10s", About: "for each push"},
			{Name: "connections", Type: "int", Default: "4", Example: "2", About: "the most connections to each of Apple's hosts; one is used until it is busy"},
			{Name: "host", Type: "string", Example: "https://127.0.0.1:2197", About: "instead of https://api.push.apple.com, for a local server"},
			{Name: "sandbox_host", Type: "string", Example: "https://127.0.0.1:2198", About: "instead of https://api.sandbox.push.apple.com, for a local server"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message: channels.PushFields("title", "subtitle", "body", "link", "image", "actions", "data", "sound", "badge",
			"collapse", "silent", "ttl", "category", "thread", "mutable", "interruption", "relevance"),
		Needs:       "token",
		Platforms:   []string{"ios"},
		MaxPayload:  maxPayload,
		Measure:     measure,
		Batch:       batch,
		Concurrency: concurrency,
		Repeat:      channels.RepeatHarmless,
		Answers:     answers(),
		Tried:       "Tried against a local server that follows Apple's documentation (HTTP/2, provider tokens and certificates, every documented status and reason, limits, GOAWAY). Not tried against Apple's servers: that takes a developer account.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	Topic       string            `json:"topic"`
	Apps        map[string]string `json:"apps"`
	Key         channels.Secret   `json:"key"`
	KeyID       string            `json:"key_id"`
	TeamID      string            `json:"team_id"`
	Certificate channels.Secret   `json:"certificate"`
	Password    channels.Secret   `json:"password"`
	Environment string            `json:"environment"`
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	Host        string            `json:"host"`
	SandboxHost string            `json:"sandbox_host"`
	CA          string            `json:"ca"`
}

// channel sends.
type channel struct {
	settings   settings
	now        func() time.Time
	table      []channels.Answer
	transport  *h2.Transport
	production *apns2.Client
	sandbox    *apns2.Client
	token      *token.Token // nil with a certificate
	hidden     []string     // what no error may contain, beside the device's token
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	s := settings{}
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel apns: it needs a clock")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("config of apns: %w", err)
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if tlsConfig.RootCAs, err = channels.RootCAs(s.CA, o.Dir); err != nil {
		return nil, fmt.Errorf("config of apns: %w", err)
	}
	c := &channel{settings: s, now: o.Now, table: answers(), hidden: []string{s.Key.Reveal(), s.Certificate.Reveal(), s.Password.Reveal()}}
	if s.Certificate != "" {
		certificate, err := s.loadCertificate()
		if err != nil {
			return nil, fmt.Errorf("config of apns: %w", err)
		}
		tlsConfig.Certificates = []tls.Certificate{certificate}
	} else if c.token, err = s.loadKey(); err != nil {
		return nil, fmt.Errorf("config of apns: %w", err)
	}
	c.transport = h2.New(h2.Config{
		TLS: tlsConfig, Connections: s.Connections, MaxBody: 8 << 10,
		Unique: []string{"apns-id", "apns-collapse-id"},
	})
	client := &http.Client{Transport: c.transport}
	c.production = &apns2.Client{Host: first(s.Host, apns2.HostProduction), Token: c.token, HTTPClient: client}
	c.sandbox = &apns2.Client{Host: first(s.SandboxHost, s.Host, apns2.HostDevelopment), Token: c.token, HTTPClient: client}
	return c, nil
}

// check finds what the spec's types cannot say.
func (s *settings) check() error {
	problem := func(field, summary, suggest string) error {
		return channels.Problem{Field: field, Summary: summary, Suggest: suggest}
	}
	switch {
	case s.Key == "" && s.Certificate == "":
		return problem("key", "is missing", "give key, key_id and team_id, or a certificate")
	case s.Key != "" && s.Certificate != "":
		return problem("certificate", "stands beside a key", "give one of them")
	case s.Key != "" && s.KeyID == "":
		return problem("key_id", "is missing", "it is in the file name of the key, AuthKey_<key id>.p8")
	case s.Key != "" && s.TeamID == "":
		return problem("team_id", "is missing", "it is shown under Membership in your Apple developer account")
	case s.Environment != "production" && s.Environment != "sandbox":
		return problem("environment", fmt.Sprintf("is %q", s.Environment), "write production or sandbox")
	case s.Connections < 1:
		return problem("connections", "is below 1", "")
	}
	for _, host := range []struct{ field, value string }{{"host", s.Host}, {"sandbox_host", s.SandboxHost}} {
		if host.value == "" {
			continue
		}
		if u, err := url.Parse(host.value); err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return problem(host.field, "is not an https URL without a path", "for example https://127.0.0.1:2197")
		}
	}
	return nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, width, c.push)
}

// Close implements channels.Closer.
func (c *channel) Close() error { return c.transport.Close() }

// push sends one message.
func (c *channel) push(ctx context.Context, m *channels.Message) channels.Result {
	n, err := c.notification(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	return c.deliver(ctx, c.clientFor(m.Address), n)
}

// deliver hands one notification to Apple and reads the answer.
func (c *channel) deliver(ctx context.Context, client *apns2.Client, n *apns2.Notification) channels.Result {
	limited, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	var got h2.Outcome
	_, err := client.PushWithContext(h2.Watch(limited, &got), n)
	switch {
	case got.Status == http.StatusOK:
		return channels.Result{ProviderID: first(got.Header.Get("Apns-Id"), n.ApnsID)}
	case got.Status != 0:
		return c.refused(&got, n)
	case err == nil:
		err = errors.New("there was no answer")
	}
	failure := channels.Transport(ctx, err, c.secrets(n)...)
	failure.Err = fmt.Errorf("pushing to %s: %w", channels.ShortToken(n.DeviceToken), failure.Err)
	return channels.Result{Err: failure}
}

// refused is the result of an error answer.
func (c *channel) refused(got *h2.Outcome, n *apns2.Notification) channels.Result {
	var answer struct {
		Reason    string `json:"reason"`
		Timestamp int64  `json:"timestamp"` // milliseconds, with 410
	}
	failure := &channels.DeliveryError{Err: errors.New("refused by Apple")}
	if err := json.Unmarshal(got.Body, &answer); err != nil || len(answer.Reason) > 64 {
		answer.Reason = ""
		failure.Err = fmt.Errorf("refused without a reason: %s", channels.Excerpt(got.Body, c.secrets(n)...))
	}
	failure.Class = channels.Classify(c.table, got.Status, answer.Reason)
	failure.Code = first(answer.Reason, strconv.Itoa(got.Status))
	failure.Err = fmt.Errorf("pushing to %s: %w", channels.ShortToken(n.DeviceToken), failure.Err)
	if failure.Class == channels.ClassAddress && answer.Timestamp > 0 {
		failure.Since = time.UnixMilli(answer.Timestamp)
	}
	if failure.Class == channels.ClassRateLimit || failure.Class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(got.Header.Get("Retry-After"), c.now())
	}
	if answer.Reason == apns2.ReasonExpiredProviderToken {
		c.renew()
	}
	return channels.Result{Err: failure}
}

// secrets are what no error about a push may contain.
func (c *channel) secrets(n *apns2.Notification) []string {
	secrets := append([]string{n.DeviceToken}, c.hidden...)
	if c.token != nil {
		secrets = append(secrets, c.bearer())
	}
	return secrets
}

// clientFor chooses the host by the device's environment.
func (c *channel) clientFor(a channels.Address) *apns2.Client {
	if first(a.Environment, c.settings.Environment) == "production" {
		return c.production
	}
	return c.sandbox
}

// Test implements channels.Tester: a push to a token that no device has. Apple looks at the
// provider before it looks at the token, so "BadDeviceToken" says that all else is well.
func (c *channel) Test(ctx context.Context) error {
	client := c.clientFor(channels.Address{})
	r := c.deliver(ctx, client, &apns2.Notification{
		DeviceToken: strings.Repeat("0", 64), Topic: c.settings.Topic, Priority: apns2.PriorityLow,
		PushType: apns2.PushTypeBackground, Payload: []byte(`{"aps":{"content-available":1}}`),
	})
	if r.Err == nil || channels.AsDelivery(r.Err).Class == channels.ClassAddress {
		return nil
	}
	return fmt.Errorf("asking %s: %w", client.Host, r.Err)
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
