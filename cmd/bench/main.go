// Command bench measures nudge on this machine: ingest from HTTP to durable and to queryable, people
// judged a second, sends a second. See docs/performance.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"nudge/events/clickhouse/embedded"
)

// Exit codes, those of nudge.
const (
	exitFine   = 0
	exitUsage  = 2 // wrong usage
	exitFailed = 3 // could not run
)

func main() {
	// The embedded ClickHouse, the node under test and the local providers are this same program,
	// started as children.
	embedded.MaybeRunChild()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// failure is an error of running, as opposed to one of the command line.
type failure struct{ error }

// Unwrap returns the cause.
func (f failure) Unwrap() error { return f.error }

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	errOut = &shared{w: errOut}
	cmd := root(in, out, errOut)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var failed failure
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &failed):
		fmt.Fprintf(errOut, "Error: %v\n", err)
		return exitFailed
	default:
		fmt.Fprintf(errOut, "Error: %v\nTry:   bench --help\n", err)
		return exitUsage
	}
}

// shared is a writer that children's output and our own progress share.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

func root(in io.Reader, out, errOut io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measures nudge on this machine",
		Long: `Measures nudge on this machine and prints tables. Everything runs on loopback, in processes of its
own whose CPU is counted one by one, on a temporary folder that is removed at the end.

  bench ingest     events a second from HTTP to durable ack and to queryable, beside a bare insert
  bench judge      people judged a second: prefilter in ClickHouse, then the VM
  bench send       messages a second to local providers: plain libraries, the adapter alone, the whole sender
  bench chaos      each provider in turn slow, refusing, resetting, talking garbage: what is lost, doubled, delayed
  bench arrivals   how long a rule with on: takes from an event's arrival to its decision
  bench ticks      what a tick of twenty rules costs: who can have changed, against everybody
  bench all        ingest, judge and send, one after the other

Rates depend on what else the machine does: the load average stands beside every row. CPU for each
event and the ratios to a baseline of the same run depend on it much less; compare those first.

Exit codes: 0 fine, 2 wrong usage, 3 could not run, or an answer was wrong (events lost or doubled).`,
		Example: `  go run ./cmd/bench all
  go run ./cmd/bench ingest --duration 10m
  go run ./cmd/bench ingest --profile /tmp/profiles
  go run ./cmd/bench judge --events 20000000 --format json`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	cmd.CompletionOptions.HiddenDefaultCmd = true
	var f common
	cmd.PersistentFlags().Var(&f.format, "format", "text, or json")
	cmd.PersistentFlags().StringVar(&f.dir, "dir", "", "folder on the disk to measure; a temporary one is made in it (default: the system's)")
	cmd.PersistentFlags().StringVar(&f.profile, "profile", "", "folder to write CPU profiles of nudge's process to")
	ingest, judge, send := ingestDefaults(), judgeDefaults(), sendDefaults()
	all := &cobra.Command{
		Use: "all", Short: "Everything, one after the other", Args: cobra.NoArgs,
		Long: "Runs ingest, judge and send with their defaults, one after the other, so that they do not share the\nmachine. Takes a few minutes.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.measure(cmd, ingest.run, judge.run, send.run)
		},
	}
	cmd.AddCommand(ingestCommand(&f), judgeCommand(&f), sendCommand(&f), chaosCommand(&f), arrivalsCommand(&f), ticksCommand(&f), all, nodeCommand(in, out, errOut), servicesCommand(in, out), sendRowCommand(in, out, errOut))
	return cmd
}

// format is how the tables are printed.
type format string

// String implements pflag.Value.
func (f *format) String() string {
	if *f == "" {
		return "text"
	}
	return string(*f)
}

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if s != "text" && s != "json" {
		return fmt.Errorf("%q is not text or json", s)
	}
	*f = format(s)
	return nil
}

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// common are the flags of every command.
type common struct {
	format       format
	dir, profile string
}

// measure runs parts in a temporary folder and prints their tables.
func (f *common) measure(cmd *cobra.Command, parts ...func(context.Context, *session) ([]*table, error)) (err error) {
	dir, err := os.MkdirTemp(f.dir, "nudge-bench-*")
	if err != nil {
		return failure{fmt.Errorf("make a temporary folder: %w", err)}
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil {
			err = errors.Join(err, failure{e})
		}
	}()
	if f.profile != "" {
		if err := os.MkdirAll(f.profile, 0o755); err != nil {
			return failure{fmt.Errorf("make the folder of --profile: %w", err)}
		}
	}
	r := report{Machine: thisMachine()}
	s := &session{dir: dir, profile: f.profile, progress: cmd.ErrOrStderr()}
	if err := r.head(cmd.OutOrStdout(), f.format); err != nil {
		return failure{err}
	}
	var failed error
	for _, part := range parts {
		tables, err := part(cmd.Context(), s)
		for _, t := range tables {
			if err := r.add(cmd.OutOrStdout(), f.format, t); err != nil {
				return failure{err}
			}
		}
		if err != nil {
			failed = err
			break
		}
	}
	if err := r.end(cmd.OutOrStdout(), f.format); err != nil {
		return failure{err}
	}
	if failed != nil {
		return failure{failed}
	}
	return nil
}

// session is what the parts of one run share.
type session struct {
	dir      string // temporary
	profile  string // "" for none
	progress io.Writer
}

// profileSelf takes a CPU profile of this process until the function it returns is called.
func (s *session) profileSelf(name string) (stop func() error, err error) {
	if s.profile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(s.profile, strings.ReplaceAll(name, ", ", "-")+".pprof"))
	if err != nil {
		return nil, fmt.Errorf("write a CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("take a CPU profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.progress, format+"\n", args...)
}
