package email

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // it is what version 1 signs with
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"nudge/channels"
)

// topic reads what one topic of Amazon SNS posts ("Verifying the signatures of Amazon SNS messages"). It is safe for
// concurrent use.
type topic struct {
	arn  string
	host string // the one that signs and confirms
	now  func() time.Time
	http *http.Client

	mu    sync.Mutex
	certs map[string]*rsa.PublicKey // by their URL
}

// arnForm is the name of a topic: its partition and region say who speaks for it.
var arnForm = regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d+):\d{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?$`)

// certForm is the path of a signing certificate. Nothing else at that host counts: it would also repeat what one asks.
var certForm = regexp.MustCompile(`^/SimpleNotificationService-[0-9A-Za-z]+\.pem$`)

const (
	// askFor bounds a request to SNS.
	askFor = 10 * time.Second
	// maxFetched is how much is read of a certificate or a confirmation, in bytes: they have a few thousand.
	maxFetched = 64 << 10
	// mostCerts bounds the memory; a topic has one certificate, and another every year or so.
	mostCerts = 8
)

// newTopic takes a topic's ARN; false where it is none.
func newTopic(arn string, now func() time.Time) (*topic, bool) {
	m := arnForm.FindStringSubmatch(arn)
	if m == nil {
		return nil, false
	}
	host := "sns." + m[2] + ".amazonaws.com"
	if m[1] == "aws-cn" {
		host += ".cn"
	}
	return &topic{
		arn: arn, host: host, now: now, certs: make(map[string]*rsa.PublicKey),
		http: &http.Client{
			Timeout:       askFor,
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: askFor}, // asked once in a while
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, true
}

// envelope is what SNS posts.
type envelope struct {
	Type             string
	MessageID        string `json:"MessageId"`
	TopicARN         string `json:"TopicArn"`
	Subject          *string
	Message          string
	Timestamp        string
	Token            string
	SubscribeURL     string
	SignatureVersion string
	Signature        string
	SigningCertURL   string
}

// open reads a post of SNS and returns the message in it. It confirms a subscription to the topic; that, and the end of
// one, has no message.
func (t *topic) open(r *http.Request, body []byte) (message string, ok bool, err error) {
	if r.Header.Get("X-Amz-Sns-Rawdelivery") == "true" {
		return "", false, errors.New("switch off «raw message delivery» of the subscription: what comes without its envelope is not signed")
	}
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return "", false, fmt.Errorf("read what SNS posts: %w", err)
	}
	if e.TopicARN != t.arn {
		return "", false, channels.ErrForged("the topic is not callback_topic")
	}
	if err := t.verify(r.Context(), &e); err != nil {
		return "", false, err
	}
	at, err := time.Parse(time.RFC3339, e.Timestamp)
	if err != nil || stale(at, t.now()) {
		return "", false, errStale()
	}
	switch e.Type {
	case "Notification":
		return e.Message, true, nil
	case "SubscriptionConfirmation":
		return "", false, t.confirm(r.Context(), e.SubscribeURL)
	}
	return "", false, nil // UnsubscribeConfirmation: somebody wants it so
}

// signedText is what the signature of a post is over.
func (e *envelope) signedText() string {
	lines := []string{"Message", e.Message, "MessageId", e.MessageID}
	if e.Type == "Notification" {
		if e.Subject != nil {
			lines = append(lines, "Subject", *e.Subject)
		}
		lines = append(lines, "Timestamp", e.Timestamp)
	} else {
		lines = append(lines, "SubscribeURL", e.SubscribeURL, "Timestamp", e.Timestamp, "Token", e.Token)
	}
	return strings.Join(append(lines, "TopicArn", e.TopicARN, "Type", e.Type), "\n") + "\n"
}

// verify checks a post's signature.
func (t *topic) verify(ctx context.Context, e *envelope) error {
	forged := channels.ErrForged("the signature is not Amazon SNS's")
	signature, err := base64.StdEncoding.DecodeString(e.Signature)
	if err != nil {
		return forged
	}
	key, err := t.key(ctx, e.SigningCertURL)
	if err != nil {
		return err
	}
	text := []byte(e.signedText())
	switch e.SignatureVersion {
	case "1":
		sum := sha1.Sum(text) //nolint:gosec // see the import
		err = rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], signature)
	case "2":
		sum := sha256.Sum256(text)
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
	default:
		return channels.ErrForged("the signature's version is neither 1 nor 2")
	}
	if err != nil {
		return forged
	}
	return nil
}

// at reads an address of the topic's host.
func (t *topic) at(address string) (*url.URL, bool) {
	u, err := url.Parse(address)
	return u, err == nil && u.Scheme == "https" && u.Host == t.host && u.User == nil && u.Opaque == ""
}

// key is the public key of a signing certificate, which is fetched once.
func (t *topic) key(ctx context.Context, address string) (*rsa.PublicKey, error) {
	u, ok := t.at(address)
	if !ok || u.RawQuery != "" || !certForm.MatchString(u.Path) {
		return nil, channels.ErrForged("the signing certificate is not one of https://" + t.host)
	}
	t.mu.Lock()
	key := t.certs[address]
	t.mu.Unlock()
	if key != nil {
		return key, nil
	}
	raw, err := t.fetch(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("fetch the certificate that signs: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, channels.ErrForged("the signing certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, channels.ErrForged("the signing certificate is not an X.509 certificate")
	}
	key, ok = cert.PublicKey.(*rsa.PublicKey)
	if now := t.now(); !ok || now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return nil, channels.ErrForged("the signing certificate is not valid now")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.certs) >= mostCerts {
		clear(t.certs)
	}
	t.certs[address] = key
	return key, nil
}

// confirm subscribes for good, by the address that SNS gives for it.
func (t *topic) confirm(ctx context.Context, address string) error {
	u, ok := t.at(address)
	if !ok || u.Query().Get("Action") != "ConfirmSubscription" || u.Query().Get("TopicArn") != t.arn {
		return channels.ErrForged("SubscribeURL does not confirm callback_topic at https://" + t.host)
	}
	if _, err := t.fetch(ctx, u); err != nil {
		return fmt.Errorf("confirm the subscription: %w", err)
	}
	return nil
}

// fetch asks SNS. What fails is answered with 503, so that SNS posts again.
func (t *topic) fetch(ctx context.Context, u *url.URL) ([]byte, error) {
	failed := func(err error) error {
		return &channels.CallbackError{Status: http.StatusServiceUnavailable, Text: "asking " + t.host + ": " + err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, failed(err)
	}
	answer, err := t.http.Do(req)
	if err != nil {
		return nil, failed(channels.Transport(ctx, err).Err) // without the address: it has a token
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxFetched))
	if err != nil {
		return nil, failed(err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, failed(fmt.Errorf("status %d", answer.StatusCode))
	}
	return raw, nil
}
