package chat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"nudge/channels"
	"nudge/channels/chat/shout"
)

// maxTitle is the longest title for services that have one beside the text, in characters: it is Pushover's limit, and no
// title is longer in good sense.
const maxTitle = 250

// library is how shoutrrr posts to one chat.
type library struct {
	url      string // in its form
	host     string // where its requests go, without the port
	requests int    // so many make up a post; the last is the post itself
	to       *url.URL
	compose  func(p *post) (text string, params map[string]string)
}

// relay posts by requests that shoutrrr writes. A failure is one of the process, the network or the service.
func (c *channel) relay(ctx context.Context, p *post) (reply, *channels.DeliveryError) {
	by := c.service.by
	text, params := by.compose(p)
	size := len(text)
	if c.service.unit == characters {
		size = runes(text)
	}
	if err := c.service.fits(size); err != nil {
		return reply{}, channels.AsDelivery(err)
	}
	if n := runes(params["title"]); n > maxTitle {
		return reply{}, &channels.DeliveryError{
			Class: channels.ClassMessage, Code: "too_long",
			Err: fmt.Errorf("the title has %d characters, and at most %d are sent", n, maxTitle),
		}
	}
	var answers []shout.Answer
	for {
		request, failure := c.next(ctx, shout.Post{URL: by.url, Text: text, Params: params}, answers)
		if failure != nil {
			return reply{}, failure
		}
		said, answer, failure := c.ask(ctx, request, secretsOf(request)...)
		if failure != nil || len(answers)+1 == by.requests {
			return said, failure
		}
		answers = append(answers, answer)
	}
}

// rehearse lets shoutrrr write the first request of a post, which is not sent.
func (c *channel) rehearse(ctx context.Context) *channels.DeliveryError {
	text, params := c.service.by.compose(&post{body: "nudge", level: normal})
	_, failure := c.next(ctx, shout.Post{URL: c.service.by.url, Text: text, Params: params}, nil)
	return failure
}

// next is the request of a post that follows those with these answers.
func (c *channel) next(ctx context.Context, p shout.Post, answers []shout.Answer) (shout.Request, *channels.DeliveryError) {
	step, err := c.process.Step(ctx, p, answers)
	switch {
	case ctx.Err() != nil:
		return shout.Request{}, channels.Transport(ctx, ctx.Err())
	case err != nil:
		return shout.Request{}, &channels.DeliveryError{Class: channels.ClassTemporary, Code: "shoutrrr", Err: err}
	case step.Request == nil && len(answers) > 0:
		return shout.Request{}, &channels.DeliveryError{
			Class: channels.ClassTemporary, Code: "answer",
			Err: errors.New("before the post it answered with something else than it should"),
		}
	case step.Request == nil:
		return shout.Request{}, &channels.DeliveryError{
			Class: channels.ClassMessage, Code: "shoutrrr",
			Err: fmt.Errorf("shoutrrr does not make a post of it: %s", channels.Excerpt([]byte(step.Problem), c.service.hidden...)),
		}
	}
	at, err := url.Parse(step.Request.URL)
	if err != nil || !strings.EqualFold(at.Hostname(), c.service.by.host) {
		return shout.Request{}, &channels.DeliveryError{Class: channels.ClassCredential, Code: "url", Err: errors.New("shoutrrr would post to another host than the URL's")}
	}
	if to := c.service.by.to; to != nil {
		at.Scheme, at.Host = to.Scheme, to.Host
		step.Request.URL = at.String()
	}
	if step.Request.Header == nil {
		step.Request.Header = http.Header{}
	}
	return *step.Request, nil
}

// secretsOf are the texts of a request that may hold a secret.
func secretsOf(r shout.Request) []string {
	texts := []string{r.URL}
	if at, err := url.Parse(r.URL); err == nil {
		texts = append(texts, at.RequestURI(), at.Path, at.RawQuery)
		for _, values := range at.Query() {
			texts = append(texts, values...)
		}
	}
	for _, value := range r.Header["Authorization"] {
		texts = append(texts, value)
		texts = append(texts, strings.Fields(value)...)
	}
	var hidden []string
	for _, text := range texts {
		hidden = append(hidden, forms(text)...)
	}
	return hidden
}

// byLibrary makes the service of a URL that shoutrrr reads.
func (m *more) byLibrary(u *url.URL) (*service, string) {
	if m.known != nil {
		if problem := onlyQuery(u, m.known...); problem != "" {
			return nil, problem
		}
	}
	for _, values := range u.Query() {
		if len(values) > 1 {
			return nil, "has a parameter twice"
		}
	}
	if m.check != nil {
		if problem := m.check(u); problem != "" {
			return nil, problem
		}
	}
	if err := shout.Parse(u.String()); err != nil {
		return nil, "is not one that shoutrrr takes for " + m.name + reason(err, u)
	}
	base := url.URL{Scheme: "https", Host: m.host, Path: "/"}
	if m.host == "" {
		base.Host = u.Host
		if m.port != "" && u.Port() == "" {
			base.Host += ":" + m.port
		}
	}
	if m.plain(u) {
		base.Scheme = "http"
	}
	s := &service{
		name: m.name, post: base.String(), answers: m.answers(), limit: m.limit, unit: m.unit, read: m.read,
		probe: probe{method: http.MethodGet, url: base.String(), any: true},
		by: &library{
			url: u.String(), host: base.Hostname(), requests: max(m.requests, 1),
			compose: func(p *post) (string, map[string]string) { return m.compose(u, p) },
		},
	}
	if m.probe != nil {
		m.probe(u, &base, s)
	}
	s.hidePieces(u, m.host != "")
	return s, ""
}

// plain says whether a URL asks to do without TLS.
func (m *more) plain(u *url.URL) bool {
	if m.host != "" {
		return false
	}
	return yes(param(u, "disabletls")) || param(u, "scheme") == "http"
}

// hidePieces keeps every part of a URL out of errors that may be a secret; the host may be a key.
func (s *service) hidePieces(u *url.URL, host bool) {
	secret, _ := u.User.Password()
	s.hide(secret, u.User.Username(), u.User.String(), u.Path, strings.Trim(u.Path, "/"), u.Fragment, u.RawQuery)
	s.hide(parts(u.Path)...)
	if host {
		s.hide(u.Host)
	}
	open := []string{"scheme", "disabletls", "severity", "action", "messagevalue", "titlevalue"}
	for name, values := range u.Query() {
		if !slices.Contains(open, strings.ToLower(name)) {
			s.hide(values...)
		}
	}
}

// param is a parameter of a URL, whose name shoutrrr takes in capitals too.
func param(u *url.URL, names ...string) string {
	for name, values := range u.Query() {
		if slices.Contains(names, strings.ToLower(name)) {
			return values[0]
		}
	}
	return ""
}

// yes says whether a parameter that is yes or no is yes.
func yes(text string) bool {
	return slices.Contains([]string{"yes", "true", "1"}, strings.ToLower(text))
}

// pieces are what a URL is made of.
var pieces = regexp.MustCompile(`[^A-Za-z0-9]+`)

// reason is what shoutrrr says against a URL, if no piece of the URL is in it.
func reason(err error, u *url.URL) string {
	text := err.Error()
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err, text = inner, inner.Error()
	}
	whole := u.String()
	if plain, err := url.QueryUnescape(whole); err == nil {
		whole += " " + plain
	}
	for _, piece := range pieces.Split(whole, -1) {
		if len(piece) > 2 && piece != u.Scheme && strings.Contains(strings.ToLower(text), strings.ToLower(piece)) {
			return ""
		}
	}
	return " (" + channels.Excerpt([]byte(text)) + ")"
}
