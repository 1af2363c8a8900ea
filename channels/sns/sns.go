// Package sns sends text messages through Amazon SNS.
package sns

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/sms"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
)

// inFlight is how many requests of one batch are under way at once.
const inFlight = 16

// maxAnswer is how much of an answer is read, in bytes: SNS's are a few hundred.
const maxAnswer = 16 << 10

// Spec describes the adapter.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "sns",
		Kind:  "sms",
		About: "Text messages through Amazon SNS. The number is the person's trait `phone`, with its country (+14155550100). Who is refused because they have answered STOP is recorded to have withdrawn their consent for the channel, so that no rule tries them again. SNS knows no id by which it could tell a repeat of a text message: one whose answer was lost on the network is tried again, and can arrive twice. SNS cuts a long text between words, so it can take a part more than is counted here.",
		Config: []channels.Field{
			{Name: "region", Type: "string", Required: true, Example: "eu-central-1", About: "the AWS region"},
			{Name: "access_key_id", Type: "string", Example: "AKIAIOSFODNN7EXAMPLE", About: "an access key. Without: what the machine has (AWS's environment variables, shared files, or the role of the instance, task or pod)"},
			{Name: "secret_access_key", Type: "string", Secret: true, About: "the access key's secret"},
			{Name: "session_token", Type: "string", Secret: true, About: "the session's token, of temporary keys"},
			{Name: "from", Type: "string", Example: "Shop", About: "the sender: up to 11 letters and digits where the country allows them, or a number of the account's. Without: SNS chooses"},
			{Name: "sms_type", Type: "string", Default: "by_category", Example: "promotional", About: "promotional (the cheapest way), transactional (the most reliable one), or by_category: what the rule's category is"},
			sms.Limit(),
			{Name: "timeout", Type: "duration", Default: "15s", Example: "5s", About: "for each message"},
			{Name: "connections", Type: "int", Default: "32", Example: "8", About: "connections kept and used at once"},
			{Name: "endpoint", Type: "string", Example: "https://vpce-0a1b.sns.eu-central-1.vpce.amazonaws.com", About: "instead of the region's: a VPC endpoint, or a local server"},
			{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
		},
		Message:     sms.Fields(),
		Needs:       "phone",
		MaxPayload:  sms.Default,
		LimitField:  sms.LimitField,
		Unit:        sms.Unit,
		Measure:     sms.Measure,
		Batch:       50,
		Concurrency: 2,
		Repeat:      channels.RepeatDoubles,
		Answers:     answers(),
		Tried:       "Tried against a local server that follows AWS's documentation (the query protocol's Publish, its validation and errors, signatures of version 4). Not tried against AWS: that takes an account that may send text messages. Keys that the machine has were not tried but for AWS's environment variables.",
		New:         open,
	}
}

// settings is the config.
type settings struct {
	Region      string            `json:"region"`
	Key         string            `json:"access_key_id"`
	Secret      channels.Secret   `json:"secret_access_key"`
	Session     channels.Secret   `json:"session_token"`
	From        string            `json:"from"`
	Type        string            `json:"sms_type"`
	MaxSegments int               `json:"max_segments"`
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	Endpoint    string            `json:"endpoint"`
	CA          string            `json:"ca"`
}

// channel sends.
type channel struct {
	settings  settings
	table     []channels.Answer
	host      string // for errors
	hidden    []string
	transport *http.Transport
	client    *sns.Client
	now       func() time.Time
}

// region is the form of AWS's regions, which become part of a host's name.
var region = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d+$`)

// check finds the first mistake that the spec's fields do not show.
func (s *settings) check() error {
	bad := func(field, summary, suggest string) error {
		return channels.Problem{Field: field, Summary: summary, Suggest: suggest}
	}
	switch {
	case !region.MatchString(s.Region):
		return bad("region", "is not a region", "for example eu-central-1")
	case s.Key == "" && (s.Secret != "" || s.Session != ""):
		return bad("access_key_id", "is missing", "secret_access_key is the secret of one")
	case s.Key != "" && s.Secret == "":
		return bad("secret_access_key", "is missing", "it is the secret of access_key_id")
	case !slices.Contains([]string{"by_category", "promotional", "transactional"}, s.Type):
		return bad("sms_type", "is none of by_category, promotional, transactional", "")
	case s.Connections < 1:
		return bad("connections", "is below 1", "")
	}
	if s.From != "" && !validSender(s.From) {
		return bad("from", "is not a sender", "up to 11 letters and digits, with a letter, or a number as +14155550100")
	}
	return sms.CheckLimit(s.MaxSegments)
}

// senderID is the form of senders that are no number.
var senderID = regexp.MustCompile(`^[A-Za-z0-9-]{1,11}$`)

// validSender says whether SNS could take a sender.
func validSender(from string) bool {
	return sms.IsNumber(from) || senderID.MatchString(from) && strings.ContainsFunc(from, func(r rune) bool { return r >= 'A' })
}

// open makes a channel; it does not connect.
func open(o channels.Options) (channels.Channel, error) {
	var s settings
	if err := Spec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("channel sns: it needs a clock")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("config of sns: %w", err)
	}
	c := &channel{settings: s, table: answers(), now: o.Now, host: "sns." + s.Region + ".amazonaws.com", hidden: []string{s.Secret.Reveal(), s.Session.Reveal()}}
	var base *string
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("config of sns: %w", channels.Problem{Field: "endpoint", Summary: "is not an https URL without a path", Suggest: "for example https://127.0.0.1:8443"})
		}
		base, c.host = aws.String("https://"+u.Host), u.Host
	}
	roots, err := channels.RootCAs(s.CA, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("config of sns: %w", err)
	}
	c.transport = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        s.Connections,
		MaxIdleConnsPerHost: s.Connections,
		MaxConnsPerHost:     s.Connections,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	keys, err := s.keys()
	if err != nil {
		return nil, err
	}
	c.client = sns.New(sns.Options{
		Region: s.Region, BaseEndpoint: base, Credentials: keys,
		// Retries are the sender's business.
		Retryer: aws.NopRetryer{},
		HTTPClient: &http.Client{
			Transport:     noting{c.transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	return c, nil
}

// keys are the config's, else those that AWS's library finds on the machine when the first message is sent.
func (s *settings) keys() (aws.CredentialsProvider, error) {
	if s.Key != "" {
		return credentials.NewStaticCredentialsProvider(s.Key, s.Secret.Reveal(), s.Session.Reveal()), nil
	}
	found, err := awsconfig.LoadDefaultConfig(context.Background(), awsconfig.WithRegion(s.Region))
	if err != nil {
		// The library's error may quote the files that it reads.
		return nil, errors.New("config of sns: AWS's shared files or environment variables on this machine cannot be read")
	}
	return found.Credentials, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.text)
}

// Close implements channels.Closer.
func (c *channel) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// Test implements channels.Tester: it publishes to nobody, neither a number nor a topic. Whose key is good is told
// that something is missing. Whether the key may publish shows with the first message.
func (c *channel) Test(ctx context.Context) error {
	a, _, err := c.publish(ctx, &sns.PublishInput{Message: aws.String("test")})
	code, _ := said(err)
	if a.status == http.StatusBadRequest && code == "InvalidParameter" {
		return nil
	}
	if a.status == 0 {
		return fmt.Errorf("asking %s: %w", c.host, c.failed(ctx, &a, err))
	}
	return fmt.Errorf("asking %s: %w", c.host, c.refused(&a, err))
}

// text sends one message.
func (c *channel) text(ctx context.Context, m *channels.Message) channels.Result {
	number, err := sms.Number(m.Address.Phone)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	body, err := sms.Text(m, c.settings.MaxSegments)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	from := cmp.Or(strings.TrimSpace(m.Text("from")), c.settings.From)
	if from != "" && !validSender(from) {
		return channels.Failed(channels.ClassMessage, "field", errors.New("the field from is neither up to 11 letters and digits nor a number"))
	}
	a, id, err := c.publish(ctx, &sns.PublishInput{
		PhoneNumber: &number, Message: &body, MessageAttributes: c.attributes(from, m.About["category"] == "transactional"),
	})
	a.hidden = append(a.hidden, sms.Hidden(m, number)...)
	var failure *channels.DeliveryError
	switch {
	case a.status == 0:
		failure = c.failed(ctx, &a, err)
	case channels.Classify(c.table, a.status, "") == "":
		return channels.Result{ProviderID: id} // accepted by its status, however the body reads
	default:
		failure = c.refused(&a, err)
	}
	failure.Err = fmt.Errorf("texting %s: %w", sms.Short(number), failure.Err)
	return channels.Result{Err: failure}
}

// attributes say what kind of text message it is.
func (c *channel) attributes(from string, transactional bool) map[string]types.MessageAttributeValue {
	kind := map[string]string{"promotional": "Promotional", "transactional": "Transactional"}[c.settings.Type]
	if kind == "" {
		kind = "Promotional"
		if transactional {
			kind = "Transactional"
		}
	}
	attributes := map[string]types.MessageAttributeValue{"AWS.SNS.SMS.SMSType": attribute(kind)}
	switch {
	case sms.IsNumber(from):
		attributes["AWS.MM.SMS.OriginationNumber"] = attribute(from)
	case from != "":
		attributes["AWS.SNS.SMS.SenderID"] = attribute(from)
	}
	return attributes
}

func attribute(value string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
}

// publish makes one request through AWS's library and notes what became of it.
func (c *channel) publish(ctx context.Context, in *sns.PublishInput) (a attempt, id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.settings.Timeout))
	defer cancel()
	a.hidden = slices.Clone(c.hidden)
	out, err := c.client.Publish(context.WithValue(ctx, attemptKey{}, &a), in)
	if err == nil && out.MessageId != nil {
		id = *out.MessageId
	}
	return a, id, err //nolint:wrapcheck // it is looked into, and never shown
}

// failed is the error of a request without an answer.
func (c *channel) failed(ctx context.Context, a *attempt, err error) *channels.DeliveryError {
	if a.err == nil && ctx.Err() == nil {
		if _, late := errors.AsType[interface {
			error
			Timeout() bool
		}](err); !late {
			// Nothing was sent. The library's error may quote what the machine's files hold.
			return &channels.DeliveryError{Class: channels.ClassCredential, Code: "credentials", Err: errors.New("the request could not be signed: this machine has no keys for AWS")}
		}
	}
	return channels.Transport(ctx, either(a.err, err), a.hidden...)
}

// refused is the error of an answer.
func (c *channel) refused(a *attempt, err error) *channels.DeliveryError {
	code, message := said(err)
	failure := &channels.DeliveryError{
		Class:    channels.Classify(c.table, a.status, code),
		Code:     cmp.Or(code, strconv.Itoa(a.status)),
		OptedOut: channels.OptedOut(c.table, code) || aboutOptOut(code, message),
	}
	if failure.OptedOut || aboutNumber(code, message) {
		failure.Class = channels.ClassAddress
	}
	if message == "" {
		message = string(a.body)
	}
	failure.Err = fmt.Errorf("refused by SNS: %s", cmp.Or(channels.Excerpt([]byte(message), a.hidden...), http.StatusText(a.status)))
	if failure.Class == channels.ClassRateLimit || failure.Class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(a.header.Get("Retry-After"), c.now())
	}
	return failure
}

// said is the code and the message of SNS's error, "" for an answer that is not SNS's.
func said(err error) (code, message string) {
	failure, ok := errors.AsType[smithy.APIError](err)
	if !ok || failure.ErrorCode() == "UnknownError" {
		return "", ""
	}
	if code = failure.ErrorCode(); len(code) > 60 || strings.ContainsFunc(code, func(r rune) bool { return r < 'A' || r > 'z' }) {
		return "", ""
	}
	return code, failure.ErrorMessage()
}

// attemptKey is the context key of *attempt.
type attemptKey struct{}

// attempt is one request on its way through AWS's library, and what became of it.
type attempt struct {
	status int // 0 for no answer
	header http.Header
	body   []byte
	err    error    // of the network
	hidden []string // what no error may contain
}

// noting is the RoundTripper under AWS's library. The library reads an answer whole, however long it is, and makes
// an error of an answer that it cannot read although the message was accepted; so what was answered is noted here,
// and the library gets no more of it than an answer of SNS's can have.
type noting struct{ base *http.Transport }

// RoundTrip implements http.RoundTripper.
func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	a, ok := r.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return nil, errors.New("a request that is not ours")
	}
	a.hidden = append(a.hidden, r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token"))
	response, err := n.base.RoundTrip(r)
	if err != nil {
		a.err = err
		return nil, err //nolint:wrapcheck // a RoundTripper returns what the one below it says
	}
	defer response.Body.Close()
	// What was decided stands in the status: a body that breaks off is as good as it came.
	a.body, _ = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	a.status, a.header = response.StatusCode, response.Header
	response.Body = io.NopCloser(bytes.NewReader(a.body))
	return response, nil
}

// either is the first error that is one.
func either(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
