package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels/all"
	"nudge/engine/workspace"
	"nudge/rules"
)

// folderOption is the workspace of a command that takes it as its only argument, or as --dir.
type folderOption struct{ dir string }

// on gives a command the option.
func (f *folderOption) on(cmd *cobra.Command) {
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.Flags().StringVar(&f.dir, "dir", "", "the workspace, instead of the argument")
}

// of is the folder that the command was given.
func (f *folderOption) of(args []string) (string, error) {
	switch {
	case len(args) == 0 && f.dir == "":
		return ".", nil
	case len(args) == 0:
		return f.dir, nil
	case f.dir == "" || f.dir == args[0]:
		return args[0], nil
	default:
		return "", fmt.Errorf("two workspaces are given, %s and --dir %s; leave one out", args[0], f.dir)
	}
}

// isFolder says what is wrong with a workspace's folder as such.
func isFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failed(fmt.Errorf("there is no folder %s", dir))
	case err != nil:
		return failed(fmt.Errorf("the workspace: %w", err))
	case !info.IsDir():
		return failed(fmt.Errorf("%s is a file; a workspace is the folder that nudge.yaml is in", dir))
	default:
		return nil
	}
}

// loadWorkspace loads a folder; findings of errors go to standard output and end the command.
func loadWorkspace(s streams, dir string, o workspace.Options) (*workspace.Workspace, error) {
	ws, findings, err := readWorkspace(dir, o)
	if ws == nil && err == nil {
		err = printFindings(s, findings)
	}
	return ws, err
}

// readWorkspace compiles a workspace; where that fails, it is nil and the findings say why.
func readWorkspace(dir string, o workspace.Options) (*workspace.Workspace, []rules.Finding, error) {
	set, err := all.Set()
	if err != nil {
		return nil, nil, failed(err)
	}
	o.Adapters, o.Now = set, time.Now
	if err := isFolder(dir); err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, workspace.ConfigFile)); errors.Is(err, fs.ErrNotExist) {
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
		return nil, nil, fmt.Errorf("there is no nudge.yaml in %s; name the folder that has one: --dir examples/shop, or make one: nudge init", dir)
	}
	ws, findings := workspace.Load(dir, o)
	return ws, findings, nil
}

// printFindings prints what is wrong with files, and is the error that ends the command because of it.
func printFindings(s streams, findings []rules.Finding) error {
	format := rules.Text
	if s.json {
		format = rules.JSON
	}
	if err := rules.Render(s.out, findings, format); err != nil {
		return failed(err)
	}
	return &exitError{Code: exitFindings}
}
