package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
)

// What docs/digest.md shows are the files of an example, which is without findings and whose tests pass.
func TestDocsDigest(t *testing.T) {
	shown := 0
	for _, f := range fences(read(t, "docs/digest.md")) {
		if f.kind != "yaml" {
			continue
		}
		first, rest, _ := strings.Cut(f.text, "\n")
		path, ok := strings.CutPrefix(first, "# ")
		require.True(t, ok, first)
		require.Equal(t, read(t, path), rest, path)
		shown++
	}
	require.Equal(t, 4, shown)
	dir := filepath.Join(top, "examples/digest")
	var out, logs bytes.Buffer
	require.Equal(t, exitFine, run([]string{"check", "--fail-on", "info", dir}, strings.NewReader(""), &out, &logs), out.String()+logs.String())
	if _, err := embedded.FindLib(""); err != nil {
		t.Skip(err)
	}
	out.Reset()
	require.Equal(t, exitFine, run([]string{"test", "--coverage", "--min-coverage", "100%", dir}, strings.NewReader(""), &out, &logs), out.String()+logs.String())
}
