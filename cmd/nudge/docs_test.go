package main

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
	"nudge/events/history"
)

var update = flag.Bool("update", false, "write docs/commands.md, the files in docs/cookbook.md, docs/outputs.md and its schemas, and the output in README.md and docs/tour.md anew")

// top is the repository.
const top = "../.."

// pages are those whose paths, commands and flags must exist.
var pages = []string{
	"README.md", "CONTRIBUTING.md", "docs/import.md", "docs/testing.md", "docs/rules.md", "docs/cookbook.md", "docs/backtest.md", "docs/tour.md",
	"docs/outputs.md", "docs/inbox.md", "docs/digest.md",
}

func TestDocsOfCommands(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Commands\n\n<!-- Written from the commands by: go test ./cmd/nudge -run Docs -update -->\n\n")
	help := func(cmd *cobra.Command) {
		require.NotEmpty(t, cmd.Short, cmd.Name())
		require.NotEmpty(t, cmd.Long, "%s says too little", cmd.Name())
		var out bytes.Buffer
		cmd.SetOut(&out)
		require.NoError(t, cmd.Help())
		b.WriteString("```text\n" + out.String() + "```\n")
	}
	cmd := root(streams{in: strings.NewReader("")})
	help(cmd)
	for _, c := range cmd.Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		fmt.Fprintf(&b, "\n## nudge %s\n\n", c.Name())
		require.NotEmpty(t, c.Example, "%s has no example", c.Name())
		help(c)
	}
	path := filepath.Join(top, "docs/commands.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644)) //nolint:gosec // a page to read
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(got), b.String(), "the commands changed: run make docs")
}

// fence is a fenced block of Markdown.
type fence struct {
	kind, more, text string // more is what stands behind the kind
	from, to         int    // of its text, in the page
}

var fenced = regexp.MustCompile("(?ms)^```([a-z]+)(?: ([^\n]+))?\n(.*?)^```$")

func fences(page string) (out []fence) {
	for _, m := range fenced.FindAllStringSubmatchIndex(page, -1) {
		f := fence{kind: page[m[2]:m[3]], text: page[m[6]:m[7]], from: m[6], to: m[7]}
		if m[4] >= 0 {
			f.more = page[m[4]:m[5]]
		}
		out = append(out, f)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, path))
	require.NoError(t, err)
	return string(text)
}

// What the README shows of files is what is in them, and what it shows of commands is what they print.
func TestDocsREADMEIsReal(t *testing.T) {
	if _, err := embedded.FindLib(""); err != nil {
		t.Skip(err)
	}
	page := read(t, "README.md")
	files, commands := 0, 0
	for _, f := range slices.Backward(fences(page)) {
		first, rest, _ := strings.Cut(f.text, "\n")
		switch f.kind {
		case "yaml":
			path, ok := strings.CutPrefix(first, "# ")
			require.True(t, ok, "a YAML block of the README begins with its path: %s", first)
			require.Equal(t, read(t, path), rest, path)
			files++
		case "console":
			line, ok := strings.CutPrefix(first, "$ bin/nudge ")
			require.True(t, ok, "a console block of the README begins with its command: %s", first)
			args := strings.Fields(line)
			args[len(args)-1] = filepath.Join(top, args[len(args)-1])
			var out, logs bytes.Buffer
			require.Equal(t, exitFine, run(args, strings.NewReader(""), &out, &logs), logs.String())
			if *update {
				page = page[:f.from] + first + "\n" + out.String() + page[f.to:]
				require.NoError(t, os.WriteFile(filepath.Join(top, "README.md"), []byte(page), 0o644)) //nolint:gosec // a page to read
				rest = out.String()
			}
			require.Equal(t, out.String(), rest, "the README shows something else: run make docs")
			commands++
		}
	}
	require.Equal(t, 2, files)
	require.Equal(t, 2, commands)
}

var (
	linked  = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	quoted  = regexp.MustCompile("`([^`\n]+)`")
	inShell = regexp.MustCompile(`(?:^|\s)((?:bin/)?nudge(?: [^|&>]*)?|make [a-z]+|\.ci/run)`)
)

func TestDocsNameWhatExists(t *testing.T) {
	makefile := read(t, "Makefile")
	commands := root(streams{in: strings.NewReader("")})
	for _, page := range pages {
		t.Run(page, func(t *testing.T) {
			text := read(t, page)
			for _, m := range linked.FindAllStringSubmatch(text, -1) {
				if !strings.Contains(m[1], "://") {
					require.FileExists(t, joined(page, m[1]), "a link of %s", page)
				}
			}
			var said []string // that may be commands
			for _, f := range fences(text) {
				if f.kind == "sh" || f.kind == "console" {
					said = append(said, strings.Split(strings.ReplaceAll(f.text, "\\\n", " "), "\n")...)
				}
			}
			for _, m := range quoted.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
				said = append(said, m[1])
				if isPath(m[1]) {
					_, err := os.Stat(filepath.Join(top, m[1]))
					require.NoError(t, err, "%s names `%s`", page, m[1])
				}
			}
			for _, line := range said {
				line, _, _ = strings.Cut(line, "#")
				for _, m := range inShell.FindAllStringSubmatch(strings.TrimPrefix(line, "$ "), -1) {
					checkNamed(t, page, makefile, commands, strings.TrimSpace(m[1]))
				}
			}
		})
	}
}

// joined is the file that a link of a page leads to, or a folder's README or first file.
func joined(page, link string) string {
	path := filepath.Join(top, filepath.Dir(page), link)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		if err == nil {
			for _, e := range entries {
				if !e.IsDir() {
					return filepath.Join(path, e.Name())
				}
			}
		}
	}
	return path
}

// isPath says whether what stands in backticks is a path of the repository: it begins with something
// that is there.
func isPath(s string) bool {
	first, rest, ok := strings.Cut(s, "/")
	if !ok || rest == "" || strings.ContainsAny(s, " {}*…$<>'\"") || strings.Contains(s, "NAME") || s[0] == '.' && first != ".ci" {
		return false
	}
	info, err := os.Stat(filepath.Join(top, first))
	return err == nil && info.IsDir() && first != "data" && first != "bin"
}

// checkNamed checks one command line of a page.
func checkNamed(t *testing.T, page, makefile string, commands *cobra.Command, line string) {
	t.Helper()
	words := strings.Fields(line)
	switch {
	case words[0] == ".ci/run":
		require.FileExists(t, filepath.Join(top, ".ci/run"))
	case words[0] == "make":
		require.Regexp(t, `(?m)^`+regexp.QuoteMeta(words[1])+`:`, makefile, "%s names `%s`", page, line)
	case len(words) > 1 && !strings.HasPrefix(words[1], "-"):
		cmd, _, err := commands.Find(words[1:2])
		require.NoError(t, err, "%s names `%s`", page, line)
		for _, word := range words[2:] {
			name, isFlag := strings.CutPrefix(strings.TrimRight(word, ".,"), "--")
			name, _, _ = strings.Cut(name, "=")
			if !isFlag || name == "" || name == "help" {
				continue
			}
			known := false
			cmd.Flags().VisitAll(func(f *pflag.Flag) { known = known || f.Name == name })
			require.True(t, known, "%s names `%s`, but nudge %s has no --%s", page, line, cmd.Name(), name)
		}
	}
}

// The mapping that docs/import.md shows is one.
func TestDocsMapping(t *testing.T) {
	for _, f := range fences(read(t, "docs/import.md")) {
		if f.kind == "yaml" {
			_, err := history.ParseMapping("docs/import.md", []byte(f.text))
			require.NoError(t, err)
		}
	}
}

// Every file that the docs could name by mistake stays out of them: nothing of one machine.
func TestDocsNameNoMachine(t *testing.T) {
	require.NoError(t, fs.WalkDir(os.DirFS(top), "docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			require.NotRegexp(t, `/(home|root|work|tmp|Users)/`, read(t, path), path)
		}
		return err
	}))
	for _, page := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} {
		require.NotRegexp(t, `/(home|root|work|tmp|Users)/`, read(t, page), page)
	}
}
