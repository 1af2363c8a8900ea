package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels/all"
	"nudge/engine/check"
	"nudge/engine/workspace"
	"nudge/rules"
)

func checkCommand(s streams) *cobra.Command {
	var format, failOn string
	var ws folderOption
	formats := []string{string(rules.Text), string(rules.JSON), string(rules.JUnit), string(rules.SARIF)}
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Reads every file and prints what is wrong, with its place",
		Long: `Reads nudge.yaml, events.yaml, rules/, broadcasts/, segments/, fences/ and the templates that rules name, and
prints every finding with file, line, column and id. It reads files only: no secret, no store.
docs/checks.md explains each check that goes beyond reading, and how to silence one in the file that
it is about.

Then it prints the plan of each rule: incremental, when a tick looks only at people for whom
something has changed; full, when it looks at everybody, with the characters that cause it; arrival,
of rules with on:; once, of broadcasts, but of those that are over.`,
		Example: "  nudge check examples/shop\n  nudge check --format json --fail-on warning\n  nudge check --format sarif > nudge.sarif",
		RunE: func(_ *cobra.Command, args []string) error {
			if !slices.Contains(formats, format) {
				return fmt.Errorf("--format is %s, not %q", strings.Join(formats, ", "), format)
			}
			if !slices.Contains([]string{string(rules.Error), string(rules.Warning), string(rules.Info)}, failOn) {
				return fmt.Errorf("--fail-on is error, warning or info, not %q", failOn)
			}
			dir, err := ws.of(args)
			if err != nil {
				return err
			}
			return runCheck(s, dir, rules.Format(format), rules.Severity(failOn))
		},
	}
	ws.on(cmd)
	cmd.Flags().StringVar(&format, "format", string(rules.Text), strings.Join(formats, ", "))
	cmd.Flags().StringVar(&failOn, "fail-on", string(rules.Error), "exit with 1 from this severity on: error, warning or info")
	return cmd
}

// runCheck prints the findings and how much was read.
func runCheck(s streams, dir string, format rules.Format, failOn rules.Severity) error {
	adapters, err := all.Set()
	if err != nil {
		return failed(err)
	}
	if err := isFolder(dir); err != nil {
		return err
	}
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: adapters, Now: time.Now, WithoutSecrets: true})
	if ws != nil && format == rules.Text {
		if _, err := fmt.Fprintln(s.out, ws.Contents()); err != nil {
			return failed(err)
		}
	}
	findings = check.Findings(ws, findings, time.Now())
	if err := printCheck(s, findings, plansOf(ws, time.Now()), format); err != nil {
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
	if format != rules.Text {
		return nil
	}
	return writePlans(s.out, plans)
}
