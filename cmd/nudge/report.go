package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/app"
	"nudge/engine/report"
	"nudge/engine/workspace"
	"nudge/events/clickhouse"
	"nudge/segments/plan"
)

func reportCommand(s streams) *cobra.Command {
	var dir, from, to, format string
	var by []string
	cmd := &cobra.Command{
		Use:   "report [RULE]",
		Short: "What rules did: matched, why not, sent, opened, clicked, converted, revenue",
		Long: `Reads the ledger and prints, for each rule, who matched, what became of each, what was sent, opened
and clicked, and which goals followed. A goal event is credited to the last message before it.
It may run beside a running serve.`,
		Example: "  nudge report --dir examples/shop\n  nudge report cart-abandoned --by variant,day --from 2026-03-01 --format csv",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := report.Query{By: by}
			if len(args) > 0 {
				q.Rule = args[0]
			}
			if info, err := os.Stat(q.Rule); q.Rule != "" && err == nil && info.IsDir() {
				return fmt.Errorf("%s is a folder, and the argument is a rule; the workspace is --dir %s", q.Rule, q.Rule)
			}
			for _, d := range by {
				if !slices.Contains(report.Dimensions(), d) {
					return fmt.Errorf("--by takes %s, not %q", strings.Join(report.Dimensions(), ", "), d)
				}
			}
			if !slices.Contains(report.Formats(), format) {
				return fmt.Errorf("--format is %s, not %q", strings.Join(report.Formats(), ", "), format)
			}
			ws, err := loadWorkspace(s.as(format), dir, workspace.Options{WithoutSending: true})
			if err != nil {
				return err
			}
			if q.Rule != "" {
				if _, err := ruleOf(ws, q.Rule); err != nil {
					return err
				}
			}
			if q.From, err = when(from, ws.Zone); err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			if q.To, err = when(to, ws.Zone); err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			if from == "" {
				q.From = time.Now().AddDate(0, 0, -30).UnixMilli()
			}
			return withStore(cmd.Context(), ws, func(store *clickhouse.Store) error {
				return printReport(cmd.Context(), s, ws, store, q, format)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "the workspace")
	f.StringVar(&from, "from", "", "first day or instant, 2026-03-01 or 2026-03-01T09:00 (default: 30 days ago)")
	f.StringVar(&to, "to", "", "end, not included (default: now)")
	f.StringVar(&format, "format", "table", "table, json or csv")
	f.StringSliceVar(&by, "by", nil, "split by variant, channel, day")
	return cmd
}

func printReport(ctx context.Context, s streams, ws *workspace.Workspace, store *clickhouse.Store, q report.Query, format string) error {
	planner := plan.New(plan.Options{Conn: store.Conn(), Database: store.Database()})
	r, err := report.Run(ctx, store.Conn(), planner, ws, q)
	if err != nil {
		return failed(err)
	}
	return failed(r.Write(s.out, format, ws.Zone))
}

// when reads a day or an instant on the workspace's clock; "" is 0.
func when(text string, zone *time.Location) (int64, error) {
	if text == "" {
		return 0, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%q is neither a day (2026-03-01) nor an instant (2026-03-01T09:00)", text)
}

// withStore opens the workspace's store, beside a running serve or alone, for reading. An embedded one
// must be there already: whoever only reads leaves no empty store behind.
func withStore(ctx context.Context, ws *workspace.Workspace, fn func(*clickhouse.Store) error) error {
	if ws.Store.DSN == "" {
		if _, err := os.Stat(ws.Store.Dir); err != nil {
			return failed(fmt.Errorf("nothing has been stored yet (%w): nudge serve, nudge import and nudge demo do", err))
		}
	}
	store, err := app.OpenStore(ctx, ws, slog.New(slog.DiscardHandler))
	if err != nil {
		return failed(err)
	}
	err = fn(store)
	if closeErr := store.Close(); err == nil {
		err = failed(closeErr)
	}
	return err
}
