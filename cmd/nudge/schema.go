package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"nudge/engine/schema"
	"nudge/internal/suggest"
)

func schemaCommand(s streams) *cobra.Command {
	var out string
	var kinds []string
	for _, k := range schema.Kinds() {
		kinds = append(kinds, k.Name)
	}
	cmd := &cobra.Command{
		Use:   "schema [KIND]",
		Short: "JSON Schemas of the files, for editors",
		Long: `Prints the JSON Schema of a kind of file (` + strings.Join(kinds, ", ") + `), or with --out writes all of
them into a folder. With them an editor completes keys, shows what they mean, and marks what is wrong while
you type. They know the form of keys and values; nudge check knows the rest.

VS Code, with the YAML extension of Red Hat, in .vscode/settings.json of the workspace:

  "yaml.schemas": {
    ".schema/rule.json": "rules/**/*.yaml",
    ".schema/segment.json": "segments/**/*.yaml",
    ".schema/events.json": "events.yaml",
    ".schema/workspace.json": "nudge.yaml",
    ".schema/test.json": "tests/**/*.yaml"
  }

Editors with yaml-language-server (Neovim, Helix, Emacs, Zed) take the same setting; any of them takes a
first line in the file: # yaml-language-server: $schema=../.schema/rule.json
JetBrains: Settings, Languages & Frameworks, Schemas and DTDs, JSON Schema Mappings.`,
		Example: "  nudge schema --out .schema\n  nudge schema rule > rule.json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case out != "" && len(args) > 0:
				return fmt.Errorf("--out writes all kinds; leave out %s", args[0])
			case out != "":
				return failed(writeSchemas(s, out))
			case len(args) == 0:
				return fmt.Errorf("which kind? %s; or --out DIR for all", strings.Join(kinds, ", "))
			}
			text, err := schema.Of(args[0])
			if err != nil {
				if near := suggest.Nearest(args[0], kinds); near != "" {
					return fmt.Errorf("%w; did you mean %s?", err, near)
				}
				return fmt.Errorf("%w; there are %s", err, strings.Join(kinds, ", "))
			}
			_, err = s.out.Write(text)
			return failed(err)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "a folder to write all of them to")
	return cmd
}

func writeSchemas(s streams, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a folder of the workspace, for everybody who works on it
		return fmt.Errorf("make the folder: %w", err)
	}
	for _, k := range schema.Kinds() {
		text, err := schema.Of(k.Name)
		if err != nil {
			return err //nolint:wrapcheck // says of which
		}
		path := filepath.Join(dir, k.Name+".json")
		if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // as the folder
			return fmt.Errorf("write the schema: %w", err)
		}
		fmt.Fprintf(s.out, "%s  of %s\n", path, k.Files)
	}
	return nil
}
