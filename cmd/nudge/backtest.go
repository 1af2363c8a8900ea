package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/backtest"
	"nudge/engine/workspace"
	"nudge/events/clickhouse"
	"nudge/internal/counted"
)

// span is the time that is played, and how: the flags that backtest and plan share.
type span struct {
	from, to, arrivals string
	every              time.Duration
}

func (x *span) on(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&x.from, "from", "", "when the rules go live, 2026-03-01 or 2026-03-01T09:00 (default: the last seven days)")
	f.StringVar(&x.to, "to", "", "end, not included (default: now, or the last that is stored)")
	f.DurationVar(&x.every, "every", 0, "check rules at most once per this time, 1h, whatever their schedules say: sooner done, and approximate")
	f.StringVar(&x.arrivals, "arrivals", string(backtest.Auto), "when the rules know what happened: recorded (when a tick of then knew it), happened (at once: of imported history), auto")
}

// of is the time on a store.
func (x *span) of(ctx context.Context, ws *workspace.Workspace, store *clickhouse.Store) (from, to int64, err error) {
	if from, err = when(x.from, ws.Zone); err != nil {
		return 0, 0, fmt.Errorf("--from: %w", err)
	}
	if to, err = when(x.to, ws.Zone); err != nil {
		return 0, 0, fmt.Errorf("--to: %w", err)
	}
	var n uint64
	var first, last int64
	if err := store.Conn().QueryRow(ctx, "SELECT count(), toUnixTimestamp64Milli(min(time)), toUnixTimestamp64Milli(max(time)) FROM events").Scan(&n, &first, &last); err != nil {
		return 0, 0, failed(fmt.Errorf("read how far the store goes: %w", err))
	}
	if n == 0 {
		return 0, 0, failed(errors.New("nothing has been stored yet: nudge import loads history, nudge serve takes in events"))
	}
	now := time.Now().UnixMilli()
	if to == 0 {
		to = min(now, last+1)
	}
	if x.from == "" {
		y, m, d := time.UnixMilli(to - 1).In(ws.Zone).Date()
		from = max(time.Date(y, m, d-6, 0, 0, 0, 0, ws.Zone).UnixMilli(), first)
	}
	switch {
	case to > now:
		return 0, 0, fmt.Errorf("--to %s lies ahead: what is played is the past", at(to, ws))
	case from >= to:
		return 0, 0, fmt.Errorf("the time ends %s, before it begins %s", at(to, ws), at(from, ws))
	case to <= first || from > last:
		return 0, 0, fmt.Errorf("nothing is stored between %s and %s: what is goes from %s to %s", at(from, ws), at(to, ws), at(first, ws), at(last, ws))
	case x.every < 0:
		return 0, 0, fmt.Errorf("--every is a time like 1h, not %s", x.every)
	case !slices.Contains(backtest.AllArrivals(), x.arrivals):
		return 0, 0, fmt.Errorf("--arrivals is %s, not %q", strings.Join(backtest.AllArrivals(), ", "), x.arrivals)
	}
	return from, to, nil
}

func at(ms int64, ws *workspace.Workspace) string {
	return time.UnixMilli(ms).In(ws.Zone).Format("2006-01-02 15:04")
}

func backtestCommand(s streams) *cobra.Command {
	var dir, data, page, format string
	var out []string
	var x span
	cmd := &cobra.Command{
		Use:   "backtest [RULE …]",
		Short: "What rules would have done in a time of the past: who, when, and who loses what to a cap",
		Long: `Plays the rules of the workspace over stored history: who would have got what and when, had they gone live at
--from, and why the others would not: caps, quiet hours, holdouts, one rule that outranks another, entering
again, all as live. The engine that decides is the one of "nudge serve", and goes on from what the ledger had
at --from; a tick sees what the tick of then saw. Where no ticks are recorded, as of imported history,
everything counts from when it happened. Nothing is sent, and no table of nudge's own is written to.

All rules are played, because they contend for the same people; with names only those are shown. The rules
may be others than those that run: a changed rule in a folder of its own, with --data for the workspace whose
store is read. What happened after the messages (goals) is what people did without them, mostly.

--out writes every decision as a row (.ndjson, .csv or .parquet), --page a page with a plot of each rule.
It may run beside a running serve.`,
		Example: "  nudge backtest --dir examples/shop --from 2026-03-01 --to 2026-04-01\n" +
			"  nudge backtest cart-abandoned --every 1h --page cart.html\n" +
			"  nudge backtest --dir proposal --data . --out decisions.parquet",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if !slices.Contains(backtest.Formats(), format) {
				return fmt.Errorf("--format is %s, not %q", strings.Join(backtest.Formats(), ", "), format)
			}
			s := s.as(format)
			ws, store, err := rulesAndStore(s, dir, data)
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, err := ruleOf(ws, name); err != nil {
					return err
				}
			}
			files, err := rowFiles(out)
			if err != nil {
				return err
			}
			if page != "" { // before hours are spent
				if info, err := os.Stat(filepath.Dir(page)); err != nil || !info.IsDir() {
					return fmt.Errorf("--page: there is no folder %s", filepath.Dir(page))
				}
			}
			defer func() {
				for _, f := range files {
					f.Discard()
				}
			}()
			result, err := playRules(cmd.Context(), s, ws, store, x, func(r *backtest.Row) error {
				if len(args) > 0 && !slices.Contains(args, r.Rule) {
					return nil
				}
				for _, f := range files {
					if err := f.Write(r); err != nil {
						return err //nolint:wrapcheck // names the file
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			shown := result.Only(args)
			for _, f := range files {
				if err := f.Close(); err != nil {
					return failed(err)
				}
			}
			if page != "" {
				if err := shown.WritePage(page); err != nil {
					return failed(err)
				}
			}
			if err := shown.Write(s.out, format); err != nil {
				return failed(err)
			}
			fmt.Fprintf(s.err, "Played in %s.\n", result.Speed())
			return nil
		},
	}
	x.on(cmd)
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "the workspace with the rules")
	f.StringVar(&data, "data", "", "the workspace whose store is read (default: that of the rules)")
	f.StringSliceVar(&out, "out", nil, "a file for every decision: .ndjson, .csv or .parquet")
	f.StringVar(&page, "page", "", "a file for a page with plots: .html")
	f.StringVar(&format, "format", "table", strings.Join(backtest.Formats(), " or "))
	return cmd
}

// rulesAndStore loads the rules of one folder, and of another, if one is named, where the store is.
func rulesAndStore(s streams, dir, data string) (rules, store *workspace.Workspace, err error) {
	if rules, err = loadWorkspace(s, dir, workspace.Options{WithoutSending: true}); err != nil || data == "" {
		return rules, rules, err
	}
	store, err = loadWorkspace(s, data, workspace.Options{WithoutSending: true})
	return rules, store, err
}

func rowFiles(paths []string) ([]*backtest.File, error) {
	var out []*backtest.File
	for _, path := range paths {
		f, err := backtest.Create(path)
		if err != nil {
			for _, f := range out {
				f.Discard()
			}
			return nil, err //nolint:wrapcheck // names the file
		}
		out = append(out, f)
	}
	return out, nil
}

// playRules backtests the rules of ws on the store of another workspace, or its own.
func playRules(ctx context.Context, s streams, ws, data *workspace.Workspace, x span, row func(*backtest.Row) error) (result *backtest.Result, err error) {
	err = withStore(ctx, data, func(store *clickhouse.Store) error {
		from, to, err := x.of(ctx, ws, store)
		if err != nil {
			return err
		}
		bar := newProgressBar(s)
		result, err = backtest.Run(ctx, backtest.Options{
			Conn: store.Conn(), Workspace: ws, From: from, To: to, Arrivals: backtest.Arrivals(x.arrivals), Every: x.every,
			Now: time.Now, Row: row, Logger: slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
			Progress: func(p backtest.Progress) {
				left := ""
				if p.Left > 0 {
					left = fmt.Sprintf(", %s left", p.Left.Round(time.Second))
				}
				bar.show("backtest", p.Share, fmt.Sprintf("%s, %s%s", at(p.At, ws), counted.Of(p.Messages, "message"), left))
			},
		})
		bar.end()
		return failed(err)
	})
	return result, err
}
