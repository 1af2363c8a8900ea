package sns

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nudge/channels"
	"nudge/channels/rest"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
)

// maxAnswer is how much of an answer is read, in bytes: the longest are a topic's attributes, with its policy.
const maxAnswer = 64 << 10

// account is the part of a config that says whose SNS it is.
type account struct {
	Region      string            `json:"region"`
	Key         string            `json:"access_key_id"`
	Secret      channels.Secret   `json:"secret_access_key"`
	Session     channels.Secret   `json:"session_token"`
	Timeout     channels.Duration `json:"timeout"`
	Connections int               `json:"connections"`
	Endpoint    string            `json:"endpoint"`
	CA          string            `json:"ca"`
}

// accountFields are the fields of account, with the adapter's own between them.
func accountFields(own ...channels.Field) []channels.Field {
	fields := []channels.Field{
		{Name: "region", Type: "string", Required: true, Example: "eu-central-1", About: "the AWS region"},
		{Name: "access_key_id", Type: "string", Example: "AKIAIOSFODNN7EXAMPLE", About: "an access key. Without: what the machine has (AWS's environment variables, shared files, or the role of the instance, task or pod)"},
		{Name: "secret_access_key", Type: "string", Secret: true, About: "the access key's secret"},
		{Name: "session_token", Type: "string", Secret: true, About: "the session's token, of temporary keys"},
	}
	fields = append(fields, own...)
	return append(fields,
		channels.Field{Name: "timeout", Type: "duration", Default: "15s", Example: "5s", About: "for each request"},
		channels.Field{Name: "connections", Type: "int", Default: "32", Example: "8", About: "connections kept and used at once"},
		channels.Field{Name: "endpoint", Type: "string", Example: "https://vpce-0a1b.sns.eu-central-1.vpce.amazonaws.com", About: "instead of the region's: a VPC endpoint, or a local server"},
		channels.Field{Name: "ca", Type: "string", Example: "certs/ca.pem", About: "a PEM file with certificate authorities to trust beside the system's"},
	)
}

// region is the form of AWS's regions, which become part of a host's name.
var region = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d+$`)

// bad is a problem of a config.
func bad(field, summary, suggest string) error {
	return channels.Problem{Field: field, Summary: summary, Suggest: suggest}
}

// check finds the first mistake that the spec's fields do not show.
func (a *account) check() error {
	switch {
	case !region.MatchString(a.Region):
		return bad("region", "is not a region", "for example eu-central-1")
	case a.Key == "" && (a.Secret != "" || a.Session != ""):
		return bad("access_key_id", "is missing", "secret_access_key is the secret of one")
	case a.Key != "" && a.Secret == "":
		return bad("secret_access_key", "is missing", "it is the secret of access_key_id")
	case a.Connections < 1:
		return bad("connections", "is below 1", "")
	}
	return nil
}

// client makes requests of one account's SNS.
type client struct {
	table     []channels.Answer
	host      string // for errors
	hidden    []string
	timeout   time.Duration
	transport *http.Transport
	api       *sns.Client
	now       func() time.Time
}

// open makes a client of an account that was checked; it does not connect.
func (a *account) open(o channels.Options, table []channels.Answer) (*client, error) {
	c := &client{
		table: table, now: o.Now, host: "sns." + a.Region + ".amazonaws.com", timeout: time.Duration(a.Timeout),
		hidden: []string{a.Secret.Reveal(), a.Session.Reveal()},
	}
	var base *string
	if a.Endpoint != "" {
		u, err := url.Parse(a.Endpoint)
		if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return nil, bad("endpoint", "is not an https URL without a path", "for example https://127.0.0.1:8443")
		}
		base, c.host = aws.String("https://"+u.Host), u.Host
	}
	roots, err := channels.RootCAs(a.CA, o.Dir)
	if err != nil {
		return nil, err
	}
	c.transport = rest.Transport(roots, a.Connections)
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	c.api = sns.New(sns.Options{
		Region: a.Region, BaseEndpoint: base, Credentials: keys,
		// Retries are the sender's business.
		Retryer: aws.NopRetryer{},
		HTTPClient: &http.Client{
			Transport:     noting{c.transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	return c, nil
}

// connect makes the client of an adapter whose config is checked by check.
func connect(o channels.Options, adapter string, a *account, check func() error, table []channels.Answer) (*client, error) {
	if o.Now == nil {
		return nil, fmt.Errorf("channel %s: it needs a clock", adapter)
	}
	if err := check(); err != nil {
		return nil, fmt.Errorf("config of %s: %w", adapter, err)
	}
	c, err := a.open(o, table)
	if err != nil {
		return nil, fmt.Errorf("config of %s: %w", adapter, err)
	}
	return c, nil
}

// keys are the config's, else those that AWS's library finds on the machine when the first message is sent.
func (a *account) keys() (aws.CredentialsProvider, error) {
	if a.Key != "" {
		return credentials.NewStaticCredentialsProvider(a.Key, a.Secret.Reveal(), a.Session.Reveal()), nil
	}
	found, err := awsconfig.LoadDefaultConfig(context.Background(), awsconfig.WithRegion(a.Region))
	if err != nil {
		// The library's error may quote the files that it reads.
		return nil, errors.New("AWS's shared files or environment variables on this machine cannot be read")
	}
	return found.Credentials, nil
}

// Close implements channels.Closer.
func (c *client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// call makes one request through AWS's library. It is accepted by its status, however the library reads the answer; no
// failure has one of the hidden texts.
func (c *client) call(ctx context.Context, request func(context.Context) error, hidden ...string) (failure *channels.DeliveryError) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	a := attempt{hidden: append(hidden, c.hidden...)}
	err := request(context.WithValue(limited, attemptKey{}, &a))
	switch {
	case a.status == 0:
		return c.failed(ctx, &a, err)
	case channels.Classify(c.table, a.status, "") == "":
		return nil
	}
	code, message := said(err)
	if message == "" {
		message = string(a.body)
	}
	return c.refused(a.status, a.header, code, message, a.hidden...)
}

// failed is the error of a request without an answer.
func (c *client) failed(ctx context.Context, a *attempt, err error) *channels.DeliveryError {
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

// refused is the error of an answer, or of the part of one that is about one message.
func (c *client) refused(status int, header http.Header, code, message string, hidden ...string) *channels.DeliveryError {
	failure := &channels.DeliveryError{
		Class:    channels.Classify(c.table, status, code),
		Code:     cmp.Or(code, strconv.Itoa(status)),
		OptedOut: channels.OptedOut(c.table, code) || aboutOptOut(code, message),
	}
	if failure.OptedOut || aboutAddress(code, message) {
		failure.Class = channels.ClassAddress
	}
	failure.Err = fmt.Errorf("refused by SNS: %s", cmp.Or(channels.Excerpt([]byte(message), hidden...), http.StatusText(status)))
	if failure.Class == channels.ClassRateLimit || failure.Class == channels.ClassTemporary {
		failure.RetryAfter = channels.RetryAfter(header.Get("Retry-After"), c.now())
	}
	return failure
}

// publish publishes one message; id is SNS's of it, "" in an answer that cannot be read.
func (c *client) publish(ctx context.Context, in *sns.PublishInput, hidden ...string) (id string, failure *channels.DeliveryError) {
	failure = c.call(ctx, func(ctx context.Context) error {
		out, err := c.api.Publish(ctx, in)
		if err == nil {
			id = aws.ToString(out.MessageId)
		}
		return err //nolint:wrapcheck // it is looked into, and never shown
	}, hidden...)
	return id, failure
}

// silent asks whether keys are good by a request that nobody gets: it publishes to nobody, neither a number nor a topic,
// or no message. Whose key is good is told that something is missing. Whether the key may publish shows with the first
// message.
func (c *client) silent(ctx context.Context, in *sns.PublishInput) error {
	_, failure := c.publish(ctx, in)
	if failure == nil || failure.Code == "InvalidParameter" {
		return nil
	}
	return fmt.Errorf("asking %s: %w", c.host, failure)
}

func attribute(value string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
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
