package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	const rule = "rule: hello\nschedule: \"0 9 * * *\"\nwhen: user.id != nil\nagain: never\nmessage: {push: {body: Hello}}\n"
	const config = "channels: {push: {adapter: stdout, kind: push}}\n"
	cases := []struct {
		name  string
		files map[string]string
		args  []string
		code  int
		out   string // part of standard output
		err   string // part of standard error
	}{
		{"fine", map[string]string{"nudge.yaml": config, "rules/a.yaml": rule}, nil, 0, "1 rule, 0 segments, 0 fences, 0 declared events, 1 channel\nno findings\n", ""},
		{"an error", map[string]string{"nudge.yaml": config, "rules/a.yaml": rule + "prioritee: 1\n"}, nil, 1, "rules/a.yaml:6:1: error: unknown key \"prioritee\" [rule/unknown-key]", ""},
		{"a warning is fine", map[string]string{"nudge.yaml": config, "rules/a.yml": rule}, nil, 0, "1 warning\n", ""},
		{"unless it is not", map[string]string{"nudge.yaml": config, "rules/a.yml": rule}, []string{"--fail-on", "warning"}, 1, "1 warning\n", ""},
		{"no nudge.yaml", map[string]string{"rules/a.yaml": rule}, nil, 1, "nudge.yaml: error: the file cannot be read", ""},
		{"no folder", nil, []string{"nowhere"}, 3, "", "nowhere"},
		{"wrong format", nil, []string{"--format", "xml"}, 2, "", "--format is text, json, junit, sarif"},
		{"wrong severity", nil, []string{"--fail-on", "bad"}, 2, "", "--fail-on is error, warning or info"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			}
			args := append([]string{"check"}, c.args...)
			if c.files != nil {
				args = append(args, dir)
			}
			var out, errOut bytes.Buffer
			require.Equal(t, c.code, run(args, strings.NewReader(""), &out, &errOut), out.String()+errOut.String())
			require.Contains(t, out.String(), c.out)
			require.Contains(t, errOut.String(), c.err)
			if c.err == "" {
				require.Empty(t, errOut.String())
			}
		})
	}
}

func TestCheckJSON(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nudge.yaml"), []byte("zon: UTC\n"), 0o600))
	var out, errOut bytes.Buffer
	require.Equal(t, 1, run([]string{"check", "--format", "json", dir}, strings.NewReader(""), &out, &errOut))
	var got struct {
		Errors   int
		Findings []struct{ Check, File, Suggest string }
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.Equal(t, 1, got.Errors)
	require.Equal(t, "workspace/unknown-key", got.Findings[0].Check)
	require.Equal(t, "zone", got.Findings[0].Suggest)
}
