package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nudge/engine/schema"
	"nudge/internal/suggest"
)

func schemaCommand(s streams) *cobra.Command {
	var out string
	var outputs bool
	var kinds []string
	for _, k := range schema.Kinds() {
		kinds = append(kinds, k.Name)
	}
	cmd := &cobra.Command{
		Use:   "schema [KIND|OUTPUT]",
		Short: "JSON Schemas of the files, for editors, and of what commands print as JSON",
		Long: `Prints the JSON Schema of a kind of file (` + strings.Join(kinds, ", ") + `), or of what a command
prints as JSON (check-output, report-output, …; --outputs lists them), or with --out writes all of them into a
folder: those of files into it, those of outputs into outputs/ in it.

With the schemas of files an editor completes keys, shows what they mean, and marks what is wrong while you
type. They know the form of keys and values; nudge check knows the rest. VS Code, with the YAML extension of
Red Hat, in .vscode/settings.json of the workspace:

  "yaml.schemas": {
    ".schema/rule.json": ["rules/**/*.yaml", "broadcasts/**/*.yaml"],
    ".schema/segment.json": "segments/**/*.yaml",
    ".schema/events.json": "events.yaml",
    ".schema/workspace.json": "nudge.yaml",
    ".schema/test.json": "tests/**/*.yaml"
  }

Editors with yaml-language-server (Neovim, Helix, Emacs, Zed) take the same setting; any of them takes a
first line in the file: # yaml-language-server: $schema=../.schema/rule.json
JetBrains: Settings, Languages & Frameworks, Schemas and DTDs, JSON Schema Mappings.

The schemas of outputs are for programs that read them: they name every field and its unit, and know no other
field. docs/outputs.md shows the same with examples.`,
		Example: "  nudge schema --out .schema\n  nudge schema rule > rule.json\n  nudge schema --outputs\n  nudge schema check-output",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case out != "" && len(args) > 0:
				return fmt.Errorf("--out writes all of them; leave out %s", args[0])
			case outputs && (out != "" || len(args) > 0):
				return errors.New("--outputs lists what commands print; it stands alone")
			case out != "":
				return failed(writeSchemas(s, out))
			case outputs:
				return failed(listOutputs(s))
			case len(args) == 0:
				return fmt.Errorf("which kind? %s; --outputs lists what commands print; or --out DIR for all", strings.Join(kinds, ", "))
			}
			text, err := schemaOf(args[0], kinds)
			if err != nil {
				return err
			}
			_, err = s.out.Write(text)
			return failed(err)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "a folder to write all of them to")
	cmd.Flags().BoolVar(&outputs, "outputs", false, "list what commands print as JSON")
	return cmd
}

// schemaOf is the schema of a kind of file or of an output.
func schemaOf(name string, kinds []string) ([]byte, error) {
	if slices.Contains(kinds, name) {
		return schema.Of(name) //nolint:wrapcheck // says of which
	}
	names := slices.Clone(kinds)
	for _, o := range schema.Outputs() {
		if o.Name == name {
			return schema.OfOutput(name) //nolint:wrapcheck // says of which
		}
		if o.Command == name || o.Command+" --format json" == name {
			return nil, fmt.Errorf("%q is a command; of what it prints there is nudge schema %s", name, o.Name)
		}
		names = append(names, o.Name)
	}
	if near := suggest.Nearest(name, names); near != "" {
		return nil, fmt.Errorf("there is neither a kind of file nor an output %q; did you mean %s?", name, near)
	}
	return nil, fmt.Errorf("there is neither a kind of file nor an output %q; there are %s, and what --outputs lists", name, strings.Join(kinds, ", "))
}

// listOutputs prints what commands print as JSON.
func listOutputs(s streams) error {
	t := table(s.out)
	fmt.Fprintln(t, "OUTPUT\tOF\tWHAT")
	for _, o := range schema.Outputs() {
		of := strings.TrimSpace("nudge " + o.Command + " " + o.How)
		switch o.Command {
		case "":
			of = "any command, " + o.How
		case "serve":
			of = "nudge serve: " + o.How
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", o.Name, of, o.About)
	}
	return t.Flush() //nolint:wrapcheck // the writer's own error
}

func writeSchemas(s streams, dir string) error {
	write := func(path, of string, text []byte) error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a folder of the workspace, for everybody who works on it
			return fmt.Errorf("make the folder: %w", err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // as the folder
			return fmt.Errorf("write the schema: %w", err)
		}
		fmt.Fprintf(s.out, "%s  of %s\n", path, of)
		return nil
	}
	for _, k := range schema.Kinds() {
		text, err := schema.Of(k.Name)
		if err != nil {
			return err //nolint:wrapcheck // says of which
		}
		if err := write(filepath.Join(dir, k.Name+".json"), k.Files, text); err != nil {
			return err
		}
	}
	for _, o := range schema.Outputs() {
		text, err := schema.OfOutput(o.Name)
		if err != nil {
			return err //nolint:wrapcheck // says of which
		}
		of := strings.TrimSpace("nudge "+o.Command) + " " + o.How
		if err := write(filepath.Join(dir, "outputs", o.Name+".json"), of, text); err != nil {
			return err
		}
	}
	return nil
}
