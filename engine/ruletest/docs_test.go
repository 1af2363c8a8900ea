package ruletest_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/engine/ruletest"
	"nudge/rules"
)

var fenced = regexp.MustCompile("(?ms)^```yaml\n# (\\S+)\n(.*?)^```$")

// The files on the page are a workspace whose tests pass.
func TestDocsExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/testing.md")
	require.NoError(t, err)
	files := map[string]string{}
	for _, m := range fenced.FindAllStringSubmatch(string(page), -1) {
		files[m[1]] = m[2]
	}
	require.Len(t, files, strings.Count(string(page), "\n```")/2, "every example names its file")
	ws := load(t, files)
	tests, findings := ruletest.Load(ws)
	require.Empty(t, findings, render(t, findings))
	results, err := ruletest.Run(t.Context(), ruletest.Options{Workspace: ws, Tests: tests})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, ruletest.WriteText(&out, results, true))
	require.False(t, ruletest.Failed(results), out.String())
}

// Every key that a test may have stands on the page, and every reason.
func TestDocsNameEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../docs/testing.md")
	require.NoError(t, err)
	files := small()
	files["tests/a_test.yaml"] = `
- name: a
  zzzzzz: 1
  people: {ann: {zzzzzz: 1, devices: {zzzzzz: 1, platform: ios}, consents: {zzzzzz: 1, granted: true}}}
  events: [{zzzzzz: 1, at: 1m, user: ann, track: A}]
  expect: [{zzzzzz: 1, user: ann, rule: hello}]
  silence: [{zzzzzz: 1, user: ann}]
  until: 1d
`
	_, findings := ruletest.Load(load(t, files))
	listed := 0
	for _, f := range findings {
		list, ok := strings.CutPrefix(f.Detail, "Known here: ")
		if !ok {
			continue
		}
		listed++
		for key := range strings.SplitSeq(strings.TrimSuffix(list, "."), ", ") {
			require.Regexp(t, `[^a-z_]`+regexp.QuoteMeta(key)+"[`:,} ]", string(page))
		}
	}
	require.Equal(t, 7, listed, render(t, findings))
	for _, r := range append(ledger.Reasons(), ledger.Held) {
		require.Contains(t, string(page), "`"+string(r)+"`")
	}
}

func render(t *testing.T, findings []rules.Finding) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, rules.Render(&out, findings, rules.Text))
	return out.String()
}
