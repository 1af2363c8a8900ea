package ruletest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// Dir is the folder of a workspace that holds its tests.
const Dir = "tests"

const suffix = "_test.yaml"

// Load reads every test file of the workspace and checks it against the workspace. The tests are in
// the order of the files' names and of the files. With an error among the findings there are none: a
// test that is not understood must not pass.
func Load(ws *workspace.Workspace) ([]*Test, []rules.Finding) {
	l := &loader{ws: ws, read: namesRead(ws)}
	files, err := l.files()
	if err != nil {
		l.add(rules.Finding{Check: "test/no-file", Severity: rules.Error, File: Dir, Summary: fmt.Sprintf("the folder cannot be read: %v", err)})
		return nil, l.findings
	}
	for _, name := range files {
		src, err := os.ReadFile(filepath.Join(ws.Dir, filepath.FromSlash(name)))
		if err != nil {
			if p, ok := errors.AsType[*fs.PathError](err); ok {
				err = p.Err
			}
			l.add(rules.Finding{Check: "test/no-file", Severity: rules.Error, File: name, Summary: fmt.Sprintf("the file cannot be read: %v", err)})
			continue
		}
		l.file(name, src)
	}
	if len(l.tests) == 0 && !rules.HasErrors(l.findings) {
		l.add(rules.Finding{
			Check: "test/no-tests", Severity: rules.Error, File: Dir, Summary: "there are no tests",
			Detail: "Tests are lists in files named tests/…_test.yaml; docs/testing.md shows one.",
		})
	}
	findings := rules.Sort(l.findings)
	if rules.HasErrors(findings) {
		return nil, findings
	}
	return l.tests, findings
}

// loader reads the tests of one workspace.
type loader struct {
	ws       *workspace.Workspace
	read     map[string]bool // names of events that some rule reads
	tests    []*Test
	findings []rules.Finding
}

func (l *loader) add(fs ...rules.Finding) { l.findings = append(l.findings, fs...) }

// files lists the test files, sorted, and warns of those that look like one and are none.
func (l *loader) files() ([]string, error) {
	var out []string
	err := fs.WalkDir(os.DirFS(l.ws.Dir), Dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() || strings.HasPrefix(d.Name(), "."):
			return nil
		case strings.HasSuffix(name, suffix):
			out = append(out, name)
		case path.Ext(name) == ".yaml" || path.Ext(name) == ".yml":
			l.add(rules.Finding{
				Check: "test/ignored-file", Severity: rules.Warning, File: name,
				Summary: "the file is not read: its name does not end in " + suffix, Detail: "Rename it.",
			})
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	slices.Sort(out)
	return out, err //nolint:wrapcheck // the caller says what it was doing
}

// namesRead are the events that rules, segments, exits and goals of the workspace read.
func namesRead(ws *workspace.Workspace) map[string]bool {
	out := map[string]bool{}
	for _, s := range ws.Segments {
		for _, e := range s.Who.Events() {
			out[e] = true
		}
	}
	for _, r := range ws.Rules {
		for _, e := range r.Who.Events() {
			out[e] = true
		}
		for _, e := range r.Who.Everyone() {
			out[e.Event] = true
		}
		for _, x := range r.Exits {
			out[x.Event] = true
		}
		if r.Goal != nil {
			out[r.Goal.Event] = true
		}
		if r.On != nil {
			out[r.On.Event] = true
		}
	}
	return out
}

// rule finds a rule by its name.
func (l *loader) rule(name string) *workspace.Rule {
	i := slices.IndexFunc(l.ws.Rules, func(r *workspace.Rule) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return l.ws.Rules[i]
}

func (l *loader) ruleNames() []string {
	var out []string
	for _, r := range l.ws.Rules {
		out = append(out, r.Name)
	}
	return out
}

// file reads one file: a list of tests.
func (l *loader) file(name string, src []byte) {
	doc, findings := yamlfile.Parse(name, src)
	l.add(findings...)
	if rules.HasErrors(findings) {
		return
	}
	r := yamlfile.NewReader("test")
	suite := strings.TrimSuffix(strings.TrimPrefix(name, Dir+"/"), suffix)
	if doc.Root.Kind == yamlfile.Null || doc.Root.Kind == yamlfile.List && len(doc.Root.Items) == 0 {
		r.Report(doc.Root, "no-tests", "A file is a list of tests: `- name: …`.", "the file has no tests")
	}
	names := map[string]int{}
	if doc.Root.Kind != yamlfile.Null {
		for _, item := range r.Items(doc.Root) {
			p := &parser{l: l, r: r, t: &Test{
				Suite: suite, File: name, Line: item.Line, zone: l.ws.Zone, prefix: fmt.Sprintf("~%d~", len(l.tests)+1),
			}}
			p.test(item)
			if other, ok := names[p.t.Name]; ok && p.t.Name != "" {
				r.Report(item.Get("name"), "duplicate-name", fmt.Sprintf("The other is in line %d. Rename one of the two.", other), "there are two tests %q", p.t.Name)
			}
			names[p.t.Name] = item.Line
			l.tests = append(l.tests, p.t)
		}
	}
	l.add(r.Findings()...)
}

// defaultStart is where the clock of a test begins: 09:00 on a Monday, far from any change of clocks.
func defaultStart(zone *time.Location) int64 {
	return time.Date(2026, 3, 2, 9, 0, 0, 0, zone).UnixMilli()
}
