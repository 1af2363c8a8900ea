// Package parse sends pushes through a Parse Server, by its REST API.
//
// The forms are those of Parse's REST API guide (Push Notifications), of Parse Server's source (PushRouter,
// PushController) and of its push adapter, and what a Parse Server answered to this adapter.
package parse

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
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
)

// inFlight is how many requests of one batch are under way at once.
const inFlight = 16

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 16 << 10

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name: "parse",
		Kind: "push",
		About: "Pushes through a Parse Server of yours, to the installations of its apps (iOS, Android, browsers). Each device that apps register with nudge gets a push, if the token is the deviceToken of its installation; or, with `reach: user_id`, all installations of a person that `where` or `channels` find. " +
			"Parse Server answers before it looks for installations, and does not say what became of them: a push to nobody counts as sent, and no token is retired. " +
			"It knows no id by which it could tell a repeat of a push: one whose answer was lost is sent again, which replaces the first on iOS and can arrive twice elsewhere.",
		Config: []channels.Field{
			{Name: "url", Type: "string", Required: true, Example: "https://parse.shop.example/parse", About: "the server, with the path that it is mounted at"},
			{Name: "application_id", Type: "string", Required: true, Example: "shop", About: "the app's id"},
			{Name: "master_key", Type: "string", Required: true, Secret: true, About: "the app's master key; Parse Server lets no other key push. This machine's address must be one of the server's masterKeyIps"},
			{Name: "reach", Type: "string", Default: "token", Example: "user_id", About: "token: a push to each device that nudge knows; user_id: one to the person, by `where` or `channels`"},
			{Name: "where", Type: "map", Example: `{userId: "{{ user_id }}"}`, About: "which installations get a message, as a query of Parse's; without, with `reach: token`: {deviceToken: \"{{ token }}\"}. Texts may name {{ user_id }}, {{ token }}, {{ email }}, {{ phone }}; one of them must be named, for every message is for one person"},
			{Name: "channels", Type: "list", Example: `["user-{{ user_id }}"]`, About: "instead of `where`: the channels of Parse's, to one of which the installations have subscribed; with the same names"},
			{Name: "apple_by_fcm", Type: "bool", Default: "false", Example: "true", About: "the server pushes to iOS through FCM and not through APNs. Say so, or its push adapter fails, and nobody is told: such a push has no ttl and its priority as a text, but for devices known to be Android's"},
			{Name: "timeout", Type: "duration", Default: "15s", Example: "5s", About: "for each push"},
			{Name: "connections", Type: "int", Default: "32", Example: "8", About: "connections kept and used at once"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message: append(channels.PushFields("title", "body", "link", "image", "data", "sound", "badge", "collapse", "silent", "ttl", "category", "thread", "mutable", "interruption"),
			channels.Field{Name: "where", Type: "map", Template: true, Example: `{store: "{{ store }}"}`, About: "which installations get this message instead, as a query of Parse's. All that it finds get the message, once for each person whom the rule is about (Parse)"},
			channels.Field{Name: "channels", Type: "list", Template: true, Example: `["store-{{ store }}"]`, About: "the same by channels of Parse's (Parse)"},
			channels.Field{Name: "push_time", Type: "string", Template: true, Example: "2026-11-25T09:00:00", About: "when Parse sends it, without a zone in each device's own time; quiet hours and caps look at when nudge hands it over. A server without scheduledPush sends it at once (Parse)"},
		),
		Needs:       "token",
		Fit:         channels.FitReach,
		Platforms:   []string{"ios", "android", "web"},
		MaxPayload:  maxData,
		Measure:     measure,
		Batch:       50,
		Concurrency: 2,
		Repeat:      channels.RepeatDoubles,
		Answers:     answers(),
		Tried:       "Tried against Parse Server 9.10.0 with PostgreSQL and a push adapter that records (devices, people, channels, push_time with and without scheduledPush, wrong keys, a read-only key, a server without a push adapter, its rateLimit), and in the tests against a local server that answers as that one did. What Parse's push adapter 8.4.0 makes of such pushes for APNs and FCM was looked at without Apple's and Google's services, which were not tried; nor was MongoDB.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	URL         string            `json:"url"`
	App         string            `json:"application_id"`
	Key         channels.Secret   `json:"master_key"`
	Reach       string            `json:"reach"`
	Where       map[string]any    `json:"where"`
	Channels    []string          `json:"channels"`
	AppleByFCM  bool              `json:"apple_by_fcm"`
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	CA          string            `json:"ca"`
}

// channel sends.
type channel struct {
	settings settings
	table    []channels.Answer
	url      string // of the API, without a slash at its end
	host     string // for errors
	where    *channels.Blank
	channels *channels.Blank // where `where` is nil
	header   http.Header
	client   *http.Client
	now      func() time.Time
}

// check finds the first mistake that the spec's fields do not show.
func (s *settings) check() error {
	bad := func(field, summary, suggest string) error {
		return channels.Problem{Field: field, Summary: summary, Suggest: suggest}
	}
	switch {
	case s.App == "" || strings.ContainsAny(s.App, "\r\n"):
		return bad("application_id", "is not an application's id", "it is the server's appId")
	case s.Key == "" || strings.ContainsAny(s.Key.Reveal(), "\r\n"):
		return bad("master_key", "is not a key", "it is the server's masterKey, one line")
	case s.Reach != "token" && s.Reach != "user_id":
		return bad("reach", "is neither token nor user_id", "")
	case s.Where != nil && s.Channels != nil:
		return bad("channels", "is given beside where", "keep one of them")
	case s.Reach == "user_id" && s.Where == nil && s.Channels == nil:
		return bad("where", "is missing", `Parse's installations have no user id of their own: say how yours name the person, for example {userId: "{{ user_id }}"}, or give channels`)
	case s.Connections < 1:
		return bad("connections", "is below 1", "")
	}
	return nil
}

// audience reads `where` or `channels`.
func (s *settings) audience() (where, subscribed *channels.Blank, err error) {
	field, value := "where", any(s.Where)
	switch {
	case s.Channels != nil:
		list := make([]any, len(s.Channels))
		for i, name := range s.Channels {
			list[i] = name
		}
		field, value = "channels", list
	case s.Where == nil:
		value = map[string]any{"deviceToken": "{{ token }}"}
	}
	blank, err := channels.NewBlank(field, value, "user_id", "token", "email", "phone")
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it is a Problem already
	}
	bad := channels.Problem{Field: field}
	switch {
	case blank.Names("token") && s.Reach != "token":
		bad.Summary, bad.Suggest = "names the token, which a message to a user does not have", "write reach: token, or name the user_id"
	case !slices.ContainsFunc([]string{"user_id", "token", "email", "phone"}, blank.Names):
		bad.Summary, bad.Suggest = "names nobody: every message would go to all whom it finds", "name the person: {{ user_id }}"
	case field == "channels":
		return nil, &blank, nil
	default:
		return &blank, nil, nil
	}
	return nil, nil, bad
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel parse: it needs a clock")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("config of parse: %w", err)
	}
	base, err := url.Parse(s.URL)
	if err != nil || (base.Scheme != "https" && base.Scheme != "http") || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("config of parse: %w", channels.Problem{Field: "url", Summary: "is not an http or https URL of a server", Suggest: "for example https://parse.shop.example/parse"})
	}
	c := &channel{
		settings: s, table: answers(), now: o.Now, host: base.Host, url: strings.TrimRight(base.String(), "/"),
		header: http.Header{
			"X-Parse-Application-Id": {s.App}, "X-Parse-Master-Key": {s.Key.Reveal()},
			"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"nudge"},
		},
	}
	if c.where, c.channels, err = s.audience(); err != nil {
		return nil, fmt.Errorf("config of parse: %w", err)
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if tlsConfig.RootCAs, err = channels.RootCAs(s.CA, o.Dir); err != nil {
		return nil, fmt.Errorf("config of parse: %w", err)
	}
	c.client = &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     tlsConfig,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        s.Connections,
			MaxIdleConnsPerHost: s.Connections,
			MaxConnsPerHost:     s.Connections,
			IdleConnTimeout:     90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.send)
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.client.CloseIdleConnections()
	return nil
}

// Test implements channels.Tester. It asks for a push without saying for whom: who may push is told that this is
// missing, and nobody gets anything. Then the server is asked whether it can push at all.
func (c *channel) Test(ctx context.Context) error {
	failed := func(err error) error { return fmt.Errorf("asking %s: %w", c.host, err) }
	got, err := c.ask(ctx, http.MethodPost, "/push", []byte("{}"))
	if err != nil {
		return failed(channels.Transport(ctx, err, c.settings.Key.Reveal()))
	}
	if said := readAnswer(got.body); got.status != http.StatusBadRequest || said.code() != pushMisconfigured || said.aboutSetup() {
		return failed(c.refused(got, c.settings.Key.Reveal()))
	}
	if got, err = c.ask(ctx, http.MethodGet, "/serverInfo", nil); err != nil {
		return failed(channels.Transport(ctx, err, c.settings.Key.Reveal()))
	}
	if got.status != http.StatusOK {
		return failed(c.refused(got, c.settings.Key.Reveal()))
	}
	var info struct {
		Features struct {
			Push struct {
				Immediate *bool `json:"immediatePush"`
			} `json:"push"`
		} `json:"features"`
	}
	if err := json.Unmarshal(got.body, &info); err == nil && info.Features.Push.Immediate != nil && !*info.Features.Push.Immediate {
		return failed(errors.New("the server has no push adapter: give it the option push"))
	}
	return nil
}

// send sends one message.
func (c *channel) send(ctx context.Context, m *channels.Message) channels.Result {
	body, err := c.push(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	got, err := c.ask(ctx, http.MethodPost, "/push", body)
	var failure *channels.DeliveryError
	switch {
	case err != nil:
		failure = channels.Transport(ctx, err, c.hide(m)...)
	case channels.Classify(c.table, got.status, "") == "":
		return channels.Result{ProviderID: got.header.Get("X-Parse-Push-Status-Id")} // accepted by its status, however the body reads
	default:
		failure = c.refused(got, c.hide(m)...)
	}
	failure.Err = fmt.Errorf("pushing through %s: %w", c.host, failure.Err)
	return channels.Result{Err: failure}
}

// hide is what no error about a message may contain.
func (c *channel) hide(m *channels.Message) []string {
	to := m.Address
	return []string{c.settings.Key.Reveal(), to.Token, stored(to.Token), to.Email, to.Phone, m.Signed}
}

// response is an answer as it came.
type response struct {
	status int
	header http.Header
	body   []byte
}

// ask makes one request. The answer may be cut off.
func (c *channel) ask(ctx context.Context, method, path string, body []byte) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return response{}, &channels.DeliveryError{Class: channels.ClassCredential, Code: "url", Err: errors.New("the URL cannot be requested")}
	}
	request.Header = c.header.Clone()
	got, err := c.client.Do(request)
	if err != nil {
		return response{}, err //nolint:wrapcheck // the caller drops the URL from it
	}
	defer got.Body.Close()
	// What was decided stands in the status: a body that breaks off is as good as it came.
	raw, _ := io.ReadAll(io.LimitReader(got.Body, maxAnswer))
	return response{status: got.StatusCode, header: got.Header, body: raw}, nil
}

// refused makes the error of an answer.
func (c *channel) refused(got response, hidden ...string) *channels.DeliveryError {
	said := readAnswer(got.body)
	failure := &channels.DeliveryError{
		Class: channels.Classify(c.table, got.status, said.code()),
		Code:  cmp.Or(said.code(), strconv.Itoa(got.status)),
	}
	if said.aboutSetup() {
		failure.Class = channels.ClassCredential
	}
	if failure.Class == "" { // a status of success where a refusal was asked for
		failure.Class = channels.ClassCredential
	}
	text := channels.Excerpt([]byte(cmp.Or(said.Error, said.Message, string(got.body))), hidden...)
	failure.Err = fmt.Errorf("refused by Parse Server: %s", cmp.Or(text, http.StatusText(got.status)))
	if failure.Class == channels.ClassRateLimit || failure.Class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(got.header.Get("Retry-After"), c.now())
	}
	return failure
}
