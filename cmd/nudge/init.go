package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nudge/engine/schema"
	"nudge/engine/workspace"
	"nudge/examples"
)

func initCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Writes a workspace to begin with: one rule and its test",
		Long: `Writes a workspace into a folder, the current one without DIR: nudge.yaml with a channel that prints what it
would send and a write key of its own, a tracking plan, a rule for carts that were left, a test of it, and
JSON Schemas with the settings that make VS Code use them. It passes nudge check and nudge test.

No file that is there is overwritten: if one of them is, nothing is written.`,
		Example: "  nudge init shop\n  nudge test shop",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return begin(s, dir)
		},
	}
}

// begin writes the files of a new workspace.
func begin(s streams, dir string) error {
	files, err := starter(dir)
	if err != nil {
		return failed(err)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already; nothing was written: name an empty folder", filepath.Join(dir, name))
		}
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a folder that people work in together
			return failed(fmt.Errorf("make the folder of %s: %w", name, err))
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil { //nolint:gosec // as its folder
			return failed(fmt.Errorf("write %s: %w", name, err))
		}
		if !strings.HasPrefix(name, ".") {
			fmt.Fprintln(s.out, path)
		}
	}
	fmt.Fprintf(s.out, `
Next:
  nudge check %[1]s      is every file right?
  nudge test %[1]s       does the rule do what its test says?
  nudge serve %[1]s      take in events, decide, send
Then write rules of your own: docs/rules.md, docs/language.md.
`, dir)
	return nil
}

// starter are the files of a new workspace, by their paths.
func starter(dir string) (map[string][]byte, error) {
	first, err := examples.First()
	if err != nil {
		return nil, fmt.Errorf("read the example: %w", err)
	}
	files := map[string][]byte{".gitignore": []byte("/data/\n"), ".vscode/settings.json": []byte(editorSettings())}
	err = fs.WalkDir(first, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(first, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the example: %w", err)
	}
	for _, k := range schema.Kinds() {
		text, err := schema.Of(k.Name)
		if err != nil {
			return nil, err //nolint:wrapcheck // says of which
		}
		files[".schema/"+k.Name+".json"] = text
	}
	key := make([]byte, 12)
	rand.Read(key)
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the folder: %w", err)
	}
	config := string(files[workspace.ConfigFile])
	for key, value := range map[string]string{
		"zone": "UTC", "data": "data", "salt": salt(abs),
	} {
		config = regexp.MustCompile(`(?m)^`+key+`: .*$`).ReplaceAllLiteralString(config, key+": "+value)
	}
	files[workspace.ConfigFile] = []byte(strings.ReplaceAll(config, "wk_first_web", "wk_"+hex.EncodeToString(key)))
	return files, nil
}

// salt names a workspace after its folder, so that two do not deal people alike.
func salt(dir string) string {
	if name := regexp.MustCompile(`[^a-z0-9-]+`).ReplaceAllString(strings.ToLower(filepath.Base(dir)), ""); name != "" {
		return `"` + name + `"`
	}
	return "nudge"
}

// editorSettings are VS Code's, for its YAML extension.
func editorSettings() string {
	var lines []string
	for _, k := range schema.Kinds() {
		lines = append(lines, fmt.Sprintf("    %q: %q", ".schema/"+k.Name+".json", k.Files))
	}
	return "{\n  \"yaml.schemas\": {\n" + strings.Join(lines, ",\n") + "\n  }\n}\n"
}
