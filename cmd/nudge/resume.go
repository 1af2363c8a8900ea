package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/engine/workspace"
	"nudge/events/clickhouse"
)

func resumeCommand(s streams) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "resume RULE...",
		Short: "Lets rules go on that were paused because the store could not compute them",
		Long: `A rule whose condition the store cannot compute (it needs too much memory or time) is paused, and the
others go on; nudge report says which are, and why. A change of the rule's file, or of a segment or fence
that it uses, lets it go on. Where the rule is right and the store was too small or too busy, mend
that and name the rule here. A rule that the store still cannot compute is paused again.

A running serve takes it up within seconds, else the next one does when it starts. On a schedule the rule
goes on at its next instant, with a first look: who has become true meanwhile is noted and gets
nothing, unless the rule says backfill. An on: rule hears what comes from then on.`,
		Example: "  nudge report --dir examples/shop\n  nudge resume cart-abandoned --dir examples/shop",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the rules that are to go on; nudge report lists those that are paused")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
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
			return withStore(cmd.Context(), ws, func(store *clickhouse.Store) error { return resume(cmd.Context(), s, ws, store, args) })
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "the workspace")
	return cmd
}

// resume asks for paused rules to go on, all or none.
func resume(ctx context.Context, s streams, ws *workspace.Workspace, store *clickhouse.Store, names []string) error {
	paused, err := report.PausedRules(ctx, store.Conn(), ws)
	if err != nil {
		return failed(err)
	}
	var wanted []report.Paused
	for _, name := range names {
		at := slices.IndexFunc(paused, func(p report.Paused) bool { return p.Rule == name })
		if at < 0 {
			return failed(fmt.Errorf("%s is not paused", name))
		}
		wanted = append(wanted, paused[at])
	}
	for _, p := range wanted {
		if err := ledger.NewStore(store.Conn()).AskResume(ctx, p.Rule, p.Since); err != nil {
			return failed(err)
		}
		fmt.Fprintf(s.out, "%s goes on: a running serve takes it up within seconds, else the next one does\n", p.Rule)
	}
	return nil
}
