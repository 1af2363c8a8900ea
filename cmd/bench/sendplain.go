package main

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/messaging"
	webpushgo "github.com/SherClockHolmes/webpush-go"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"
	"golang.org/x/net/http2"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"

	"nudge/channels"
	"nudge/channels/apns"
	"nudge/channels/fcm"
)

// plain sends with a client library as its own documentation does it, and nothing of ours between.
type plain struct {
	name    string
	workers int // how many send at once
	batch   int // messages of one call
	send    func(ctx context.Context, first, upTo int) error
	close   func()
}

// How many plain senders push at once: enough for the processor with a provider that answers at once, and what two
// thousand a second need with one that takes its time.
const (
	atOnce     = 256
	atOnceLate = 4000
)

// plainConfig is what libraries need of the adapters' configs.
type plainConfig struct {
	CA          string `json:"ca"`
	Host        string `json:"host"`
	Topic       string `json:"topic"`
	Key         string `json:"key"`
	KeyID       string `json:"key_id"`
	TeamID      string `json:"team_id"`
	Credentials string `json:"credentials"`
	Endpoint    string `json:"endpoint"`
	PrivateKey  string `json:"private_key"`
	Subject     string `json:"subject"`
	Port        int    `json:"port"`
	From        string `json:"from"`
	Connections int    `json:"connections"`
	URL         string `json:"url"`
}

// newPlain sets a target's library up. late says that the provider takes its time.
func newPlain(ctx context.Context, t *target, late bool) (*plain, error) {
	var c plainConfig
	if err := json.Unmarshal(t.config, &c); err != nil {
		return nil, fmt.Errorf("read the config of %s: %w", t.name, err)
	}
	roots, err := channels.RootCAs(c.CA, "")
	if err != nil {
		return nil, err
	}
	p := &plain{workers: atOnce, batch: 1, close: func() {}}
	if late {
		p.workers = atOnceLate
	}
	secure := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	transport := &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: atOnceLate}
	switch t.name {
	case "apns":
		err = p.apns(t, &c, secure)
	case "fcm":
		err = p.fcm(ctx, t, &c, transport)
	case "webpush":
		err = p.webpush(t, &c, transport)
	case "email":
		err = p.email(ctx, t, &c, secure)
	case "webhook":
		err = p.webhook(t, &c, transport)
	}
	if err != nil {
		return nil, fmt.Errorf("set up the library for %s: %w", t.name, err)
	}
	return p, nil
}

// apns is apns2 with its own transport, and many goroutines.
func (p *plain) apns(t *target, c *plainConfig, secure *tls.Config) error {
	key, err := token.AuthKeyFromBytes([]byte(c.Key))
	if err != nil {
		return err
	}
	client := apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: c.KeyID, TeamID: c.TeamID})
	client.Host = c.Host
	if transport, ok := client.HTTPClient.Transport.(*http2.Transport); ok { //nolint:staticcheck // it is what apns2 makes
		transport.TLSClientConfig = secure //nolint:staticcheck // the same
	}
	all := make([]*apns2.Notification, len(t.tokens))
	for i := range all {
		m := t.message(i)
		payload, err := apns.Payload(&m)
		if err != nil {
			return err
		}
		all[i] = &apns2.Notification{
			ApnsID: channels.UUID(m.Key), CollapseID: apns.CollapseID(&m), DeviceToken: m.Address.Token, Topic: c.Topic,
			Payload: payload, PushType: apns2.PushTypeAlert, Priority: apns2.PriorityLow,
		}
	}
	p.name = fmt.Sprintf("apns2, %d goroutines", p.workers)
	p.close = client.CloseIdleConnections
	p.send = func(ctx context.Context, i, _ int) error {
		r, err := client.PushWithContext(ctx, all[i%len(all)])
		if err == nil && !r.Sent() {
			err = fmt.Errorf("%d %s", r.StatusCode, r.Reason)
		}
		return err
	}
	return nil
}

// fcm is Firebase's SendEach, which sends fifty at once by itself, in a few loops.
func (p *plain) fcm(ctx context.Context, t *target, c *plainConfig, transport *http.Transport) error {
	account, err := google.JWTConfigFromJSON([]byte(c.Credentials), "https://www.googleapis.com/auth/firebase.messaging")
	if err != nil {
		return err
	}
	var project struct {
		ID string `json:"project_id"`
	}
	if err := json.Unmarshal([]byte(c.Credentials), &project); err != nil {
		return err
	}
	client := account.Client(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport}))
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: project.ID}, option.WithHTTPClient(client), option.WithEndpoint(c.Endpoint+"/v1"))
	if err != nil {
		return err
	}
	sender, err := app.Messaging(ctx)
	if err != nil {
		return err
	}
	all := make([]*messaging.Message, len(t.tokens))
	for i := range all {
		m := t.message(i)
		if all[i], err = fcm.Content(&m); err != nil {
			return err
		}
		all[i].Token = m.Address.Token
	}
	const itsOwn = 50 // goroutines of one SendEach
	p.batch, p.workers = len(all), max(p.workers/itsOwn, 1)
	p.name = fmt.Sprintf("firebase SendEach, %d at once", p.workers)
	p.close = transport.CloseIdleConnections
	p.send = func(ctx context.Context, first, upTo int) error {
		r, err := sender.SendEach(ctx, all[:upTo-first])
		if err != nil {
			return err
		}
		for _, one := range r.Responses {
			if one.Error != nil {
				return one.Error
			}
		}
		return nil
	}
	return nil
}

// webpush is webpush-go over net/http.
func (p *plain) webpush(t *target, c *plainConfig, transport *http.Transport) error {
	type browser struct {
		subscription webpushgo.Subscription
		payload      []byte
	}
	all := make([]browser, len(t.tokens))
	for i := range all {
		raw, err := base64.RawURLEncoding.DecodeString(t.tokens[i])
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &all[i].subscription); err != nil {
			return err
		}
		m := t.message(i)
		if all[i].payload, err = json.Marshal(map[string]any{"title": m.Fields["title"], "body": m.Fields["body"], "link": m.Fields["link"], "id": m.Signed}); err != nil {
			return err
		}
	}
	private, err := base64.RawURLEncoding.DecodeString(c.PrivateKey)
	if err != nil {
		return err
	}
	public, err := publicOf(private)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: transport}
	p.name = fmt.Sprintf("webpush-go, %d goroutines", p.workers)
	p.close = transport.CloseIdleConnections
	p.send = func(ctx context.Context, i, _ int) error {
		b := &all[i%len(all)]
		r, err := webpushgo.SendNotificationWithContext(ctx, b.payload, &b.subscription, &webpushgo.Options{
			HTTPClient: client, Subscriber: strings.TrimPrefix(c.Subject, "mailto:"), TTL: 4 * 3600, VAPIDPublicKey: public, VAPIDPrivateKey: c.PrivateKey,
		})
		return answered(r, err)
	}
	return nil
}

// email is go-smtp, which the adapter stands on, with as many connections as the adapter.
func (p *plain) email(ctx context.Context, t *target, c *plainConfig, secure *tls.Config) error {
	p.workers = c.Connections
	pool := make(chan *gosmtp.Client, p.workers)
	secure.ServerName = c.Host
	for range p.workers {
		raw, err := (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
		if err != nil {
			return err
		}
		client := gosmtp.NewClient(raw)
		if err := client.Hello("localhost"); err != nil {
			return err
		}
		pool <- client
	}
	p.name = fmt.Sprintf("go-smtp, %d connections", p.workers)
	p.close = func() {
		for range p.workers {
			(<-pool).Close() //nolint:errcheck // nothing is under way on it
		}
	}
	p.send = func(_ context.Context, i, _ int) (err error) {
		m := t.message(i)
		letter := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-ID: <%s@shop.example>\r\nMIME-Version: 1.0\r\n"+
			"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s\r\n", c.From, m.Address.Email, m.Fields["subject"], channels.UUID(m.Key), m.Fields["text"])
		client := <-pool
		defer func() { pool <- client }()
		if err := client.Mail("news@shop.example", nil); err != nil {
			return err
		}
		if err := client.Rcpt(m.Address.Email, nil); err != nil {
			return err
		}
		w, err := client.Data()
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, letter)
		return errors.Join(err, w.Close())
	}
	return nil
}

// webhook posts with net/http.
func (p *plain) webhook(t *target, c *plainConfig, transport *http.Transport) error {
	client := &http.Client{Transport: transport}
	p.name = fmt.Sprintf("net/http, %d goroutines", p.workers)
	p.close = transport.CloseIdleConnections
	p.send = func(ctx context.Context, i, _ int) error {
		m := t.message(i)
		body, err := json.Marshal(map[string]any{"key": m.Key, "user_id": m.Address.UserID, "fields": m.Fields, "about": m.About})
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		return answered(client.Do(r))
	}
	return nil
}

// answered reads an answer to its end, so that its connection is used again.
func answered(r *http.Response, err error) error {
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	if err = errors.Join(err, r.Body.Close()); err == nil && r.StatusCode/100 != 2 {
		err = errors.New(r.Status)
	}
	return err
}

// publicOf is the public key of a VAPID key, as browsers have it.
func publicOf(private []byte) (string, error) {
	key, err := ecdh.P256().NewPrivateKey(private)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), nil
}
