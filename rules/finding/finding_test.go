package finding_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/rules/finding"
)

func render(t *testing.T, fs ...finding.Finding) string {
	var b bytes.Buffer
	require.NoError(t, finding.Render(&b, fs, finding.Text))
	return b.String()
}

func TestText(t *testing.T) {
	base := finding.Finding{Check: "a/b", Severity: finding.Error, File: "f.yaml", Line: 7, Summary: "wrong"}
	at := func(text string, col, end int) finding.Finding {
		f := base
		f.Text, f.Col, f.EndCol = text, col, end
		return f
	}
	cases := []struct {
		name string
		f    finding.Finding
		want string
	}{
		{"plain", at("ab cd", 4, 6), "  7 | ab cd\n    |    ^^\n"},
		{"tab before", at("\tab", 2, 3), "  7 | \tab\n    | \t^\n"},
		{"wide letters before", at("漢字 x", 4, 5), "  7 | 漢字 x\n    |      ^\n"},
		{"wide letters under", at("漢字 x", 1, 3), "  7 | 漢字 x\n    | ^^^^\n"},
		{"combining", at("e\u0301 x", 4, 5), "  7 | e\u0301 x\n    |   ^\n"},
		{"behind the end", at("ab", 3, 4), "  7 | ab\n    |   ^\n"},
		{"control character", at("a\x1b[31mb", 1, 2), "  7 | a\uFFFD[31mb\n    | ^\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, "f.yaml:7:"+string(rune('0'+c.f.Col))+": error: wrong [a/b]\n"+c.want+"\n1 error\n", render(t, c.f))
		})
	}
	t.Run("a long line", func(t *testing.T) {
		out := render(t, at(strings.Repeat("x", 5000)+"HERE"+strings.Repeat("y", 5000), 5001, 5005))
		lines := strings.Split(out, "\n")
		require.Less(t, len(lines[1]), 200)
		col := strings.Index(lines[2], "^^^^")
		require.Equal(t, "HERE", string([]rune(lines[1])[col:col+4]))
	})
	t.Run("a file as a whole", func(t *testing.T) {
		f := base
		f.Line, f.Suggest, f.Detail = 0, "x", "Do this.\nOr that."
		require.Equal(t, "f.yaml: error: wrong [a/b]\n  did you mean \"x\"?\n  Do this.\n  Or that.\n\n1 error\n", render(t, f))
	})
	require.Equal(t, "no findings\n", render(t))
}

func TestJSON(t *testing.T) {
	fs := []finding.Finding{
		{Check: "b/b", Severity: finding.Warning, File: "b", Line: 1, Col: 2, EndCol: 3, Summary: "s<>", Detail: "d", Suggest: "x", Rule: "r", Text: "text"},
		{Check: "a/a", Severity: finding.Error, File: "a", Line: 1, Col: 2, EndCol: 3, Summary: "s"},
	}
	var b bytes.Buffer
	require.NoError(t, finding.Render(&b, fs, finding.JSON))
	require.Contains(t, b.String(), "s<>")
	var got struct {
		finding.Counts
		Findings []finding.Finding `json:"findings"`
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Equal(t, finding.Counts{Errors: 1, Warnings: 1}, got.Counts)
	require.Equal(t, []finding.Finding{fs[1], fs[0]}, got.Findings)
	b.Reset()
	require.NoError(t, finding.Render(&b, nil, finding.JSON))
	require.Contains(t, b.String(), `"findings": []`)
	require.Error(t, finding.Render(&b, nil, "xml"))
}

func TestSortIsOfPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.Custom(func(t *rapid.T) finding.Finding {
			return finding.Finding{
				File: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "file"), Line: rapid.IntRange(0, 3).Draw(t, "line"),
				Col: rapid.IntRange(1, 3).Draw(t, "col"), Check: rapid.SampledFrom([]string{"x/a", "x/b"}).Draw(t, "check"),
				Severity: rapid.SampledFrom([]finding.Severity{finding.Error, finding.Warning, finding.Info}).Draw(t, "severity"),
			}
		})
		fs := rapid.SliceOf(one).Draw(t, "findings")
		shuffled := rapid.Permutation(fs).Draw(t, "shuffled")
		a, b := finding.Sort(append([]finding.Finding{}, fs...)), finding.Sort(append([]finding.Finding{}, shuffled...))
		require.Equal(t, a, b)
		for i := 1; i < len(a); i++ {
			require.NotEqual(t, a[i-1], a[i])
		}
	})
}

func TestSeverity(t *testing.T) {
	require.True(t, finding.Error.AtLeast(finding.Warning))
	require.True(t, finding.Warning.AtLeast(finding.Warning))
	require.False(t, finding.Info.AtLeast(finding.Warning))
}
