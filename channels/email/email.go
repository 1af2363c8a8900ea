// Package email sends mail through an SMTP server: a provider's (Amazon SES, Postmark, Mailgun, …) or
// one's own.
package email

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"

	gosmtp "github.com/emersion/go-smtp"
)

// maxPayload is the most that a message may have, in bytes. Providers differ (Amazon SES and
// Postmark take 10 MB); what the server itself announces is kept to as well.
const maxPayload = 10_000_000

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "email",
		Kind:  "email",
		About: "Sends mail through an SMTP server: a provider's (Amazon SES, Postmark, Mailgun, Brevo, …) or your own. Connections are kept and used for many messages. HTML goes out with a text beside it, made of the HTML where the rule has none; with an unsubscribe link inboxes offer to unsubscribe at one click (RFC 8058), which Gmail and Yahoo ask of whoever sends in bulk.",
		Config: []channels.Field{
			{Name: "host", Type: "string", Required: true, Example: "email-smtp.eu-west-1.amazonaws.com", About: "the SMTP server"},
			{Name: "port", Type: "int", Example: "587", About: "its port; by default 587 with starttls, 465 with tls, 25 with none"},
			{Name: "tls", Type: "string", Default: "starttls", Example: "tls", About: "starttls: encrypted after a greeting, and nothing is said without; tls: from the first byte; none: for a server on this machine"},
			{Name: "username", Type: "string", Example: "AKIA…", About: "to sign in; without it nobody signs in"},
			{Name: "password", Type: "string", Secret: true, About: "to sign in"},
			{Name: "auth", Type: "string", Default: "auto", Example: "login", About: "how to sign in: plain, login, cram-md5, or auto for what the server offers"},
			{Name: "from", Type: "string", Required: true, Example: "The Shop <news@shop.example>", About: "the sender"},
			{Name: "reply_to", Type: "string", Example: "help@shop.example", About: "where answers go"},
			{Name: "bounce", Type: "string", Example: "bounces@shop.example", About: "the envelope's sender, where mail that cannot be delivered comes back; by default the address of `from`"},
			{Name: "verp", Type: "bool", Default: "false", Example: "true", About: "gives each message an envelope sender of its own, bounces+ID@shop.example, with the id that Message-ID has: what comes back says which message it was. The server must take mail for such addresses"},
			{Name: "unsubscribe", Type: "string", Example: "https://shop.example/unsubscribe?m={{ message_id }}", About: "the link of List-Unsubscribe for messages that have none of their own, but for transactional ones, instead of that to nudge's page of preferences; it may name {{ message_id }} (signed), {{ user_id }}, {{ category }}, {{ rule }} and {{ channel }}. It must take POST without asking anything (RFC 8058)"},
			{Name: "unsubscribe_mailto", Type: "string", Example: "unsubscribe@shop.example", About: "an address for List-Unsubscribe, beside the link or instead of it"},
			{Name: "headers", Type: "map", Example: `{x-ses-configuration-set: nudge}`, About: "further header fields of every message"},
			{Name: "dkim_key", Type: "string", Secret: true, About: "signs messages: a private key as PEM, RSA of at least 1024 bits or Ed25519. Leave it out where the server signs, as providers do"},
			{Name: "dkim_selector", Type: "string", Example: "nudge", About: "where the public key is: SELECTOR._domainkey.DOMAIN"},
			{Name: "dkim_domain", Type: "string", Example: "shop.example", About: "the domain that signs, by default that of `from`; another must belong to the same registered domain, or DMARC does not count it"},
			{Name: "callbacks", Type: "string", Example: "ses", About: "the provider that tells nudge what became of messages, by calls: ses (Amazon SES, through a topic of Amazon SNS), sendgrid, mailgun or postmark. Messages get the header by which it hands their signed id back. Mail that came back is taken in any case"},
			{Name: "callback_key", Type: "string", Secret: true, About: "what its calls are believed by. sendgrid: the verification key of the signed event webhook (public); mailgun: the HTTP webhook signing key; postmark: a password of your own, of at least 16 characters, that stands in the webhook's address or header"},
			{Name: "callback_topic", Type: "string", Example: "arn:aws:sns:eu-central-1:123456789012:mail", About: "with ses: the ARN of the topic, whose posts alone are believed"},
			{Name: "helo", Type: "string", Example: "mail.shop.example", About: "how we introduce ourselves; by default the domain of `from`"},
			{Name: "timeout", Type: "duration", Default: "60s", Example: "30s", About: "for each message"},
			{Name: "connections", Type: "int", Default: "8", Example: "4", About: "the most connections at once; providers limit them"},
			{Name: "per_connection", Type: "int", Default: "100", Example: "20", About: "messages of one connection before a new one is made; 0 for no limit"},
			{Name: "idle", Type: "duration", Default: "30s", Example: "10s", About: "how long a connection is kept that nobody uses"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message: []channels.Field{
			{Name: "subject", Type: "string", Required: true, Template: true, Text: true, Example: "You left {{ product }} behind", About: "the subject"},
			{Name: "text", Type: "string", Template: true, Text: true, Example: "It is waiting in your cart: https://shop.example/cart", About: "the message as text; made of `html` where it is left out"},
			{Name: "html", Type: "string", Template: true, Text: true, Example: "templates/cart.html", About: "the message as HTML: a template's file, or the HTML itself"},
			{Name: "preheader", Type: "string", Template: true, Text: true, Example: "Still in stock, for now", About: "what inboxes show after the subject; needs `html`"},
			{Name: "from", Type: "string", Template: true, Example: "Anna of The Shop <anna@shop.example>", About: "another sender, at the domain of the channel's `from`"},
			{Name: "reply_to", Type: "string", Template: true, Example: "order-{{ order }}@shop.example", About: "where answers go"},
			{Name: "unsubscribe", Type: "string", Template: true, Example: "https://shop.example/unsubscribe?u={{ user.id | url_encode }}", About: "the link of List-Unsubscribe, instead of the channel's; https"},
			{Name: "headers", Type: "map", Template: true, Example: `{feedback-id: "cart:shop"}`, About: "further header fields"},
		},
		Needs:       "email",
		Batch:       50,
		Concurrency: 4,
		Repeat:      channels.RepeatDoubles,
		Answers:     answers(),
		Tried:       "Tried against a local SMTP server that checks what it gets (TLS, STARTTLS, PLAIN, LOGIN and CRAM-MD5, MIME, DKIM, RFC 8058) and answers by every line of the table below. Not tried against a provider's server: that takes an account. What comes back was tried with reports as their RFCs lay them out and with calls as the providers' documentation has them, signed by the tests (SendGrid's also with those of its own libraries); not with a provider.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	Host          string            `json:"host"`
	Port          int               `json:"port"`
	TLS           string            `json:"tls"`
	Username      string            `json:"username"`
	Password      channels.Secret   `json:"password"`
	Auth          string            `json:"auth"`
	From          string            `json:"from"`
	ReplyTo       string            `json:"reply_to"`
	Bounce        string            `json:"bounce"`
	VERP          bool              `json:"verp"`
	Unsubscribe   string            `json:"unsubscribe"`
	Mailto        string            `json:"unsubscribe_mailto"`
	Headers       map[string]any    `json:"headers"`
	DKIMKey       channels.Secret   `json:"dkim_key"`
	DKIMSelector  string            `json:"dkim_selector"`
	DKIMDomain    string            `json:"dkim_domain"`
	Callbacks     string            `json:"callbacks"`
	CallbackKey   channels.Secret   `json:"callback_key"`
	CallbackTopic string            `json:"callback_topic"`
	Helo          string            `json:"helo"`
	Timeout       channels.Duration `json:"timeout"`
	Connections   int               `json:"connections"`
	PerConnection int               `json:"per_connection"`
	Idle          channels.Duration `json:"idle"`
	CA            string            `json:"ca"`
}

// channel sends mail.
type channel struct {
	settings   settings
	from       *mail.Address
	domain     string // of from
	bounce     string
	mailto     string
	key        crypto.Signer // nil: somebody else signs
	dkimDomain string
	hidden     []string // what no error may contain
	answers    []channels.Answer
	caller     caller // nil: nobody calls
	pool       *pool
	now        func() time.Time
}

// placeholder is a name in the unsubscribe link.
var placeholder = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// selectorForm is a DKIM selector: labels of a domain name.
var selectorForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel email: it needs a clock")
	}
	c := &channel{settings: s, now: o.Now, answers: answers()}
	var problems channels.Problems
	bad := func(field, summary, suggest string) {
		problems = append(problems, channels.Problem{Field: field, Summary: summary, Suggest: suggest})
	}
	c.readAddresses(bad)
	c.readServer(bad)
	c.readUnsubscribe(bad)
	c.readKey(bad)
	c.readCallbacks(bad)
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if problem := headerProblem(name); problem != "" {
			bad("headers."+name, problem, "")
		}
	}
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("config of email: %w", err)
	}
	security := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.Host}
	var err error
	if security.RootCAs, err = channels.RootCAs(s.CA, o.Dir); err != nil {
		return nil, fmt.Errorf("config of email: %w", err)
	}
	port := s.Port
	if port == 0 {
		port = map[string]int{"tls": 465, "starttls": 587, "none": 25}[s.TLS]
	}
	if password := s.Password.Reveal(); password != "" {
		c.hidden = append(c.hidden, password)
		// As PLAIN and LOGIN say it.
		for _, said := range []string{password, "\x00" + s.Username + "\x00" + password} {
			c.hidden = append(c.hidden, base64.StdEncoding.EncodeToString([]byte(said)))
		}
	}
	if key := s.CallbackKey.Reveal(); key != "" {
		c.hidden = append(c.hidden, key)
	}
	helo := s.Helo
	if helo == "" {
		helo = c.domain
	}
	c.pool = &pool{
		server: server{
			host: s.Host, addr: net.JoinHostPort(s.Host, strconv.Itoa(port)), security: s.TLS, tls: security, helo: helo,
			auth: s.Auth, username: s.Username, password: s.Password, timeout: time.Duration(s.Timeout),
		},
		slots: make(chan struct{}, s.Connections), most: s.PerConnection, keep: time.Duration(s.Idle),
	}
	return c, nil
}

// report takes one problem of a config.
type report func(field, summary, suggest string)

// readAddresses reads who sends.
func (c *channel) readAddresses(bad report) {
	from, err := mail.ParseAddress(c.settings.From)
	if err != nil {
		bad("from", "is not an e-mail address", "for example The Shop <news@shop.example>")
		return
	}
	address, wide, err := mailbox(from.Address)
	if err != nil || wide {
		bad("from", "is not an address that every server takes", "before the @ use letters, digits and . _ - +")
		return
	}
	c.from = &mail.Address{Name: from.Name, Address: address}
	c.domain, c.bounce = strings.ToLower(domainOf(address)), address
	if c.settings.Bounce != "" {
		bounce, wide, err := mailbox(c.settings.Bounce)
		if err != nil || wide {
			bad("bounce", "is not a bare e-mail address", "for example bounces@shop.example")
			return
		}
		c.bounce = bounce
	}
	if c.settings.VERP && strings.IndexByte(c.bounce, '@') > 64-1-36 {
		bad("verp", "makes the bounce address too long", "an id of 36 characters goes before the @, where 64 have room")
	}
	if c.settings.ReplyTo != "" {
		if _, err := mail.ParseAddress(c.settings.ReplyTo); err != nil {
			bad("reply_to", "is not an e-mail address", "")
		}
	}
}

// readServer reads how to reach the server.
func (c *channel) readServer(bad report) {
	s := &c.settings
	if s.Host == "" || strings.ContainsAny(s.Host, " /@") || (strings.Contains(s.Host, ":") && net.ParseIP(s.Host) == nil) {
		bad("host", "is not a host's name", "for example smtp.example.com; the port has a field of its own")
	}
	if s.Port < 0 || s.Port > 65535 {
		bad("port", "is not a port", "587, 465 or 25 are usual")
	}
	if !slices.Contains([]string{"starttls", "tls", "none"}, s.TLS) {
		bad("tls", "is none of starttls, tls and none", "")
	}
	if !slices.Contains([]string{"auto", "plain", "login", "cram-md5"}, s.Auth) {
		bad("auth", "is none of auto, plain, login and cram-md5", "")
	}
	switch {
	case s.Username == "" && s.Password != "":
		bad("username", "is missing", "a password alone does not sign in")
	case s.Username != "" && s.Password == "":
		bad("password", "is missing", "a username alone does not sign in")
	case s.Username != "" && s.TLS == "none" && s.Auth != "cram-md5" && !local(s.Host):
		bad("tls", "is none, and the password would cross the network in the clear", "use starttls or tls")
	}
	if strings.ContainsAny(s.Helo, " \r\n") {
		bad("helo", "is not a host's name", "")
	}
	if s.Timeout <= 0 {
		bad("timeout", "is not above 0", "")
	}
	if s.Idle <= 0 {
		bad("idle", "is not above 0", "")
	}
	if s.Connections < 1 || s.Connections > 1000 {
		bad("connections", "is not between 1 and 1000", "")
	}
	if s.PerConnection < 0 {
		bad("per_connection", "is below 0", "")
	}
}

// local says whether a host is this machine.
func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// readUnsubscribe reads how people unsubscribe.
func (c *channel) readUnsubscribe(bad report) {
	if link := c.settings.Unsubscribe; link != "" {
		names := []string{"message_id", "user_id", "category", "rule", "channel"}
		spots := placeholder.FindAllStringSubmatch(link, -1)
		for _, spot := range spots {
			if !slices.Contains(names, spot[1]) {
				bad("unsubscribe", "names "+spot[1]+", which a message does not have", "there are "+strings.Join(names, ", "))
			}
		}
		if strings.Count(link, "{{") != len(spots) {
			bad("unsubscribe", "has a {{ … }} that is not a name", "write for example {{ message_id }}")
		}
		u, err := url.Parse(placeholder.ReplaceAllString(link, "x"))
		if err != nil || u.Scheme != "https" || u.Host == "" {
			bad("unsubscribe", "is not an https link", "for example https://shop.example/unsubscribe?m={{ message_id }}")
		}
	}
	if c.settings.Mailto != "" {
		address, wide, err := mailbox(c.settings.Mailto)
		if err != nil || wide {
			bad("unsubscribe_mailto", "is not a bare e-mail address", "for example unsubscribe@shop.example")
		}
		c.mailto = (&url.URL{Scheme: "mailto", Opaque: address, RawQuery: "subject=unsubscribe"}).String()
	}
}

// readKey reads what signs.
func (c *channel) readKey(bad report) {
	s := &c.settings
	if s.DKIMKey == "" {
		if s.DKIMSelector != "" || s.DKIMDomain != "" {
			bad("dkim_key", "is missing", "without it nothing is signed here; leave out dkim_selector and dkim_domain where the server signs")
		}
		return
	}
	if !selectorForm.MatchString(s.DKIMSelector) {
		bad("dkim_selector", "is missing or not a name", "the public key stands at SELECTOR._domainkey.DOMAIN")
	}
	c.dkimDomain = strings.ToLower(s.DKIMDomain)
	if c.dkimDomain == "" {
		c.dkimDomain = c.domain
	}
	if c.domain != "" && !aligned(c.domain, c.dkimDomain) {
		bad("dkim_domain", "is not the domain of from ("+c.domain+")", "DMARC, and with it Gmail and Yahoo, counts only a signature of the sender's own domain")
	}
	key, err := signingKey(s.DKIMKey)
	if err != nil {
		bad("dkim_key", err.Error(), "make one with openssl genrsa 2048")
		return
	}
	c.key = key
}

// signingKey reads a private key. Errors read after the field's name and do not repeat the key.
func signingKey(secret channels.Secret) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(secret.Reveal()))
	if block == nil {
		return nil, errors.New("is not PEM")
	}
	var key any
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, errors.New("is not a private key")
		}
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < 1024 {
			return nil, errors.New("has fewer than 1024 bits, which receivers ignore")
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("is neither RSA nor Ed25519")
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, c.settings.Connections, c.post)
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.pool.close()
	return nil
}

// Test implements channels.Tester: it signs in and asks whether the sender may send, and sends nothing.
func (c *channel) Test(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	conn, err := c.pool.server.dial(limited)
	if err != nil {
		return c.failed(ctx, limited, stageConnect, err, c.hidden)
	}
	defer conn.quit()
	defer conn.guard(limited)()
	if err := conn.Mail(c.bounce, nil); err != nil {
		return c.failed(ctx, limited, stageSender, err, c.hidden)
	}
	return nil
}

// post sends one message.
func (c *channel) post(ctx context.Context, m *channels.Message) channels.Result {
	if err := c.pool.enter(ctx); err != nil { // before anything is composed: what waits takes no room
		return channels.Failed(channels.ClassCancelled, "cancelled", err)
	}
	defer c.pool.leave()
	l, err := c.compose(m, c.now())
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	for fresh := false; ; fresh = true {
		conn, reused, err := c.pool.take(limited, fresh)
		if err != nil {
			return channels.Result{Err: c.failed(ctx, limited, stageConnect, err, l.hidden)}
		}
		at, err := c.deliver(limited, conn, l)
		// A server may have ended a connection that was idle, and says so at the next word. Nothing was
		// said of the message yet, so this is no second attempt.
		if err != nil && reused && at == stageSender && gone(err) && limited.Err() == nil {
			continue
		}
		if err != nil {
			return channels.Result{Err: c.failed(ctx, limited, at, err, l.hidden)}
		}
		return channels.Result{ProviderID: l.id}
	}
}

// deliver has one conversation about a letter, and gives the connection back or ends it.
func (c *channel) deliver(ctx context.Context, conn *conn, l *letter) (at stage, err error) {
	stop := conn.guard(ctx)
	at, err = converse(conn, l)
	open := stop()
	conn.sent++
	conn.dirty = err != nil
	if !open || (err != nil && gone(err)) {
		_ = conn.raw.Close()
		return at, err
	}
	c.pool.put(conn)
	return at, err
}

// converse says what SMTP wants said about a letter, and how far it came.
func converse(conn *conn, l *letter) (stage, error) {
	if size, ok := conn.MaxMessageSize(); ok && size > 0 && len(l.raw) > size {
		return stageSender, refused("size", "the message is %d bytes, and the server takes %d", len(l.raw), size)
	}
	if ok, _ := conn.Extension("SMTPUTF8"); l.utf8 && !ok {
		return stageSender, refused("address", "the server takes no addresses beyond ASCII (SMTPUTF8)")
	}
	if err := conn.Mail(l.from, &gosmtp.MailOptions{Size: int64(len(l.raw)), UTF8: l.utf8}); err != nil {
		return stageSender, err
	}
	if err := conn.Rcpt(l.to, nil); err != nil {
		return stageRecipient, err
	}
	data, err := conn.Data()
	if err != nil {
		return stageData, err
	}
	if _, err := data.Write(l.raw); err != nil {
		return stageData, err
	}
	return stageData, data.Close()
}

// gone says whether a connection cannot be used after an error: it is broken, or the server ends it,
// or it speaks out of turn.
func gone(err error) bool {
	if _, ours := errors.AsType[*channels.DeliveryError](err); ours {
		return false
	}
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	return !ok || reply.Code == 421 || reply.Code < 400 || reply.Code > 599
}

// failed makes the error of a message that was not accepted, or may not have been.
func (c *channel) failed(ctx, limited context.Context, at stage, err error, hidden []string) error {
	failure := &channels.DeliveryError{}
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	switch {
	case ok && reply.Code >= 400 && reply.Code <= 599:
		code := enhanced(reply)
		failure.Class = classify(c.answers, at, reply.Code, code)
		failure.Code = strings.TrimSpace(strconv.Itoa(reply.Code) + " " + code)
		failure.Err = errors.New(channels.Excerpt([]byte(hide(reply.Message, hidden))))
	case ok:
		failure = channels.Transport(ctx, fmt.Errorf("a reply out of turn, %d", reply.Code))
	case limited.Err() != nil && ctx.Err() == nil:
		failure = channels.Transport(ctx, context.DeadlineExceeded)
	default:
		failure = channels.Transport(ctx, err, hidden...)
	}
	failure.Err = fmt.Errorf("sending through %s: %w", c.pool.server.host, failure.Err)
	return failure
}

// hide takes secrets and addresses out of what a server says, however it writes them.
func hide(said string, hidden []string) string {
	for _, h := range hidden {
		if len(h) >= 4 {
			said = regexp.MustCompile("(?i)"+regexp.QuoteMeta(h)).ReplaceAllLiteralString(said, "***")
		}
	}
	return said
}
