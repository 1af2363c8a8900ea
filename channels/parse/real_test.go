package parse_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest"
	"nudge/channels/channeltest/parsed"
	"nudge/channels/parse"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRealServer sends through a real Parse Server, where the environment names one: NUDGE_PARSE_URL, NUDGE_PARSE_APP_ID,
// NUDGE_PARSE_MASTER_KEY and NUDGE_PARSE_READ_ONLY_KEY. The server needs a push adapter that says that it has transmitted;
// the test adds installations, and reads from _PushStatus how many a push was sent to.
func TestRealServer(t *testing.T) {
	url, app, key := os.Getenv("NUDGE_PARSE_URL"), os.Getenv("NUDGE_PARSE_APP_ID"), os.Getenv("NUDGE_PARSE_MASTER_KEY")
	if url == "" {
		t.Skip("NUDGE_PARSE_URL is not set: no Parse Server to try")
	}
	config := map[string]any{"url": url, "application_id": app, "master_key": key}
	ask := func(t require.TestingT, method, path string, body, into any) {
		var raw []byte
		if body != nil {
			var err error
			raw, err = json.Marshal(body)
			require.NoError(t, err)
		}
		r, err := http.NewRequest(method, url+path, bytes.NewReader(raw))
		require.NoError(t, err)
		r.Header = http.Header{"X-Parse-Application-Id": {app}, "X-Parse-Master-Key": {key}, "Content-Type": {"application/json"}}
		response, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
		require.NoError(t, err)
		defer func() { require.NoError(t, response.Body.Close()) }()
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Less(t, response.StatusCode, 300, "%s", answer)
		require.NoError(t, json.Unmarshal(answer, into))
	}
	test := func(changes map[string]any) error {
		return channeltest.Open(t, parse.Spec(), channeltest.With(config, changes)).(channels.Tester).Test(t.Context())
	}
	require.NoError(t, test(nil))
	checkKeys(t, test, os.Getenv("NUDGE_PARSE_READ_ONLY_KEY"))
	install := func(i parsed.Installation) {
		body := map[string]any{"deviceType": i.DeviceType, "deviceToken": i.DeviceToken, "channels": append([]string{}, i.Channels...)}
		maps.Copy(body, i.Fields)
		ask(t, http.MethodPost, "/installations", body, &map[string]any{})
	}
	reaches(t, config, install, func(t *testing.T, id string, want []string) {
		var status struct {
			Status  string `json:"status"`
			Sent    int    `json:"numSent"`
			Payload string `json:"payload"`
		}
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			ask(c, http.MethodGet, "/classes/_PushStatus/"+id, nil, &status)
			require.True(c, slices.Contains([]string{"succeeded", "failed"}, status.Status), "%+v", status)
		}, 10*time.Second, 50*time.Millisecond)
		require.Equal(t, "succeeded", status.Status)
		require.Equal(t, len(want), status.Sent)
		require.JSONEq(t, `{"alert": "It waits", "title": "Your cart"}`, status.Payload)
	})
}
