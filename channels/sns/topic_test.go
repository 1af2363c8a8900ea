package sns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/provider"
	"nudge/channels/channeltest/snsd"
	"nudge/channels/sns"

	"github.com/stretchr/testify/require"
)

// startTopic is start, and a config for the topic.
func startTopic(t testing.TB, now func() time.Time) (*snsd.Server, map[string]any) {
	t.Helper()
	server, config := start(t, now)
	return server, channeltest.With(config, map[string]any{"topic": snsd.Topic})
}

// news is the i-th of a series.
func news(i int) channels.Message {
	m := channeltest.Message(i)
	m.Address = channels.Address{UserID: m.Address.UserID}
	m.Fields = map[string]any{"text": "Order A1 has left."}
	return m
}

// TestConformanceOfTopics runs the kit with a message a request, whose faults are requests'; what becomes of the single
// messages of a request is TestBatches.
func TestConformanceOfTopics(t *testing.T) {
	spec := sns.TopicSpec()
	spec.Batch = 1
	channeltest.Kit{
		Spec: spec,
		Start: func(t *testing.T, now func() time.Time) channeltest.Provider {
			server, config := startTopic(t, now)
			return channeltest.Provider{Config: config, Log: server.Log, Stop: server.Close}
		},
		Message: news,
		ID:      channels.ShortHash,
		Cases:   casesOf(sns.TopicSpec()),
	}.Run(t)
}

func TestBatches(t *testing.T) {
	server, config := startTopic(t, time.Now)
	channel := channeltest.Open(t, sns.TopicSpec(), config)
	series := func(n int) (batch []channels.Message) {
		for i := range n {
			batch = append(batch, news(i))
		}
		return batch
	}
	sizes := func() (sizes []int) {
		for _, r := range server.Received() {
			sizes = append(sizes, len(strings.Split(r.ID, ",")))
		}
		return sizes
	}
	t.Run("as many as SNS takes", func(t *testing.T) {
		server.Reset()
		ids := map[string]bool{}
		for _, r := range channel.Send(t.Context(), series(23)) {
			require.NoError(t, r.Err)
			ids[r.ProviderID] = true
		}
		require.Len(t, ids, 23)
		require.ElementsMatch(t, []int{10, 10, 3}, sizes())
	})
	t.Run("no more bytes than SNS takes", func(t *testing.T) {
		server.Reset()
		batch := series(4)
		for i := range batch {
			batch[i].Fields["text"] = strings.Repeat("x", 130_000)
		}
		for _, r := range channel.Send(t.Context(), batch) {
			require.NoError(t, r.Err)
		}
		require.ElementsMatch(t, []int{2, 2}, sizes())
	})
	t.Run("some fail", func(t *testing.T) {
		server.Reset()
		codes := map[string]string{channels.ShortHash(news(3).Key): "KMSDisabled", channels.ShortHash(news(12).Key): "Throttled", channels.ShortHash(news(13).Key): "Sunspots", channels.ShortHash(news(14).Key): "Eclipse"}
		server.Fail(func(id string) (string, bool) { return codes[id], codes[id] == "Eclipse" })
		batch := series(23)
		batch[7].Fields["text"] = " "
		want := map[int]channels.Class{3: channels.ClassCredential, 7: channels.ClassMessage, 12: channels.ClassRateLimit, 13: channels.ClassMessage, 14: channels.ClassTemporary}
		for i, r := range channel.Send(t.Context(), batch) {
			if want[i] == "" {
				require.NoErrorf(t, r.Err, "message %d", i)
				continue
			}
			failure := channels.AsDelivery(r.Err)
			require.Equalf(t, want[i], failure.Class, "message %d: %v", i, failure)
		}
		require.ElementsMatch(t, []int{10, 10, 2}, sizes())
		server.Fail(nil)
	})
	t.Run("a request fails", func(t *testing.T) {
		server.Reset()
		server.Script(func(r provider.Request) provider.Fault {
			if strings.Contains(r.ID, channels.ShortHash(news(0).Key)) {
				return provider.Fault{Status: 503, Code: "ServiceUnavailable"}
			}
			return provider.Fault{}
		})
		for i, r := range channel.Send(t.Context(), series(12)) {
			require.Equalf(t, i < 10, r.Err != nil, "message %d: %v", i, r.Err)
		}
		server.Script(nil)
	})
	t.Run("an answer that leaves one out", func(t *testing.T) {
		server.Script(func(provider.Request) provider.Fault {
			return provider.Fault{Body: []byte(`<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishBatchResult><Failed/><Successful><member><Id>0</Id><MessageId>m-0</MessageId></member></Successful></PublishBatchResult></PublishBatchResponse>`)}
		})
		results := channel.Send(t.Context(), series(2))
		require.Equal(t, channels.Result{ProviderID: "m-0"}, results[0])
		require.Equal(t, "no_answer", channels.AsDelivery(results[1].Err).Code)
		server.Script(nil)
	})
	t.Run("cancelled", func(t *testing.T) {
		server.Reset()
		server.Script(func(provider.Request) provider.Fault { return provider.Fault{Hang: true} })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []channels.Result, 1)
		go func() { done <- channel.Send(ctx, series(23)) }()
		<-server.Hung()
		cancel()
		for _, r := range <-done {
			require.Equal(t, channels.ClassCancelled, channels.AsDelivery(r.Err).Class)
		}
	})
}

func TestFIFO(t *testing.T) {
	server, config := startTopic(t, time.Now)
	channel := channeltest.Open(t, sns.TopicSpec(), channeltest.With(config, map[string]any{"topic": snsd.FIFO}))
	var batch []channels.Message
	for i := range 12 {
		batch = append(batch, news(i))
	}
	batch[1].Address.UserID = batch[0].Address.UserID
	first := channel.Send(t.Context(), batch)
	for _, r := range first {
		require.NoError(t, r.Err)
	}
	require.Equal(t, first, channel.Send(t.Context(), batch), "a repeat is no new message")
	form, err := url.ParseQuery(string(server.Received()[0].Body))
	require.NoError(t, err)
	group := func(i int) string {
		return form.Get(fmt.Sprintf("PublishBatchRequestEntries.member.%d.MessageGroupId", i))
	}
	require.Equal(t, group(1), group(2), "one person's")
	require.NotEqual(t, group(1), group(3))
	require.Equal(t, channels.UUID(batch[0].Key), form.Get("PublishBatchRequestEntries.member.1.MessageDeduplicationId"))
	require.True(t, strings.HasPrefix(server.Received()[0].ID, channels.ShortHash(batch[0].Key)), "in order")
}

func TestWhatTopicsGet(t *testing.T) {
	server, config := startTopic(t, time.Now)
	channel := channeltest.Open(t, sns.TopicSpec(), config)
	id := map[string]string{"id": channels.ShortHash("k")}
	for _, c := range []struct {
		name       string
		m          channels.Message
		text       string // "" for a structured message
		subject    string
		parts      map[string]string
		attributes map[string]string
	}{
		{"a text", channels.Message{Fields: map[string]any{"text": "Grüße 🎉"}}, "Grüße 🎉", "", nil, id},
		{
			"with a subject and attributes",
			channels.Message{
				Fields: map[string]any{"text": "Hi", "subject": " Über uns ", "attributes": map[string]any{"country": "DE", "n": 7, "none": ""}},
				About:  map[string]string{"rule": "hello", "variant": "a", "category": "promotional", "user_id": "ann", "entry": "e1"},
			},
			"Hi", "Über uns", nil,
			map[string]string{"id": id["id"], "rule": "hello", "variant": "a", "category": "promotional", "user_id": "ann", "country": "DE", "n": "7"},
		},
		{
			"a text for each protocol",
			channels.Message{Fields: map[string]any{"text": "Hi", "email": "Dear Ann", "sms": "Hey", "protocols": map[string]any{"sqs": map[string]any{"order": 7}, "https": "x"}}},
			"", "",
			map[string]string{"default": "Hi", "email": "Dear Ann", "sms": "Hey", "sqs": `{"order":7}`, "https": "x"},
			id,
		},
		{
			"a push too, which nobody's open is of",
			channels.Message{Fields: map[string]any{"text": "Hi", "title": "T", "body": "B"}, TTL: time.Minute, Signed: "signed-1"},
			"", "",
			map[string]string{
				"default": "Hi", "APNS": `{"aps":{"alert":{"title":"T","body":"B"}},"nudge":{}}`, "APNS_SANDBOX": `{"aps":{"alert":{"title":"T","body":"B"}},"nudge":{}}`,
				"GCM": `{"fcmV1Message":{"message":{"notification":{"title":"T","body":"B"},"android":{"ttl":"60s","priority":"normal","notification":{"tag":"` + id["id"] + `"}}}}}`,
			},
			map[string]string{
				"id": id["id"], "AWS.SNS.MOBILE.APNS.PUSH_TYPE": "alert",
				"AWS.SNS.MOBILE.APNS.TTL": "60", "AWS.SNS.MOBILE.APNS_SANDBOX.TTL": "60", "AWS.SNS.MOBILE.FCM.TTL": "60",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			server.Reset()
			c.m.Key = "k"
			require.NoError(t, channel.Send(t.Context(), []channels.Message{c.m})[0].Err)
			all, err := url.ParseQuery(string(server.Received()[0].Body))
			require.NoError(t, err)
			require.Equal(t, "PublishBatch", all.Get("Action"))
			require.Equal(t, snsd.Topic, all.Get("TopicArn"))
			const entry = "PublishBatchRequestEntries.member.1."
			attributes := map[string]string{}
			for i := 1; all.Has(fmt.Sprintf("%sMessageAttributes.entry.%d.Name", entry, i)); i++ {
				at := fmt.Sprintf("%sMessageAttributes.entry.%d.", entry, i)
				attributes[all.Get(at+"Name")] = all.Get(at + "Value.StringValue")
			}
			require.Equal(t, c.attributes, attributes)
			require.Equal(t, c.subject, all.Get(entry+"Subject"))
			if c.parts == nil {
				require.Equal(t, c.text, all.Get(entry+"Message"))
				require.False(t, all.Has(entry+"MessageStructure"))
				return
			}
			var parts map[string]string
			require.Equal(t, "json", all.Get(entry+"MessageStructure"))
			require.NoError(t, json.Unmarshal([]byte(all.Get(entry+"Message")), &parts))
			for protocol, want := range c.parts {
				if strings.HasPrefix(want, "{") {
					require.JSONEq(t, want, parts[protocol])
				} else {
					require.Equal(t, want, parts[protocol])
				}
			}
			require.Len(t, parts, len(c.parts))
		})
	}
}

func TestTopicMessagesRefusedBeforeSending(t *testing.T) {
	server, config := startTopic(t, time.Now)
	channel := channeltest.Open(t, sns.TopicSpec(), config)
	for _, c := range []struct {
		name   string
		fields map[string]any
		code   string
	}{
		{"no text", map[string]any{"email": "x"}, "field"},
		{"a long subject", map[string]any{"text": "x", "subject": strings.Repeat("ü", 100)}, "field"},
		{"a subject of two lines", map[string]any{"text": "x", "subject": "a\nb"}, "field"},
		{"a protocol that is none", map[string]any{"text": "x", "protocols": map[string]any{"fax": "x"}}, "field"},
		{"protocols that are no map", map[string]any{"text": "x", "protocols": "x"}, "field"},
		{"an attribute of AWS's", map[string]any{"text": "x", "attributes": map[string]any{"AWS.SNS.MOBILE.APNS.TOPIC": "x"}}, "field"},
		{"an attribute with a space", map[string]any{"text": "x", "attributes": map[string]any{"a b": "x"}}, "field"},
		{"a badge that is none", map[string]any{"text": "x", "title": "x", "badge": "many"}, "field"},
		{"a push that is too long", map[string]any{"text": "x", "title": strings.Repeat("x", 4096)}, "too_large"},
		{"above 256 KB", map[string]any{"text": strings.Repeat("x", 256<<10)}, "too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			failure := channels.AsDelivery(channel.Send(t.Context(), []channels.Message{{Key: "k", Fields: c.fields}})[0].Err)
			require.Equal(t, channels.ClassMessage, failure.Class)
			require.Equal(t, c.code, failure.Code, "%v", failure)
		})
	}
	require.Zero(t, server.Requests())
}

func TestTestOfTopics(t *testing.T) {
	server, config := startTopic(t, time.Now)
	test := func(changes map[string]any) error {
		return channeltest.Open(t, sns.TopicSpec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	require.ErrorContains(t, test(map[string]any{"topic": snsd.Topic + "2"}), "NotFound")
	require.ErrorContains(t, test(map[string]any{"secret_access_key": "wrong-secret-0123456789"}), "SignatureDoesNotMatch")
	server.ForbidLooking()
	require.NoError(t, test(nil), "a key that may publish alone")
	require.ErrorContains(t, test(map[string]any{"topic": snsd.Topic + "2"}), "NotFound")
	require.Zero(t, server.Accepted())
	server.Close()
	require.ErrorContains(t, test(nil), "asking 127.0.0.1")
}

func TestConfigRefusalsOfTopics(t *testing.T) {
	for name, c := range map[string]struct{ topic, want string }{
		"an ARN of something else": {snsd.APNS, "topic is not the ARN of a topic: for example arn:aws:sns:eu-central-1:123456789012:shop-news"},
		"a name":                   {"shop-news", "topic is not the ARN of a topic"},
		"another region":           {strings.Replace(snsd.Topic, "eu-central", "us-east", 1), "topic is of another region: the adapter's is eu-central-1"},
	} {
		t.Run(name, func(t *testing.T) {
			channeltest.Refused(t, sns.TopicSpec(), map[string]any{"region": "eu-central-1", "topic": c.topic}, c.want)
		})
	}
}

// BenchmarkTopic measures messages a second with the local server in the same process, which shares the machine's
// cores.
func BenchmarkTopic(b *testing.B) {
	server, config := startTopic(b, time.Now)
	server.Keep = false
	channeltest.Bench(b, sns.TopicSpec(), channeltest.Open(b, sns.TopicSpec(), config), news)
	require.Positive(b, server.Accepted())
}
