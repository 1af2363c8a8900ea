package parsed_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"nudge/channels/channeltest/parsed"

	"github.com/stretchr/testify/require"
)

// keys are those of one server.
type keys struct{ url, app, master, readOnly, rest string }

// TestAnswers holds the local server, and a real Parse Server where NUDGE_PARSE_URL and the other variables name one, to
// the same answers.
func TestAnswers(t *testing.T) {
	server, err := parsed.Start(parsed.Config{Now: time.Now})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	// Parse Server cuts the connection after some of its errors, so that a next request on it fails.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.CA.Pool()}, DisableKeepAlives: true}}
	t.Run("local", func(t *testing.T) {
		answers(t, client, keys{server.URL(), parsed.AppID, parsed.MasterKey, parsed.ReadOnlyKey, parsed.RESTKey})
	})
	t.Run("real", func(t *testing.T) {
		if os.Getenv("NUDGE_PARSE_URL") == "" {
			t.Skip("NUDGE_PARSE_URL is not set: no Parse Server to try")
		}
		answers(t, client, keys{
			os.Getenv("NUDGE_PARSE_URL"), os.Getenv("NUDGE_PARSE_APP_ID"), os.Getenv("NUDGE_PARSE_MASTER_KEY"),
			os.Getenv("NUDGE_PARSE_READ_ONLY_KEY"), os.Getenv("NUDGE_PARSE_REST_KEY"),
		})
	})
}

func answers(t *testing.T, client *http.Client, k keys) {
	t.Helper()
	const good = `{"where":{"deviceToken":"nobody"},"data":{"alert":"x"}}`
	push := func(more string) string {
		return `{"where":{"deviceToken":"nobody"},"data":{"alert":"x"},` + more + `}`
	}
	master, rest := map[string]string{"Master-Key": k.master}, map[string]string{"REST-API-Key": k.rest}
	for _, c := range []struct {
		name, method, path, body string
		as                       map[string]string
		status, code             int
		says                     string
	}{
		{"by a query", "POST", "/push", good, master, 200, 0, ""},
		{"by channels", "POST", "/push", `{"channels":["nobody"],"data":{"alert":"x"}}`, master, 200, 0, ""},
		{"without data", "POST", "/push", `{"where":{"deviceToken":"nobody"}}`, master, 200, 0, ""},
		{"a key that there is not", "POST", "/push", push(`"bogus":1`), master, 200, 0, ""},
		{"a query that is none", "POST", "/push", `{"where":"x","data":{"alert":"x"}}`, master, 200, 0, ""},
		{"channels that are none", "POST", "/push", `{"channels":"x","data":{"alert":"x"}}`, master, 200, 0, ""},
		{"both", "POST", "/push", push(`"channels":["a"]`), master, 400, 115, "Channels and query can not be set at the same time."},
		{"neither", "POST", "/push", `{"data":{"alert":"x"}}`, master, 400, 115, `Sending a push requires either "channels" or a "where" query.`},
		{"an array", "POST", "/push", `[]`, master, 400, 115, `Sending a push requires either "channels" or a "where" query.`},
		{"half of JSON", "POST", "/push", `{"where":`, master, 400, 0, ""},
		{"JSON that is no object", "POST", "/push", `null`, master, 400, 0, ""},
		{"an interval", "POST", "/push", push(`"expiration_interval":60`), master, 200, 0, ""},
		{"an interval of nothing", "POST", "/push", push(`"expiration_interval":0`), master, 400, 115, "expiration_interval must be a number greater than 0"},
		{"an interval as a text", "POST", "/push", push(`"expiration_interval":"5"`), master, 400, 115, "expiration_interval must be a number greater than 0"},
		{"an instant", "POST", "/push", push(`"expiration_time":"2030-01-01T00:00:00Z"`), master, 200, 0, ""},
		{"an instant that is none", "POST", "/push", push(`"expiration_time":"soon"`), master, 400, 115, "soon is not valid time."},
		{"both expirations", "POST", "/push", push(`"expiration_interval":5,"expiration_time":"2030-01-01T00:00:00Z"`), master, 400, 115, "Both expiration_time and expiration_interval cannot be set"},
		{"a time that is none", "POST", "/push", push(`"push_time":"soon"`), master, 400, 115, "soon is not valid time."},
		{"a badge that is none", "POST", "/push", `{"where":{"deviceToken":"nobody"},"data":{"badge":"many"}}`, master, 500, 1, ""},
		{"a badge of none", "POST", "/push", `{"where":{"deviceToken":"nobody"},"data":{"badge":0}}`, master, 200, 0, ""},
		{"a badge that counts", "POST", "/push", `{"where":{"deviceToken":"nobody"},"data":{"badge":"Increment"}}`, master, 200, 0, ""},
		{"the REST key", "POST", "/push", good, rest, 403, 0, "Permission denied"},
		{"a key that reads", "POST", "/push", good, map[string]string{"Master-Key": k.readOnly}, 400, 119, "Permission denied"},
		{"another key", "POST", "/push", good, map[string]string{"Master-Key": "another"}, 403, 0, "unauthorized"},
		{"no key", "POST", "/push", good, nil, 403, 0, "unauthorized"},
		{"another app", "POST", "/push", good, map[string]string{"Master-Key": k.master, "Application-Id": "another"}, 403, 0, "unauthorized"},
		{"another method", "GET", "/push", "", master, 404, 0, ""},
		{"another path", "POST", "/pushes", good, master, 404, 0, ""},
		{"the server's features", "GET", "/serverInfo", "", master, 200, 0, ""},
		{"the server's features by the REST key", "GET", "/serverInfo", "", rest, 403, 0, "Permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, k.url+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Parse-Application-Id", k.app)
			for name, value := range c.as {
				r.Header.Set("X-Parse-"+name, value)
			}
			response, err := client.Do(r)
			require.NoError(t, err)
			defer func() { require.NoError(t, response.Body.Close()) }()
			raw, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, response.StatusCode, "%s", raw)
			var answer struct {
				Result   bool   `json:"result"`
				Code     int    `json:"code"`
				Error    string `json:"error"`
				Features struct {
					Push struct {
						Immediate bool `json:"immediatePush"`
					} `json:"push"`
				} `json:"features"`
			}
			if c.status == http.StatusNotFound {
				require.Error(t, json.Unmarshal(raw, &answer), "a path that there is not is answered by a page")
				return
			}
			require.NoError(t, json.Unmarshal(raw, &answer))
			require.Equal(t, c.code, answer.Code)
			if c.says != "" {
				require.Equal(t, c.says, answer.Error)
			}
			taken := c.status == http.StatusOK && c.path == "/push"
			require.Equal(t, taken, answer.Result)
			require.Equal(t, taken, len(response.Header.Get("X-Parse-Push-Status-Id")) == 10)
			require.Equal(t, c.status == http.StatusOK && c.path == "/serverInfo", answer.Features.Push.Immediate)
		})
	}
}
