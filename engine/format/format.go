// Package format lays out the files of a workspace that people write: one order of keys, one indentation, one way of
// quoting, and comments where they belong. It says which files those are and in which order their keys stand; how a
// file is taken apart and written again is yamlfile's.
package format

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// File is a file that can be formatted.
type File struct {
	Path string // as it was named, or below the folder that was
	Kind string // one of schema.Kinds
}

// Source formats the text of a file of a kind. With findings there is no text: what cannot be read is left as it is.
func Source(f File, src []byte) ([]byte, []rules.Finding) {
	o, ok := orders()[f.Kind]
	if !ok {
		return nil, []rules.Finding{{
			Check: "yaml/unknown-file", Severity: rules.Error, File: f.Path, Summary: "it cannot be seen what kind of file this is",
			Detail: "A file is a rule, a segment, rule tests, events.yaml or nudge.yaml.",
		}}
	}
	return yamlfile.Format(f.Path, src, o)
}

// KindOf is the kind of a file by its path in the workspace, with slashes; "" for files that are not formatted.
func KindOf(name string) string {
	if path.Ext(name) != ".yaml" || slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.HasPrefix(part, ".") }) {
		return ""
	}
	dir, _, below := strings.Cut(name, "/")
	switch {
	case name == workspace.ConfigFile:
		return "workspace"
	case name == workspace.PlanFile:
		return "events"
	case below && (dir == "rules" || dir == workspace.BroadcastsDir):
		return "rule"
	case below && dir == "segments":
		return "segment"
	case below && dir == "tests" && strings.HasSuffix(name, "_test.yaml"):
		return "test"
	default:
		return ""
	}
}

// KindOfText is the kind of a file by what is in it, "" where that says nothing.
func KindOfText(src []byte) string {
	doc, _ := yamlfile.Parse("", src)
	root := doc.Root
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return root.Get(key) != nil })
	}
	switch {
	case root.Kind == yamlfile.List && slices.ContainsFunc(root.Items, func(n *yamlfile.Node) bool { return n.Get("name") != nil }):
		return "test"
	case has("rule"):
		return "rule"
	case has("segment"):
		return "segment"
	case has("channels", "keys", "store", "queue", "caps", "zone", "quiet_hours", "categories", "listen", "salt"):
		return "workspace"
	case has("events", "traits", "undeclared_events", "undeclared_properties"):
		return "events"
	default:
		return ""
	}
}

// ErrNone says that a path names nothing that could be formatted.
var ErrNone = errors.New("there is nothing to format")

// Files are the files that a path names: the file itself, or all of a folder that is a workspace, lies in one, or has
// some below it.
func Files(name string) ([]File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, err)
	}
	if info.IsDir() {
		return folder(name)
	}
	kind := ""
	if root := rootOf(filepath.Dir(name)); root != "" {
		kind = kindIn(root, name)
	}
	if kind == "" {
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the file: %w", err)
		}
		if kind = KindOfText(src); kind == "" {
			return nil, fmt.Errorf("%w: %s is neither a rule, a segment, rule tests, events.yaml nor nudge.yaml", ErrNone, name)
		}
	}
	return []File{{name, kind}}, nil
}

// folder are the files below a folder.
func folder(dir string) ([]File, error) {
	var out []File
	root := rootOf(dir)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != dir && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir():
			if isRoot(name) {
				root = name
			}
		case root != "":
			if kind := kindIn(root, name); kind != "" {
				out = append(out, File{name, kind})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look through %s: %w", dir, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s is no workspace, in none, and has none below it; one is a folder with a nudge.yaml", ErrNone, dir)
	}
	return out, nil
}

func isRoot(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, workspace.ConfigFile))
	return err == nil && info.Mode().IsRegular()
}

// rootOf is the workspace that a folder is, or lies in; "" without one.
func rootOf(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for !isRoot(abs) {
		up := filepath.Dir(abs)
		if up == abs {
			return ""
		}
		abs = up
	}
	return abs
}

// kindIn is the kind of a file of the workspace root.
func kindIn(root, name string) string {
	root, err := filepath.Abs(root)
	if err != nil {
		return ""
	}
	if name, err = filepath.Abs(name); err != nil {
		return ""
	}
	rel, err := filepath.Rel(root, name)
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return KindOf(filepath.ToSlash(rel))
}

// Write replaces a file's text, all of it or nothing: it is written beside the file first, with its mode. A link
// stays one.
func Write(name string, text []byte) (err error) {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return fmt.Errorf("find the file: %w", err)
	}
	info, err := os.Stat(target)
	if err != nil {
		return fmt.Errorf("find the file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return fmt.Errorf("write beside %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Sync(), tmp.Close())
	if err != nil {
		return fmt.Errorf("write beside %s: %w", name, err)
	}
	if err := os.Rename(tmp.Name(), target); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}
