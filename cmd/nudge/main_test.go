package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"nudge/events/clickhouse/embedded"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild() // a test binary that stands in for nudge is its engine, too
	testscript.Main(m, map[string]func(){"nudge": main})
}

// updateScripts, in the environment, writes what the commands print into the scripts.
const updateScripts = "UPDATE_SCRIPTS"

// TestScripts runs testdata/script/*.txtar: the real command, its whole output, its exit code.
func TestScripts(t *testing.T) {
	lib, libErr := embedded.FindLib("")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv(updateScripts) != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(embedded.LibEnv, lib)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "libchdb" { // make setup
				return libErr == nil, nil
			}
			return false, errors.New("there is no condition " + name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits is `exits CODE COMMAND…`: like exec, of a command that ends with just this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("it exited with %d, not %d", got, want)
	}
}
