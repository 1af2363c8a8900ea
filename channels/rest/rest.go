// Package rest is what the adapters of HTTP APIs share: the config of a connection, one request with an answer of
// bounded length, and what a refusal means.
package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
)

// maxAnswer is how much of an answer is read, in bytes: enough for an error, and for the connection to be used again
// after an ordinary answer.
const maxAnswer = 64 << 10

// Settings are the part of a config that every such adapter has: embed it. Fields describes it.
type Settings struct {
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	URL         string            `json:"url"`
	CA          string            `json:"ca"`
}

// Fields are the fields of Settings for a service. elsewhere is an example of another place where it may be.
func Fields(service, elsewhere string) []channels.Field {
	return []channels.Field{
		{Name: "timeout", Type: "duration", Default: "15s", Example: "5s", About: "for each request"},
		{Name: "connections", Type: "int", Default: "32", Example: "8", About: "connections kept and used at once"},
		{Name: "url", Type: "string", Example: elsewhere, About: "instead of " + service + ": another region, a proxy or a local server"},
		{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
	}
}

// Service is where a service is, and what its URL may be.
type Service struct {
	// URL is where it is if the config has none, "" where the config must have one.
	URL string
	// Example is a URL that is right, for errors; "" is URL.
	Example string
	// Field is the URL's in the config, for errors; "" is url.
	Field string
	// Root says that the URL must not have a path.
	Root bool
	// Plain says that the URL may do without TLS.
	Plain bool
}

// at is the URL of the service in a config that gives this one, or "".
func (s *Service) at(given string) (*url.URL, error) {
	u, err := url.Parse(cmp.Or(given, s.URL))
	if err == nil && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		(u.Scheme == "https" || s.Plain && u.Scheme == "http") && (!s.Root || strings.Trim(u.Path, "/") == "") {
		return u, nil
	}
	what := "is not an https URL"
	if s.Plain {
		what = "is not an http or https URL"
	}
	if s.Root {
		what += " without a path"
	}
	return nil, channels.Problem{Field: cmp.Or(s.Field, "url"), Summary: what, Suggest: "for example " + cmp.Or(s.Example, s.URL)}
}

// Client makes requests of one service. It is safe for concurrent use.
type Client struct {
	// Host is the service's, for errors.
	Host string

	base    string
	timeout time.Duration
	hidden  []string
	http    *http.Client
	now     func() time.Time
}

// Open makes a client; it does not connect. No error of the client ever contains one of the hidden texts. An error is a
// channels.Problem.
func (s *Settings) Open(o channels.Options, service Service, hidden ...string) (*Client, error) {
	base, err := service.at(s.URL)
	if err != nil {
		return nil, err
	}
	if s.Connections < 1 {
		return nil, channels.Problem{Field: "connections", Summary: "is below 1"}
	}
	roots, err := channels.RootCAs(s.CA, o.Dir)
	if err != nil {
		return nil, err
	}
	return &Client{
		Host: base.Host, base: strings.TrimRight(base.String(), "/"), timeout: time.Duration(s.Timeout), hidden: slices.Clip(hidden), now: o.Now,
		http: HTTP(roots, s.Connections),
	}, nil
}

// Close closes the connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Response is an answer as it came; the body may be cut off.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do makes one request; body nil is none. An error says that there was no answer, and hides what the client and the
// caller hide.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header, body []byte, hidden ...string) (Response, *channels.DeliveryError) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return Response{}, &channels.DeliveryError{Class: channels.ClassCredential, Code: "url", Err: errors.New("the URL cannot be requested")}
	}
	// Go would repeat a request by itself that has an Idempotency-Key and a body that it can get again.
	request.GetBody = nil
	maps.Copy(request.Header, header)
	request.Header.Set("User-Agent", "nudge")
	got, err := c.http.Do(request)
	if err != nil {
		return Response{}, channels.Transport(ctx, err, slices.Concat(c.hidden, hidden)...)
	}
	defer got.Body.Close()
	// What was decided stands in the status: a body that breaks off is as good as it came.
	said, _ := io.ReadAll(io.LimitReader(got.Body, maxAnswer))
	return Response{Status: got.StatusCode, Header: got.Header, Body: said}, nil
}

// Refused is the error of an answer that a table of answers does not take for success. code and text are what the
// service says in it, "" where it says nothing: then the status and the body stand for them.
func (c *Client) Refused(got Response, table []channels.Answer, service, code, text string, hidden ...string) *channels.DeliveryError {
	if text == "" {
		text = string(got.Body)
	}
	said := channels.Excerpt([]byte(text), slices.Concat(c.hidden, hidden)...)
	failure := &channels.DeliveryError{
		Class:    channels.Classify(table, got.Status, code),
		Code:     cmp.Or(code, strconv.Itoa(got.Status)),
		OptedOut: channels.OptedOut(table, code),
		Err:      fmt.Errorf("refused by %s: %s", service, cmp.Or(said, http.StatusText(got.Status), "no reason given")),
	}
	if failure.Class == channels.ClassRateLimit || failure.Class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(got.Header.Get("Retry-After"), c.now())
	}
	return failure
}

// JSON is a body, without the detours that make it safe within HTML: they would count as bytes of a service's limit. An
// error is a *channels.DeliveryError.
func JSON(value any) (json.RawMessage, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, &channels.DeliveryError{Class: channels.ClassMessage, Code: "json", Err: fmt.Errorf("encoding the message: %w", err)}
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Word is a service's code if it can stand in errors, metrics and reports, else "": it keeps out what an error page or
// a quoted secret would bring.
func Word(code string) string {
	if len(code) > 60 {
		return ""
	}
	for _, r := range code {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' {
			return ""
		}
	}
	return code
}
