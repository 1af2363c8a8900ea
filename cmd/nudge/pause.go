package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/engine/workspace"
	"nudge/events/clickhouse"
)

func pauseCommand(s streams) *cobra.Command {
	return askCommand(s, ledger.AskPause, "name the rules that are to be paused", &cobra.Command{
		Use:   "pause RULE...",
		Short: "Pauses rules: they decide and send nothing until nudge resume",
		Long: `A paused rule decides nothing: nobody enters it, entries that wait end as paused when they fall due,
and messages of it that are queued are not sent. What a provider is being asked to send at that moment
still goes. It stays paused over restarts and changes of its file, until nudge resume.

The request is written to the store, with who made it, when and why. A running serve takes it up within
seconds, else the next one does before it decides anything. nudge report lists what is paused.`,
		Example: "  nudge pause cart-abandoned --reason \"the shop is down\" --dir examples/shop\n  nudge report --dir examples/shop\n  nudge resume cart-abandoned --dir examples/shop",
	})
}

func resumeCommand(s streams) *cobra.Command {
	return askCommand(s, ledger.AskResume, "name the rules that are to go on; nudge report lists those that are paused", &cobra.Command{
		Use:   "resume RULE...",
		Short: "Lets rules go on that were paused: by nudge pause, by their pause_when, or by the store",
		Long: `Lets rules go on that somebody has paused (nudge pause), that their pause_when has paused, or whose
condition the store could not compute; nudge report says which are, and why. One that the store still
cannot compute is paused again; of one with a pause_when, messages count anew from here on.

A running serve takes it up within seconds, else the next one does when it starts. On a schedule the rule
goes on at its next instant, with a first look: who has become true meanwhile is noted and gets
nothing, unless the rule says backfill. An on: rule hears what comes from then on.`,
		Example: "  nudge report --dir examples/shop\n  nudge resume cart-abandoned --dir examples/shop",
	})
}

// askCommand is a command that asks something of rules.
func askCommand(s streams, action ledger.Action, which string, cmd *cobra.Command) *cobra.Command {
	var dir string
	r := ledger.Request{Action: action}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New(which)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if info, err := os.Stat(args[0]); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a folder, and the arguments are rules; the workspace is --dir %s", args[0], args[0])
		}
		ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSending: true})
		if err != nil {
			return err
		}
		for _, name := range args {
			if _, err := ruleOf(ws, name); err != nil {
				return err
			}
		}
		r.At = time.Now().UnixMilli()
		r.Who = cmp.Or(r.Who, whoAsks())
		slices.Sort(args)
		return withStore(cmd.Context(), ws, func(store *clickhouse.Store) error {
			return ask(cmd.Context(), s, ws, store, slices.Compact(args), r)
		})
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "the workspace")
	f.StringVar(&r.Reason, "reason", "", "why, for the record")
	f.StringVar(&r.Who, "by", "", "who asks, for the record (default: the user and the machine)")
	return cmd
}

// whoAsks is the user of this machine.
func whoAsks() string {
	who := "somebody"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		who += "@" + host
	}
	return who
}

// ask asks the same of some rules, of all or of none.
func ask(ctx context.Context, s streams, ws *workspace.Workspace, store *clickhouse.Store, names []string, r ledger.Request) error {
	paused, err := report.PausedRules(ctx, store.Conn(), ws, 0)
	if err != nil {
		return failed(err)
	}
	of := map[string]report.Paused{}
	for _, p := range paused {
		of[p.Rule] = p
	}
	for _, name := range names {
		if _, is := of[name]; !is && r.Action == ledger.AskResume {
			return failed(fmt.Errorf("%s is not paused", name))
		}
	}
	for _, name := range names {
		p, is := of[name]
		r.Rule, r.About = name, 0
		if is {
			r.About = p.Since.UnixMilli()
		}
		switch {
		case r.Action == ledger.AskPause && is && p.By != report.ByStore && p.Asked != ledger.AskResume:
			fmt.Fprintf(s.out, "%s is paused already, since %s by %s\n", name, p.Since.In(ws.Zone).Format(time.DateTime), cmp.Or(p.Who, string(p.By)))
			continue
		case p.Asked == r.Action: // twice says no more than once
		default:
			if err := ledger.NewStore(store.Conn()).Ask(ctx, r); err != nil {
				return failed(err)
			}
		}
		does := "goes on"
		if r.Action == ledger.AskPause {
			does = "is paused"
		}
		fmt.Fprintf(s.out, "%s %s: a running serve takes it up within seconds, else the next one does\n", name, does)
	}
	return nil
}
