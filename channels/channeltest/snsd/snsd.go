// Package snsd is a local Amazon SNS, as far as it sends text messages: the action Publish of its query
// protocol over TLS, with signatures checked (version 4), and answers and errors as XML.
//
// It follows AWS's pages "Publish", "Common errors" and "Signature Version 4".
package snsd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

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

// Server is SNS on this machine. Its Log has every request; the ID of one is the number that it is to, because a
// message has no id before SNS makes one.
type Server struct {
	*provider.Log
	// CA is whom clients must trust.
	CA *provider.CA

	now  func() time.Time
	http *httptest.Server

	mu    sync.Mutex
	opted map[string]bool
}

// Start begins to serve.
func Start(now func() time.Time) (*Server, error) {
	ca, err := provider.NewCA(now())
	if err != nil {
		return nil, err
	}
	cert, err := ca.Server()
	if err != nil {
		return nil, err
	}
	s := &Server{Log: provider.NewLog(), CA: ca, now: now, opted: make(map[string]bool)}
	s.http = httptest.NewUnstartedServer(s)
	s.http.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that go away are expected
	s.http.StartTLS()
	return s, nil
}

// Endpoint is the server's URL.
func (s *Server) Endpoint() string { return s.http.URL }

// Close ends the server and its connections.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// OptOut takes a number off the list of those who may be written to.
func (s *Server) OptOut(number string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opted[number] = true
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := func(body []byte) string {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return ""
		}
		return form.Get("PhoneNumber")
	}
	s.Serve(w, r, s.now(), to, to, func(body []byte) provider.Answer { return s.judge(r, body) }, func(status int, code string) provider.Answer {
		return refuse(status, code, "")
	})
}

// judge does what SNS does with a request.
func (s *Server) judge(r *http.Request, body []byte) provider.Answer {
	if code := s.signed(r, body); code != "" {
		return refuse(http.StatusForbidden, code, "")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != http.MethodPost || form.Get("Action") != "Publish" || form.Get("Version") != "2010-03-31" {
		return refuse(http.StatusBadRequest, "InvalidAction", "")
	}
	if why := check(form); why != "" {
		return refuse(http.StatusBadRequest, "InvalidParameter", "Invalid parameter: "+why)
	}
	s.mu.Lock()
	opted := s.opted[form.Get("PhoneNumber")]
	s.mu.Unlock()
	if opted {
		return refuse(http.StatusBadRequest, "OptedOut", "The phone number "+form.Get("PhoneNumber")+" is opted out")
	}
	var answer struct {
		XMLName xml.Name `xml:"http://sns.amazonaws.com/doc/2010-03-31/ PublishResponse"`
		Message string   `xml:"PublishResult>MessageId"`
		Request string   `xml:"ResponseMetadata>RequestId"`
	}
	answer.Message, answer.Request = newID(), newID()
	return encode(http.StatusOK, "", answer)
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

var (
	e164   = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)
	sender = regexp.MustCompile(`^[A-Za-z0-9-]{1,11}$`)
)

// check validates the parameters of Publish, "" for none that is wrong.
func check(form url.Values) string {
	number, text := form.Get("PhoneNumber"), form.Get("Message")
	switch {
	case number == "":
		return "TopicArn or TargetArn Reason: no value for required parameter"
	case !e164.MatchString(number):
		return "PhoneNumber Reason: " + number + " is not valid to publish to"
	case text == "":
		return "Empty message"
	case utf8.RuneCountInString(text) > 1600:
		return "Message too long"
	}
	for i := 1; form.Has(fmt.Sprintf("MessageAttributes.entry.%d.Name", i)); i++ {
		entry := fmt.Sprintf("MessageAttributes.entry.%d.", i)
		value, kind := form.Get(entry+"Value.StringValue"), form.Get(entry+"Value.DataType")
		ok := kind == "String"
		switch form.Get(entry + "Name") {
		case "AWS.SNS.SMS.SMSType":
			ok = ok && (value == "Promotional" || value == "Transactional")
		case "AWS.SNS.SMS.SenderID":
			ok = ok && sender.MatchString(value)
		case "AWS.MM.SMS.OriginationNumber":
			ok = ok && e164.MatchString(value)
		}
		if !ok {
			return "The message attribute '" + form.Get(entry+"Name") + "' is not valid"
		}
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
