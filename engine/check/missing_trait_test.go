package check_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/check"
	"nudge/engine/workspace"
)

// TestMissingTrait says who may lack what a message prints, and where it is printed.
func TestMissingTrait(t *testing.T) {
	const rule = "rule: hello\nschedule: \"0 9 * * *\"\nagain: never\n"
	const title = "message: {push: {title: \"Hi {{ user.traits.name }}\"}}\n"
	always := `when: did("Product Viewed").within(days(1))` + "\n"
	for name, c := range map[string]struct {
		rule string
		plan string
		more map[string]string
		want []string // where, and the trait
	}{
		"printed":                        {rule: always + title, want: []string{"rules/hello.yaml:5:32 user.traits.name"}},
		"with a default":                 {rule: always + strings.Replace(title, "name }}", "name | default: 'you' }}", 1)},
		"inside of an if":                {rule: always + strings.Replace(title, "Hi {{ user.traits.name }}", "Hi{% if user.traits.name %} {{ user.traits.name }}{% endif %}", 1)},
		"required by has":                {rule: "when: has(user.traits.name)\n" + title},
		"required with something else":   {rule: `when: has(user.traits.name) and did("Product Viewed").within(days(1))` + "\n" + title},
		"required by a comparison":       {rule: `when: user.traits.name != "Ann"` + "\n" + title},
		"required by not a comparison":   {rule: `when: not (user.traits.name == "Ann")` + "\n" + title},
		"required by both sides":         {rule: `when: user.traits.name == "Ann" or user.traits.name startsWith "B"` + "\n" + title},
		"required by a segment":          {rule: `when: segment("named")` + "\n" + title, more: map[string]string{"segments/named.yaml": "segment: named\nwhen: has(user.traits.name)\n"}},
		"required by one of two":         {rule: `when: has(user.traits.name) or did("Product Viewed").within(days(1))` + "\n" + title, want: []string{"rules/hello.yaml:5:32 user.traits.name"}},
		"asked with a default":           {rule: `when: (user.traits.name ?? "x") != "Ann"` + "\n" + title, want: []string{"rules/hello.yaml:5:32 user.traits.name"}},
		"another is required":            {rule: "when: has(user.traits.names)\n" + title, want: []string{"rules/hello.yaml:5:32 user.traits.name"}},
		"required by the plan":           {rule: always + title, plan: "traits: {name: {type: string, required: true}}\n"},
		"declared, not required":         {rule: always + title, plan: "traits: {name: string}\n", want: []string{"rules/hello.yaml:5:32 user.traits.name"}},
		"the address of the channel":     {rule: always + "message: {email: {subject: \"For {{ user.traits.email }}\", text: x}}\n"},
		"an address of another channel":  {rule: always + "message: {push: {title: \"For {{ user.traits.email }}\"}}\n", want: []string{"rules/hello.yaml:5:33 user.traits.email"}},
		"in a file":                      {rule: always + "message: {email: {subject: x, html: templates/a.html}}\n", more: map[string]string{"templates/a.html": "<p>{{ user.traits.name }}</p>"}, want: []string{"rules/hello.yaml:5:11 user.traits.name"}},
		"in a language":                  {rule: always + "message: {email: {subject: x, text: y, locales: {de: {text: \"{{ user.traits.name }}\"}}}}\n", want: []string{"rules/hello.yaml:5:65 user.traits.name"}},
		"by a variant, and shared":       {rule: always + title + "variants: {a: {}, b: {message: {push: {body: \"{{ user.traits.city }}\"}}}}\n", want: []string{"rules/hello.yaml:5:32 user.traits.name", "rules/hello.yaml:6:50 user.traits.city"}},
		"two on one line":                {rule: always + "message: {push: {title: \"{{ user.traits.a }} {{ user.traits.b }}\"}}\n", want: []string{"rules/hello.yaml:5:29 user.traits.a", "rules/hello.yaml:5:49 user.traits.b"}},
		"guarded first, and bare behind": {rule: always + "message: {push: {title: \"{{ user.traits.a | default: 1 }} {{ user.traits.a }}\"}}\n", want: []string{"rules/hello.yaml:5:62 user.traits.a"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{
				"nudge.yaml":       "channels:\n  push: {adapter: file, kind: push, config: {path: p.ndjson}}\n  email: {adapter: file, needs: email, config: {path: e.ndjson}}\n",
				"rules/hello.yaml": rule + c.rule,
				"events.yaml":      "events: {Product Viewed: {}}\n" + c.plan,
			}
			maps.Copy(files, c.more)
			for file, text := range files {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
			}
			set, err := all.Set()
			require.NoError(t, err)
			ws, reading := workspace.Load(dir, workspace.Options{Adapters: set, WithoutSecrets: true})
			require.NotNil(t, ws, "%+v", reading)
			var got []string
			for _, f := range check.Findings(ws, nil, time.Now()) {
				if f.Check == "message/missing-trait" {
					i := strings.Index(f.Summary, "user.traits.")
					trait, _, _ := strings.Cut(strings.TrimRight(f.Summary[i:], ","), " ")
					got = append(got, fmt.Sprintf("%s:%d:%d %s", f.File, f.Line, f.Col, strings.TrimRight(trait, ",")))
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}
