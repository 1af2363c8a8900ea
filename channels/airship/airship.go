// Package airship sends pushes through Airship (Urban Airship), by version 3 of its API.
//
// The forms are those of Airship's API reference (Push, Audience selection, Platform overrides, Responses) and of its
// own libraries for Python and Java, which send one push as an object and several as an array.
package airship

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"nudge/channels"
	"nudge/channels/rest"
)

// batch is how many pushes Airship takes in one request.
const batch = 100

// concurrency is how many requests are under way at once.
const concurrency = 4

// defaultURL is Airship's data centre in the USA.
const defaultURL = "https://go.urbanairship.com"

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name: "airship",
		Kind: "push",
		About: "Pushes through Airship (Urban Airship). The person is a named user of Airship's whose name is the user id, and Airship knows their devices; or, with `reach: token`, each device that apps register with nudge gets a push: its token is the id of its Airship channel (or, of iOS, the device token). " +
			"Up to 100 pushes go in one request. Email, SMS and open channels of Airship are not served, nor its in-app messages and its message centre. " +
			"A push whose answer was lost is sent again: on iOS, Android and Amazon it replaces the first by its id, a browser may show it twice.",
		Config: []channels.Field{
			{Name: "app_key", Type: "string", Required: true, Example: "AbCdEfGhIjKlMnOpQrStUv", About: "the project's app key"},
			{Name: "master_secret", Type: "string", Secret: true, About: "the app's master secret; better is a token, which can do less"},
			{Name: "token", Type: "string", Secret: true, About: "a bearer token with the role Push, instead of the master secret"},
			{Name: "reach", Type: "string", Default: "user_id", Example: "token", About: "user_id: a push to the person's named user; token: one to each device that nudge knows"},
			{Name: "audience", Type: "map", Example: `{and: [{named_user: "{{ user_id }}"}, {tag: beta}]}`, About: "who gets a message, as Airship's audience selector, instead of what `reach` makes: named_user, ios_channel, android_channel, amazon_channel, channel, device_token, alias, tag (with group), segment and others, and `and`, `or` and `not` of them. Texts may name {{ user_id }}, {{ token }}, {{ email }}, {{ phone }}; one of them must be named, for every message is for one person"},
			{Name: "device_types", Type: "list", Example: "[ios, android]", About: "the platforms that are pushed to, of ios, android, amazon and web; without: ios, android, web. Name those that your project has"},
			{Name: "timeout", Type: "duration", Default: "30s", Example: "10s", About: "for each request"},
			{Name: "url", Type: "string", Default: defaultURL, Example: "https://go.airship.eu", About: "Airship's data centre; the example is Europe's"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message: append(channels.PushFields("title", "body", "link", "image", "data", "sound", "badge", "collapse", "silent", "ttl",
			"subtitle", "category", "thread", "mutable", "interruption", "relevance", "channel_id", "icon", "require_interaction", "color"),
			channels.Field{Name: "audience", Type: "map", Template: true, Example: `{tag: "team-{{ team }}"}`, About: "who gets this message instead, as Airship's audience selector. Everybody whom it selects gets the message, once for each person whom the rule is about (Airship)"},
			channels.Field{Name: "overrides", Type: "map", Template: true, Example: `{ios: {alert: "Your cart 🛒"}, android: {summary: Cart}}`, About: "keys of single platforms (ios, android, amazon, web), in Airship's words, over what the other fields make (Airship)"},
		),
		Needs:       "user_id",
		Fit:         channels.FitReach,
		Platforms:   []string{"ios", "android", "web"},
		Takes:       takes,
		MaxPayload:  maxOverride,
		Measure:     measure,
		Batch:       batch,
		Concurrency: concurrency,
		Repeat:      channels.RepeatDoubles,
		Answers:     answers(),
		Tried:       "Tried against a local server that follows Airship's documentation and its own libraries (push objects, audience selectors, platform overrides, validation, both ways to sign in). Not tried against Airship: that takes a project. That Airship takes all of a batch or nothing is taken from its documentation of one answer for a request.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	AppKey   string            `json:"app_key"`
	Secret   channels.Secret   `json:"master_secret"`
	Token    channels.Secret   `json:"token"`
	Reach    string            `json:"reach"`
	Audience map[string]any    `json:"audience"`
	Types    []string          `json:"device_types"`
	Timeout  channels.Duration `json:"timeout"`
	URL      string            `json:"url"`
	CA       string            `json:"ca"`
}

// channel sends.
type channel struct {
	settings settings
	table    []channels.Answer
	types    []string
	who      *channels.Blank // nil: what reach makes
	header   http.Header
	client   *rest.Client
}

// check finds the first mistake that the spec's fields do not show.
func (s *settings) check() error {
	bad := func(field, summary, suggest string) error {
		return channels.Problem{Field: field, Summary: summary, Suggest: suggest}
	}
	switch {
	case s.AppKey == "" || strings.ContainsAny(s.AppKey, ":\r\n "):
		return bad("app_key", "is not an app key", "the project's settings show it: 22 letters, digits, - and _")
	case s.Secret == "" && s.Token == "":
		return bad("token", "is missing", "give a token, or master_secret")
	case s.Secret != "" && s.Token != "":
		return bad("token", "is given beside master_secret", "keep one of them")
	case strings.ContainsAny(s.Token.Reveal(), "\r\n "):
		return bad("token", "is not a token", "it is one line without spaces")
	case s.Reach != "user_id" && s.Reach != "token":
		return bad("reach", "is neither user_id nor token", "")
	case s.Types != nil && len(s.Types) == 0:
		return bad("device_types", "is empty", "there are "+strings.Join(platforms, ", "))
	}
	for i, t := range s.Types {
		if !slices.Contains(platforms, t) {
			return bad(fmt.Sprintf("device_types[%d]", i), "is no platform of pushes", "there are "+strings.Join(platforms, ", "))
		}
	}
	return nil
}

// audienceOf reads the config's audience, nil for none.
func (s *settings) audienceOf() (*channels.Blank, error) {
	if s.Audience == nil {
		return nil, nil
	}
	who, err := channels.NewBlank("audience", s.Audience, "user_id", "token", "email", "phone")
	if err != nil {
		return nil, err //nolint:wrapcheck // it is a Problem already
	}
	bad := channels.Problem{Field: "audience"}
	switch {
	case who.Names("token") && s.Reach != "token":
		bad.Summary, bad.Suggest = "names the token, which a message to a user does not have", "write reach: token, or name the user_id"
	case !who.Names("user_id") && !who.Names("token") && !who.Names("email") && !who.Names("phone"):
		bad.Summary, bad.Suggest = "names nobody: every message would go to all whom it selects", `name the person, for example {named_user: "{{ user_id }}"}`
	default:
		return &who, nil
	}
	return nil, bad
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel airship: it needs a clock")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("config of airship: %w", err)
	}
	who, err := s.audienceOf()
	if err != nil {
		return nil, fmt.Errorf("config of airship: %w", err)
	}
	c := &channel{
		settings: s, table: answers(), types: s.Types, who: who,
		header: http.Header{"Accept": {"application/vnd.urbanairship+json; version=3"}, "Content-Type": {"application/json"}},
	}
	if c.types == nil {
		c.types = []string{"ios", "android", "web"}
	}
	hidden := []string{s.Token.Reveal()}
	if s.Token != "" {
		c.header.Set("Authorization", "Bearer "+s.Token.Reveal())
		c.header.Set("X-UA-Appkey", s.AppKey)
	} else {
		pair := base64.StdEncoding.EncodeToString([]byte(s.AppKey + ":" + s.Secret.Reveal()))
		c.header.Set("Authorization", "Basic "+pair)
		hidden = []string{s.Secret.Reveal(), pair}
	}
	connection := rest.Settings{Timeout: s.Timeout, Connections: concurrency, URL: s.URL, CA: s.CA}
	if c.client, err = connection.Open(o, rest.Service{Example: "https://go.airship.eu", Root: true}, hidden...); err != nil {
		return nil, fmt.Errorf("config of airship: %w", err)
	}
	return c, nil
}

// Close implements channels.Closer.
func (c *channel) Close() error { return c.client.Close() }

// Test implements channels.Tester: it has Airship validate a push to a named user of no importance, for the
// channel's platforms and with its audience. Airship sends nothing of what it validates.
func (c *channel) Test(ctx context.Context) error {
	var audience any = object{"named_user": "nudge"}
	if c.who != nil {
		audience = c.who.Fill(map[string]any{
			"user_id": "nudge", "token": channels.UUID("nudge"), "email": "nudge@example.com", "phone": "15550100",
		})
	}
	body, err := rest.JSON(object{"audience": audience, "device_types": c.types, "notification": object{"alert": "test"}})
	if err != nil {
		return err
	}
	got, failure := c.post(ctx, "/validate", body)
	if failure == nil && c.accepted(got) {
		return nil
	}
	if failure == nil {
		failure = c.refused(got)
	}
	return fmt.Errorf("asking %s: %w", c.client.Host, failure)
}

// item is a message of a batch on its way.
type item struct {
	at      int // in the batch
	message *channels.Message
	push    json.RawMessage
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	ready := make([]item, 0, len(batch))
	for i := range batch {
		push, err := c.push(&batch[i])
		if err != nil {
			results[i].Err = channels.AsDelivery(err)
			continue
		}
		ready = append(ready, item{i, &batch[i], push})
	}
	c.deliver(ctx, ready, results)
	return results
}

// deliver sends a group of pushes in one request. Airship takes all of them or none, and one that it refuses is found
// by halves: a refused request has sent nothing, so that no push goes out twice.
func (c *channel) deliver(ctx context.Context, group []item, results []channels.Result) {
	if len(group) == 0 {
		return
	}
	if err := ctx.Err(); err != nil {
		for _, it := range group {
			results[it.at] = channels.Failed(channels.ClassCancelled, "cancelled", err)
		}
		return
	}
	hidden := hide(group)
	got, failure := c.post(ctx, "", bodyOf(group), hidden...)
	if failure == nil && c.accepted(got) {
		if ids := readAnswer(got.Body).PushIDs; len(ids) == len(group) {
			for i, it := range group {
				results[it.at].ProviderID = ids[i]
			}
		}
		return
	}
	if failure == nil {
		failure = c.refused(got, hidden...)
	}
	if failure.Class == channels.ClassMessage && len(group) > 1 {
		c.deliver(ctx, group[:len(group)/2], results)
		c.deliver(ctx, group[len(group)/2:], results)
		return
	}
	for _, it := range group {
		each := *failure
		each.Err = fmt.Errorf("pushing to %s: %w", c.client.Host, failure.Err)
		results[it.at].Err = &each
	}
}

// hide is what no error about a group may contain.
func hide(group []item) []string {
	var hidden []string
	for _, it := range group {
		for _, word := range []string{it.message.Address.Token, it.message.Address.Email, it.message.Address.Phone, it.message.Signed} {
			hidden = append(hidden, word, strings.ToUpper(word), strings.ToLower(word))
		}
	}
	return hidden
}

// bodyOf is a request's body: one push is an object, several are an array.
func bodyOf(group []item) []byte {
	if len(group) == 1 {
		return group[0].push
	}
	parts := make([][]byte, len(group))
	for i, it := range group {
		parts[i] = it.push
	}
	return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]"))
}

// post makes one request of what is below /api/push.
func (c *channel) post(ctx context.Context, below string, body []byte, hidden ...string) (rest.Response, *channels.DeliveryError) {
	return c.client.Do(ctx, http.MethodPost, "/api/push"+below, c.header, body, hidden...)
}

// accepted says whether Airship took what it was sent: by its status, however the body reads.
func (c *channel) accepted(got rest.Response) bool {
	return channels.Classify(c.table, got.Status, "") == ""
}

// refused makes the error of an answer.
func (c *channel) refused(got rest.Response, hidden ...string) *channels.DeliveryError {
	said := readAnswer(got.Body)
	failure := c.client.Refused(got, c.table, "Airship", said.code(), said.text(), hidden...)
	if said.aboutSetup() {
		failure.Class = channels.ClassCredential
	}
	return failure
}
