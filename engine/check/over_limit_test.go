package check_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/channels/all"
	"nudge/engine/check"
	"nudge/engine/workspace"
)

func TestOverLimit(t *testing.T) {
	const push = `-- nudge.yaml --
base_url: https://go.shop.example
channels:
  push:
    - {adapter: fcm, config: {credentials: {file: fcm.json}}}
    - {adapter: apns, config: {topic: shop.example, key: {file: k.p8}, key_id: ABCDE12345, team_id: ABCDE12345}}
-- events.yaml --
events:
  Viewed: {properties: {name: string, size: {type: string, enum: [small, "as large as it gets"]}, price: decimal}}
traits: {first_name: string}
-- rules/r.yaml --
rule: r
schedule: "0 18 * * *"
when: did("Viewed")
again: never
with: {name: 'event("Viewed").last.properties.name', size: 'event("Viewed").last.properties.size', price: 'event("Viewed").last.properties.price', all: 'event("Viewed").list(40)'}
`
	text := func(n int) string { return strings.Repeat("y", n) }
	for _, c := range []struct {
		name, rule string
		want       []string // place, what it says, and what values it was made with
	}{
		{"short", "message: {push: {title: \"{{ name }}\", body: \"{{ price | money: 'EUR' }}\"}}", nil},
		{"fits in spite of an enum", fmt.Sprintf("message: {push: {body: \"%s {{ size }}\"}}", text(3800)), nil},
		{"a name too much", fmt.Sprintf("message: {push: {body: \"%s {{ name }}\"}}", text(3800)), []string{
			"rules/r.yaml:6:18", "push can have 4,", "apns takes 4,096", "body with 3,901 bytes", "made with name as 100 characters.",
		}},
		{"a trait too much", fmt.Sprintf("message: {push: {title: \"%s\", body: \"{{ user.traits.first_name }}\"}}", text(3800)), []string{"6:18", "user.traits.first_name as 100 characters"}},
		{"cut", fmt.Sprintf("message: {push: {body: \"%s {{ name | truncate: 10 }}\"}}", text(3800)), nil},
		{"a loop", `message: {push: {body: "{% for x in all %}{{ x.properties.name }} for {{ x.properties.price | money: 'EUR' }}, {% endfor %}"}}`, []string{"all as 40 items"}},
		{"one of two variants", fmt.Sprintf("message: {push: {title: Hi, body: short}}\nvariants: {a: {}, b: {message: {push: {body: \"%s {{ name }}\"}}}}", text(3800)), []string{"7:40", "push of b can have"}},
		{"what variants share, once", fmt.Sprintf("message: {push: {title: Hi, body: \"%s {{ name }}\"}}\nvariants: {a: {}, b: {message: {push: {title: Ho}}}}", text(3800)), []string{"6:29", "push of a can have"}},
		{"one of its languages", fmt.Sprintf("message: {push: {title: Hi, body: short, locales: {de: {title: Hallo, body: \"%s {{ name }}\"}, fr: {title: Salut, body: court}}}}", text(3800)), []string{
			"6:71", "push in de can have 4,", "body with 3,901 bytes",
		}},
		{"what a language takes over, once", fmt.Sprintf("message: {push: {title: Hi, body: \"%s {{ name }}\", locales: {de: {title: Hallo}}}}", text(3800)), []string{"6:29"}},
		{"tracked links", fmt.Sprintf("message: {push: {body: \"%s\", link: \"https://shop.example/{{ name }}\"}}", text(3600)), []string{"6:18"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := found(t, check.Example(push+c.rule+"\n"))["message/over-limit"]
			if c.want == nil {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1, "%v", got)
			f := got[0]
			said := fmt.Sprintf("%s:%d:%d %s %s", f.File, f.Line, f.Col, f.Summary, f.Detail)
			for _, want := range c.want {
				require.Contains(t, said, want)
			}
		})
	}
}

// An adapter brings its limit with its spec, in its own unit.
func TestOverLimitOfAnotherUnit(t *testing.T) {
	var set channels.Set
	adapters, err := all.Set()
	require.NoError(t, err)
	for _, s := range adapters.List() {
		require.NoError(t, set.Add(s))
	}
	require.NoError(t, set.Add(channels.Spec{
		Name: "texts", Kind: "sms", Needs: "phone", Batch: 1, Concurrency: 1, Repeat: channels.RepeatDoubles,
		Message:    []channels.Field{{Name: "text", Type: "string", Template: true}},
		MaxPayload: 2, Unit: "segments",
		Measure: func(m *channels.Message) (int, error) { return (len(m.Text("text")) + 159) / 160, nil },
		New:     func(channels.Options) (channels.Channel, error) { return nil, os.ErrInvalid },
	}))
	for text, want := range map[string]bool{strings.Repeat("y", 220): false, strings.Repeat("y", 221): true} {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "rules"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "nudge.yaml"), []byte("channels: {sms: {adapter: texts}}\n"), 0o600))
		rule := "rule: r\nschedule: \"0 18 * * *\"\nwhen: did(\"A\")\nagain: never\nmessage: {sms: {text: \"" + text + "{{ user.traits.name }}\"}}\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "rules", "r.yaml"), []byte(rule), 0o600))
		ws, reading := workspace.Load(dir, workspace.Options{Adapters: set, WithoutSecrets: true})
		require.NotNil(t, ws, "%v", reading)
		var said []string
		for _, f := range check.Findings(ws, reading, now) {
			said = append(said, f.Check+" "+f.Summary)
		}
		over := "message/over-limit sms can have 3 segments, texts takes 2"
		require.Equal(t, want, slices.Contains(said, over), "%v", said)
	}
}

// The config of an adapter can set its limit.
func TestOverLimitThatTheConfigSets(t *testing.T) {
	set, err := all.Set()
	require.NoError(t, err)
	for _, c := range []struct {
		name, config string
		letters      int
		want         string
	}{
		{"at the default", "", 459, ""},
		{"above the default", "", 460, "sms can have 4 segments, twilio takes 3"},
		{"below the config's", ", max_segments: 4", 460, ""},
		{"above the config's", ", max_segments: 1", 161, "sms can have 2 segments, twilio takes 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "rules"), 0o755))
			config := "channels: {sms: {adapter: twilio, track_links: false, config: {account_sid: AC0123456789abcdef0123456789abcdef, auth_token: {env: TOKEN}, from: Shop" + c.config + "}}}\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "nudge.yaml"), []byte(config), 0o600))
			rule := "rule: r\nschedule: \"0 18 * * *\"\nwhen: did(\"A\")\nagain: never\nmessage: {sms: {text: \"" + strings.Repeat("y", c.letters) + "\"}}\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "rules", "r.yaml"), []byte(rule), 0o600))
			ws, reading := workspace.Load(dir, workspace.Options{Adapters: set, WithoutSecrets: true})
			require.NotNil(t, ws, "%v", reading)
			var said []string
			for _, f := range check.Findings(ws, reading, now) {
				require.NotContains(t, f.Check, "adapter-config", f.Summary)
				if f.Check == "message/over-limit" {
					said = append(said, f.Summary)
				}
			}
			require.Equal(t, c.want, strings.Join(said, "; "))
		})
	}
}
