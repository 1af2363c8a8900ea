package sns

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"nudge/channels"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// SNS's limits for one request to a topic: messages, and bytes of all of them together.
const (
	maxEntries = 10
	maxTopic   = 256 << 10
)

// maxSubject is above the longest subject, in characters.
const maxSubject = 100

// topicARN is the form of a topic's name; the first group is the region.
var topicARN = regexp.MustCompile(`^arn:aws[a-z-]*:sns:([a-z0-9-]+):\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$`)

// TopicSpec describes the adapter of messages to a topic.
func TopicSpec() channels.Spec {
	return channels.Spec{
		Name: "sns_topic",
		Kind: "sns_topic",
		About: "Messages to a topic of Amazon SNS, for whoever subscribes to it: queues, functions, endpoints of yours, e-mail addresses, numbers, devices. For events to other systems and alerts to a team; it needs no address of the person. " +
			"`text` is what subscribers get whose protocol has no part of its own. Each message has the attributes id (the same for every attempt), rule, variant, category and user_id, for filter policies and for telling a repeat. " +
			"A queue subscribed with raw delivery takes at most 10 attributes; these, yours and up to four of a push count together. A message to a FIFO topic has its key as the deduplication id, by which SNS tells a repeat for five minutes, and its person as the group; to any other topic a repeat arrives twice.",
		Config: accountFields(
			channels.Field{Name: "topic", Type: "string", Required: true, Example: "arn:aws:sns:eu-central-1:123456789012:shop-news", About: "the topic's ARN"},
		),
		Message: append([]channels.Field{
			{Name: "text", Type: "string", Required: true, Template: true, Text: true, Example: "Order {{ order }} has left.", About: "the message"},
			{Name: "subject", Type: "string", Template: true, Text: true, Example: "Your order", About: "the subject of e-mails, below 100 characters; other protocols' envelopes have it too"},
			{Name: "email", Type: "string", Template: true, Text: true, Example: "Your order {{ order }} has left. Follow it: https://shop.example/o", About: "the text for subscribed e-mail addresses"},
			{Name: "sms", Type: "string", Template: true, Text: true, Example: "Order {{ order }} has left", About: "the text for subscribed numbers"},
			{Name: "protocols", Type: "map", Template: true, Example: `{sqs: "{{ order }}", https: "{{ order }}"}`, About: "texts for further protocols: http, https, sqs, lambda, firehose, email-json, application"},
			{Name: "attributes", Type: "map", Template: true, Example: "{country: DE}", About: "message attributes beside those of each message, for filter policies"},
		}, channels.PushFields("title", "body", "link", "image", "data", "sound", "badge", "ttl")...),
		MaxPayload:  maxTopic,
		Measure:     measureTopic,
		Batch:       100,
		Concurrency: 2,
		Repeat:      channels.RepeatDoubles,
		Answers:     topicAnswers(),
		Tried:       "Tried against a local server that follows AWS's documentation (PublishBatch, its limits and the failures of single messages, message structures and attributes, FIFO topics, signatures of version 4). Not tried against AWS: that takes an account.",
		New:         openTopic,
	}
}

// topicSettings is the config.
type topicSettings struct {
	account

	Topic string `json:"topic"`
}

// check finds the first mistake that the spec's fields do not show.
func (s *topicSettings) check() error {
	if err := s.account.check(); err != nil {
		return err
	}
	parts := topicARN.FindStringSubmatch(s.Topic)
	switch {
	case parts == nil:
		return bad("topic", "is not the ARN of a topic", "for example arn:aws:sns:"+s.Region+":123456789012:shop-news")
	case parts[1] != s.Region:
		return bad("topic", "is of another region", "the adapter's is "+s.Region)
	}
	return nil
}

// topic is the channel.
type topic struct {
	*client

	arn  string
	fifo bool
}

// openTopic makes a channel; it does not connect.
func openTopic(o channels.Options) (channels.Channel, error) {
	var s topicSettings
	if err := TopicSpec().Decode(o.Config, &s); err != nil {
		return nil, err
	}
	client, err := connect(o, "sns_topic", &s.account, s.check, topicAnswers())
	if err != nil {
		return nil, err
	}
	return &topic{client: client, arn: s.Topic, fifo: strings.HasSuffix(s.Topic, ".fifo")}, nil
}

// Test implements channels.Tester: it looks at the topic. A key that may publish alone may not look; then it publishes
// an empty message, which SNS refuses.
func (c *topic) Test(ctx context.Context) error {
	failure := c.call(ctx, func(ctx context.Context) error {
		_, err := c.api.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &c.arn})
		return err //nolint:wrapcheck // it is looked into, and never shown
	})
	switch {
	case failure == nil:
		return nil
	case failure.Code == "AuthorizationError":
		return c.silent(ctx, &sns.PublishInput{TopicArn: &c.arn, Message: aws.String("")})
	}
	return fmt.Errorf("asking %s: %w", c.host, failure)
}

// entry is one message of a batch.
type entry struct {
	at    int // its place in the batch
	size  int // bytes of SNS's limit
	entry types.PublishBatchRequestEntry
}

// Send implements channels.Channel. Each request has as many messages as SNS takes; those to a FIFO topic are made one
// after the other.
func (c *topic) Send(ctx context.Context, batch []channels.Message) []channels.Result {
	results := make([]channels.Result, len(batch))
	var entries []entry
	for i := range batch {
		e, err := topicEntry(&batch[i])
		if err == nil && e.size > maxTopic {
			err = refuse(channels.ClassMessage, "too_large", "the message has %d bytes, SNS takes %d: shorten the texts or the data", e.size, maxTopic)
		}
		if err != nil {
			results[i] = channels.Result{Err: channels.AsDelivery(err)}
			continue
		}
		e.at, e.entry.Id = i, aws.String(strconv.Itoa(i))
		if c.fifo {
			e.entry.MessageDeduplicationId = aws.String(channels.UUID(batch[i].Key))
			e.entry.MessageGroupId = aws.String(channels.ShortHash(batch[i].About["user_id"] + batch[i].Address.UserID))
		}
		entries = append(entries, e)
	}
	var group sync.WaitGroup
	for part := range parted(entries) {
		if c.fifo {
			c.batch(ctx, part, results)
			continue
		}
		group.Go(func() { c.batch(ctx, part, results) })
	}
	group.Wait()
	return results
}

// parted yields the parts of a batch that go into one request each.
func parted(entries []entry) func(yield func([]entry) bool) {
	return func(yield func([]entry) bool) {
		for from := 0; from < len(entries); {
			to, size := from, 0
			for to < len(entries) && to-from < maxEntries && size+entries[to].size <= maxTopic {
				size += entries[to].size
				to++
			}
			if !yield(entries[from:to]) {
				return
			}
			from = to
		}
	}
}

// batch makes one request and notes what became of each of its messages.
func (c *topic) batch(ctx context.Context, part []entry, results []channels.Result) {
	if err := ctx.Err(); err != nil {
		for _, e := range part {
			results[e.at] = channels.Failed(channels.ClassCancelled, "cancelled", err)
		}
		return
	}
	in := &sns.PublishBatchInput{TopicArn: &c.arn}
	for _, e := range part {
		in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries, e.entry)
	}
	var out *sns.PublishBatchOutput
	failure := c.call(ctx, func(ctx context.Context) (err error) {
		out, err = c.api.PublishBatch(ctx, in)
		return err //nolint:wrapcheck // it is looked into, and never shown
	})
	if failure != nil {
		failure.Err = fmt.Errorf("publishing to the topic: %w", failure.Err)
		for _, e := range part {
			own := *failure
			results[e.at] = channels.Result{Err: &own}
		}
		return
	}
	if out == nil {
		return // accepted by its status, however the body reads
	}
	answered := make(map[string]channels.Result, len(part))
	for _, ok := range out.Successful {
		answered[aws.ToString(ok.Id)] = channels.Result{ProviderID: aws.ToString(ok.MessageId)}
	}
	for _, no := range out.Failed {
		answered[aws.ToString(no.Id)] = channels.Result{Err: c.refusedEntry(no)}
	}
	for _, e := range part {
		r, ok := answered[*e.entry.Id]
		if !ok {
			r = channels.Failed(channels.ClassTemporary, "no_answer", errors.New("publishing to the topic: SNS's answer does not say what became of the message"))
		}
		results[e.at] = r
	}
}

// refusedEntry is the error of one message of a request that was accepted as such.
func (c *topic) refusedEntry(no types.BatchResultErrorEntry) *channels.DeliveryError {
	status := http.StatusInternalServerError
	if no.SenderFault {
		status = http.StatusBadRequest
	}
	failure := c.refused(status, nil, aws.ToString(no.Code), aws.ToString(no.Message), c.hidden...)
	failure.Err = fmt.Errorf("publishing to the topic: %w", failure.Err)
	return failure
}

// measureTopic is how many bytes of SNS's limit a message takes.
func measureTopic(m *channels.Message) (int, error) {
	e, err := topicEntry(m)
	return e.size, err
}

// protocols are those that may have a text of their own beside email and sms.
func protocols() []string {
	return []string{"application", "email-json", "firehose", "http", "https", "lambda", "sqs"}
}

// topicEntry makes a message, but for its id in a request. Its errors are *channels.DeliveryError.
func topicEntry(m *channels.Message) (entry, error) {
	text := m.Text("text")
	if strings.TrimSpace(text) == "" {
		return entry{}, refuse(channels.ClassMessage, "field", "the field text is empty")
	}
	out := types.PublishBatchRequestEntry{Message: &text}
	if subject := strings.TrimSpace(m.Text("subject")); subject != "" {
		if utf8.RuneCountInString(subject) >= maxSubject || strings.ContainsFunc(subject, unicode.IsControl) {
			return entry{}, refuse(channels.ClassMessage, "field", "the field subject is not one line below %d characters", maxSubject)
		}
		out.Subject = &subject
	}
	attributes, err := topicAttributes(m)
	if err != nil {
		return entry{}, err
	}
	parts, err := topicParts(m, attributes)
	if err != nil {
		return entry{}, err
	}
	if len(parts) > 0 {
		parts["default"] = text
		whole, err := structured(parts)
		if err != nil {
			return entry{}, err
		}
		out.Message, out.MessageStructure = &whole, aws.String("json")
	}
	out.MessageAttributes = attributes
	size := len(*out.Message)
	for name, value := range attributes {
		size += len(name) + len(*value.DataType) + len(*value.StringValue)
	}
	return entry{size: size, entry: out}, nil
}

// topicParts are what protocols get of their own, and the attributes that go with it.
func topicParts(m *channels.Message, attributes map[string]types.MessageAttributeValue) (map[string]string, error) {
	parts := make(map[string]string)
	for _, name := range []string{"email", "sms"} {
		if part := m.Text(name); strings.TrimSpace(part) != "" {
			parts[name] = part
		}
	}
	more, err := m.Map("protocols")
	if err != nil {
		return nil, err //nolint:wrapcheck // it is a *channels.DeliveryError
	}
	of := channels.Message{Fields: more}
	for name := range more {
		if !slices.Contains(protocols(), name) {
			return nil, refuse(channels.ClassMessage, "field", "the field protocols has %.40q: there are %s", name, strings.Join(protocols(), ", "))
		}
		parts[name] = of.Text(name)
	}
	if m.Text("title") == "" && m.Text("body") == "" {
		return parts, nil
	}
	push := *m
	push.Signed = "" // an open of one subscriber is none of the person's
	platforms := []string{"APNS", "APNS_SANDBOX", "GCM"}
	for _, platform := range platforms {
		part, size, err := payload(&push, platform)
		if err != nil {
			return nil, err
		}
		if size > maxPush {
			return nil, refuse(channels.ClassMessage, "too_large", "the push has %d bytes, Apple and Google take %d: shorten title, body or data", size, maxPush)
		}
		parts[platform] = part
	}
	ttl, err := m.Lifetime()
	if err != nil {
		return nil, err //nolint:wrapcheck // it is a *channels.DeliveryError
	}
	maps.Copy(attributes, lifetime(ttl, platforms...))
	attributes["AWS.SNS.MOBILE.APNS.PUSH_TYPE"] = attribute("alert")
	return parts, nil
}

// attributeName is the form of an attribute's name.
var attributeName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// topicAttributes are the attributes that every message has, and the message's own.
func topicAttributes(m *channels.Message) (map[string]types.MessageAttributeValue, error) {
	attributes := map[string]types.MessageAttributeValue{"id": attribute(channels.ShortHash(m.Key))}
	for _, name := range []string{"rule", "variant", "category", "user_id"} {
		if value := m.About[name]; value != "" {
			attributes[name] = attribute(value)
		}
	}
	own, err := m.Map("attributes")
	if err != nil {
		return nil, err //nolint:wrapcheck // it is a *channels.DeliveryError
	}
	of := channels.Message{Fields: own}
	for name := range own {
		low := strings.ToLower(name)
		if len(name) > 256 || !attributeName.MatchString(name) || strings.HasPrefix(low, "aws.") || strings.HasPrefix(low, "amazon.") {
			return nil, refuse(channels.ClassMessage, "field", "the field attributes has %.40q, which is not a name for one: letters, digits, _, - and . between them, and not AWS's own", name)
		}
		if value := of.Text(name); value != "" { // SNS refuses empty ones
			attributes[name] = attribute(value)
		}
	}
	return attributes, nil
}
