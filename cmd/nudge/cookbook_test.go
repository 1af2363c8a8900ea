package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/ruletest"
	"nudge/engine/workspace"
)

const (
	cookbook     = "examples/cookbook"
	cookbookPage = "docs/cookbook.md"
)

// testsOf is where the page lists what a rule's tests show; the list goes up to the next heading.
var testsOf = regexp.MustCompile(`(?s)(<!-- tests of ([a-z0-9-]+) -->\n)(.*?)(\n## |$)`)

// The page shows the files of the workspace and the names of its tests, and says something of every rule. What
// stands between them is written by hand.
func TestDocsCookbook(t *testing.T) {
	ws, tests := kitchen(t, filepath.Join(top, cookbook))
	page := read(t, cookbookPage)
	written := testsOf.ReplaceAllStringFunc(page, func(found string) string {
		m := testsOf.FindStringSubmatch(found)
		return m[1] + listed(t, m[2], tests) + m[4]
	})
	var shown []string
	for _, f := range slices.Backward(fences(written)) {
		if f.kind != "yaml" {
			continue
		}
		first, _, _ := strings.Cut(f.text, "\n")
		path, ok := strings.CutPrefix(first, "# ")
		require.True(t, ok, "a YAML block of the page begins with its path: %s", first)
		written = written[:f.from] + first + "\n" + read(t, path) + written[f.to:]
		if name, ok := strings.CutPrefix(path, cookbook+"/rules/"); ok {
			shown = append(shown, strings.TrimSuffix(name, ".yaml"))
		}
	}
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join(top, cookbookPage), []byte(written), 0o644)) //nolint:gosec // a page to read
		page = written
	}
	require.Equal(t, page, written, "the cookbook changed: run make docs")

	var names, told []string
	for _, r := range ws.Rules {
		names = append(names, r.Name)
	}
	for _, m := range testsOf.FindAllStringSubmatch(page, -1) {
		told = append(told, m[2])
	}
	require.ElementsMatch(t, names, shown, "every rule has a recipe, in a file of its name")
	require.ElementsMatch(t, names, told, "every recipe says what is tested")
	for _, m := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(page, -1) {
		require.Contains(t, anchors(page), m[1])
	}
	require.Len(t, names, strings.Count(page, "](#"), "the table has a line for every recipe")
}

// kitchen reads a workspace and its tests.
func kitchen(t *testing.T, dir string) (*workspace.Workspace, []*ruletest.Test) {
	t.Helper()
	set, err := all.Set()
	require.NoError(t, err)
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: set, WithoutSecrets: true})
	require.Empty(t, findings)
	tests, findings := ruletest.Load(ws)
	require.Empty(t, findings)
	return ws, tests
}

// listed is what the tests in the file of a rule's name show; each of them must be about the rule.
func listed(t *testing.T, rule string, tests []*ruletest.Test) string {
	t.Helper()
	var b strings.Builder
	for _, test := range tests {
		if test.Suite != rule {
			continue
		}
		about := slices.ContainsFunc(test.Expect, func(e ruletest.Expectation) bool { return e.Rule == rule }) ||
			slices.ContainsFunc(test.Silence, func(s ruletest.Silence) bool { return s.Rule == rule || s.Rule == "" })
		require.True(t, about, "%s says nothing of %s", test.Title(), rule)
		if b.Len() == 0 {
			fmt.Fprintf(&b, "Its [tests](../%s/%s) show:\n\n", cookbook, test.File)
		}
		fmt.Fprintf(&b, "- %s\n", test.Name)
	}
	require.NotZero(t, b.Len(), "%s has no tests", rule)
	return b.String()
}

// anchors are what the headings of a page are linked by.
func anchors(page string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(page, -1) {
		out = append(out, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

// spoken is a condition in the running text: something to write into a rule instead.
var spoken = regexp.MustCompile("`((?:event|message|did|it|local)\\b[^`]*[<>=][^`]*|did\\([^`]*\\))`")

// What the text tells people to write instead can be written.
func TestDocsCookbookConditions(t *testing.T) {
	page := fenced.ReplaceAllString(read(t, cookbookPage), "")
	found := spoken.FindAllStringSubmatch(page, -1)
	require.Greater(t, len(found), 8)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(top, cookbook))))
	for i, m := range found {
		each := ""
		if strings.HasPrefix(m[1], "it.") {
			each = "for_each: event(\"Product Purchased\").by(\"product_id\")\n"
		}
		rule := fmt.Sprintf("rule: spoken-%d\nschedule: \"@daily\"\nagain: never\n%swhen: |\n  %s\nmessage: {push: {title: Hello, body: Hello}}\n", i, each, m[1])
		require.NoError(t, os.WriteFile(filepath.Join(dir, "rules", fmt.Sprintf("spoken-%d.yaml", i)), []byte(rule), 0o600))
	}
	kitchen(t, dir)
}
