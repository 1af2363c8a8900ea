package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/app"
	"nudge/engine/demo"
	"nudge/engine/report"
	"nudge/engine/workspace"
)

func demoCommand(s streams) *cobra.Command {
	var date string
	var ws folderOption
	cmd := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Plays a day of recorded behaviour through everything, and prints the report",
		Long: `Reads demo.yaml, loads the recording's past as history, moves the recorded day to the last one of
its weekday, and runs the engine over it tick by tick on a simulated clock: real queue, real store,
real rules, messages into files. Afterwards "nudge serve" goes on from there.

The data folder of an earlier demo is emptied first; one that no demo made is left alone.`,
		Example: "  nudge demo examples/shop\n  nudge demo --date 2026-11-16 examples/shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := ws.of(args)
			if err != nil {
				return err
			}
			return runDemo(cmd.Context(), s, dir, date)
		},
	}
	ws.on(cmd)
	cmd.Flags().StringVar(&date, "date", "", "move the recorded day to this one, 2026-11-16")
	return cmd
}

func runDemo(ctx context.Context, s streams, dir, date string) error {
	ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSecrets: true})
	if err != nil {
		return err
	}
	if err := demo.Empty(ws.Data); err != nil {
		return failed(err)
	}
	if ws, err = loadWorkspace(s, dir, workspace.Options{}); err != nil {
		return err
	}
	if _, err := time.Parse(time.DateOnly, date); date != "" && err != nil {
		return fmt.Errorf("--date is a day like 2026-11-16, not %q", date)
	}
	began := time.Now()
	bar := newProgressBar(s)
	err = demo.Run(ctx, demo.Options{
		Workspace: ws, Now: time.Now, Date: date, Stdout: s.out, Progress: func(p demo.Progress) { bar.show(p.Phase, float64(p.Done)/float64(max(p.Total, 1)), p.Where(ws.Zone)) },
		Logger: slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, func(a *app.App, r demo.Result) error {
		bar.end()
		fmt.Fprintf(s.out, "%s of real data: %d people, %d events of history, %d events of the day.\n\n",
			time.UnixMilli(r.From).In(ws.Zone).Format("Monday 2006-01-02"), r.People, r.History, r.Day)
		rep, err := report.Run(ctx, a.Store.Conn(), a.Planner, ws, report.Query{From: r.From, To: r.To + 1})
		if err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		if err := rep.Write(s.out, "table", ws.Zone); err != nil {
			return err //nolint:wrapcheck // the writer's own error
		}
		stories, err := report.Stories(ctx, a.Store.Conn(), r.From, r.To+1)
		if err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
		fmt.Fprintln(s.out, "\nThree of them")
		for _, st := range stories {
			fmt.Fprintf(s.out, "  %s\n", strings.ReplaceAll(st.Text(ws.Zone), "\n", "\n  "))
		}
		return nil
	})
	if err != nil {
		return failed(err)
	}
	fmt.Fprintf(s.err, "\nPlayed in %s. The messages are in %s. Go on with:\n  nudge serve %s\n",
		time.Since(began).Round(time.Second), filepath.Join(ws.Data, "*.ndjson"), dir)
	return nil
}
