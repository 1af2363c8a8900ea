// Package sns sends through Amazon SNS: text messages to numbers, pushes to the endpoints of platform applications, and
// messages to the subscribers of a topic.
package sns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"nudge/channels"
	"nudge/channels/sms"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// inFlight is how many requests of one batch are under way at once.
const inFlight = 16

// Spec describes the adapter of text messages.
func Spec() channels.Spec {
	return channels.Spec{
		Name:  "sns",
		Kind:  "sms",
		About: "Text messages through Amazon SNS. The number is the person's trait `phone`, with its country (+14155550100). Who is refused because they have answered STOP is recorded to have withdrawn their consent for the channel, so that no rule tries them again. SNS knows no id by which it could tell a repeat of a text message: one whose answer was lost on the network is tried again, and can arrive twice. SNS cuts a long text between words, so it can take a part more than is counted here.",
		Config: accountFields(
			channels.Field{Name: "from", Type: "string", Example: "Shop", About: "the sender: up to 11 letters and digits where the country allows them, or a number of the account's. Without: SNS chooses"},
			channels.Field{Name: "sms_type", Type: "string", Default: "by_category", Example: "promotional", About: "promotional (the cheapest way), transactional (the most reliable one), or by_category: what the rule's category is"},
			sms.Limit(),
		),
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
	account

	From        string `json:"from"`
	Type        string `json:"sms_type"`
	MaxSegments int    `json:"max_segments"`
}

// channel sends.
type channel struct {
	*client

	settings settings
}

// check finds the first mistake that the spec's fields do not show.
func (s *settings) check() error {
	if err := s.account.check(); err != nil {
		return err
	}
	if !slices.Contains([]string{"by_category", "promotional", "transactional"}, s.Type) {
		return bad("sms_type", "is none of by_category, promotional, transactional", "")
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
	client, err := connect(o, "sns", &s.account, s.check, answers())
	if err != nil {
		return nil, err
	}
	return &channel{client: client, settings: s}, nil
}

// Send implements channels.Channel.
func (c *channel) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	return channels.Each(ctx, batch, inFlight, c.text)
}

// Test implements channels.Tester: it publishes to nobody.
func (c *channel) Test(ctx context.Context) error {
	return c.silent(ctx, &sns.PublishInput{Message: aws.String("test")})
}

// text sends one message.
func (c *channel) text(ctx context.Context, m *channels.Message) channels.Result {
	number, body, err := sms.Read(m, c.settings.MaxSegments)
	if err != nil {
		return channels.Result{Err: channels.AsDelivery(err)}
	}
	from := cmp.Or(strings.TrimSpace(m.Text("from")), c.settings.From)
	if from != "" && !validSender(from) {
		return channels.Failed(channels.ClassMessage, "field", errors.New("the field from is neither up to 11 letters and digits nor a number"))
	}
	id, failure := c.publish(ctx, &sns.PublishInput{
		PhoneNumber: &number, Message: &body, MessageAttributes: c.attributes(from, m.About["category"] == "transactional"),
	}, sms.Hidden(m, number)...)
	if failure == nil {
		return channels.Result{ProviderID: id}
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
