package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/ruletest"
	"nudge/engine/workspace"
	"nudge/rules"
)

func testCommand(s streams) *cobra.Command {
	var run, format, level string
	var verbose, everyTick bool
	var ws folderOption
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Runs the rule tests: events at times in, decisions at times out",
		Long: `Runs tests/*_test.yaml of the workspace on a simulated clock, through the same code that serves:
a real queue and a real store in a temporary folder; channels take every message and send nothing.
It touches neither the workspace's data nor its secrets. docs/testing.md describes the files.

Exit codes: 0 all passed, 1 tests failed or a file is wrong, 2 --run names none, 3 could not run.`,
		Example: "  nudge test examples/shop\n  nudge test --run 'cart' --verbose\n  nudge test --format json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"text", "json"}, format) {
				return fmt.Errorf("--format is text or json, not %q", format)
			}
			only, err := regexp.Compile(run)
			if err != nil {
				return fmt.Errorf("--run is a regular expression: %w", err)
			}
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log is debug, info, warn or error, not %q", level)
			}
			log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: l}))
			o := ruletest.Options{Logger: log, Progress: progress(s), EveryTick: everyTick}
			dir, err := ws.of(args)
			if err != nil {
				return err
			}
			return test(cmd.Context(), s, dir, only, format, verbose, o)
		},
	}
	ws.on(cmd)
	f := cmd.Flags()
	f.StringVar(&run, "run", "", `only tests whose "FILE: NAME" matches this regular expression`)
	f.StringVar(&format, "format", "text", "text or json")
	f.BoolVar(&verbose, "verbose", false, "print what was decided in every test")
	f.BoolVar(&everyTick, "every-tick", false, "look on every tick, also where nothing can have changed: slow, and decides the same")
	f.StringVar(&level, "log", "error", "least level that is logged: debug, info, warn or error")
	return cmd
}

// test runs the tests of a workspace and prints what came of them.
func test(ctx context.Context, s streams, dir string, only *regexp.Regexp, format string, verbose bool, o ruletest.Options) error {
	ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSecrets: true})
	if err != nil {
		return err
	}
	tests, findings := ruletest.Load(ws)
	if rules.HasErrors(findings) {
		if err := rules.Render(s.out, findings, rules.Format(format)); err != nil {
			return failed(err)
		}
		return &exitError{Code: exitFindings}
	}
	if len(findings) > 0 { // warnings
		if err := rules.Render(s.err, findings, rules.Text); err != nil {
			return failed(err)
		}
	}
	all := len(tests)
	tests = slices.DeleteFunc(tests, func(t *ruletest.Test) bool { return !only.MatchString(t.Title()) })
	if len(tests) == 0 {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("--run %q matches none of the %d tests", only, all)}
	}
	o.Workspace, o.Tests = ws, tests
	results, err := ruletest.Run(ctx, o)
	if err != nil {
		return failed(err)
	}
	if format == "json" {
		err = ruletest.WriteJSON(s.out, results)
	} else {
		err = ruletest.WriteText(s.out, results, verbose)
	}
	if err == nil && ruletest.Failed(results) {
		return &exitError{Code: exitFindings}
	}
	return failed(errors.Join(err))
}

// slow is how long a command is silent before it says how far it is, and how often it says so.
const slow = 5 * time.Second

// progress says on standard error how far the tests are, when they take long.
func progress(s streams) func(share float64) {
	var mu sync.Mutex
	said := time.Now()
	return func(share float64) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(said) >= slow {
			said = now
			fmt.Fprintf(s.err, "%3.0f %% of the simulated time has passed\n", share*100)
		}
	}
}
