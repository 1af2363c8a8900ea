// Package snsd is a local Amazon SNS, as far as nudge sends through it: the actions Publish (to numbers, topics and
// endpoints), PublishBatch, CreatePlatformEndpoint and those that look at a topic or a platform application, of its query
// protocol over TLS, with signatures checked (version 4), and answers and errors as XML.
//
// It follows AWS's pages on these actions, "Common errors", "Signature Version 4", "Publishing Amazon SNS notifications
// with platform-specific payloads", "Using FCM v1 payloads" and "Message deduplication for FIFO topics".
package snsd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"nudge/channels/channeltest/provider"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Who may sign in, and where.
const (
	Region    = "eu-central-1"
	AccessKey = "AKIAIOSFODNN7EXAMPLE"
	SecretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// What the account has: two topics, and a platform application of each kind.
const (
	Topic   = "arn:aws:sns:eu-central-1:123456789012:shop-news"
	FIFO    = "arn:aws:sns:eu-central-1:123456789012:shop-news.fifo"
	APNS    = "arn:aws:sns:eu-central-1:123456789012:app/APNS/shop"
	Sandbox = "arn:aws:sns:eu-central-1:123456789012:app/APNS_SANDBOX/shop"
	GCM     = "arn:aws:sns:eu-central-1:123456789012:app/GCM/shop"
)

// Server is SNS on this machine. Its Log has every request that publishes. The ID of one is the number that it is to,
// because a text message has no id before SNS makes one; to an endpoint, the collapse id of the push; to a topic, the
// attributes "id" of its messages, with commas between.
type Server struct {
	*provider.HTTPS
	// Setup has the requests that publish nothing: its script orders faults for them.
	Setup *provider.Log

	now func() time.Time

	mu        sync.Mutex
	opted     map[string]bool
	endpoints map[string]*endpoint // by ARN
	disabled  map[string]bool      // platform applications
	mayLook   bool
	fails     func(id string) (code string, ours bool)
	seen      map[string]string // message ids of FIFO topics, by topic and deduplication id
}

// endpoint is a device as SNS knows it.
type endpoint struct {
	app, token string
	disabled   bool
	custom     string
}

// Start begins to serve.
func Start(now func() time.Time) (*Server, error) {
	s := &Server{
		Setup: provider.NewLog(), now: now, opted: make(map[string]bool), endpoints: make(map[string]*endpoint),
		disabled: make(map[string]bool), mayLook: true, seen: make(map[string]string),
	}
	var err error
	s.HTTPS, err = provider.StartHTTPS(now(), s)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OptOut takes a number off the list of those who may be written to.
func (s *Server) OptOut(number string) { s.set(func() { s.opted[number] = true }) }

// Register makes the endpoint of a device's token and returns its ARN. custom is data of whoever made it.
func (s *Server) Register(app, token, custom string) (arn string) {
	s.set(func() { arn = s.register(app, token, custom) })
	return arn
}

// Disable disables an endpoint, as SNS does once the device's service does not know the token any more.
func (s *Server) Disable(arn string) { s.set(func() { s.endpoints[arn].disabled = true }) }

// Delete deletes an endpoint.
func (s *Server) Delete(arn string) { s.set(func() { delete(s.endpoints, arn) }) }

// DisableApplication disables a platform application, as SNS does once its key is not valid any more.
func (s *Server) DisableApplication(arn string) { s.set(func() { s.disabled[arn] = true }) }

// ForbidLooking takes from the key the right to look at topics and platform applications.
func (s *Server) ForbidLooking() { s.set(func() { s.mayLook = false }) }

// Fail decides of each message to a topic, by its attribute "id", with what code it fails, "" for not at all, and
// whether that is SNS's own fault.
func (s *Server) Fail(fails func(id string) (code string, ours bool)) {
	s.set(func() { s.fails = fails })
}

func (s *Server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// maxRequest bounds what is read of one request, in bytes.
const maxRequest = 8 << 20

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return // the client went away while it was sending
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		form = url.Values{}
	}
	log := s.Log
	if !strings.HasPrefix(form.Get("Action"), "Publish") {
		log = s.Setup
	}
	to := func([]byte) string { return form.Get("PhoneNumber") + form.Get("TargetArn") + form.Get("TopicArn") }
	log.Serve(w, r, s.now(), func([]byte) string { return idOf(form) }, to,
		func([]byte) provider.Answer { return s.judge(r, form, body) },
		func(status int, code string) provider.Answer { return refuse(status, code, "") })
}

// idOf is the Log's ID of a request.
func idOf(form url.Values) string {
	switch {
	case form.Has("PhoneNumber"):
		return form.Get("PhoneNumber")
	case form.Has("TargetArn"):
		return attributesOf(form, "")["AWS.SNS.MOBILE.APNS.COLLAPSE_ID"].value
	}
	var ids []string
	for _, e := range entriesOf(form) {
		ids = append(ids, attributesOf(form, e)["id"].value)
	}
	return strings.Join(ids, ",")
}

// judge does what SNS does with a request.
func (s *Server) judge(r *http.Request, form url.Values, body []byte) provider.Answer {
	if code := s.signed(r, body); code != "" {
		return refuse(http.StatusForbidden, code, "")
	}
	if r.Method != http.MethodPost || form.Get("Version") != "2010-03-31" {
		return refuse(http.StatusBadRequest, "InvalidAction", "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch form.Get("Action") {
	case "Publish":
		return s.publish(form)
	case "PublishBatch":
		return s.publishBatch(form)
	case "CreatePlatformEndpoint":
		return s.create(form)
	case "GetTopicAttributes":
		return s.look(form.Get("TopicArn"), "GetTopicAttributes")
	case "GetPlatformApplicationAttributes":
		return s.look(form.Get("PlatformApplicationArn"), "GetPlatformApplicationAttributes")
	}
	return refuse(http.StatusBadRequest, "InvalidAction", "")
}

// invalid is SNS's error of a parameter.
func invalid(why string) provider.Answer {
	return refuse(http.StatusBadRequest, "InvalidParameter", "Invalid parameter: "+why)
}

// credential is the part of an Authorization header that names who signed what.
var credential = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/\d{8}/([a-z0-9-]+)/sns/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$`)

// signed checks a request's signature by signing it again, "" for a good one.
func (s *Server) signed(r *http.Request, body []byte) string {
	have := r.Header.Get("Authorization")
	parts := credential.FindStringSubmatch(have)
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	switch {
	case have == "":
		return "MissingAuthenticationToken"
	case parts == nil || err != nil:
		return "IncompleteSignature"
	case parts[1] != AccessKey:
		return "InvalidClientTokenId"
	case s.now().Sub(at).Abs() > 15*time.Minute, parts[2] != Region:
		return "SignatureDoesNotMatch"
	}
	again, err := http.NewRequestWithContext(context.Background(), r.Method, "https://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return "IncompleteSignature"
	}
	for name, values := range r.Header {
		if slices.Contains(strings.Split(parts[3], ";"), strings.ToLower(name)) {
			again.Header[name] = values
		}
	}
	sum := sha256.Sum256(body)
	who := aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey, SessionToken: r.Header.Get("X-Amz-Security-Token")}
	if err := v4.NewSigner().SignHTTP(context.Background(), who, again, hex.EncodeToString(sum[:]), "sns", Region, at); err != nil {
		return "IncompleteSignature"
	}
	if subtle.ConstantTimeCompare([]byte(have), []byte(again.Header.Get("Authorization"))) != 1 {
		return "SignatureDoesNotMatch"
	}
	return ""
}

// refuse is SNS's error.
func refuse(status int, code, message string) provider.Answer {
	var answer struct {
		XMLName xml.Name `xml:"http://sns.amazonaws.com/doc/2010-03-31/ ErrorResponse"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
		Request string   `xml:"RequestId"`
	}
	answer.Type, answer.Code, answer.Message, answer.Request = "Sender", code, message, newID()
	if status >= 500 {
		answer.Type = "Receiver"
	}
	if message == "" {
		answer.Message = "The request was refused: " + code
	}
	return encode(status, code, answer)
}

// encode makes an answer of XML.
func encode(status int, code string, body any) provider.Answer {
	raw, err := xml.Marshal(body)
	if err != nil {
		raw = nil
	}
	return provider.Answer{Status: status, Code: code, Header: http.Header{"Content-Type": {"text/xml"}}, Body: raw}
}

// newID makes an id of a message or a request.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
