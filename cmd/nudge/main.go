// Command nudge decides who should hear from you, when and why, and never too often. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones, on machines that have none

	"github.com/spf13/cobra"

	"nudge/channels/chat/shout"
	"nudge/events/clickhouse/embedded"
)

// Exit codes, the same for every command.
const (
	exitFine     = 0
	exitFindings = 1 // findings, or failed tests
	exitUsage    = 2 // wrong usage
	exitFailed   = 3 // could not run
)

func main() {
	// The embedded ClickHouse, and the library that writes posts for chats, are this same program, started as a child.
	embedded.MaybeRunChild()
	shout.MaybeRunChild()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// exitError is an error with the code to exit with. Err may be nil when everything has been said.
type exitError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *exitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *exitError) Unwrap() error { return e.Err }

// failed wraps what kept a command from running.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{Code: exitFailed, Err: err}
}

// streams are what a command reads and writes: results on out, logs and progress on err.
type streams struct {
	in       io.Reader
	out, err io.Writer
	json     bool // findings are printed as JSON
}

// as are the streams of a command whose results are printed in a format.
func (s streams) as(format string) streams {
	s.json = format == "json"
	return s
}

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := root(streams{in: in, out: out, err: errOut})
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitFine
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		// Everything that is not ours comes from reading the command line.
		fmt.Fprintf(errOut, "Error: %v\nTry:   %s --help\n", err, called(cmd, args))
		return exitUsage
	}
	if exit.Err != nil {
		fmt.Fprintf(errOut, "Error: %v\n", exit.Err)
	}
	return exit.Code
}

// called is the command that args ask for, as it is typed.
func called(root *cobra.Command, args []string) string {
	if c, _, err := root.Find(args); err == nil {
		return c.CommandPath()
	}
	return root.CommandPath()
}

func root(s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nudge",
		Short: "Decides who should hear from you, when and why, and never too often",
		Long: `nudge takes in what people do in your apps, finds those for whom a rule is true, and messages
them by push, e-mail, text message, in the app or through webhooks, under exact frequency caps.

A workspace is a folder with nudge.yaml, rules/, broadcasts/, segments/, fences/, events.yaml and tests/.
Every command takes it as --dir; check, test, serve, demo and migrate also as their argument. Where
none is named it is the current folder.

  nudge init             a workspace to begin with
  nudge check            is every file right?
  nudge test             do the rules do what their tests say?
  nudge serve            run it all
  nudge broadcast        one message to many, once
  nudge report           what came of it

Exit codes: 0 fine, 1 findings or failed tests, 2 wrong usage, 3 could not run.
Results go to standard output, logs and progress to standard error.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetIn(s.in)
	cmd.SetOut(s.out)
	cmd.SetErr(s.err)
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(commands(s)...)
	return cmd
}
