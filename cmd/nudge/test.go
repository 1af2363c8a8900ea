package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/ruletest"
	"nudge/engine/workspace"
	"nudge/events/clickhouse/embedded"
	"nudge/rules"
)

func testCommand(s streams) *cobra.Command {
	var run, format, level string
	var out testOutput
	var everyTick, again, stored bool
	var ws folderOption
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Runs the rule tests: events at times in, decisions at times out",
		Long: `Runs tests/*_test.yaml of the workspace on a simulated clock, through the same code that serves, with
histories in memory; channels take every message and send nothing. It needs no ClickHouse, and touches
neither the workspace's data nor its secrets. docs/testing.md describes the files.

--clickhouse keeps the histories of the tests in the tables of the embedded ClickHouse, as production
does: many times slower, and it decides the same.

--watch runs them again whenever a file changes, until Ctrl-C.

--coverage says which rules no test names, which are never seen both to fire and to stay silent, and which
parts of their conditions never decide; --min-coverage fails the run where too few do.

Exit codes: 0 all passed, 1 tests failed, too little is covered, or a file is wrong, 2 --run names none,
3 could not run.`,
		Example: "  nudge test examples/shop\n  nudge test --run 'cart' --verbose\n  nudge test --watch\n  nudge test --format json\n  nudge test --junit results.xml --min-coverage 80%",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if !slices.Contains([]string{"text", "json"}, format) {
				return fmt.Errorf("--format is text or json, not %q", format)
			}
			out.format = format
			s := s.as(format)
			if err := out.least(); err != nil {
				return err
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
			if stored {
				stop, err := startStore(cmd.Context(), &o)
				if err != nil {
					return failed(err)
				}
				defer func() { err = errors.Join(err, failed(stop())) }()
			}
			if again {
				return watchTests(cmd.Context(), s, dir, only, out, o)
			}
			return test(cmd.Context(), s, dir, only, out, o)
		},
	}
	ws.on(cmd)
	f := cmd.Flags()
	f.StringVar(&run, "run", "", `only tests whose "FILE: NAME" matches this regular expression`)
	f.StringVar(&format, "format", "text", "text or json")
	f.StringVar(&out.junit, "junit", "", "a file to write the results to as JUnit XML")
	f.BoolVar(&out.coverage, "coverage", false, "say which rules, and which parts of their conditions, the tests do not cover")
	f.StringVar(&out.min, "min-coverage", "", "the least share of rules that must be seen both to fire and to stay silent, and of the parts of their conditions that must be seen to decide both ways, 80%")
	f.BoolVar(&out.verbose, "verbose", false, "print what was decided in every test")
	f.BoolVar(&again, "watch", false, "run again whenever a file of the workspace changes, until Ctrl-C")
	f.BoolVar(&everyTick, "every-tick", false, "look on every tick, also where nothing can have changed: slow, and decides the same")
	f.BoolVar(&stored, "clickhouse", false, "keep the histories of the tests in the embedded ClickHouse, not in memory: slow, and it decides the same")
	f.StringVar(&level, "log", "error", "least level that is logged: debug, info, warn or error")
	return cmd
}

// startStore starts an engine in a folder of its own for the histories of tests.
func startStore(ctx context.Context, o *ruletest.Options) (stop func() error, err error) {
	dir, err := os.MkdirTemp("", "nudge-test-store-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the tests' store: %w", err)
	}
	if o.Engine, err = embedded.Start(ctx, embedded.Config{Dir: dir, Logger: o.Logger}); err != nil {
		return nil, errors.Join(fmt.Errorf("start the store for the tests: %w", err), os.RemoveAll(dir))
	}
	return func() error { return errors.Join(o.Engine.Close(), os.RemoveAll(dir)) }, nil
}

// testOutput is what test prints.
type testOutput struct {
	format, junit, min string
	verbose, coverage  bool
	share              float64 // of min, 0 to 1
}

// least reads --min-coverage.
func (o *testOutput) least() error {
	if o.min == "" {
		return nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(o.min, "%"), 64)
	if err != nil || !(n >= 0 && n <= 100) { // NaN is neither
		return fmt.Errorf("--min-coverage is a share like 80%%, not %q", o.min)
	}
	o.share, o.coverage = n/100, true
	return nil
}

// test runs the tests of a workspace and prints what came of them.
func test(ctx context.Context, s streams, dir string, only *regexp.Regexp, out testOutput, o ruletest.Options) error {
	ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSecrets: true})
	if err != nil {
		return err
	}
	tests, findings := ruletest.Load(ws)
	if rules.HasErrors(findings) {
		return printFindings(s, findings)
	}
	if len(findings) > 0 { // warnings
		if err := rules.Render(s.err, findings, rules.Text); err != nil {
			return failed(err)
		}
	}
	all := len(tests)
	tests = slices.DeleteFunc(tests, func(t *ruletest.Test) bool { return !only.MatchString(t.Title()) })
	if len(tests) == 0 {
		return &exitError{Code: exitUsage, Err: fmt.Errorf("--run %q matches no test; there are %d", only, all)}
	}
	o.Workspace, o.Tests = ws, tests
	if o.Branches, err = ruletest.NewBranches(ws.Rules); err != nil {
		return failed(err)
	}
	results, err := ruletest.Run(ctx, o)
	if err != nil {
		return failed(err)
	}
	covered := ruletest.Cover(ws.Rules, results, o.Branches)
	if err := out.write(s, results, covered); err != nil {
		return failed(err)
	}
	if covered.Share() < out.share {
		fmt.Fprintf(s.err, "coverage is below %s\n", out.min)
		return &exitError{Code: exitFindings}
	}
	if ruletest.Failed(results) {
		return &exitError{Code: exitFindings}
	}
	return nil
}

// watchTests runs the tests, and again after each change of a file, until ctx ends.
func watchTests(ctx context.Context, s streams, dir string, only *regexp.Regexp, out testOutput, o ruletest.Options) (err error) {
	if err := isFolder(dir); err != nil {
		return err
	}
	changes := watch(ctx, dir, o.Logger, "tests")
	if changes == nil {
		return failed(errors.New("the files of the workspace cannot be watched here; run nudge test by hand"))
	}
	for {
		if err := test(ctx, s, dir, only, out, o); err != nil && ctx.Err() == nil {
			if exit, ok := errors.AsType[*exitError](err); !ok || exit.Err != nil {
				fmt.Fprintf(s.err, "Error: %v\n", err)
			}
		}
		fmt.Fprintf(s.err, "%s: waiting for a file to change; Ctrl-C ends\n", time.Now().Format(time.TimeOnly))
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		}
		for quiet := false; !quiet; {
			select {
			case <-changes:
			case <-time.After(settleFor):
				quiet = true
			}
		}
	}
}

func (o *testOutput) write(s streams, results []ruletest.Result, covered *ruletest.Coverage) error {
	if o.junit != "" {
		f, err := os.Create(o.junit)
		if err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
		if err := errors.Join(ruletest.WriteJUnit(f, results), f.Close()); err != nil {
			return err
		}
	}
	if o.format == "json" {
		return ruletest.WriteJSON(s.out, results, covered) //nolint:wrapcheck // says what it was doing
	}
	if err := ruletest.WriteText(s.out, results, o.verbose); err != nil || !o.coverage {
		return err //nolint:wrapcheck // says what it was doing
	}
	return covered.Write(s.out) //nolint:wrapcheck // says what it was doing
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
