package snsd

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // it is what version 1 signs with
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"nudge/channels/channeltest/provider"
)

// Notifier is a topic of SNS with a subscription over HTTPS: it signs what is posted to the subscriber, and serves the
// certificate and the confirmation. It follows AWS's pages "Parsing Amazon SNS message formats" and "Verifying the
// signatures of Amazon SNS messages".
type Notifier struct {
	// Version is that of the signature, "1" or "2".
	Version string

	now  func() time.Time
	key  *rsa.PrivateKey
	cert []byte // PEM
	ca   *provider.CA
	http *httptest.Server

	mu        sync.Mutex
	down      bool
	fetched   int
	confirmed int
}

// What the topic is called, and where it is.
const (
	TopicARN = "arn:aws:sns:" + Region + ":123456789012:mail"
	Host     = "sns." + Region + ".amazonaws.com"
	certPath = "/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem"
	token    = "2336412f37fb687f5d51e6e241d44a2cb136210086999f407bae05b5ca7bda40"
)

// StartNotifier begins to serve, with a certificate that is valid for a day from now.
func StartNotifier(now func() time.Time) (*Notifier, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the topic's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sns.amazonaws.com"},
		NotBefore: now().Add(-time.Hour), NotAfter: now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the topic's certificate: %w", err)
	}
	t := &Notifier{Version: "2", now: now, key: key, cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if t.ca, err = provider.NewCA(now()); err != nil {
		return nil, err
	}
	cert, err := t.ca.Server()
	if err != nil {
		return nil, err
	}
	t.http = httptest.NewUnstartedServer(http.HandlerFunc(t.serve))
	t.http.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	t.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.http.StartTLS()
	return t, nil
}

// Close ends the server.
func (t *Notifier) Close() { t.http.Close() }

// Transport leads requests to Host here, and nowhere else.
func (t *Notifier) Transport() http.RoundTripper {
	return &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: t.ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != Host+":443" {
				return nil, fmt.Errorf("%s is not %s:443", address, Host)
			}
			return new(net.Dialer).DialContext(ctx, network, t.http.Listener.Addr().String())
		},
	}
}

// Break makes every request fail, or no more.
func (t *Notifier) Break(down bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down = down
}

// Fetched is how often the certificate was asked for.
func (t *Notifier) Fetched() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fetched
}

// Confirmed is how often the subscription was confirmed.
func (t *Notifier) Confirmed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.confirmed
}

func (t *Notifier) serve(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := r.URL.Query()
	switch {
	case t.down:
		http.Error(w, "not now", http.StatusInternalServerError)
	case r.URL.Path == certPath:
		t.fetched++
		_, _ = w.Write(t.cert)
	case r.URL.Path == "/" && q.Get("Action") == "ConfirmSubscription" && q.Get("TopicArn") == TopicARN && q.Get("Token") == token:
		t.confirmed++
		_, _ = io.WriteString(w, `<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"/>`)
	default:
		http.NotFound(w, r)
	}
}

// Notification is the body of a post of a message, sent now. change, where it is given, may change what stands in it, and
// sign it again.
func (t *Notifier) Notification(message string, change func(post map[string]string, sign func())) []byte {
	at := t.now().UTC().Format("2006-01-02T15:04:05.000Z")
	post := map[string]string{
		"Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TopicARN, "Subject": "Amazon SES Email Event Notification",
		"Message": message, "Timestamp": at, "SignatureVersion": t.Version, "SigningCertURL": "https://" + Host + certPath,
		"UnsubscribeURL": "https://" + Host + "/?Action=Unsubscribe&SubscriptionArn=" + TopicARN + ":c9135db0",
	}
	return t.body(post, func() string {
		text := "Message\n" + post["Message"] + "\nMessageId\n" + post["MessageId"] + "\n"
		if subject, ok := post["Subject"]; ok {
			text += "Subject\n" + subject + "\n"
		}
		return text + "Timestamp\n" + post["Timestamp"] + "\nTopicArn\n" + post["TopicArn"] + "\nType\n" + post["Type"] + "\n"
	}, change)
}

// Confirmation is the body of a post that asks to confirm the subscription.
func (t *Notifier) Confirmation(change func(post map[string]string, sign func())) []byte {
	post := map[string]string{
		"Type": "SubscriptionConfirmation", "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b", "TopicArn": TopicARN, "Token": token,
		"Message":   "You have chosen to subscribe to the topic " + TopicARN + ".\nTo confirm the subscription, visit the SubscribeURL included in this message.",
		"Timestamp": t.now().UTC().Format("2006-01-02T15:04:05.000Z"), "SignatureVersion": t.Version, "SigningCertURL": "https://" + Host + certPath,
		"SubscribeURL": "https://" + Host + "/?Action=ConfirmSubscription&TopicArn=" + TopicARN + "&Token=" + token,
	}
	return t.body(post, func() string {
		return "Message\n" + post["Message"] + "\nMessageId\n" + post["MessageId"] + "\nSubscribeURL\n" + post["SubscribeURL"] +
			"\nTimestamp\n" + post["Timestamp"] + "\nToken\n" + post["Token"] + "\nTopicArn\n" + post["TopicArn"] + "\nType\n" + post["Type"] + "\n"
	}, change)
}

// body signs a post, and changes it if that is wanted.
func (t *Notifier) body(post map[string]string, text func() string, change func(map[string]string, func())) []byte {
	sign := func() {
		kind, sum := crypto.SHA256, sha256.New()
		if t.Version == "1" {
			kind, sum = crypto.SHA1, sha1.New() //nolint:gosec // see the import
		}
		_, _ = io.WriteString(sum, text())
		signature, err := rsa.SignPKCS1v15(rand.Reader, t.key, kind, sum.Sum(nil))
		if err != nil {
			panic(err) // the key is ours, and long enough
		}
		post["Signature"] = base64.StdEncoding.EncodeToString(signature)
	}
	sign()
	if change != nil {
		change(post, sign)
	}
	raw, err := json.Marshal(post)
	if err != nil {
		panic(err) // text
	}
	return raw
}
