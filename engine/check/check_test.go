package check_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"nudge/channels/all"
	"nudge/engine/check"
	"nudge/engine/workspace"
	"nudge/rules"
)

var update = flag.Bool("update", false, "write docs/checks.md anew")

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// found are the findings of a workspace, by id.
func found(t *testing.T, a *txtar.Archive) map[string][]rules.Finding {
	t.Helper()
	dir := t.TempDir()
	for _, f := range a.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, f.Data, 0o600))
	}
	adapters, err := all.Set()
	require.NoError(t, err)
	ws, reading := workspace.Load(dir, workspace.Options{Adapters: adapters, WithoutSecrets: true})
	out := map[string][]rules.Finding{}
	for _, f := range check.Findings(ws, reading, now) {
		require.NotEqual(t, rules.Error, f.Severity, "%+v", f)
		out[f.Check] = append(out[f.Check], f)
	}
	return out
}

// The examples of each check are what they say.
func TestExamples(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range check.All() {
		t.Run(c.ID, func(t *testing.T) {
			require.False(t, seen[c.ID], "two checks have one id")
			seen[c.ID] = true
			bad := found(t, check.Example(c.Bad))
			require.Len(t, bad[c.ID], 1, "%v", bad)
			f := bad[c.ID][0]
			require.Equal(t, c.Severity, f.Severity)
			require.Positive(t, f.Line)
			require.NotEmpty(t, f.Detail, "it does not say what to do next")
			require.NotEmpty(t, f.Text)
			require.Empty(t, found(t, check.Example(c.Good))[c.ID])
		})
	}
}

func TestDocs(t *testing.T) {
	const path = "../../docs/checks.md"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(check.Docs()), 0o644)) //nolint:gosec // a page to read
	}
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(page), check.Docs(), "the checks changed: run make docs")
}
