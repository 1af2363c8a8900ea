package email_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/snsd"
	"nudge/channels/email"

	"github.com/stretchr/testify/require"
)

// post calls a channel with header fields.
func post(t testing.TB, channel channels.Channel, header map[string]string, body string) ([]channels.Report, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://go.shop.example/v1/callbacks/email/email", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return channel.(channels.Reporter).Reports(r, []byte(body))
}

// forged holds an error to one that refuses a call as not the provider's.
func forged(t testing.TB, err error, want string) {
	t.Helper()
	require.ErrorContains(t, err, want)
	refused := new(channels.CallbackError)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusForbidden, refused.Status)
}

func TestCallbackConfigs(t *testing.T) {
	const key = "a password of our own"
	for _, c := range []struct {
		name string
		with map[string]any
		want string // "" for a good one
	}{
		{"nobody", nil, ""},
		{"SES", map[string]any{"callbacks": "ses", "callback_topic": snsd.TopicARN}, ""},
		{"SendGrid", map[string]any{"callbacks": "sendgrid", "callback_key": vectorKey}, ""},
		{"SendGrid, as PEM", map[string]any{"callbacks": "sendgrid", "callback_key": "-----BEGIN PUBLIC KEY-----\n" + vectorKey + "\n-----END PUBLIC KEY-----\n"}, ""},
		{"Mailgun", map[string]any{"callbacks": "mailgun", "callback_key": "key-1"}, ""},
		{"Postmark", map[string]any{"callbacks": "postmark", "callback_key": key}, ""},
		{"somebody else", map[string]any{"callbacks": "brevo", "callback_key": key}, "callbacks is none of ses, sendgrid, mailgun, postmark"},
		{"a key of nobody", map[string]any{"callback_key": key}, "callbacks is missing"},
		{"a topic of nobody", map[string]any{"callback_topic": snsd.TopicARN}, "callbacks is missing"},
		{"SES without a topic", map[string]any{"callbacks": "ses"}, "callback_topic is not the ARN of a topic"},
		{"SES with a key", map[string]any{"callbacks": "ses", "callback_topic": snsd.TopicARN, "callback_key": key}, "callback_key is of no use with ses"},
		{"no key", map[string]any{"callbacks": "mailgun"}, "callback_key is missing: without it anybody could call"},
		{"a topic of Mailgun", map[string]any{"callbacks": "mailgun", "callback_key": key, "callback_topic": snsd.TopicARN}, "callback_topic is of no use with mailgun"},
		{"a key that is none", map[string]any{"callbacks": "sendgrid", "callback_key": key}, "callback_key is neither base64 nor PEM"},
		{"half a key", map[string]any{"callbacks": "sendgrid", "callback_key": vectorKey[:40]}, "callback_key is not a public key"},
		{"a key of another curve", map[string]any{"callbacks": "sendgrid", "callback_key": "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="}, "callback_key is not a public key of the curve P-256"},
		{"a short password", map[string]any{"callbacks": "postmark", "callback_key": key[:15]}, "callback_key is shorter than 16 characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := map[string]any{"host": "127.0.0.1", "tls": "none", "from": "news@shop.example"}
			maps.Copy(config, c.with)
			raw, err := json.Marshal(config)
			require.NoError(t, err)
			_, err = email.Spec().New(channels.Options{Config: raw, Now: time.Now})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), key[:15])
		})
	}
}

func TestCallsOfNobody(t *testing.T) {
	_, err := post(t, plain(t), nil, "[]")
	require.ErrorIs(t, err, channels.ErrNoCallback)
	require.ErrorContains(t, err, "name the provider in the config of email (callbacks)")
	channel := calledBy(t, time.Now, "mailgun", map[string]any{"callback_key": mailgunKey})
	_, err = post(t, channel, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, feedback("abuse", ours))
	require.EqualError(t, err, "the provider of the config (mailgun) posts no forms; mail that came back is posted with Content-Type: message/rfc822")
}

// TestMarks has what a message carries so that the provider hands its signed id back.
func TestMarks(t *testing.T) {
	const key = "a password of our own"
	sendgrid, mailgun := map[string]any{"callbacks": "sendgrid", "callback_key": vectorKey}, map[string]any{"callbacks": "mailgun", "callback_key": key}
	postmark := map[string]any{"callbacks": "postmark", "callback_key": key}
	with := func(config map[string]any, headers map[string]any) map[string]any {
		config = maps.Clone(config)
		config["headers"] = headers
		return config
	}
	id := `"nudge_message": "` + signedID + `"`
	for _, c := range []struct {
		name   string
		config map[string]any
		own    map[string]any // of the message
		signed string
		want   map[string]string
	}{
		{"nobody calls", nil, nil, signedID, map[string]string{"X-Smtpapi": "", "X-Mailgun-Variables": "", "X-Pm-Metadata-Nudge_message_1": ""}},
		{"SES has the header", map[string]any{"callbacks": "ses", "callback_topic": snsd.TopicARN}, nil, signedID, map[string]string{"X-Nudge-Message": signedID, "X-Smtpapi": ""}},
		{"SendGrid", sendgrid, nil, signedID, map[string]string{"X-Smtpapi": `{ "unique_args": { ` + id + ` } }`, "X-Nudge-Message": signedID}},
		{
			"SendGrid, beside our own", with(sendgrid, map[string]any{"x-smtpapi": `{"category": ["größe 🎉"], "asm_group_id": 12345678901234567890, "unique_args": {"shop": "1"}}`}), nil, signedID,
			map[string]string{"X-Smtpapi": `{ "asm_group_id": 12345678901234567890, "category": [ "gr\u00f6\u00dfe \ud83c\udf89" ], "unique_args": { ` + id + `, "shop": "1" } }`},
		},
		{"SendGrid, beside nothing", with(sendgrid, map[string]any{"X-SMTPAPI": ""}), nil, signedID, map[string]string{"X-Smtpapi": `{ "unique_args": { ` + id + ` } }`}},
		{"Mailgun", mailgun, nil, signedID, map[string]string{"X-Mailgun-Variables": `{ ` + id + ` }`}},
		{"Mailgun, beside the message's own", mailgun, map[string]any{"X-Mailgun-Variables": map[string]any{"shop": "1"}}, signedID, map[string]string{"X-Mailgun-Variables": `{ ` + id + `, "shop": "1" }`}},
		{"Postmark", postmark, nil, signedID, map[string]string{
			"X-Pm-Metadata-Nudge_message_1": signedID[:80], "X-Pm-Metadata-Nudge_message_2": signedID[80:], "X-Pm-Metadata-Nudge_message_3": "",
		}},
		{"Postmark, all that has room", postmark, nil, strings.Repeat("x", 800), map[string]string{"X-Pm-Metadata-Nudge_message_10": strings.Repeat("x", 80), "X-Pm-Metadata-Nudge_message_11": ""}},
		{"Postmark, more than has room", postmark, nil, strings.Repeat("x", 801), map[string]string{"X-Pm-Metadata-Nudge_message_1": ""}},
		{"a test message", sendgrid, nil, "", map[string]string{"X-Smtpapi": "", "X-Nudge-Message": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, config := start(t, time.Now)
			m := letter(1)
			m.Signed = c.signed
			if c.own != nil {
				m.Fields["headers"] = c.own
			}
			require.NoError(t, open(t, config, c.config).Send(t.Context(), []channels.Message{m})[0].Err)
			got := last(t, server)
			for name, want := range c.want {
				require.Equal(t, want, got.Header.Get(name), name)
			}
		})
	}
	for own, want := range map[string]string{
		`[]`: "the header X-SMTPAPI is not a JSON object", `{} {}`: "is not a JSON object", `null`: "is not a JSON object", `{"unique_args": "x"}`: "unique_args of the header X-SMTPAPI is not a JSON object",
	} {
		_, config := start(t, time.Now)
		m := letter(1)
		m.Signed = signedID
		m.Fields["headers"] = map[string]any{"X-SMTPAPI": own}
		failure := channels.AsDelivery(open(t, config, sendgrid).Send(t.Context(), []channels.Message{m})[0].Err)
		require.Equal(t, channels.ClassMessage, failure.Class)
		require.ErrorContains(t, failure, want)
	}
}
