package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
)

// docs/tour.md is played from its begin to its end, in a folder of its own:
//
//	```yaml, ```text    a file; the first line names it
//	```diff FILE        an edit of a file: lines that go, and those that come
//	```console          commands, each behind "$ ", and what they print; with `exit 1` the last one exits so
//	```console slip X   what nudge check says of the shop with the files of testdata/tour/X.txtar
//	```diff slip X      how they are mended
//
// With -update what is printed, and the mending, is written anew.
const (
	tourPage = "docs/tour.md"
	shop     = "my-shop"
	slips    = "testdata/tour"
)

func TestDocsTour(t *testing.T) {
	lib, err := embedded.FindLib("")
	if err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	page := read(t, tourPage)
	bad := readSlips(t)
	home := t.TempDir()
	t.Setenv(embedded.LibEnv, lib)
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "Ann")
		t.Setenv("GIT_"+who+"_EMAIL", "ann@shop.example")
	}
	back, err := filepath.Abs(top)
	require.NoError(t, err)
	t.Chdir(home)

	var real strings.Builder
	var shown []string
	done := 0
	for _, f := range fences(page) {
		where := fmt.Sprintf("%s:%d", tourPage, strings.Count(page[:f.from], "\n")+1)
		real.WriteString(page[done:f.from])
		done = f.to
		name, isSlip := strings.CutPrefix(f.more, "slip ")
		text := f.text
		switch {
		case isSlip:
			require.Contains(t, bad, name, where)
			if f.kind == "console" {
				shown = append(shown, name)
				text = "$ nudge check " + shop + "\n" + checkSlip(t, ".", bad[name]).found
			} else {
				text = mending(t, ".", bad[name])
			}
		case f.kind == "diff":
			edit(t, where, f.more, f.text)
		case f.kind == "console":
			text = play(t, where, f)
		default:
			path, content := fileOf(t, where, f)
			writeAll(t, ".", map[string]string{path: content})
		}
		real.WriteString(text)
	}
	real.WriteString(page[done:])
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join(back, tourPage), []byte(real.String()), 0o644)) //nolint:gosec // a page to read
		page = real.String()
	}
	require.Empty(t, string(diff.Diff("on the page", []byte(page), "printed", []byte(real.String()))), "the tour shows something else: run make docs")
	require.ElementsMatch(t, slices.Collect(maps.Keys(bad)), shown, "each slip is on the page, once")
}

// The slips of the tour, without a store: what nudge check says of each.
func TestDocsTourSlips(t *testing.T) {
	files := map[string]string{}
	page := read(t, tourPage)
	for _, f := range fences(page) {
		if strings.HasPrefix(f.more, "slip ") {
			break
		}
		if f.kind == "yaml" {
			path, content := fileOf(t, tourPage, f)
			files[path] = content
		}
	}
	for name, slip := range readSlips(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeAll(t, dir, files)
			got := checkSlip(t, dir, slip)
			require.NotContains(t, got.found, "no findings")
			if *update {
				slip.want = got
				slip.write(t)
			}
			require.Equal(t, slip.want, got, "run make docs")
		})
	}
}

// slip is a mistake: files in place of those of the shop, and what nudge check says of them.
type slip struct {
	path    string
	comment []byte
	files   map[string]string
	want    checked
}

type checked struct {
	found string
	exit  int
}

func readSlips(t *testing.T) map[string]slip {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(slips, "*.txtar"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 10)
	out := map[string]slip{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		require.NoError(t, err)
		abs, err := filepath.Abs(path)
		require.NoError(t, err)
		s := slip{path: abs, comment: a.Comment, files: map[string]string{}}
		for _, f := range a.Files {
			switch f.Name {
			case "found":
				s.want.found = string(f.Data)
			case "exit":
				s.want.exit, err = strconv.Atoi(strings.TrimSpace(string(f.Data)))
				require.NoError(t, err, path)
			default:
				s.files[f.Name] = string(f.Data)
			}
		}
		require.NotEmpty(t, s.files, path)
		out[strings.TrimSuffix(filepath.Base(path), ".txtar")] = s
	}
	return out
}

func (s slip) write(t *testing.T) {
	t.Helper()
	a := txtar.Archive{Comment: s.comment}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(s.files[name])})
	}
	a.Files = append(a.Files, txtar.File{Name: "exit", Data: fmt.Appendln(nil, s.want.exit)}, txtar.File{Name: "found", Data: []byte(s.want.found)})
	require.NoError(t, os.WriteFile(s.path, txtar.Format(&a), 0o644)) //nolint:gosec // a golden file
}

// checkSlip puts the files of a slip into the shop in dir, checks it, and puts the right ones back.
func checkSlip(t *testing.T, dir string, s slip) checked {
	t.Helper()
	right := map[string]string{}
	for name, bad := range s.files {
		good, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err, "a slip is in a file that the tour has written")
		require.NotEqual(t, string(good), bad, "%s has no slip", s.path)
		right[name] = string(good)
	}
	writeAll(t, dir, s.files)
	var out, problem bytes.Buffer
	exit := run([]string{"check", filepath.Join(dir, shop)}, strings.NewReader(""), &out, &problem)
	require.Empty(t, problem.String())
	writeAll(t, dir, right)
	return checked{out.String(), exit}
}

// mending is what has to change for the files of a slip to be right.
func mending(t *testing.T, dir string, s slip) string {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		good, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		lines := strings.SplitAfter(string(diff.Diff(name, []byte(s.files[name]), name, good)), "\n")
		const header = 3 // diff, ---, +++
		for _, line := range lines[min(header, len(lines)):] {
			if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+") {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

var named = regexp.MustCompile(`^# (` + shop + `/\S+)\n`)

// fileOf is the file that a block shows: its path and its content.
func fileOf(t *testing.T, where string, f fence) (path, content string) {
	t.Helper()
	m := named.FindStringSubmatch(f.text)
	require.NotNil(t, m, "%s: a block of a file begins with its path", where)
	return m[1], f.text[len(m[0]):]
}

func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))           //nolint:gosec // a workspace
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644), name) //nolint:gosec // a workspace
	}
}

// edit takes the lines out of a file that a diff takes out, all of them in one place, and puts the others there.
func edit(t *testing.T, where, path, lines string) {
	t.Helper()
	var before, after strings.Builder
	for line := range strings.Lines(lines) {
		switch line[0] {
		case '-':
			before.WriteString(line[1:])
		case '+':
			after.WriteString(line[1:])
		default:
			require.Fail(t, "a line of an edit goes or comes", "%s: %s", where, line)
		}
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err, where)
	require.Equal(t, 1, strings.Count(string(text), before.String()), "%s: these lines are not, or not only once, in %s", where, path)
	writeAll(t, ".", map[string]string{path: strings.Replace(string(text), before.String(), after.String(), 1)})
}

// play runs the commands of a block, and returns it with what they print. Progress and logs are left out.
func play(t *testing.T, where string, f fence) string {
	t.Helper()
	want := exitFine
	if f.more != "" {
		_, err := fmt.Sscanf(f.more, "exit %d", &want)
		require.NoError(t, err, "%s: %q", where, f.more)
	}
	var commands []string
	for line := range strings.Lines(f.text) {
		if command, is := strings.CutPrefix(strings.TrimSpace(line), "$ "); is {
			commands = append(commands, command)
		}
	}
	require.NotEmpty(t, commands, "%s: a console without a command", where)
	var b strings.Builder
	for i, command := range commands {
		var out, problem bytes.Buffer
		words := strings.Fields(command)
		exit := exitFine
		if words[0] == "nudge" {
			exit = run(words[1:], strings.NewReader(""), &out, &problem)
		} else {
			cmd := exec.CommandContext(t.Context(), words[0], words[1:]...) //nolint:gosec // of the page
			cmd.Stdout, cmd.Stderr = &out, &problem
			require.NoError(t, cmd.Run(), "%s: %s: %s", where, command, problem.String())
		}
		expected := exitFine
		if i == len(commands)-1 {
			expected = want
		}
		require.Equal(t, expected, exit, "%s: %s\n%s%s", where, command, out.String(), problem.String())
		b.WriteString("$ " + command + "\n")
		for line := range strings.Lines(out.String()) {
			b.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
		for line := range strings.Lines(problem.String()) {
			if strings.HasPrefix(line, "Error: ") {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}
