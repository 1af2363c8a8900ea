package email_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"nudge/channels"
	"nudge/channels/email"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// TestDocs holds docs/email.md to the adapter: its channels open, its messages have the fields.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/email.md")
	require.NoError(t, err)
	_, config := start(t, time.Now)
	key := config["dkim_key"].(string)
	var set channels.Set
	require.NoError(t, set.Add(email.Spec()))
	opened, checked := 0, 0
	for _, part := range strings.Split(string(page), "```yaml\n")[1:] {
		fence, _, ok := strings.Cut(part, "```")
		require.True(t, ok)
		var file struct {
			Channels map[string]struct {
				Adapter string         `yaml:"adapter"`
				Rate    string         `yaml:"rate_limit"`
				Config  map[string]any `yaml:"config"`
			} `yaml:"channels"`
			Message map[string]map[string]any `yaml:"message"`
		}
		require.NoError(t, yaml.UnmarshalWithOptions([]byte(fence), &file, yaml.Strict()), fence)
		for _, c := range file.Channels {
			require.Equal(t, "email", c.Adapter)
			config, err := email.Spec().Resolve(c.Config, channels.Sources{
				Env: func(name string) (string, bool) {
					if name == "SENDGRID_WEBHOOK_KEY" {
						return vectorKey, true
					}
					return "a-secret-password", true
				},
				File: func(string) ([]byte, error) { return []byte(key), nil },
			})
			require.NoError(t, err)
			_, err = email.Spec().New(channels.Options{Config: config, Now: time.Now})
			require.NoError(t, err)
			opened++
		}
		for kind, message := range file.Message {
			require.NoError(t, set.CheckMessage(kind, message).Err())
			checked++
		}
	}
	require.Equal(t, 6, opened)
	require.Equal(t, 1, checked)
}
