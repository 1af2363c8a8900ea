package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"nudge/engine/format"
	"nudge/rules"
)

// fmtOptions are the flags of fmt.
type fmtOptions struct {
	check, diff  bool
	name, format string
}

func fmtCommand(s streams) *cobra.Command {
	var o fmtOptions
	cmd := &cobra.Command{
		Use:   "fmt [PATH...]",
		Short: "Formats the files that people write, and keeps their comments",
		Long: `Formats nudge.yaml, events.yaml, rules/, broadcasts/, segments/ and tests/*_test.yaml of a workspace, the current folder without
PATH, and prints the names of the files that it changed. A PATH is a file, a workspace, a folder in one,
or a folder with workspaces below it; - formats standard input to standard output.

There are no options of style: keys stand in the order of docs/rules.md (below with, message and variants,
where it means something, in yours), what is inside is indented by two blanks, quotes are double ones unless the text
has some, and there is at most one blank line. Line breaks of conditions and texts stay yours, and so does
the choice between one line and several. Comments stay with what they belong to. What a file says is the same
before and after; the version of a rule does not change.

A file that is no YAML is reported with the place, left alone, and the exit code is 1; the others are formatted.
--check and --diff change nothing and exit with 1 where something would change.`,
		Example: "  nudge fmt\n  nudge fmt --check examples          # in CI\n  nudge fmt --diff rules/cart.yaml\n  nudge fmt - < rules/cart.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case o.format != "text" && o.format != "json":
				return fmt.Errorf("--format is text or json, not %q", o.format)
			case slices.Contains(args, "-") && len(args) > 1:
				return errors.New("- is standard input; name it alone")
			case o.name != "" && !slices.Contains(args, "-"):
				return errors.New("--name is about standard input; add -")
			case o.diff && o.format == "json":
				return errors.New("--diff is text; leave out --format json")
			}
			if len(args) == 0 {
				args = []string{"."}
			}
			if args[0] == "-" {
				return fmtInput(s, o)
			}
			return fmtFiles(s, o, args)
		},
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "only list the files that would change, and exit with 1 if there are any")
	cmd.Flags().BoolVar(&o.diff, "diff", false, "only show what would change, and exit with 1 if something would")
	cmd.Flags().StringVar(&o.name, "name", "", "of standard input: its path in the workspace, where its content does not tell what it is")
	cmd.Flags().StringVar(&o.format, "format", "text", "text or json: {changed, findings}")
	return cmd
}

// fmtInput formats standard input.
func fmtInput(s streams, o fmtOptions) error {
	src, err := io.ReadAll(s.in)
	if err != nil {
		return failed(fmt.Errorf("read standard input: %w", err))
	}
	f := format.File{Path: o.name, Kind: format.KindOf(o.name)}
	if f.Path == "" {
		f.Path = "stdin"
	}
	if f.Kind == "" {
		f.Kind = format.KindOfText(src)
	}
	out, findings := format.Source(f, src)
	var done fmtDone
	if done.add(f.Path, src, out, findings) && !o.check && !o.diff && o.format == "text" {
		return failed(printText(s.out, out))
	}
	if len(findings) == 0 && !o.check && !o.diff && o.format == "text" {
		return failed(printText(s.out, src))
	}
	if !o.check && !o.diff && o.format == "text" {
		s.out = s.err // an editor takes what stands on standard output for the text
	}
	return done.tell(s, o)
}

func printText(w io.Writer, text []byte) error {
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("print the text: %w", err)
	}
	return nil
}

// fmtFiles formats files in their places.
func fmtFiles(s streams, o fmtOptions, args []string) error {
	var files []format.File
	for _, arg := range args {
		some, err := format.Files(arg)
		if err != nil {
			return err //nolint:wrapcheck // says of which path
		}
		for _, f := range some {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	var done fmtDone
	var broken error
	for _, f := range files {
		src, err := os.ReadFile(f.Path)
		if err != nil {
			broken = errors.Join(broken, fmt.Errorf("read the file: %w", err))
			continue
		}
		out, findings := format.Source(f, src)
		if done.add(f.Path, src, out, findings) && !o.check && !o.diff {
			if err := format.Write(f.Path, out); err != nil {
				done.Changed = done.Changed[:len(done.Changed)-1]
				broken = errors.Join(broken, err)
			}
		}
	}
	return errors.Join(failed(broken), done.tell(s, o))
}

// fmtDone is what became of the files.
type fmtDone struct {
	Changed  []string        `json:"changed"`  // paths of the files that are others now, or would be with --check
	Findings []rules.Finding `json:"findings"` // files that are no YAML, which are left alone
	diffs    bytes.Buffer
}

// add notes what became of a file, and says whether it is another now.
func (d *fmtDone) add(name string, src, out []byte, findings []rules.Finding) bool {
	d.Findings = append(d.Findings, findings...)
	if len(findings) > 0 || bytes.Equal(src, out) {
		return false
	}
	d.Changed = append(d.Changed, name)
	d.diffs.Write(diff.Diff(name, src, name+" (formatted)", out))
	return true
}

// tell prints it.
func (d *fmtDone) tell(s streams, o fmtOptions) error {
	var err error
	switch {
	case o.format == "json":
		if d.Changed == nil {
			d.Changed = []string{}
		}
		if d.Findings = rules.Sort(d.Findings); d.Findings == nil {
			d.Findings = []rules.Finding{}
		}
		err = writeJSON(s.out, d)
	case o.diff:
		err = printText(s.out, d.diffs.Bytes())
	default:
		for _, name := range d.Changed {
			fmt.Fprintln(s.out, name)
		}
	}
	if err == nil && len(d.Findings) > 0 && o.format == "text" {
		err = rules.Render(s.out, d.Findings, rules.Text)
	}
	if err != nil {
		return failed(err)
	}
	if len(d.Findings) > 0 || (o.check || o.diff) && len(d.Changed) > 0 {
		return &exitError{Code: exitFindings}
	}
	return nil
}
