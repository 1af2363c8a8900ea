// Package chat posts messages to a team's chat: to Slack, Discord, Telegram, Microsoft Teams, ntfy, Gotify
// and Mattermost by requests of its own, to more by those of shoutrrr (package shout).
package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"nudge/channels"
	"nudge/channels/chat/shout"
	"nudge/channels/rest"
)

// inFlight is how many posts of one batch are under way at once. The services take about one message a
// second, so more would only meet their rate limits.
const inFlight = 2

// maxAnswer is how much of an answer is read, in bytes. Discord sends the whole message back.
const maxAnswer = 64 << 10

// Spec describes the adapter. The channels that are made by one Spec share one process of shoutrrr: a program that opens
// them calls shout.MaybeRunChild first thing in main.
func Spec() channels.Spec {
	process := shout.NewProcess()
	return channels.Spec{
		Name: "chat",
		Kind: "chat",
		About: "Posts to a chat of your team: " + allNames() + ". For alerts and for telling the team; it needs no address of the person. " +
			"Title, body, further fields as lines and the link become one post; names like @everyone in it call nobody. A channel of nudge.yaml is one chat: for two, write two. " +
			"The services take about one message a second, so give the channel a `rate_limit`; and `track_links: false`, or the team's clicks count as the person's. " +
			"Longest post: Discord 2000 characters, Telegram 4096, Mattermost 16383, Slack 40000, ntfy 4096 bytes, Teams 28 KB. It can stand in for any other channel.\n\n" +
			"Slack, Discord, Telegram, Teams, ntfy, Gotify and Mattermost are served by requests of our own, without the library shoutrrr: " +
			"its Discord splits posts and repeats them by itself, its Teams knows only the connectors that Microsoft has retired, in its Slack, Discord and Mattermost a text can call everybody, and for none of them it can check credentials without a post.\n\n" +
			"The others' requests are written by shoutrrr, in a process of its own that starts with the first post and never reaches the network; nudge sends them, as it sends all others: with the timeout, Retry-After, bounds on answers, and no redirect. " +
			"These are they, with the form of the `url` and the longest post:\n\n" + moreForms(),
		Config: []channels.Field{
			{Name: "url", Type: "string", Required: true, Secret: true, Example: "{env: CHAT_URL}", About: "where to post; " + urlForms()},
			{Name: "timeout", Type: "duration", Default: "15s", Example: "5s", About: "for each post"},
			{Name: "host", Type: "string", Example: "https://127.0.0.1:8443", About: "instead of the service's own host, for a proxy or a local server"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message:     fields(),
		Batch:       20,
		Concurrency: 1,
		Repeat:      channels.RepeatDoubles,
		Any:         true,
		Answers: slices.Concat(general(), slackAnswers(), discordAnswers(), telegramAnswers(), teamsAnswers(),
			ntfyAnswers(), gotifyAnswers(), mattermostAnswers(), moreAnswers()),
		Tried: "Tried against a local server that follows the services' documentation (forms of the requests, limits, errors, rate limits). Not tried against any of the services themselves. " +
			"The check of credentials posts nothing: Slack's webhooks and Gotify are asked with an empty message, which they refuse, Discord, Telegram, Slack's bots and ntfy, and Matrix and Zulip, by a request that only reads; of all others it only finds out whether the host answers.",
		New: func(o channels.Options) (channels.Channel, error) { return open(o, process) },
	}
}

// general is what a status means with every service, where its own table does not say more.
func general() []channels.Answer {
	return []channels.Answer{
		{Status: 200, About: "any 2xx: accepted"},
		{Status: 301, Class: channels.ClassCredential, About: "any 3xx: the URL is out of date; never followed"},
		{Status: 400, Class: channels.ClassMessage, About: "any other 4xx: the service refuses this message"},
		{Status: 401, Class: channels.ClassCredential, About: "the token is wrong"},
		{Status: 403, Class: channels.ClassCredential, About: "we may not post there"},
		{Status: 404, Class: channels.ClassCredential, About: "nothing is there: the URL is wrong, or was revoked"},
		{Status: 405, Class: channels.ClassCredential, About: "the URL does not take posts"},
		{Status: 408, Class: channels.ClassTemporary, About: "the service gave up waiting"},
		{Status: 410, Class: channels.ClassCredential, About: "the channel is gone"},
		{Status: 429, Class: channels.ClassRateLimit, About: "too fast; Retry-After is honoured, or `retry_after` in the answer (Discord, Telegram)"},
		{Status: 500, Class: channels.ClassTemporary, About: "any 5xx; Retry-After is honoured"},
	}
}

// service is one provider, bound to one chat of it.
type service struct {
	name    string // "Slack"
	post    string // the URL that messages are posted to
	header  http.Header
	hidden  []string // what no error may contain
	answers []channels.Answer
	probe   probe
	// limit is the most that a post may measure; 0 is no limit.
	limit int
	unit  string
	// encode makes the JSON of a post. size counts against limit; it is 0 for the length of the JSON.
	encode func(p *post) (body any, size int)
	// read takes from an answer what the service says in it.
	read func(body []byte) reply
	// by is how shoutrrr posts, for services that have no encode; post is then only what the host is taken from.
	by *library
}

// probe is a request that shows whether posts would be taken, and posts nothing.
type probe struct {
	method string
	url    string
	body   string
	// empty says that it is an empty message, which a service that knows us refuses as a message.
	empty bool
	// any says that a refusal will do as well: it is only about whether somebody is there.
	any bool
}

// reply is what the body of an answer says.
type reply struct {
	id      string // the service's id of the message
	code    string // its reason for a refusal
	text    string // the same for people
	refused bool   // a refusal although the status is 200
	after   time.Duration
}

// settings is the config.
type settings struct {
	URL     channels.Secret   `json:"url"`
	Timeout channels.Duration `json:"timeout"`
	Host    string            `json:"host"`
	CA      string            `json:"ca"`
}

// channel posts.
type channel struct {
	service *service
	process *shout.Process
	closed  sync.Once
	where   string // for errors: "Slack (hooks.slack.com)"
	timeout time.Duration
	client  *http.Client
	now     func() time.Time
}

// open makes a channel; it does not connect.
func open(o channels.Options, process *shout.Process) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel chat: it needs a clock")
	}
	svc, err := parse(s.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("config of chat: %w", err)
	}
	host, err := svc.moveTo(s.Host)
	if err != nil {
		return nil, fmt.Errorf("config of chat: %w", err)
	}
	roots, err := channels.RootCAs(s.CA, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("config of chat: %w", err)
	}
	process.Use()
	return &channel{
		service: svc, process: process, where: fmt.Sprintf("%s (%s)", svc.name, host), timeout: time.Duration(s.Timeout), now: o.Now,
		client: rest.HTTP(roots, inFlight),
	}, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.send)
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.client.CloseIdleConnections()
	c.closed.Do(c.process.Release)
	return nil
}

// send posts one message.
func (c *channel) send(ctx context.Context, m *channels.Message) channels.Result {
	p, err := newPost(m)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	var answer reply
	var failure *channels.DeliveryError
	if c.service.by != nil {
		answer, failure = c.relay(ctx, p)
	} else {
		var body []byte
		if body, err = c.service.render(p); err != nil {
			return channels.Result{Err: channels.AsDelivery(err)}
		}
		answer, _, failure = c.ask(ctx, c.service.request(http.MethodPost, c.service.post, body))
	}
	if failure != nil {
		failure.Err = fmt.Errorf("posting to %s: %w", c.where, failure.Err)
		return channels.Result{Err: failure}
	}
	return channels.Result{ProviderID: answer.id}
}

// Test implements channels.Tester: it asks the service about itself, or to take an empty message, which
// it refuses.
func (c *channel) Test(ctx context.Context) error {
	if c.service.by != nil {
		if failure := c.rehearse(ctx); failure != nil {
			return fmt.Errorf("preparing a post to %s: %w", c.where, failure)
		}
	}
	p := c.service.probe
	var body []byte
	if p.body != "" {
		body = []byte(p.body)
	}
	_, _, failure := c.ask(ctx, c.service.request(p.method, p.url, body))
	switch {
	case failure == nil:
		return nil
	case p.empty && failure.Class == channels.ClassMessage:
		return nil
	case p.any && failure.Code != "tls" && (failure.Class == channels.ClassMessage || failure.Class == channels.ClassCredential):
		return nil
	}
	return fmt.Errorf("asking %s: %w", c.where, failure)
}

// request is one of ours.
func (s *service) request(method, url string, body []byte) shout.Request {
	header := maps.Clone(s.header)
	if header == nil {
		header = http.Header{}
	}
	if body != nil {
		header.Set("Content-Type", "application/json; charset=utf-8")
	}
	return shout.Request{Method: method, URL: url, Header: header, Body: body}
}

// ask makes one request and reads the answer. A failure is one of the network or of the service. No error has a text
// in it that the service hides, nor the further ones.
func (c *channel) ask(ctx context.Context, r shout.Request, hidden ...string) (reply, shout.Answer, *channels.DeliveryError) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	hidden = slices.Concat(hidden, c.service.hidden)
	slices.SortStableFunc(hidden, longestFirst)
	request, err := http.NewRequestWithContext(limited, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return reply{}, shout.Answer{}, &channels.DeliveryError{Class: channels.ClassCredential, Code: "url", Err: errors.New("the URL cannot be requested")}
	}
	request.Header = r.Header
	request.Header.Set("User-Agent", "nudge")
	response, err := c.client.Do(request)
	if err != nil {
		return reply{}, shout.Answer{}, channels.Transport(ctx, err, hidden...)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil && len(raw) == 0 && response.StatusCode > 299 {
		return reply{}, shout.Answer{}, channels.Transport(ctx, err, hidden...)
	}
	said, failure := c.judge(response, raw, hidden)
	kind := http.Header{"Content-Type": response.Header["Content-Type"]}
	return said, shout.Answer{Status: response.StatusCode, Header: kind, Body: raw}, failure
}

// judge says what an answer means.
func (c *channel) judge(response *http.Response, raw []byte, hidden []string) (reply, *channels.DeliveryError) {
	said := c.service.read(raw)
	if !goodCode(said.code) || channels.Redact(said.code, hidden...) != said.code {
		said.code = ""
	}
	class := channels.Classify(slices.Concat(general(), c.service.answers), response.StatusCode, said.code)
	if said.refused && class == "" {
		class = channels.ClassMessage
	}
	if class == "" {
		return said, nil // accepted by its status, however the body ends
	}
	text := said.text
	if text == "" {
		text = string(raw)
	}
	failure := &channels.DeliveryError{
		Class: class,
		Code:  said.code,
		Err:   fmt.Errorf("it answered %d %s", response.StatusCode, channels.Excerpt([]byte(text), hidden...)),
	}
	if failure.Code == "" {
		failure.Code = strconv.Itoa(response.StatusCode)
	}
	if class == channels.ClassRateLimit || class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(response.Header.Get("Retry-After"), c.now())
		if failure.RetryAfter == 0 {
			failure.RetryAfter = min(max(said.after, 0), 24*time.Hour)
		}
	}
	return said, failure
}

// goodCode says whether a text of the service's can stand as a code: in errors, metrics and reports. It
// keeps out what an error page or a quoted URL would bring.
func goodCode(code string) bool {
	if len(code) > 60 {
		return false
	}
	for _, r := range code {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.', r == ' ', r == '\'':
		default:
			return false
		}
	}
	return true
}

// render makes the JSON of a post, and refuses what the service would refuse or cut.
func (s *service) render(p *post) ([]byte, error) {
	content, size := s.encode(p)
	body, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encoding the message: %w", err)
	}
	if size == 0 {
		size = len(body)
	}
	if err := s.fits(size); err != nil {
		return nil, err
	}
	return body, nil
}

// fits refuses a post of more than the service takes.
func (s *service) fits(size int) error {
	if s.limit == 0 || size <= s.limit {
		return nil
	}
	return &channels.DeliveryError{
		Class: channels.ClassMessage, Code: "too_long",
		Err: fmt.Errorf("the message has %d %s, and %s takes %d", size, s.unit, s.name, s.limit),
	}
}
