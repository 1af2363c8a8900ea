// Package twilio sends text messages through Twilio's Programmable Messaging.
package twilio

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/rest"
	"nudge/channels/sms"
)

// inFlight is how many requests of one batch are under way at once: Twilio counts an account's together.
const inFlight = 16

// longest is the most that Twilio keeps a message in its queue.
const longest = 10 * time.Hour

// defaultEndpoint is the service in its first region.
const defaultEndpoint = "https://api.twilio.com"

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "twilio",
		Kind:  "sms",
		About: "Text messages through Twilio's Programmable Messaging. The number is the person's trait `phone`, with its country (+14155550100). Who has answered STOP is refused by Twilio, and the first refusal is recorded as a consent withdrawn for the channel, so that no rule tries them again. Twilio knows no id by which it could tell a repeat: a message whose answer was lost on the network is tried again, and can arrive twice.",
		Config: []channels.Field{
			{Name: "account_sid", Type: "string", Required: true, Example: "AC0123456789abcdef0123456789abcdef", About: "the account"},
			{Name: "auth_token", Type: "string", Secret: true, About: "the account's auth token; better is a key that can do less: api_key and api_secret"},
			{Name: "api_key", Type: "string", Example: "SK0123456789abcdef0123456789abcdef", About: "an API key's SID, instead of the auth token"},
			{Name: "api_secret", Type: "string", Secret: true, About: "the API key's secret"},
			{Name: "from", Type: "string", Example: "+14155550100", About: "the sender: a number or short code of the account's, or letters and digits where the country allows them"},
			{Name: "messaging_service", Type: "string", Example: "MG0123456789abcdef0123456789abcdef", About: "a messaging service's SID: it chooses the sender. One of `from` and this is needed; with both, `from` is one of the service's senders"},
			{Name: "status_callback", Type: "string", Example: "https://example.com/hooks/twilio", About: "a URL of yours that Twilio tells what becomes of each message, instead of nudge"},
			{Name: "signing_token", Type: "string", Secret: true, About: "the account's auth token, with which Twilio signs what it tells of messages, where an API key signs in: without it, or `auth_token`, nudge does not learn what was delivered"},
			sms.Limit(),
			{Name: "timeout", Type: "duration", Default: "15s", Example: "5s", About: "for each message"},
			{Name: "connections", Type: "int", Default: "32", Example: "8", About: "connections kept and used at once"},
			{Name: "endpoint", Type: "string", Example: "https://api.dublin.ie1.twilio.com", About: "instead of https://api.twilio.com: another region, or a local server"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message: append(sms.Fields(),
			channels.Field{Name: "ttl", Type: "duration", Example: "2h", About: "how long the provider may keep trying: Twilio at most 10h"}),
		Needs:       "phone",
		MaxPayload:  sms.Default,
		LimitField:  sms.LimitField,
		Unit:        sms.Unit,
		Measure:     sms.Measure,
		Batch:       50,
		Concurrency: 2,
		Repeat:      channels.RepeatDoubles,
		Answers:     answers(),
		Tried:       "Tried against a local server that follows Twilio's documentation (the Messages resource, its validation, error codes and sign-in by token or API key). Not tried against Twilio's servers: that takes an account and a number.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	Account     string            `json:"account_sid"`
	AuthToken   channels.Secret   `json:"auth_token"`
	Key         string            `json:"api_key"`
	KeySecret   channels.Secret   `json:"api_secret"`
	From        string            `json:"from"`
	Service     string            `json:"messaging_service"`
	Callback    string            `json:"status_callback"`
	Signing     channels.Secret   `json:"signing_token"`
	MaxSegments int               `json:"max_segments"`
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	Endpoint    string            `json:"endpoint"`
	CA          string            `json:"ca"`
}

// channel sends.
type channel struct {
	settings settings
	table    []channels.Answer
	path     string
	header   http.Header
	client   *rest.Client
	reports  string // where Twilio reaches us, "" where it cannot
	signing  channels.Secret
}

// sid is the form of Twilio's ids after their two letters.
var sid = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)

// check finds the first mistake that the spec's fields do not show.
func (s *settings) check() error {
	bad := func(field, summary, suggest string) error {
		return channels.Problem{Field: field, Summary: summary, Suggest: suggest}
	}
	for _, id := range []struct{ field, value, prefix string }{
		{"account_sid", s.Account, "AC"}, {"api_key", s.Key, "SK"}, {"messaging_service", s.Service, "MG"},
	} {
		if rest, ok := strings.CutPrefix(id.value, id.prefix); id.value != "" && (!ok || !sid.MatchString(rest)) {
			return bad(id.field, "is not a SID", "it is "+id.prefix+" and 32 hexadecimal digits, as Twilio's console shows it")
		}
	}
	switch {
	case s.AuthToken != "" && (s.Key != "" || s.KeySecret != ""):
		return bad("auth_token", "is given beside an API key", "keep one of them")
	case s.AuthToken == "" && s.Key == "" && s.KeySecret == "":
		return bad("api_key", "is missing", "give api_key and api_secret, or auth_token")
	case s.AuthToken == "" && s.Key == "":
		return bad("api_key", "is missing", "api_secret is the secret of one")
	case s.AuthToken == "" && s.KeySecret == "":
		return bad("api_secret", "is missing", "it is the secret of api_key")
	case s.From == "" && s.Service == "":
		return bad("from", "is missing", "give a sender, or a messaging_service")
	}
	if u, err := url.Parse(s.Callback); s.Callback != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		return bad("status_callback", "is not an http or https URL", "for example https://example.com/hooks/twilio")
	}
	return sms.CheckLimit(s.MaxSegments)
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel twilio: it needs a clock")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("config of twilio: %w", err)
	}
	user, password := cmp.Or(s.Key, s.Account), cmp.Or(s.AuthToken, s.KeySecret)
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password.Reveal()))
	connection := rest.Settings{Timeout: s.Timeout, Connections: s.Connections, URL: s.Endpoint, CA: s.CA}
	service := rest.Service{URL: defaultEndpoint, Example: "https://api.dublin.ie1.twilio.com", Field: "endpoint", Root: true}
	client, err := connection.Open(o, service, password.Reveal(), basic)
	if err != nil {
		return nil, fmt.Errorf("config of twilio: %w", err)
	}
	return &channel{
		settings: s, table: answers(), client: client, reports: o.Callback, signing: cmp.Or(s.Signing, s.AuthToken), path: "/2010-04-01/Accounts/" + s.Account + "/Messages.json",
		header: http.Header{"Authorization": {"Basic " + basic}, "Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
	}, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.text)
}

// Close implements channels.Closer.
func (c *channel) Close() error { return c.client.Close() }

// Test implements channels.Tester: it posts a message without a number and without a text. Who may send is told
// that something is missing, which says that all else is well; nobody gets anything.
func (c *channel) Test(ctx context.Context) error {
	got, failure := c.post(ctx, c.form(c.settings.From))
	if failure == nil {
		answer := readAnswer(got.Body)
		if slices.Contains([]string{"21602", "21603", "21604"}, answer.code()) {
			return nil
		}
		failure = c.refused(got, &answer)
	}
	return fmt.Errorf("asking %s: %w", c.client.Host, failure)
}

// form is what every request has.
func (c *channel) form(from string) url.Values {
	form := url.Values{}
	for name, value := range map[string]string{"From": from, "MessagingServiceSid": c.settings.Service} {
		if value != "" {
			form.Set(name, value)
		}
	}
	return form
}

// text sends one message.
func (c *channel) text(ctx context.Context, m *channels.Message) channels.Result {
	number, body, err := sms.Read(m, c.settings.MaxSegments)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	ttl, err := m.Lifetime()
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	own := strings.TrimSpace(m.Text("from"))
	form := c.form(cmp.Or(own, c.settings.From))
	form.Set("To", number)
	form.Set("Body", body)
	if told := c.callback(m); told != "" {
		form.Set("StatusCallback", told)
	}
	if ttl > 0 {
		seconds := max(1, int(min(ttl, longest)/time.Second))
		form.Set("ValidityPeriod", strconv.Itoa(seconds))
	}
	hidden := sms.Hidden(m, number)
	got, failure := c.post(ctx, form, hidden...)
	if failure == nil {
		answer := readAnswer(got.Body)
		if channels.Classify(c.table, got.Status, "") == "" && answer.code() == "" {
			return channels.Result{ProviderID: answer.SID} // accepted by its status, however the body reads
		}
		failure = c.refused(got, &answer, hidden...)
		if own != "" && aboutSender(answer.code()) {
			failure.Class = channels.ClassMessage
		}
	}
	failure.Err = fmt.Errorf("texting %s: %w", sms.Short(number), failure.Err)
	return channels.Result{Err: failure}
}

// post sends one request.
func (c *channel) post(ctx context.Context, form url.Values, hidden ...string) (rest.Response, *channels.DeliveryError) {
	return c.client.Do(ctx, http.MethodPost, c.path, c.header, []byte(form.Encode()), hidden...)
}

// refused makes the error of an answer. A message that was made and has failed at once has the status of success;
// its code alone counts.
func (c *channel) refused(got rest.Response, a *answer, hidden ...string) *channels.DeliveryError {
	text := a.Message
	if a.ErrorCode != nil {
		text = "the message failed at once"
	}
	code := a.code()
	if channels.ClassOfStatus(got.Status) == "" {
		code = cmp.Or(code, strconv.Itoa(got.Status))
		got.Status = http.StatusBadRequest
	}
	return c.client.Refused(got, c.table, "Twilio", code, text, hidden...)
}
