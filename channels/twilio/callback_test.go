package twilio_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/twilio"

	"github.com/stretchr/testify/require"
)

// TestSignature has the example that Twilio's own libraries are tested with.
func TestSignature(t *testing.T) {
	form := url.Values{
		"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675309"}, "Digits": {"1234"}, "From": {"+14158675309"}, "To": {"+18005551212"},
	}
	require.Equal(t, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", twilio.Signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", form))
}

func TestStatusCallbacks(t *testing.T) {
	const reports, token = "https://go.shop.example/v1/callbacks/sms/twilio", "0123456789abcdef0123456789abcdef"
	server, config := start(t, time.Now)
	server.Keep = true
	asked := func(i int) string {
		form, err := url.ParseQuery(string(server.Log.Received()[i].Body))
		require.NoError(t, err)
		return form.Get("StatusCallback")
	}
	config["signing_token"] = token
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	c, err := twilio.Spec().New(channels.Options{Config: raw, Now: time.Now, Callback: reports})
	require.NoError(t, err)
	m := channeltest.Text(1)
	m.Signed = "abc-_DEF"
	require.NoError(t, c.Send(t.Context(), []channels.Message{m})[0].Err)
	told := asked(0)
	require.Equal(t, reports+"?m=abc-_DEF", told)

	call := func(address, token string, form url.Values) ([]channels.Report, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, bytes.NewReader(nil))
		require.NoError(t, err)
		r.Header.Set("X-Twilio-Signature", twilio.Signature(token, address, form))
		return c.(channels.Reporter).Reports(r, []byte(form.Encode()))
	}
	to := m.Address.Phone
	for _, tc := range []struct {
		name string
		form url.Values
		want []channels.Report
	}{
		{"on its way", url.Values{"MessageStatus": {"sent"}, "To": {to}}, nil},
		{"delivered", url.Values{"MessageStatus": {"delivered"}, "To": {to}}, []channels.Report{{Signed: "abc-_DEF", What: channels.Delivered}}},
		{
			"nobody there",
			url.Values{"MessageStatus": {"undelivered"}, "ErrorCode": {"30005"}, "To": {to}},
			[]channels.Report{{Signed: "abc-_DEF", What: channels.Bounced, Code: "30005", Dead: to}},
		},
		{
			"switched off",
			url.Values{"MessageStatus": {"undelivered"}, "ErrorCode": {"30003"}, "To": {to}},
			[]channels.Report{{Signed: "abc-_DEF", What: channels.Bounced, Code: "30003"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := call(told, token, tc.form)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
	delivered := url.Values{"MessageStatus": {"delivered"}}
	_, err = call(told, "another token of somebody's own.", delivered)
	require.ErrorContains(t, err, "not Twilio's")
	_, err = call("http://elsewhere.example/?m=abc-_DEF", token, delivered)
	require.ErrorContains(t, err, "not Twilio's", "the address is signed too")
	delete(config, "signing_token")
	raw, err = json.Marshal(config)
	require.NoError(t, err)
	c, err = twilio.Spec().New(channels.Options{Config: raw, Now: time.Now, Callback: reports})
	require.NoError(t, err)
	_, err = call(told, token, delivered)
	require.ErrorIs(t, err, channels.ErrNoCallback, "an API key's secret signs nothing")
	require.NoError(t, c.Send(t.Context(), []channels.Message{m})[0].Err)
	require.Empty(t, asked(1))
}
