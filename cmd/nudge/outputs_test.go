package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	reflected "github.com/invopop/jsonschema"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"nudge/channels/file"
	"nudge/engine/backtest"
	"nudge/engine/explain"
	"nudge/engine/inbox"
	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/engine/ruletest"
	"nudge/engine/schema"
	"nudge/events/history"
	"nudge/events/ingest"
	"nudge/rules/finding"
)

// outputTypes are the types that are marshalled, by the names of the outputs.
func outputTypes() map[string]reflect.Type {
	return map[string]reflect.Type{
		"findings":          reflect.TypeFor[finding.Report](),
		"backtest-output":   reflect.TypeFor[backtest.Result](),
		"backtest-row":      reflect.TypeFor[backtest.Row](),
		"channels-output":   reflect.TypeFor[[]adapterJSON](),
		"channel-output":    reflect.TypeFor[adapterJSON](),
		"check-output":      reflect.TypeFor[checkJSON](),
		"check-sarif":       reflect.TypeFor[finding.SARIFLog](),
		"explain-output":    reflect.TypeFor[explain.Explanation](),
		"explain-plan":      reflect.TypeFor[tickJSON](),
		"fmt-output":        reflect.TypeFor[fmtDone](),
		"import-output":     reflect.TypeFor[history.Result](),
		"import-event":      reflect.TypeFor[history.Made](),
		"import-reject":     reflect.TypeFor[history.Reject](),
		"plan-output":       reflect.TypeFor[backtest.Diff](),
		"report-output":     reflect.TypeFor[report.Report](),
		"send-output":       reflect.TypeFor[sendJSON](),
		"api-answer":        reflect.TypeFor[ingest.Answer](),
		"api-status":        reflect.TypeFor[ingest.Status](),
		"api-inbox":         reflect.TypeFor[inbox.Page](),
		"api-inbox-message": reflect.TypeFor[inbox.Message](),
		"api-inbox-token":   reflect.TypeFor[inbox.Token](),
		"file-message":      reflect.TypeFor[file.Line](),
		"sql-output":        reflect.TypeFor[[]map[string]any](),
		"probe-output":      reflect.TypeFor[[]probeJSON](),
		"test-output":       reflect.TypeFor[ruletest.Report](),
		"version-output":    reflect.TypeFor[build](),
		"broadcast-output":  reflect.TypeFor[broadcastJSON](),
	}
}

// goSources reads comments and constants of our packages.
type goSources struct {
	comments map[string]string   // by "package.Type" and "package.Type.Field"
	words    map[string][]string // the constants of string types, by "package.Type"
	read     map[string]bool
}

// dirOf is the folder of one of our packages, "" of others.
func dirOf(pkg string) string {
	if pkg == "main" {
		return "."
	}
	if rest, ours := strings.CutPrefix(pkg, "nudge/"); ours {
		return filepath.Join(top, rest)
	}
	return ""
}

func (g *goSources) of(pkg string) {
	dir := dirOf(pkg)
	if g.read[pkg] || dir == "" {
		return
	}
	g.read[pkg] = true
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		panic(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			panic(err)
		}
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.GenDecl); ok {
				for _, spec := range d.Specs {
					g.spec(pkg, d, spec)
				}
			}
		}
	}
}

func (g *goSources) spec(pkg string, decl *ast.GenDecl, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		key := pkg + "." + s.Name.Name
		doc := s.Doc
		if doc == nil && len(decl.Specs) == 1 {
			doc = decl.Doc
		}
		g.comments[key] = said(s.Name.Name, doc.Text())
		if fields, ok := s.Type.(*ast.StructType); ok {
			g.fields(key, fields)
		}
	case *ast.ValueSpec:
		name, ok := s.Type.(*ast.Ident)
		if decl.Tok != token.CONST || !ok {
			return
		}
		for _, v := range s.Values {
			if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if word, err := strconv.Unquote(lit.Value); err == nil && word != "" {
					g.words[pkg+"."+name.Name] = append(g.words[pkg+"."+name.Name], word)
				}
			}
		}
	}
}

// fields notes what is said of fields. A comment that begins with a field's name may be about those that follow, too.
func (g *goSources) fields(key string, s *ast.StructType) {
	shared := ""
	for _, f := range s.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, name := range f.Names {
			if text == "" && regexp.MustCompile(`\b`+name.Name+`\b`).MatchString(shared) {
				text = shared
			}
			if f.Doc != nil {
				shared = f.Doc.Text()
			}
			g.comments[key+"."+name.Name] = said(name.Name, text)
		}
	}
}

// said is a comment as a description: one paragraph, without the name of what it is about.
func said(name, text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, before := range []string{name + " is ", name + " are ", name + ": "} {
		if rest, ok := strings.CutPrefix(text, before); ok {
			text = rest
			break
		}
	}
	text = strings.ReplaceAll(text, "nil: ", "absent: ") // as JSON has it
	if strings.Count(text, ". ") == 0 {
		text = strings.TrimSuffix(text, ".")
	}
	return text
}

// usual is what fields of these names are, where nothing else is said of them.
func usual(field string) string {
	return map[string]string{
		"Rule": "the rule's name", "Version": "of the rule: it changes with what its file says", "Person": "nudge's own number of the person",
		"UserID": "the person's user id", "Variant": "of a rule with variants", "Channel": "as the rule calls it", "Channels": "as the rule calls them",
		"Adapter": "as nudge.yaml calls it", "Event": "its name", "Value": "of the entry, under for_each or on: {by}", "Severity": "how bad it is",
		"Entry": "the entry's key", "Entered": "when the entry began", "Reason": "why, as in the ledger", "At": "when", "Error": "what went wrong, for people",
		"People": "how many", "Entries": "how many", "File": "from the workspace's folder on", "Line": "from 1", "Col": "from 1, in characters",
		"EndCol": "behind the last character that is meant", "Summary": "one line: what is wrong", "About": "for people", "Since": "from when on",
		"Status": "what became of it", "Attempt": "counts the attempts", "Name": "as it is written", "Text": "as it is written in the file",
	}[field]
}

// wordsOf are the values of a type of words: those of its constants, but for types whose zero value is a word of its own.
func (g *goSources) wordsOf(t reflect.Type) []any {
	if t.Kind() != reflect.String || t.PkgPath() == "" {
		return nil
	}
	if t == reflect.TypeFor[ledger.PauseBy]() {
		return []any{string(report.ByStore), string(ledger.PauseByGuard), string(ledger.PauseByPerson)}
	}
	pkg := t.PkgPath()
	g.of(pkg)
	var out []any
	for _, word := range g.words[pkg+"."+t.Name()] {
		out = append(out, word)
	}
	return out
}

// wordsOfText are the values of fields of an output that are texts in Go, by "Type.field".
func wordsOfText(output string) map[string][]any {
	if output != "explain-output" {
		return nil
	}
	truths := []any{"true", "false", "unknown", "failed"}
	var statuses []any
	for _, s := range []ledger.Status{
		ledger.Intent, ledger.Retrying, ledger.Accepted, ledger.Failed, ledger.StoppedExited, ledger.StoppedExpired, ledger.StoppedPaused, ledger.Unrendered,
	} {
		statuses = append(statuses, string(s))
	}
	return map[string][]any{
		"Answer.truth": truths, "Part.truth": truths, "Turn.truth": truths, "Part.joins": {"and", "or", "not"}, "Delivery.status": statuses,
	}
}

// makeSchema is the schema of an output.
func makeSchema(o schema.Output, t reflect.Type) ([]byte, error) {
	g := &goSources{comments: map[string]string{}, words: map[string][]string{}, read: map[string]bool{}}
	r := reflected.Reflector{
		Anonymous: true, ExpandedStruct: true,
		Namer: func(t reflect.Type) string { return strings.TrimSuffix(t.Name(), "JSON") },
		LookupComment: func(t reflect.Type, field string) string {
			g.of(t.PkgPath())
			text := g.comments[strings.TrimSuffix(t.PkgPath()+"."+t.Name()+"."+field, ".")]
			return cmp.Or(text, usual(field))
		},
		Mapper: func(t reflect.Type) *reflected.Schema {
			if words := g.wordsOf(t); len(words) > 0 {
				return &reflected.Schema{Type: "string", Enum: words}
			}
			if t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Int64 {
				if words := g.wordsOf(t.Key()); len(words) > 0 {
					return &reflected.Schema{Type: "object", PropertyNames: &reflected.Schema{Enum: words}, AdditionalProperties: &reflected.Schema{Type: "integer"}}
				}
			}
			return nil
		},
	}
	s := r.ReflectFromType(t)
	for of, words := range wordsOfText(o.Name) {
		def, field, _ := strings.Cut(of, ".")
		if s.Definitions[def] == nil {
			return nil, fmt.Errorf("%s has no %s any more", o.Name, def)
		}
		property, ok := s.Definitions[def].Properties.Get(field)
		if !ok {
			return nil, fmt.Errorf("%s has no %s any more", o.Name, of)
		}
		property.Enum = words
	}
	s.Title = "nudge: " + o.Name
	s.Description = strings.TrimSpace("nudge "+o.Command) + " " + o.How + ": " + o.About
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("write the schema of %s: %w", o.Name, err)
	}
	return b.Bytes(), nil
}

const outputSchemas = "engine/schema/outputs"

// The schemas that nudge prints are those of the types that it marshals.
func TestDocsSchemasOfOutputs(t *testing.T) {
	types := outputTypes()
	var names []string
	for _, o := range schema.Outputs() {
		names = append(names, o.Name)
		require.Contains(t, types, o.Name)
		want, err := makeSchema(o, types[o.Name])
		require.NoError(t, err)
		path := filepath.Join(top, outputSchemas, o.Name+".json")
		if *update {
			require.NoError(t, os.WriteFile(path, want, 0o644)) //nolint:gosec // read by everybody
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "what %s says has changed: run make docs, and build again", o.Name)
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(types)), names)
	there, err := filepath.Glob(filepath.Join(top, outputSchemas, "*.json"))
	require.NoError(t, err)
	require.Len(t, there, len(names), "of what no command prints there is no schema")
}

// The page is written from the schemas, and from what the scripts compare outputs with.
func TestDocsOfOutputs(t *testing.T) {
	examples := outputExamples(t)
	var b strings.Builder
	var reasons []string
	for _, r := range append(ledger.Reasons(), ledger.Held) {
		reasons = append(reasons, "`"+string(r)+"`")
	}
	fmt.Fprintf(&b, outputsHead, strings.Join(reasons, ", "))
	command := "-"
	for _, o := range schema.Outputs() {
		if o.Command != command {
			command = o.Command
			fmt.Fprintf(&b, "\n## %s\n", cmp.Or(strings.TrimSuffix("nudge "+command, "nudge "), "Any command"))
		}
		fmt.Fprintf(&b, "\n### %s\n\n", o.Name)
		how := "`" + strings.TrimSpace("nudge "+command+" "+o.How) + "`"
		switch command {
		case "":
			how = "`" + o.How + "`"
		case "serve":
			how = o.How
		}
		lines := ""
		if o.Lines {
			lines = " One on each line."
		}
		fmt.Fprintf(&b, "%s: %s.%s\n\n", how, o.About, lines)
		require.Contains(t, examples, o.Name, "a script of testdata/script compares %s with a file %s.json of it", o.Name, o.Name)
		fmt.Fprintf(&b, "```json\n%s\n```\n\n", strings.TrimSpace(shortenedExample(examples[o.Name])))
		text, err := makeSchema(o, outputTypes()[o.Name])
		require.NoError(t, err)
		b.WriteString(fieldTable(t, text))
	}
	path := filepath.Join(top, "docs/outputs.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644)) //nolint:gosec // a page to read
	}
	require.Equal(t, read(t, "docs/outputs.md"), b.String(), "the outputs changed: run make docs")
}

const outputsHead = `# What commands print as JSON

<!-- Written from the types, and the scripts in cmd/nudge/testdata/script, by: go test ./cmd/nudge -run Docs -update -->

` + "`nudge schema --outputs` lists these outputs, `nudge schema check-output` prints the JSON Schema (draft 2020-12) of one, and\n" +
	"`nudge schema --out DIR` writes all of them into `DIR/outputs`. Tests hold every output to its schema, which knows every field." + `

- A field that has nothing to say is absent, never ` + "`null`" + `; ` + "`null`" + ` stands only in values of yours, and of ` + "`nudge sql`" + `. A
  field that is always there is one of those below without "if any". Lists that are always there are ` + "`[]`" + ` when they are empty.
- Instants are RFC 3339 with a zone: ` + "`2026-03-02T10:10:00+01:00`" + `. Days are ` + "`2026-03-02`" + `, on the workspace's clock.
- A duration that somebody has set is as rule files write it (` + "`1h`, `7d`" + `); one that was measured is a number of seconds,
  and its name says so: ` + "`seconds`, `longest_seconds`" + `.
- Shares are numbers from 0 to 1. Places count from 1, columns in characters.
- A reason is one of %s
  (on the way to one of the others).
- Results go to standard output and nothing else does; a command that cannot run prints nothing there, and says why on
  standard error. Exit codes: 0 fine, 1 findings or failed tests, 2 wrong usage, 3 could not run.
`

// mostLines is how much of an example is shown.
const mostLines = 60

func shortenedExample(text string) string {
	lines := strings.Split(text, "\n")
	if len(lines) <= mostLines {
		return text
	}
	return strings.Join(lines[:mostLines], "\n") + "\n…"
}

// outputExamples are what scripts compare outputs with: files named NAME.json, by NAME.
func outputExamples(t *testing.T) map[string]string {
	t.Helper()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	require.NoError(t, err)
	out := map[string]string{}
	for _, path := range scripts {
		archive, err := txtar.ParseFile(path)
		require.NoError(t, err)
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".json")
			if !ok || !slices.ContainsFunc(schema.Outputs(), func(o schema.Output) bool { return o.Name == name }) {
				continue
			}
			require.NotContains(t, out, name, "two scripts have an example of it")
			require.Regexp(t, `(?m)^cmp \S+ `+regexp.QuoteMeta(f.Name)+`$`, string(archive.Comment), "%s has %s, and compares nothing with it", path, f.Name)
			out[name] = string(f.Data)
		}
	}
	return out
}

// node is what a table needs of a schema.
type node struct {
	Ref                  string           `json:"$ref"`
	Defs                 map[string]*node `json:"$defs"`
	Type                 string           `json:"type"`
	Format               string           `json:"format"`
	Description          string           `json:"description"`
	Enum                 []string         `json:"enum"`
	Properties           json.RawMessage  `json:"properties"`
	Required             []string         `json:"required"`
	Items                *node            `json:"items"`
	PropertyNames        *node            `json:"propertyNames"`
	AdditionalProperties json.RawMessage  `json:"additionalProperties"`
	names                []string         // of Properties, in order
	fields               map[string]*node // Properties
}

// UnmarshalJSON implements json.Unmarshaler: the schema that is only true is one of anything.
func (n *node) UnmarshalJSON(text []byte) error {
	if string(text) == "true" {
		return nil
	}
	type plain node
	if err := json.Unmarshal(text, (*plain)(n)); err != nil || n.Properties == nil {
		return err //nolint:wrapcheck // of a test
	}
	if err := json.Unmarshal(n.Properties, &n.fields); err != nil {
		return err //nolint:wrapcheck // of a test
	}
	dec := json.NewDecoder(bytes.NewReader(n.Properties))
	_, _ = dec.Token()
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err //nolint:wrapcheck // of a test
		}
		n.names = append(n.names, name.(string))
		var skipped json.RawMessage
		if err := dec.Decode(&skipped); err != nil {
			return err //nolint:wrapcheck // of a test
		}
	}
	return nil
}

// fieldTable is a table of the fields of a schema, those of lists and objects behind them.
func fieldTable(t *testing.T, text []byte) string {
	t.Helper()
	var root node
	require.NoError(t, json.Unmarshal(text, &root))
	var b strings.Builder
	var walk func(n *node, path string, above []string)
	resolved := func(n *node) *node {
		if name, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
			return root.Defs[name]
		}
		return n
	}
	var kind func(n *node) string
	kind = func(n *node) string {
		n = resolved(n)
		switch {
		case slices.Contains(n.Enum, string(ledger.NotInRollout)):
			return "reason"
		case len(n.Enum) > 0:
			return "`" + strings.Join(n.Enum, "`, `") + "`"
		case n.Format == "date-time":
			return "instant"
		case n.Type == "array":
			return "list of " + strings.TrimSuffix(kind(n.Items), "s") + "s"
		case n.Type == "object" && n.PropertyNames != nil:
			return "numbers by " + kind(n.PropertyNames)
		default:
			return cmp.Or(n.Type, "anything")
		}
	}
	walk = func(n *node, path string, above []string) {
		if slices.Contains(above, n.Ref) && n.Ref != "" {
			return
		}
		above = append(slices.Clone(above), n.Ref)
		n = resolved(n)
		if n.Type == "array" {
			walk(n.Items, path+"[]", above)
			return
		}
		for _, name := range n.names {
			f := n.fields[name]
			at := strings.TrimPrefix(path+"."+name, ".")
			what := f.Description
			if what == "" {
				what = resolved(f).Description
			}
			if what == "" && f.Items != nil {
				what = resolved(f.Items).Description
			}
			optional := ""
			if !slices.Contains(n.Required, name) {
				optional = ", if any"
			}
			fmt.Fprintf(&b, "| `%s` | %s%s | %s |\n", at, kind(f), optional, strings.ReplaceAll(what, "|", `\|`))
			walk(f, at, above)
		}
	}
	walk(&root, "", nil)
	if b.Len() == 0 {
		return "The fields are the columns of the query.\n"
	}
	return "| field | type | meaning |\n| --- | --- | --- |\n" + b.String()
}

// commandOf is a command as an Output names it: "channels test".
func commandOf(c *cobra.Command) string { return strings.TrimPrefix(c.CommandPath(), "nudge ") }

// Whoever can print JSON says what it is.
func TestEveryJSONHasASchema(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		f := c.Flags().Lookup("format")
		if f == nil {
			return
		}
		for _, word := range []string{"json", "sarif"} {
			if !strings.Contains(f.Usage, word) {
				continue
			}
			require.True(t, slices.ContainsFunc(schema.Outputs(), func(o schema.Output) bool {
				return o.Command == commandOf(c) && strings.Contains(o.How, "--format "+word)
			}), "nudge %s --format %s has no schema in engine/schema.Outputs", commandOf(c), word)
		}
	}
	commands := root(streams{in: strings.NewReader("")})
	walk(commands)
	for _, o := range schema.Outputs() {
		if o.Command != "" {
			c, _, err := commands.Find(strings.Fields(o.Command))
			require.NoError(t, err, o.Name)
			require.Equal(t, o.Command, commandOf(c))
		}
	}
}

// compiledOutput is the schema of an output, as nudge schema prints it.
func compiledOutput(name string) (*jsonschema.Schema, error) {
	text, err := schema.OfOutput(name)
	if err != nil {
		return nil, err //nolint:wrapcheck // says of which
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("output.json", doc); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", name, err)
	}
	return c.Compile("output.json") //nolint:wrapcheck // of a test
}

// validOutput says whether a text is what the schema of an output says.
func validOutput(o schema.Output, text []byte) error {
	s, err := compiledOutput(o.Name)
	if err != nil {
		return err
	}
	values := [][]byte{text}
	if o.Lines {
		values = bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	}
	for _, text := range values {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return fmt.Errorf("%s is not JSON: %w", o.Name, err)
		}
		if err := s.Validate(value); err != nil {
			return fmt.Errorf("%s is not as its schema says: %w", o.Name, err)
		}
	}
	return nil
}

// seenOutputs, in the environment, is a folder that gets a file for each output that was seen.
const seenOutputs = "NUDGE_SEEN_OUTPUTS"

func sawOutput(dir, name string) error {
	if dir == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, name), nil, 0o600) //nolint:wrapcheck // of a test
}

// printsAsSaid says whether what a command line has printed is one of the outputs that the command is said to have.
func printsAsSaid(args []string, out []byte) error {
	c, rest, err := root(streams{in: strings.NewReader("")}).Find(args)
	if err != nil || len(out) == 0 || c.ParseFlags(rest) != nil {
		return nil //nolint:nilerr // wrong usage prints nothing
	}
	format, err := c.Flags().GetString("format")
	if err != nil || format != "json" && format != "sarif" {
		return nil //nolint:nilerr // there is no such flag
	}
	var problems error
	for _, o := range schema.Outputs() {
		if o.Command != "" && o.Command != commandOf(c) || !strings.Contains(o.How, "--format "+format) {
			continue
		}
		err := validOutput(o, out)
		if err == nil {
			return sawOutput(os.Getenv(seenOutputs), o.Name)
		}
		problems = errors.Join(problems, err)
	}
	return cmp.Or(problems, fmt.Errorf("nudge %s --format %s has no schema", c.Name(), format))
}

// An undocumented field, a field that is gone and a time without a zone are not as the schema says.
func TestSchemasOfOutputsAreStrict(t *testing.T) {
	good := `{"row": 1, "time": "2026-03-02T10:00:00Z", "event": {}}`
	for name, bad := range map[string]string{
		"a field more": `{"row": 1, "time": "2026-03-02T10:00:00Z", "event": {}, "extra": 1}`,
		"a field less": `{"row": 1, "event": {}}`,
		"no zone":      `{"row": 1, "time": "2026-03-02T10:00:00", "event": {}}`,
		"another type": `{"row": "1", "time": "2026-03-02T10:00:00Z", "event": {}}`,
		"null":         `{"row": null, "time": "2026-03-02T10:00:00Z", "event": {}}`,
	} {
		t.Run(name, func(t *testing.T) {
			o := schema.Output{Name: "import-event", Lines: true}
			require.NoError(t, validOutput(o, []byte(good+"\n"+good+"\n")))
			require.Error(t, validOutput(o, []byte(good+"\n"+bad+"\n")))
		})
	}
	t.Run("a reason that there is not", func(t *testing.T) {
		row := `{"from": "2026-03-02T10:00:00Z", "by": [], "rows": [{"rule": "r", "matched": 1, "reasons": {"%s": 1}, "sent": 0, "failed": 0, ` +
			`"delivered": 0, "opened": 0, "clicked": 0, "converted": 0, "revenue": 0}], "paused": [], "overruns": []}`
		o := schema.Output{Name: "report-output"}
		require.NoError(t, validOutput(o, fmt.Appendf(nil, row, "held")))
		require.Error(t, validOutput(o, fmt.Appendf(nil, row, "forgotten")))
	})
}
