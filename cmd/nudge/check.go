package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"nudge/channels/all"
	"nudge/engine/workspace"
	"nudge/rules"
)

func checkCommand(s streams) *cobra.Command {
	var format, failOn string
	var ws folderOption
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Reads every file and prints what is wrong, with its place",
		Long: `Reads nudge.yaml, events.yaml, rules/, segments/, fences/ and the templates that rules name, and
prints every finding with file, line, column and id. It reads files only: no secret, no store.

Then it prints the plan of each rule: incremental, when a tick looks only at people for whom
something has changed; full, when it looks at everybody, with the characters that cause it; arrival,
of rules with on:.`,
		Example: "  nudge check examples/shop\n  nudge check --format json --fail-on warning",
		RunE: func(_ *cobra.Command, args []string) error {
			if !slices.Contains([]string{string(rules.Text), string(rules.JSON)}, format) {
				return fmt.Errorf("--format is text or json, not %q", format)
			}
			if !slices.Contains([]string{string(rules.Error), string(rules.Warning), string(rules.Info)}, failOn) {
				return fmt.Errorf("--fail-on is error, warning or info, not %q", failOn)
			}
			dir, err := ws.of(args)
			if err != nil {
				return err
			}
			return check(s, dir, rules.Format(format), rules.Severity(failOn))
		},
	}
	ws.on(cmd)
	cmd.Flags().StringVar(&format, "format", string(rules.Text), "text or json")
	cmd.Flags().StringVar(&failOn, "fail-on", string(rules.Error), "exit with 1 from this severity on: error, warning or info")
	return cmd
}

// check prints the findings and how much was read.
func check(s streams, dir string, format rules.Format, failOn rules.Severity) error {
	adapters, err := all.Set()
	if err != nil {
		return failed(err)
	}
	if err := isFolder(dir); err != nil {
		return err
	}
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: adapters, WithoutSecrets: true})
	if ws != nil && format == rules.Text {
		if _, err := fmt.Fprintln(s.out, ws.Contents()); err != nil {
			return failed(err)
		}
	}
	if err := printCheck(s, findings, plansOf(ws), format); err != nil {
		return failed(err)
	}
	if slices.ContainsFunc(findings, func(f rules.Finding) bool { return f.Severity.AtLeast(failOn) }) {
		return &exitError{Code: exitFindings}
	}
	return nil
}

func printCheck(s streams, findings []rules.Finding, plans []rulePlan, format rules.Format) error {
	if format == rules.JSON {
		return writeCheckJSON(s.out, findings, plans)
	}
	if err := rules.Render(s.out, findings, format); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	return writePlans(s.out, plans)
}
