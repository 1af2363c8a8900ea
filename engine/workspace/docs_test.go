package workspace_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"nudge/engine/workspace"
	"nudge/rules"
)

var fenced = regexp.MustCompile("(?ms)^```[a-z]+\n# (\\S+)\n(.*?)^```$")

// The files on the page are a workspace without a finding.
func TestDocsExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/rules.md")
	require.NoError(t, err)
	a := &txtar.Archive{}
	for _, m := range fenced.FindAllStringSubmatch(string(page), -1) {
		a.Files = append(a.Files, txtar.File{Name: m[1], Data: []byte(m[2])})
	}
	require.Len(t, a.Files, strings.Count(string(page), "\n```")/2, "every example names its file")
	dir := unpack(t, a)
	var b bytes.Buffer
	require.NoError(t, rules.Render(&b, workspace.Check(dir, workspace.Options{Adapters: adapters(t)}), rules.Text))
	require.Equal(t, "no findings\n", b.String())
	require.FileExists(t, filepath.Join(dir, "rules/cart-abandoned.yaml"))
}

// Every key that a file may have stands on the page: an unknown key's finding lists the known ones.
func TestDocsNameEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../docs/rules.md")
	require.NoError(t, err)
	known := func(t *testing.T, findings []rules.Finding) {
		listed := 0
		for _, f := range findings {
			list, ok := strings.CutPrefix(f.Detail, "Known here: ")
			if !ok {
				continue
			}
			listed++
			for key := range strings.SplitSeq(strings.TrimSuffix(list, "."), ", ") {
				named := regexp.MustCompile("`([a-z_ :,{}\\[]*[ {,])?" + regexp.QuoteMeta(key) + "[`,:}]")
				require.True(t, named.Match(page), "the page does not name the key %q", key)
			}
		}
		require.NotZero(t, listed)
	}
	const unknown = "zzzzzzzzzzzz: 1\n"
	t.Run("rule", func(t *testing.T) {
		_, findings := rules.ParseRule("r.yaml", []byte("rule: r\non: {event: A, "+strings.TrimSpace(unknown)+"}\nexit: {"+strings.TrimSpace(unknown)+"}\ngoal: {"+
			strings.TrimSpace(unknown)+"}\nwhen_blocked: {"+strings.TrimSpace(unknown)+"}\nschedule: {"+strings.TrimSpace(unknown)+"}\n"+unknown), rules.Options{})
		known(t, findings)
	})
	t.Run("segment", func(t *testing.T) {
		_, findings := rules.ParseSegment("s.yaml", []byte(unknown))
		known(t, findings)
	})
	t.Run("plan", func(t *testing.T) {
		_, findings := rules.ParsePlan("events.yaml", []byte("events: {A: {properties: {x: {"+strings.TrimSpace(unknown)+"}}, "+unknown+"}}\n"+unknown))
		known(t, findings)
	})
	t.Run("workspace", func(t *testing.T) {
		u := strings.TrimSpace(unknown)
		dir := unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "nudge.yaml", Data: []byte(
			"store: {" + u + "}\nqueue: {" + u + "}\nkeys: [{" + u + "}]\ncategories: {a: {" + u + "}}\nchannels: {a: {" + u + "}}\ncaps: [{" + u +
				"}]\nquiet_hours: {" + u + "}\nlocation: {" + u + "}\n" + unknown,
		)}}})
		known(t, workspace.Check(dir, workspace.Options{Adapters: adapters(t)}))
	})
}
