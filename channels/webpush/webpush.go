// Package webpush sends pushes to browsers, straight to the push services that their vendors run
// (RFC 8030, 8188, 8291, 8292), and serves what a site needs on its side: a snippet that subscribes
// and a service worker that shows.
package webpush

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"nudge/channels"
)

// Sizes of what is under way at once: of each of concurrency batches, width messages.
const (
	batch       = 100
	width       = 50
	concurrency = 4
)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 16 << 10

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "webpush",
		Kind:  "push",
		About: "Web Push: browsers, straight to the push services of Google, Mozilla, Apple and Microsoft, encrypted and with a VAPID key of your own. A device's token is the base64url of its PushSubscription; /web/nudge.js, which nudge serves, makes and registers it. Browsers that the Firebase SDK registered are served by fcm: both may stand in one channel, and the form of the token decides. Endpoints come from browsers, so only the hosts of `services` are asked, and those that a pattern allows only at public addresses.",
		Config: []channels.Field{
			{Name: "private_key", Type: "string", Required: true, Secret: true, About: "the VAPID private key that `nudge channels vapid` makes (base64url of 32 bytes, or PEM). A change of it ends all subscriptions"},
			{Name: "subject", Type: "string", Required: true, Example: "mailto:push@shop.example", About: "whom a push service may write to about your pushes: mailto: or https"},
			{Name: "ttl", Type: "duration", Default: "28d", Example: "1d", About: "how long a push waits for a browser that is away, where the message does not say; 28 days at the most"},
			{Name: "services", Type: "list", Example: `["*.push.example.com"]`, About: "the push services that may be asked instead of the browsers' own: hosts, *.domains, host:port for a local one, * for every public host. By default " + strings.Join(browserServices(), ", ")},
			{Name: "timeout", Type: "duration", Default: "30s", Example: "10s", About: "for each push"},
			{Name: "connections", Type: "int", Default: "4", Example: "2", About: "the most connections to each push service"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message: channels.PushFields("title", "body", "link", "image", "actions", "data", "badge", "collapse", "silent",
			"ttl", "icon", "badge_icon", "require_interaction", "urgency"),
		Needs:       "token",
		Platforms:   []string{"web"},
		Takes:       IsSubscription,
		MaxPayload:  maxPlain,
		Measure:     measure,
		Batch:       batch,
		Concurrency: concurrency,
		Repeat:      channels.RepeatHarmless,
		Answers:     answers(),
		Tried:       "Tried against a local push service that follows the RFCs and decrypts by an implementation of its own, by the test vector of RFC 8291, with the service worker in a real Chromium, and with a real Firefox that subscribes there and decrypts by itself. Not tried against the services of Google, Mozilla, Apple and Microsoft, nor in Safari: their answers are classified by their documentation and by what people report.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	PrivateKey  channels.Secret   `json:"private_key"`
	Subject     string            `json:"subject"`
	TTL         channels.Duration `json:"ttl"`
	Services    []string          `json:"services"`
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	CA          string            `json:"ca"`
}

// channel sends.
type channel struct {
	settings settings
	services *services
	vapid    *vapid
	table    []channels.Answer
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
		return nil, errors.New("channel webpush: it needs a clock")
	}
	c := &channel{settings: s, table: answers(), now: o.Now}
	if err := c.setUp(o.Dir); err != nil {
		return nil, fmt.Errorf("config of webpush: %w", err)
	}
	return c, nil
}

// setUp makes what the settings say.
func (c *channel) setUp(dir string) error {
	key, err := readKey(c.settings.PrivateKey.Reveal())
	if err != nil {
		return err
	}
	if err := checkSubject(c.settings.Subject); err != nil {
		return err
	}
	if c.settings.Connections < 1 {
		return channels.Problem{Field: "connections", Summary: "is below 1"}
	}
	if c.vapid, err = newVAPID(key, c.settings.Subject, c.now); err != nil {
		return err
	}
	list := c.settings.Services
	if len(list) == 0 {
		list = browserServices()
	}
	if c.services, err = newServices(list, http.ProxyFromEnvironment); err != nil {
		return err
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if tlsConfig.RootCAs, err = channels.RootCAs(c.settings.CA, dir); err != nil {
		return err
	}
	c.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                  c.services.through,
			DialContext:            c.services.dial,
			TLSClientConfig:        tlsConfig,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        c.settings.Connections,
			MaxIdleConnsPerHost:    c.settings.Connections,
			MaxIdleConns:           64,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, width, c.push)
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// Test implements channels.Tester: it signs a VAPID token and asks each service that the config
// names whether it is there. Whether a service takes the key shows only with a subscription.
func (c *channel) Test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	var failures []error
	for _, host := range c.services.exact {
		origin := "https://" + strings.TrimSuffix(host, ":443")
		if _, err := c.vapid.header(origin); err != nil {
			return err
		}
		if err := c.reach(ctx, origin); err != nil {
			failures = append(failures, fmt.Errorf("asking %s: %w", host, err))
		}
	}
	return errors.Join(failures...)
}

// reach asks for a service's front page: any answer will do.
func (c *channel) reach(ctx context.Context, origin string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+"/", http.NoBody)
	if err != nil {
		return errors.New("the host cannot be requested")
	}
	response, err := c.client.Do(request)
	if err != nil {
		return channels.Transport(ctx, err)
	}
	return response.Body.Close()
}

// push sends one message.
func (c *channel) push(ctx context.Context, m *channels.Message) channels.Result {
	p, err := c.build(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	body, err := encrypt(p.plain, p.to)
	if err != nil {
		return channels.Failed(channels.ClassMessage, "encrypt", fmt.Errorf("encrypting: %w", err))
	}
	auth, err := c.vapid.header(p.to.origin())
	if err != nil {
		return channels.Failed(channels.ClassCredential, codeVAPID, err)
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	request, err := http.NewRequestWithContext(limited, http.MethodPost, p.to.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return channels.Failed(channels.ClassAddress, "subscription", fmt.Errorf("%s has no endpoint that can be requested", channels.ShortToken(m.Address.Token)))
	}
	request.Header.Set("Authorization", auth.text)
	request.Header.Set("Content-Encoding", "aes128gcm")
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Header.Set("TTL", p.seconds())
	request.Header.Set("Urgency", p.urgency)
	request.Header.Set("Topic", p.topic)
	request.Header.Set("User-Agent", "nudge")
	response, err := c.client.Do(request)
	if err != nil {
		return c.failed(ctx, m, p, auth, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode >= 200 && response.StatusCode <= 299 {
		return channels.Result{ProviderID: messageID(response.Header)} // accepted by its status, however the body ends
	}
	if err != nil && len(answer) == 0 && ctx.Err() != nil {
		return c.failed(ctx, m, p, auth, err)
	}
	return c.refused(m, p, auth, response, answer)
}

// messageID is the end of the URL by which the service knows the message.
func messageID(h http.Header) string {
	location := h.Get("Location")
	id := location[strings.LastIndexByte(location, '/')+1:]
	return id[:min(len(id), 200)]
}

// hidden is what no error may show of a push: who has the endpoint may learn when somebody is
// online, and who has the token may push in our name for half a day.
func hidden(m *channels.Message, p *push, auth header) []string {
	secrets := []string{m.Address.Token, m.Signed, auth.token, p.to.endpoint.String(), p.to.endpoint.RequestURI()}
	for part := range strings.FieldsFuncSeq(p.to.endpoint.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=", r) }) {
		if len(part) >= 12 { // shorter ones are words
			secrets = append(secrets, part)
		}
	}
	return secrets
}

// failed is the result of a broken connection.
func (c *channel) failed(ctx context.Context, m *channels.Message, p *push, auth header, err error) channels.Result {
	if errors.Is(err, errPrivate) {
		return channels.Failed(channels.ClassMessage, "service", fmt.Errorf("pushing to %s: %.100s: %w", channels.ShortToken(m.Address.Token), p.to.endpoint.Host, errPrivate))
	}
	failure := channels.Transport(ctx, err, hidden(m, p, auth)...)
	failure.Err = fmt.Errorf("pushing to %s at %.100s: %w", channels.ShortToken(m.Address.Token), p.to.endpoint.Host, failure.Err)
	return channels.Result{Err: failure}
}

// refused is the result of an error answer.
func (c *channel) refused(m *channels.Message, p *push, auth header, response *http.Response, answer []byte) channels.Result {
	code := codeOf(response.StatusCode, answer)
	failure := &channels.DeliveryError{
		Class: classOf(c.table, response.StatusCode, code),
		Code:  code,
		Err: fmt.Errorf("pushing to %s: %.100s answered %d: %s", channels.ShortToken(m.Address.Token), p.to.endpoint.Host,
			response.StatusCode, channels.Excerpt(answer, hidden(m, p, auth)...)),
	}
	if failure.Class == channels.ClassCredential {
		c.vapid.drop(p.to.origin(), auth) // a clock that was set right needs another
	}
	if failure.Class == channels.ClassRateLimit || failure.Class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(response.Header.Get("Retry-After"), c.now())
	}
	return channels.Result{Err: failure}
}
