package snsd_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/snsd"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
)

// TestServerIsStrict makes requests with AWS's own library: what the server lets through, a channel's tests cannot find.
func TestServerIsStrict(t *testing.T) {
	server, err := snsd.Start(time.Now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CA.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	api := sns.New(sns.Options{
		Region: snsd.Region, BaseEndpoint: aws.String(server.Endpoint()), HTTPClient: client, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(snsd.AccessKey, snsd.SecretKey, ""),
	})
	iPhone := server.Register(snsd.APNS, strings.Repeat("ab", 32), "")
	android := server.Register(snsd.GCM, "a:token", "")
	publish := func(in sns.PublishInput) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := api.Publish(ctx, &in)
			return err //nolint:wrapcheck // it is looked into
		}
	}
	structured := func(target, parts string) func(context.Context) error {
		return publish(sns.PublishInput{TargetArn: &target, Message: &parts, MessageStructure: aws.String("json")})
	}
	batch := func(topic string, entries ...types.PublishBatchRequestEntry) func(context.Context) error {
		return func(ctx context.Context) error {
			out, err := api.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &topic, PublishBatchRequestEntries: entries})
			if err == nil && len(out.Failed) > 0 {
				return &smithy.GenericAPIError{Code: *out.Failed[0].Code, Message: *out.Failed[0].Message}
			}
			return err //nolint:wrapcheck // it is looked into
		}
	}
	entry := func(id int, text string) types.PublishBatchRequestEntry {
		return types.PublishBatchRequestEntry{Id: aws.String(strconv.Itoa(id)), Message: &text}
	}
	with := func(attribute, value string) types.PublishBatchRequestEntry {
		e := entry(1, "x")
		e.MessageAttributes = map[string]types.MessageAttributeValue{attribute: {DataType: aws.String("String"), StringValue: &value}}
		return e
	}
	var eleven []types.PublishBatchRequestEntry
	for i := range 11 {
		eleven = append(eleven, entry(i, "x"))
	}
	half := strings.Repeat("x", 128<<10)
	for _, c := range []struct {
		name       string
		request    func(context.Context) error
		code, says string // "" is accepted
	}{
		{"a text message", publish(sns.PublishInput{PhoneNumber: aws.String("+14155550100"), Message: aws.String("x")}), "", ""},
		{"a number without its country", publish(sns.PublishInput{PhoneNumber: aws.String("4155550100"), Message: aws.String("x")}), "InvalidParameter", "PhoneNumber"},
		{"to nobody", publish(sns.PublishInput{Message: aws.String("x")}), "InvalidParameter", "TopicArn or TargetArn"},
		{"to two", publish(sns.PublishInput{PhoneNumber: aws.String("+14155550100"), TopicArn: aws.String(snsd.Topic), Message: aws.String("x")}), "InvalidParameter", "more than one"},
		{"to a topic", publish(sns.PublishInput{TopicArn: aws.String(snsd.Topic), Message: aws.String("x")}), "", ""},
		{"nothing to a topic", publish(sns.PublishInput{TopicArn: aws.String(snsd.Topic), Message: aws.String("")}), "InvalidParameter", "Empty message"},
		{"to no such topic", publish(sns.PublishInput{TopicArn: aws.String(snsd.Topic + "2"), Message: aws.String("x")}), "NotFound", "Topic does not exist"},
		{"a push to Apple", structured(iPhone, `{"default":"x","APNS":"{\"aps\":{\"alert\":\"x\"}}"}`), "", ""},
		{"a push to Google", structured(android, `{"default":"x","GCM":"{\"fcmV1Message\":{\"message\":{\"data\":{\"a\":\"b\"}}}}"}`), "", ""},
		{"no part for the platform", structured(iPhone, `{"default":"x","GCM":"{\"fcmV1Message\":{\"message\":{\"data\":{\"a\":\"b\"}}}}"}`), "InvalidParameter", "no part for APNS"},
		{"no default", structured(iPhone, `{"APNS":"{\"aps\":{\"alert\":\"x\"}}"}`), "InvalidParameter", "No default entry"},
		{"no JSON", structured(iPhone, `x`), "InvalidParameter", "failed to parse"},
		{"a part that is no text", structured(iPhone, `{"default":"x","APNS":{"aps":{"alert":"x"}}}`), "InvalidParameter", "is not a string"},
		{"no payload of Apple's", structured(iPhone, `{"default":"x","APNS":"{}"}`), "InvalidParameter", "Invalid notification for protocol APNS"},
		{"a payload above 4 KB", structured(iPhone, `{"default":"x","APNS":"{\"aps\":{\"alert\":\"`+strings.Repeat("x", 4096)+`\"}}"}`), "InvalidParameter", "Invalid notification for protocol APNS"},
		{"a message of Google's with a token", structured(android, `{"default":"x","GCM":"{\"fcmV1Message\":{\"message\":{\"token\":\"x\"}}}"}`), "InvalidParameter", "Invalid notification for protocol GCM"},
		{"no such endpoint", structured(iPhone+"0", `{"default":"x"}`), "InvalidParameter", "No endpoint found"},
		{"a batch", batch(snsd.Topic, eleven[:10]...), "", ""},
		{"a batch of eleven", batch(snsd.Topic, eleven...), "TooManyEntriesInBatchRequest", ""},
		{"a batch with an id twice", batch(snsd.Topic, entry(1, "x"), entry(1, "y")), "BatchEntryIdsNotDistinct", ""},
		{"a batch of 256 KB", batch(snsd.Topic, entry(1, half), entry(2, half)), "", ""},
		{"a batch of a byte more", batch(snsd.Topic, entry(1, half), entry(2, half+"x")), "BatchRequestTooLong", ""},
		{"a FIFO topic without a group", batch(snsd.FIFO, entry(1, "x")), "InvalidParameter", "MessageGroupId"},
		{"a deduplication id for a topic that has none", batch(snsd.Topic, types.PublishBatchRequestEntry{Id: aws.String("1"), Message: aws.String("x"), MessageDeduplicationId: aws.String("x")}), "InvalidParameter", "MessageDeduplicationId"},
		{"an attribute", batch(snsd.Topic, with("a.b", "x")), "", ""},
		{"an attribute that is empty", batch(snsd.Topic, with("a", "")), "InvalidParameter", "'a' is not valid"},
		{"an attribute with a space", batch(snsd.Topic, with("a b", "x")), "InvalidParameter", "'a b' is not valid"},
		{"an attribute of AWS's that is none", batch(snsd.Topic, with("AWS.MOOD", "x")), "InvalidParameter", "'AWS.MOOD' is not valid"},
		{"a type of push that is none", batch(snsd.Topic, with("AWS.SNS.MOBILE.APNS.PUSH_TYPE", "loud")), "InvalidParameter", "PUSH_TYPE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.request(t.Context())
			if c.code == "" {
				require.NoError(t, err)
				return
			}
			var failure smithy.APIError
			require.ErrorAs(t, err, &failure)
			require.Equal(t, c.code, failure.ErrorCode())
			require.Contains(t, failure.ErrorMessage(), c.says)
		})
	}
}
