package fcm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"nudge/channels"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
)

// scope is what an access token is asked for.
const scope = "https://www.googleapis.com/auth/firebase.messaging"

// early is how long before its end an access token is replaced.
const early = 5 * time.Minute

// account is a service account.
type account struct {
	project, email, keyID, tokenURL string
	key                             []byte // PEM
}

// readAccount reads the credentials. Errors do not show them.
func readAccount(s settings) (account, error) {
	bad := func(suggest string) error {
		return channels.Problem{Field: "credentials", Summary: "is not a service account's key", Suggest: suggest}
	}
	var file struct {
		Type     string `json:"type"`
		Project  string `json:"project_id"`
		KeyID    string `json:"private_key_id"`
		Key      string `json:"private_key"`
		Email    string `json:"client_email"`
		TokenURL string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(s.Credentials.Reveal()), &file); err != nil {
		return account{}, bad("it is the JSON file that the Firebase console makes under Project settings, Service accounts")
	}
	block, _ := pem.Decode([]byte(file.Key))
	switch {
	case file.Type != "service_account":
		return account{}, bad(`its type is not "service_account"`)
	case file.Email == "" || block == nil:
		return account{}, bad("client_email or private_key is missing in it")
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return account{}, bad("its private_key is damaged")
		}
	}
	a := account{
		project: first(s.Project, file.Project), email: file.Email, keyID: file.KeyID, key: []byte(file.Key),
		tokenURL: first(s.TokenURL, file.TokenURL, "https://oauth2.googleapis.com/token"),
	}
	if a.project == "" {
		return account{}, channels.Problem{Field: "project", Summary: "is missing", Suggest: "the credentials name none"}
	}
	if u, err := url.Parse(a.tokenURL); err != nil || u.Scheme != "https" || u.Host == "" {
		return account{}, channels.Problem{Field: "token_url", Summary: "is not an https URL"}
	}
	return a, nil
}

// tokens keeps one access token for all pushes. Many that need a new one at once wait for the same
// request; none waits longer than its own context.
type tokens struct {
	config *jwt.Config
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	access  string
	until   time.Time
	pending *pending
}

// pending is a request for an access token under way.
type pending struct {
	done   chan struct{}
	access string
	err    *channels.DeliveryError
}

// newTokens makes the source; nothing is asked for yet.
func newTokens(a account, tlsConfig *tls.Config, limit time.Duration, now func() time.Time) *tokens {
	t := &tokens{
		config: &jwt.Config{Email: a.email, PrivateKey: a.key, PrivateKeyID: a.keyID, Scopes: []string{scope}, TokenURL: a.tokenURL},
		client: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true},
			Timeout:   limit, // the library's request has no context of its own
		},
		now: now,
	}
	return t
}

// close lets go of connections; a request under way ends by itself, within the limit.
func (t *tokens) close() { t.client.CloseIdleConnections() }

// get returns an access token that is good for a while.
func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	left := t.until.Sub(t.now())
	if t.access != "" && left > early {
		defer t.mu.Unlock()
		return t.access, nil
	}
	p := t.pending
	if p == nil {
		p = &pending{done: make(chan struct{})}
		t.pending = p
		go t.ask(p)
	}
	if t.access != "" && left > 0 { // still good: nobody need wait for the new one
		defer t.mu.Unlock()
		return t.access, nil
	}
	t.mu.Unlock()
	select {
	case <-p.done:
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for an access token: %w", ctx.Err())
	}
	if p.err != nil {
		return "", p.err
	}
	return p.access, nil
}

// drop forgets an access token that was refused.
func (t *tokens) drop(access string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.access == access {
		t.access = ""
	}
}

// ask fetches an access token. It is not bound to any push: the one that began it may be given up
// while others wait.
func (t *tokens) ask(p *pending) {
	asked := t.now()
	token, err := t.config.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, t.client)).Token()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		p.err = t.failure(err)
	case token.AccessToken == "":
		p.err = &channels.DeliveryError{Class: channels.ClassTemporary, Code: "oauth", Err: errors.New("asking for an access token: the answer has none")}
	default:
		// By the library the token ends by the wall clock; by ours it ends after we asked.
		seconds, ok := token.Extra("expires_in").(float64)
		if !ok || seconds <= 0 {
			seconds = early.Seconds() // its life is unknown: long enough for what waits
		}
		p.access, t.access, t.until = token.AccessToken, token.AccessToken, asked.Add(time.Duration(seconds)*time.Second)
	}
	t.pending = nil
	close(p.done)
}

// failure classifies a failed request for an access token.
func (t *tokens) failure(err error) *channels.DeliveryError {
	if re, ok := errors.AsType[*oauth2.RetrieveError](err); ok && re.Response != nil {
		status := re.Response.StatusCode
		class := channels.ClassOfStatus(status)
		if class == channels.ClassMessage || class == "" {
			class = channels.ClassCredential // it is never the fault of the message
		}
		var answer struct {
			Code string `json:"error"`
		}
		if json.Unmarshal(re.Body, &answer) != nil {
			answer.Code = ""
		}
		d := &channels.DeliveryError{Class: class, Code: "oauth " + first(short(answer.Code), strconv.Itoa(status)), Err: errors.New("no access token from Google: look at the service account and the machine's clock")}
		if class != channels.ClassCredential {
			d.RetryAfter = channels.RetryAfter(re.Response.Header.Get("Retry-After"), t.now())
		}
		return d
	}
	d := channels.Transport(context.Background(), err)
	// The library's errors quote what it sent and got.
	d.Err = errors.New("asking for an access token: the connection failed")
	if d.Code == "timeout" {
		d.Err = errors.New("asking for an access token: no answer in time")
	}
	return d
}

// short passes on a machine's word and drops anything longer.
func short(word string) string {
	if len(word) > 40 {
		return ""
	}
	for i := range len(word) {
		if b := word[i]; b != '_' && (b < 'a' || b > 'z') {
			return ""
		}
	}
	return word
}
