package schema_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"nudge/channels/all"
	"nudge/engine/check"
	"nudge/engine/schema"
	"nudge/engine/workspace"
	"nudge/rules"
)

func compiled(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	text, err := schema.Of(kind)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("nudge.json", doc))
	s, err := c.Compile("nudge.json")
	require.NoError(t, err)
	return s
}

// read is a YAML file as JSON has it; ok is false where it is not YAML.
func read(t *testing.T, src []byte) (value any, ok bool) {
	t.Helper()
	text, err := yaml.YAMLToJSON(src)
	if err != nil {
		return nil, false
	}
	value, err = jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	return value, err == nil
}

// kindOf is the kind of a file of a workspace, "" of others.
func kindOf(path string) string {
	dir := filepath.Base(filepath.Dir(path))
	switch {
	case filepath.Ext(path) != ".yaml":
		return ""
	case filepath.Base(path) == "nudge.yaml":
		return "workspace"
	case filepath.Base(path) == "events.yaml":
		return "events"
	case dir == "rules", dir == "segments", dir == "tests":
		return strings.TrimSuffix(dir, "s")
	}
	return ""
}

func TestExamplesAreValid(t *testing.T) {
	seen := map[string]int{}
	require.NoError(t, filepath.WalkDir("../../examples", func(path string, _ fs.DirEntry, err error) error {
		kind := kindOf(path)
		if err != nil || kind == "" {
			return err
		}
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		value, ok := read(t, src)
		require.True(t, ok, path)
		require.NoError(t, compiled(t, kind).Validate(value), path)
		seen[kind]++
		return nil
	}))
	require.Len(t, seen, len(schema.Kinds()), "every kind has an example: %v", seen)
}

// What checks take as examples, and the good files of the rules' own tests, are valid, too.
func TestGoodFilesAreValid(t *testing.T) {
	files := map[string][]byte{}
	for _, c := range check.All() {
		for _, text := range []string{c.Bad, c.Good} {
			for _, f := range check.Example(text).Files {
				files[c.ID+"/"+f.Name] = f.Data
			}
		}
	}
	good, err := filepath.Glob("../../rules/testdata/good/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, good)
	for _, path := range good {
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		files["rules/"+filepath.Base(path)] = src
	}
	for name, src := range files {
		kind := kindOf(name)
		switch base := filepath.Base(name); {
		case strings.HasPrefix(base, "segment"):
			kind = "segment"
		case strings.HasPrefix(base, "plan"):
			kind = "events"
		}
		value, ok := read(t, src)
		require.True(t, ok, name)
		require.NoError(t, compiled(t, kind).Validate(value), name)
	}
}

// unseen are the ids of findings that need more than the form of one value.
var unseen = []string{
	"expr/", "message/", "yaml/", "rule/conflict", "rule/bad-cron", "rule/cron-either-day", "rule/unknown-zone", "rule/bad-period", "rule/no-effect",
	"rule/empty-file", "rule/not-yet", "segment/empty-file", "plan/conflict", "template/",
}

// beyond are files whose mistake is of a form that the schemas leave to nudge check.
var beyond = []string{
	"actions-title.yaml", "field-list.yaml", "field-type.yaml", "ttl.yaml", // fields of messages are the channels'
	"unknown-category.yaml", // categories are nudge.yaml's
	"variants-empty.yaml",
}

// Of the bad files those are invalid whose mistake is in the form of a key or a value.
func TestBadFilesAreInvalid(t *testing.T) {
	bad, err := filepath.Glob("../../rules/testdata/bad/*.yaml")
	require.NoError(t, err)
	invalid := 0
	for _, path := range bad {
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		text, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".txt")
		require.NoError(t, err)
		value, ok := read(t, src)
		if !ok || value == nil {
			continue
		}
		kind := "rule"
		for prefix, k := range map[string]string{"segment": "segment", "plan": "events"} {
			if strings.HasPrefix(filepath.Base(path), prefix) {
				kind = k
			}
		}
		form := strings.Contains(string(text), ": error:")
		for _, id := range unseen {
			form = form && !strings.Contains(string(text), "["+id)
		}
		if !form {
			continue
		}
		if slices.Contains(beyond, filepath.Base(path)) {
			continue
		}
		invalid++
		require.Error(t, compiled(t, kind).Validate(value), "%s:\n%s", path, text)
	}
	require.Greater(t, invalid, 20)
}

// The keys of a schema are those that the reader knows.
func TestKeys(t *testing.T) {
	const unknown = "zzzzzzzzzzzz: 1\n"
	known := func(findings []rules.Finding) []string {
		for _, f := range findings {
			if list, ok := strings.CutPrefix(f.Detail, "Known here: "); ok && f.Line == 1 {
				return slices.Sorted(slices.Values(strings.Split(strings.TrimSuffix(list, "."), ", ")))
			}
		}
		return nil
	}
	adapters, err := all.Set()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nudge.yaml"), []byte(unknown), 0o600))
	_, rule := rules.ParseRule("r.yaml", []byte(unknown), rules.Options{})
	_, segment := rules.ParseSegment("s.yaml", []byte(unknown))
	_, plan := rules.ParsePlan("events.yaml", []byte(unknown))
	for kind, findings := range map[string][]rules.Finding{
		"rule": rule, "segment": segment, "events": plan, "workspace": workspace.Check(dir, workspace.Options{Adapters: adapters}),
	} {
		text, err := schema.Of(kind)
		require.NoError(t, err)
		var s struct{ Properties map[string]any }
		require.NoError(t, json.Unmarshal(text, &s))
		require.Equal(t, known(findings), slices.Sorted(maps.Keys(s.Properties)), kind)
	}
}

func TestNoSuchKind(t *testing.T) {
	_, err := schema.Of("rulez")
	require.ErrorContains(t, err, `"rulez"`)
}
