package twiliod_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/twiliod"

	"github.com/stretchr/testify/require"
)

func TestDocumentedAnswers(t *testing.T) {
	server, err := twiliod.Start(time.Now)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	server.SetNumber("+14155550101", twiliod.Number{Code: 21610})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CA.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	const path, from = "/2010-04-01/Accounts/" + twiliod.Account + "/Messages.json", "&From=%2B14155550000"
	for _, c := range []struct {
		name, path, user, password, body string
		status, code                     int
	}{
		{"by token", path, twiliod.Account, twiliod.Token, "To=%2B14155550100&Body=x" + from, 201, 0},
		{"by key", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x" + from, 201, 0},
		{"through a service", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x&MessagingServiceSid=" + twiliod.Service, 201, 0},
		{"1600 characters", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=" + strings.Repeat("x", 1600) + from, 201, 0},
		{"1601 characters", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=" + strings.Repeat("x", 1601) + from, 400, 21617},
		{"a key with the account's token", path, twiliod.Key, twiliod.Token, "To=%2B14155550100&Body=x" + from, 401, 20003},
		{"nobody", path, "", "", "To=%2B14155550100&Body=x" + from, 401, 20003},
		{"another account", "/2010-04-01/Accounts/AC0/Messages.json", twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x" + from, 404, 20404},
		{"no number", path, twiliod.Key, twiliod.Secret, "Body=x" + from, 400, 21604},
		{"a number without a plus", path, twiliod.Key, twiliod.Secret, "To=14155550100&Body=x" + from, 400, 21211},
		{"the sender itself", path, twiliod.Key, twiliod.Secret, "To=%2B14155550000&Body=x" + from, 400, 21266},
		{"no sender", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x", 400, 21603},
		{"another's sender", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x&From=%2B14155559999", 400, 21660},
		{"a sender that the service does not have", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x&From=%2B14155559999&MessagingServiceSid=" + twiliod.Service, 400, 21712},
		{"a sender that is none", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x&From=Shop%21", 400, 21212},
		{"no text", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100" + from, 400, 21602},
		{"a callback that is none", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x&StatusCallback=x" + from, 400, 21609},
		{"eleven hours", path, twiliod.Key, twiliod.Secret, "To=%2B14155550100&Body=x&ValidityPeriod=39600" + from, 400, 90007},
		{"after a STOP", path, twiliod.Key, twiliod.Secret, "To=%2B14155550101&Body=x" + from, 400, 21610},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Endpoint()+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.SetBasicAuth(c.user, c.password)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			response, err := client.Do(r)
			require.NoError(t, err)
			defer func() { require.NoError(t, response.Body.Close()) }()
			raw, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, response.StatusCode, "%s", raw)
			var answer map[string]any
			require.NoError(t, json.Unmarshal(raw, &answer))
			if c.code != 0 {
				require.EqualValues(t, c.code, answer["code"])
				require.EqualValues(t, c.status, answer["status"])
				return
			}
			require.Regexp(t, `^SM[0-9a-f]{32}$`, answer["sid"])
			require.Contains(t, answer, "error_code")
			require.Nil(t, answer["error_code"])
		})
	}
}
