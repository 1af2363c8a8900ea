package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels"
	"nudge/engine/trial"
	"nudge/engine/workspace"
	"nudge/internal/suggest"
)

// probeJSON is what came of asking one adapter's provider.
type probeJSON struct {
	Channel string `json:"channel"` // as rules call it
	Adapter string `json:"adapter"`
	Result  string `json:"result" jsonschema:"enum=ok,enum=failed,enum=nothing_to_check"`
	// How long the provider took to answer.
	Seconds float64        `json:"seconds"`
	Class   channels.Class `json:"class,omitempty"`  // of a failure: what kind it is
	Code    string         `json:"code,omitempty"`   // the provider's reason
	Error   string         `json:"error,omitempty"`  // what happened, for people
	Advice  string         `json:"advice,omitempty"` // what to do about it, for people
}

func channelsTestCommand(s streams) *cobra.Command {
	var dir, format string
	cmd := &cobra.Command{
		Use:   "test [CHANNEL …]",
		Short: "Asks every provider whether we can reach it and may send; nobody gets a message",
		Long: `Opens the channels of nudge.yaml, all or those that are named, with their secrets, and asks each provider whether we can
reach it and may send. Nobody gets a message: it signs in, or hands over a message that cannot be sent and looks at what the provider
says to that. A channel that writes to a file or to standard output has nothing to check.

To see a message arrive: nudge send RULE ADDRESS.

Exit codes: 0 all is well, 1 a provider said no or could not be reached, 2 wrong usage, 3 a channel could not be set up.`,
		Example: "  nudge channels test\n  nudge channels test push email --dir examples/shop\n  nudge channels test --format json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "table" && format != "json" {
				return fmt.Errorf("--format is table or json, not %q", format)
			}
			ws, err := loadWorkspace(s.as(format), dir, workspace.Options{})
			if err != nil {
				return err
			}
			chosen, err := namedChannels(ws, args)
			if err != nil {
				return err
			}
			return probeAll(cmd.Context(), s, ws, chosen, format)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "the workspace")
	cmd.Flags().StringVar(&format, "format", "table", "table or json")
	return cmd
}

// namedChannels are the channels of these names, all for none.
func namedChannels(ws *workspace.Workspace, names []string) ([]workspace.Channel, error) {
	if len(names) == 0 {
		return ws.Channels, nil
	}
	var known []string
	for _, c := range ws.Channels {
		known = append(known, c.Name)
	}
	var out []workspace.Channel
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			if near := suggest.Nearest(name, known); near != "" {
				return nil, fmt.Errorf("nudge.yaml has no channel %q; did you mean %s?", name, near)
			}
			return nil, fmt.Errorf("nudge.yaml has no channel %q; it has %s", name, strings.Join(known, ", "))
		}
		out = append(out, ws.Channels[i])
	}
	return out, nil
}

// probeAll asks all providers at once: one that hangs holds up no other.
func probeAll(ctx context.Context, s streams, ws *workspace.Workspace, chosen []workspace.Channel, format string) error {
	var results []probeJSON
	var adapters []workspace.Adapter
	for _, c := range chosen {
		for _, a := range c.Adapters {
			results, adapters = append(results, probeJSON{Channel: c.Name, Adapter: a.Name}), append(adapters, a)
		}
	}
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			begin := time.Now()
			err := trial.Probe(ctx, adapters[i], channels.Options{Stdout: s.err, Now: time.Now, Dir: ws.Dir})
			results[i].Seconds = time.Since(begin).Seconds()
			results[i].say(err)
		})
	}
	wg.Wait()
	if format == "json" {
		if err := writeJSON(s.out, append([]probeJSON{}, results...)); err != nil {
			return failed(err)
		}
	} else {
		printProbes(s, results)
	}
	if slices.ContainsFunc(results, func(r probeJSON) bool { return r.Result == "failed" }) {
		return &exitError{Code: exitFindings}
	}
	return nil
}

// say notes what came of it.
func (r *probeJSON) say(err error) {
	failure, refused := errors.AsType[*channels.DeliveryError](err)
	switch {
	case err == nil:
		r.Result = "ok"
	case errors.Is(err, trial.ErrNothing):
		r.Result, r.Seconds = "nothing_to_check", 0
	case refused:
		r.Result, r.Class, r.Code, r.Error, r.Advice = "failed", failure.Class, failure.Code, err.Error(), trial.Advice(failure.Class)
	default:
		r.Result, r.Error = "failed", err.Error()
	}
}

func printProbes(s streams, results []probeJSON) {
	if len(results) == 0 {
		fmt.Fprintln(s.out, "nudge.yaml has no channels; nudge channels lists what there could be")
		return
	}
	t := table(s.out)
	fmt.Fprintln(t, "CHANNEL\tADAPTER\tRESULT\tSECONDS")
	for _, r := range results {
		seconds := ""
		if r.Result != "nothing_to_check" {
			seconds = fmt.Sprintf("%.2f", r.Seconds)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Channel, r.Adapter, strings.ReplaceAll(r.Result, "_", " "), seconds)
	}
	_ = t.Flush() // what cannot be printed here cannot be said here either
	for _, r := range results {
		if r.Result == "failed" {
			fmt.Fprintf(s.out, "\n%s (%s): %s\n", r.Channel, r.Adapter, r.Error)
			if r.Advice != "" {
				fmt.Fprintln(s.out, r.Advice)
			}
		}
	}
}
