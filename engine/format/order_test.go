package format_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/format"
	"nudge/engine/schema"
)

// keysOf are the keys of a schema, or of what it is a choice between.
func keysOf(s map[string]any) (out []string) {
	for _, part := range append([]any{s}, list(s["anyOf"])...) {
		part, _ := part.(map[string]any)
		properties, _ := part["properties"].(map[string]any)
		for key := range properties {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// formatted is the order in which the formatter leaves the keys of a file.
func formatted(t *testing.T, kind string, keys []string) []string {
	t.Helper()
	var b strings.Builder
	indent := ""
	if kind == "test" {
		b.WriteString("-\n")
		indent = "  "
	}
	for _, key := range slices.Backward(keys) {
		fmt.Fprintf(&b, "%s%s: x\n", indent, key)
	}
	fmt.Fprintf(&b, "%sunknown: x\n", indent)
	out, findings := format.Source(format.File{Path: kind, Kind: kind}, []byte(b.String()))
	require.Empty(t, findings)
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^(?:- |  )?([a-z_]+):`).FindAllStringSubmatch(string(out), -1) {
		got = append(got, m[1])
	}
	require.Equal(t, "unknown", got[len(got)-1], "every known key stands before one that nobody knows")
	return got[:len(got)-1]
}

// table are the keys that a table of a page lists, in order.
func table(t *testing.T, page, heading string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	require.True(t, ok, heading)
	rest, _, _ = strings.Cut(rest, "\n\n**")
	var out []string
	begun := false
	for line := range strings.Lines(rest) {
		switch {
		case strings.HasPrefix(line, "| key"):
			begun = true
		case begun && !strings.HasPrefix(line, "|"):
			return out
		case begun:
			cell, _, _ := strings.Cut(line[1:], "|")
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cell, -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

// The order of the keys is that of the docs, and it has every key of the schemas.
func TestOrderIsThatOfTheDocs(t *testing.T) {
	docs := map[string]struct{ page, heading string }{
		"rule": {"rules.md", "Rules"}, "workspace": {"rules.md", "nudge.yaml"}, "events": {"rules.md", "events.yaml"}, "test": {"testing.md", "A test"},
	}
	for _, k := range schema.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			text, err := schema.Of(k.Name)
			require.NoError(t, err)
			var s map[string]any
			require.NoError(t, json.Unmarshal(text, &s))
			if items, ok := s["items"].(map[string]any); ok {
				s = items
			}
			known := keysOf(s)
			require.Greater(t, len(known), 3)
			got := formatted(t, k.Name, known)
			require.ElementsMatch(t, known, got)
			at, ok := docs[k.Name]
			if !ok {
				require.Equal(t, []string{"segment", "about", "when", "silence"}, got)
				return
			}
			listed := slices.DeleteFunc(table(t, at.page, at.heading), func(key string) bool { return !slices.Contains(known, key) })
			require.Greater(t, len(listed), 3)
			require.Equal(t, listed, got)
		})
	}
}

// The examples of the docs are formatted, so that nobody copies what nudge fmt would change.
func TestDocsAreFormatted(t *testing.T) {
	n := 0
	for name, src := range corpus(t) {
		if !strings.Contains(name, "docs/rules.md#") && !strings.Contains(name, "docs/testing.md#") && !strings.Contains(name, "docs/language.md#") {
			continue
		}
		n++
		out, findings := format.Source(format.File{Path: name, Kind: format.KindOfText([]byte(src))}, []byte(src))
		require.Empty(t, findings, name)
		require.Equal(t, src, string(out), name)
	}
	require.Greater(t, n, 10)
}
