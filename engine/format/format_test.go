package format_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"nudge/engine/check"
	"nudge/engine/format"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// corpus are all files of the kinds that are formatted which stand in this repository: in the examples, the docs, the
// tests' data and the examples of the checks. The bad ones too: many are good YAML.
func corpus(t require.TestingT) map[string]string {
	out := map[string]string{}
	root := "../.."
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "data" || d.Name() == "node_modules" || d.Name() == "bin") {
			return fs.SkipDir
		}
		switch filepath.Ext(name) {
		case ".yaml", ".md", ".txtar":
		default:
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		switch filepath.Ext(name) {
		case ".yaml":
			out[name] = string(src)
		case ".md":
			for i, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(string(src), -1) {
				out[fmt.Sprintf("%s#%d", name, i)] = m[1]
			}
		default:
			for _, f := range txtar.Parse(src).Files {
				if strings.HasSuffix(f.Name, ".yaml") {
					out[name+"/"+f.Name] = string(f.Data)
				}
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, c := range check.All() {
		for which, text := range map[string]string{"bad": c.Bad, "good": c.Good} {
			for _, f := range check.Example(text).Files {
				out[c.ID+" "+which+"/"+f.Name] = string(f.Data)
			}
		}
	}
	require.Greater(t, len(out), 200)
	return out
}

// holds formats a text and requires what must be so of each: what it says, its comments and the version of a rule are
// the same, and formatting it again changes nothing. It is "" of what is no YAML.
func holds(t require.TestingT, name, src string) string {
	kind := format.KindOfText([]byte(src))
	if kind == "" {
		kind = "rule"
	}
	f := format.File{Path: name, Kind: kind}
	out, findings := format.Source(f, []byte(src))
	before, broken := yamlfile.Parse(name, []byte(src))
	if len(broken) > 0 {
		require.Equal(t, broken, findings, name)
		require.Nil(t, out)
		return ""
	}
	require.Empty(t, findings, name)
	require.Equal(t, yamlfile.Comments(name, []byte(src)), yamlfile.Comments(name, out), name)
	require.Equal(t, version(src), version(string(out)), name)
	after, broken := yamlfile.Parse(name, out)
	require.Empty(t, broken, name)
	require.Equal(t, meaning(before.Root), meaning(after.Root), name)
	again, findings := format.Source(f, out)
	require.Empty(t, findings, name)
	require.Equal(t, string(out), string(again), "%s is formatted once and again", name)
	return string(out)
}

// version is the content hash of a rule, "" of what is none.
func version(src string) string {
	r, _ := rules.ParseRule("r.yaml", []byte(src), rules.Options{})
	if r == nil {
		return ""
	}
	return r.Version + " " + r.Hash
}

// meaning is a value without the order of its keys.
func meaning(n *yamlfile.Node) any {
	switch n.Kind {
	case yamlfile.Map:
		out := map[string]any{}
		for _, p := range n.Pairs {
			out[p.Key.Text] = meaning(p.Value)
		}
		return out
	case yamlfile.List:
		out := []any{}
		for _, i := range n.Items {
			out = append(out, meaning(i))
		}
		return out
	default:
		return fmt.Sprint(n.Kind, yamlfile.WithoutTrailing(n.Text))
	}
}

func TestCorpus(t *testing.T) {
	formatted := 0
	for name, src := range corpus(t) {
		if holds(t, name, src) != "" {
			formatted++
		}
	}
	require.Greater(t, formatted, 200)
}

// TestExamplesAreFormatted holds the examples as `nudge fmt examples` leaves them.
func TestExamplesAreFormatted(t *testing.T) {
	files, err := format.Files("../../examples")
	require.NoError(t, err)
	require.Greater(t, len(files), 15)
	for _, f := range files {
		src, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		out, findings := format.Source(f, src)
		require.Empty(t, findings)
		require.Equal(t, string(src), string(out), "nudge fmt examples")
	}
}

// TestShaken formats files of the corpus that somebody has typed carelessly: with other indentation, blank lines and
// comments anywhere a comment may stand.
func TestShaken(t *testing.T) {
	all := corpus(t)
	var names []string
	for name, src := range all {
		if _, broken := yamlfile.Parse(name, []byte(src)); len(broken) == 0 {
			names = append(names, name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		src := all[rapid.SampledFrom(names).Draw(t, "file")]
		shaken := shake(t, src)
		if _, broken := yamlfile.Parse("f.yaml", []byte(shaken)); len(broken) > 0 {
			t.Skip("not YAML any more")
		}
		holds(t, "f.yaml", shaken)
	})
}

// shake changes a text's layout.
func shake(t *rapid.T, src string) string {
	wide := rapid.IntRange(1, 3).Draw(t, "indentation")
	var b strings.Builder
	for i, line := range strings.SplitAfter(src, "\n") {
		text := strings.TrimLeft(line, " ")
		depth := (len(line) - len(text)) * wide
		switch rapid.IntRange(0, 9).Draw(t, "before") {
		case 0:
			fmt.Fprintf(&b, "%s# above %d\n", strings.Repeat(" ", rapid.IntRange(0, 8).Draw(t, "column")), i)
		case 1:
			fmt.Fprintf(&b, "%s# at %d  \n", strings.Repeat(" ", depth), i)
		case 2:
			b.WriteString("\n\n")
		default:
		}
		text = strings.TrimSuffix(text, "\n")
		switch rapid.IntRange(0, 9).Draw(t, "behind") {
		case 0:
			if text != "" {
				text += fmt.Sprintf("  # behind %d", i)
			}
		case 1:
			text += "   "
		case 2:
			text = strings.ReplaceAll(text, ", ", fmt.Sprintf(", # in %d\n%s ", i, strings.Repeat(" ", depth+1)))
		case 3:
			text = strings.ReplaceAll(text, "{", "{\n"+strings.Repeat(" ", depth+1))
		case 4:
			text = strings.ReplaceAll(text, "}", "\n"+strings.Repeat(" ", depth+1)+"}")
		case 5:
			text = strings.ReplaceAll(text, ": ", ":   ")
		default:
		}
		b.WriteString(strings.Repeat(" ", depth) + text + "\n")
	}
	return b.String()
}

// TestCommentsStay writes rules whose keys come in any order, each with comments that name it.
func TestCommentsStay(t *testing.T) {
	keys := []string{"about", "owner", "priority", "start", "end", "when", "again", "holdout", "rollout", "expire"}
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		if rapid.Bool().Draw(t, "header") {
			b.WriteString("# the file\n\n")
		}
		for _, key := range rapid.Permutation(keys).Draw(t, "order") {
			if rapid.Bool().Draw(t, "blank") && b.Len() > 0 {
				b.WriteString("\n")
			}
			if rapid.Bool().Draw(t, "above") {
				fmt.Fprintf(&b, "# above %s\n", key)
			}
			value := rapid.SampledFrom([]string{"x", "|\n   x\n   y", "{a: 1}", "\n   a: 1\n   # inside " + key + "\n   b: 2\n   # end of " + key, "[\n  1, # inside " + key + "\n  2]"}).Draw(t, "value")
			fmt.Fprintf(&b, "%s: %s", key, value)
			if !strings.Contains(value, "\n   ") && rapid.Bool().Draw(t, "beside") {
				b.WriteString(" # beside " + key)
			}
			b.WriteString("\n")
		}
		out := holds(t, "rules/r.yaml", b.String())
		key := ""
		lines := strings.Split(out, "\n")
		at := regexp.MustCompile(`^([a-z]+):`)
		for i, line := range lines {
			if m := at.FindStringSubmatch(line); m != nil {
				key = m[1]
			}
			if above, ok := strings.CutPrefix(line, "# above "); ok {
				require.Regexp(t, "^"+above+":", lines[i+1], out)
			} else if _, of, ok := strings.Cut(line, "# "); ok && of != "the file" {
				words := strings.Fields(of)
				require.Equal(t, key, words[len(words)-1], out)
			}
			if line == "# the file" {
				require.Zero(t, i, out)
			}
		}
	})
}

// FuzzSource formats anything: it never fails, and what it wrote it does not change again. What is so unusual that it is
// left alone is allowed, also the second time: the YAML library reads some texts over lines in two ways.
func FuzzSource(f *testing.F) {
	for _, src := range corpus(f) {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		file := format.File{Path: "f.yaml", Kind: "rule"}
		out, findings := format.Source(file, []byte(src))
		if len(findings) > 0 {
			require.Nil(t, out)
			return
		}
		again, findings := format.Source(file, out)
		if len(findings) > 0 {
			require.Equal(t, "yaml/unformatted", findings[0].Check)
			return
		}
		require.Equal(t, string(out), string(again))
	})
}
