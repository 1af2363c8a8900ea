// Package parse sends pushes through a Parse Server, by its REST API.
//
// The forms are those of Parse's REST API guide (Push Notifications), of Parse Server's source (PushRouter,
// PushController) and of its push adapter, and what a Parse Server answered to this adapter.
package parse

import (
	"cmp"
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
	rest.Settings

	App        string          `json:"application_id"`
	Key        channels.Secret `json:"master_key"`
	Reach      string          `json:"reach"`
	Where      map[string]any  `json:"where"`
	Channels   []string        `json:"channels"`
	AppleByFCM bool            `json:"apple_by_fcm"`
}

// channel sends.
type channel struct {
	settings settings
	table    []channels.Answer
	where    *channels.Blank
	channels *channels.Blank // where `where` is nil
	header   http.Header
	client   *rest.Client
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
	c := &channel{
		settings: s, table: answers(),
		header: http.Header{
			"X-Parse-Application-Id": {s.App}, "X-Parse-Master-Key": {s.Key.Reveal()},
			"Content-Type": {"application/json"}, "Accept": {"application/json"},
		},
	}
	var err error
	if c.where, c.channels, err = s.audience(); err != nil {
		return nil, fmt.Errorf("config of parse: %w", err)
	}
	if c.client, err = s.Open(o, rest.Service{Example: "https://parse.shop.example/parse", Plain: true}, s.Key.Reveal()); err != nil {
		return nil, fmt.Errorf("config of parse: %w", err)
	}
	return c, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.send)
}

// Close implements channels.Closer.
func (c *channel) Close() error { return c.client.Close() }

// Test implements channels.Tester. It asks for a push without saying for whom: who may push is told that this is
// missing, and nobody gets anything. Then the server is asked whether it can push at all.
func (c *channel) Test(ctx context.Context) error {
	failed := func(err error) error { return fmt.Errorf("asking %s: %w", c.client.Host, err) }
	got, failure := c.client.Do(ctx, http.MethodPost, "/push", c.header, []byte("{}"))
	if failure != nil {
		return failed(failure)
	}
	if said := readAnswer(got.Body); got.Status != http.StatusBadRequest || said.code() != pushMisconfigured || said.aboutSetup() {
		return failed(c.refused(got))
	}
	if got, failure = c.client.Do(ctx, http.MethodGet, "/serverInfo", c.header, nil); failure != nil {
		return failed(failure)
	}
	if got.Status != http.StatusOK {
		return failed(c.refused(got))
	}
	var info struct {
		Features struct {
			Push struct {
				Immediate *bool `json:"immediatePush"`
			} `json:"push"`
		} `json:"features"`
	}
	if err := json.Unmarshal(got.Body, &info); err == nil && info.Features.Push.Immediate != nil && !*info.Features.Push.Immediate {
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
	to := m.Address
	hidden := []string{to.Token, stored(to.Token), to.Email, to.Phone, m.Signed}
	got, failure := c.client.Do(ctx, http.MethodPost, "/push", c.header, body, hidden...)
	if failure == nil {
		if channels.Classify(c.table, got.Status, "") == "" {
			return channels.Result{ProviderID: got.Header.Get("X-Parse-Push-Status-Id")} // accepted by its status, however the body reads
		}
		failure = c.refused(got, hidden...)
	}
	failure.Err = fmt.Errorf("pushing through %s: %w", c.client.Host, failure.Err)
	return channels.Result{Err: failure}
}

// refused makes the error of an answer.
func (c *channel) refused(got rest.Response, hidden ...string) *channels.DeliveryError {
	said := readAnswer(got.Body)
	failure := c.client.Refused(got, c.table, "Parse Server", said.code(), cmp.Or(said.Error, said.Message), hidden...)
	if failure.Class == "" || said.aboutSetup() { // "": a status of success where a refusal was asked for
		failure.Class = channels.ClassCredential
	}
	return failure
}
