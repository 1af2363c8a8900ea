package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/workspace"
)

// TestBroadcastAsks answers its questions, wrongly at first.
func TestBroadcastAsks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nudge.yaml":        "zone: UTC\nchannels:\n  mail: {adapter: file, kind: email, needs: email, config: {path: sent.ndjson}}\n  push: {adapter: stdout, kind: push}\n",
		"segments/vip.yaml": "segment: vip\nabout: who buys much\nwhen: did(\"Bought\")\n",
		"people.txt":        "ann\n",
		"nobody.txt":        "# nobody\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	for _, c := range []struct {
		name    string
		answers []string
		asked   string // among what is said
		want    []string
		err     string
	}{
		{
			"a segment",
			[]string{"vpi", "vip", "fax", "push", "Fresh figs", "", "", "2026-12-01 09:00", ""},
			`there is no segment "vpi"; did you mean vip?`,
			[]string{"rule: fresh-figs\n", "at: \"2026-12-01 09:00\"\n", "  segment(\"vip\")\n", "    title: Fresh figs\n"},
			"",
		},
		{"a file", []string{filepath.Join(dir, "nobody.txt"), filepath.Join(dir, "people.txt"), "push", "Hello", "", "", "", "hi"}, "nobody is in", []string{"rule: hi\n", `list("broadcasts/hi.txt")`}, ""},
		{"everybody", []string{"everybody", "push", "", "", "", "Hello", "", "", "", ""}, "When, on the clock of UTC", []string{"when: |\n  true\n", "rule: hello\n"}, ""},
		{"a condition", []string{`did("Seen")`, "mail", "Hello", "there", "", "", "", ""}, "subject", []string{"  did(\"Seen\")\n", "    subject: Hello\n"}, ""},
		{"no answer", []string{"vip"}, "", nil, "no answer; nothing was written or sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, said bytes.Buffer
			s := streams{in: strings.NewReader(strings.Join(c.answers, "\n") + "\n"), out: &out, err: &said}
			ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSecrets: true})
			require.NoError(t, err)
			b := &broadcaster{s: s, ws: ws, bar: newProgressBar(s)}
			d, err := b.ask()
			require.Contains(t, said.String(), c.asked)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err, said.String())
			text := string(d.Files()["broadcasts/"+d.Name+".yaml"])
			for _, part := range c.want {
				require.Contains(t, text, part)
			}
		})
	}
}
