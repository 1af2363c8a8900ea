package workspace_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"nudge/engine/workspace"
	"nudge/rules"
)

const digestConfig = `
channels:
  push: {adapter: file, kind: push, config: {path: push.ndjson}}
  email: {adapter: file, needs: email, config: {path: email.ndjson}}
  digest: {adapter: digest}
`

const letter = "rule: letter\ndigest: digest\nschedule: {cron: \"0 9 * * 1\", zone: person}\nmessage:\n  email: {subject: \"{{ count }} {{ items.first.title }}\", text: t}\n  push: {title: \"{{ count }} things\", body: \"{{ items | map: 'title' | join: ', ' }}\"}\n"

// loaded is the workspace of some files beside the channels, or what is wrong with it.
func loaded(t *testing.T, files map[string]string) (*workspace.Workspace, string) {
	t.Helper()
	a := &txtar.Archive{Files: []txtar.File{{Name: "nudge.yaml", Data: []byte(digestConfig)}}}
	for name, text := range files {
		a.Files = append(a.Files, txtar.File{Name: "rules/" + name + ".yaml", Data: []byte(text)})
	}
	ws, findings := workspace.Load(unpack(t, a), workspace.Options{Adapters: adapters(t), WithoutSecrets: true})
	var b bytes.Buffer
	require.NoError(t, rules.Render(&b, findings, rules.Text))
	return ws, b.String()
}

func TestADigestIsARule(t *testing.T) {
	ws, said := loaded(t, map[string]string{"letter": letter})
	require.Equal(t, "no findings\n", said)
	require.True(t, ws.Policy.Channels["digest"].Collects)
	require.Equal(t, "letter", ws.Policy.Digests["digest"].Name)
	r := ws.Rules[0]
	require.Equal(t, "digest", r.Digest)
	require.Equal(t, rules.ZonePerson, r.Schedule.Zone)
	require.Equal(t, rules.Keep, r.WhileHeld)
	again, _ := loaded(t, map[string]string{"letter": letter})
	require.Equal(t, ws.Hash, again.Hash)
}

func TestMistakesWithDigests(t *testing.T) {
	on := func(rest string) string { return "rule: r\non: Bought\nagain: each_time\n" + rest }
	const collected = "message:\n  digest: {title: Cheaper}\n"
	for name, tc := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"a channel that sends": {
			map[string]string{"r": "rule: r\ndigest: email\nschedule: \"@daily\"\nmessage:\n  email: {subject: s, text: t}\n"},
			[]string{`r.yaml:2:9: error: "email" is no channel that collects [rule/bad-value]`, "Channels that do: digest."},
		},
		"a name that is nearly right": {
			map[string]string{"r": "rule: r\ndigest: digset\nschedule: \"@daily\"\nmessage:\n  email: {subject: s, text: t}\n"},
			[]string{`did you mean "digest"?`},
		},
		"no schedule": {
			map[string]string{"r": "rule: r\ndigest: digest\nmessage:\n  email: {subject: s, text: t}\n"},
			[]string{`"schedule" is missing`, "Say when it goes out"},
		},
		"a condition": {
			map[string]string{"r": letter + "when: did(\"Bought\")\nagain: never\nshadow: true\n"},
			[]string{`has no "when"`, `has no "again"`, `has no "shadow"`},
		},
		"one that is collected itself": {
			map[string]string{"r": letter + "  digest: {title: t}\n"},
			[]string{"a digest is not collected itself [rule/conflict]"},
		},
		"two for one channel": {
			map[string]string{"letter": letter, "other": "rule: other" + letter[len("rule: letter"):]},
			[]string{"the rule letter sends what digest collects already", "Keep one"},
		},
		"an urgent rule": {
			map[string]string{"r": on("urgent: true\n" + collected)},
			[]string{"r.yaml:6:3: error: the rule is urgent, and digest collects until its digest goes out [rule/conflict]"},
		},
		"one for all channels": {
			map[string]string{"r": on("deliver: all\n" + collected)},
			[]string{"does not go with `deliver: all`"},
		},
		"one that escalates": {
			map[string]string{"r": on("deliver: {escalate: 2h}\n" + collected + "  email: {subject: s, text: t}\n")},
			[]string{"does not go with `deliver: escalate`"},
		},
		"an item without a title": {
			map[string]string{"r": on("message:\n  digest: {body: b}\n")},
			[]string{`digest needs the field "title"`},
		},
		"a name that only digests have": {
			map[string]string{"r": on("message:\n  email: {subject: \"{{ count }}\", text: t}\n")},
			[]string{"count"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, said := loaded(t, tc.files)
			for _, want := range tc.want {
				require.Contains(t, said, want)
			}
		})
	}
}
