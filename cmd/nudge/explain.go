package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/internal/suggest"
	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
)

func explainCommand(s streams) *cobra.Command {
	var dir, rule, at string
	since := 5 * time.Minute
	cmd := &cobra.Command{
		Use:   "explain --plan RULE",
		Short: "What a tick of a rule asks the store, and how much that reads",
		Long: `Prints whether a tick of the rule looks at everybody or only at those for whom something has changed
(nudge check says why), and then each query that such a tick asks, with the number of rows that ClickHouse
estimates it reads from its indexes. Histories are read of a few thousand people by a query; the estimate
is for one person. Nothing is judged and nothing is written. It may run beside a running serve.`,
		Example: "  nudge explain --plan cart-abandoned --dir examples/shop\n  nudge explain --plan win-back --since 1h --at 2026-03-01T09:00",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rule == "" {
				return errors.New("--plan RULE is missing: the rule whose plan is wanted")
			}
			if since <= 0 {
				return fmt.Errorf("--since is a time like 5m, not %s", since)
			}
			ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSending: true})
			if err != nil {
				return err
			}
			r, err := ruleOf(ws, rule)
			if err != nil {
				return err
			}
			instant, err := when(at, ws.Zone)
			if err != nil {
				return fmt.Errorf("--at: %w", err)
			}
			if at == "" {
				instant = time.Now().UnixMilli()
			}
			return withStore(cmd.Context(), ws, func(store *clickhouse.Store) error {
				return explainPlan(cmd.Context(), s, ws, store, r, instant, since)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&rule, "plan", "", "the rule")
	f.StringVar(&dir, "dir", ".", "the workspace")
	f.StringVar(&at, "at", "", "the tick's instant, 2026-03-01T09:00 (default: now)")
	f.DurationVar(&since, "since", since, "how long before it the rule was last looked at")
	return cmd
}

// ruleOf finds a rule by its name.
func ruleOf(ws *workspace.Workspace, name string) (*workspace.Rule, error) {
	var names []string
	for _, r := range ws.Rules {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	if near := suggest.Nearest(name, names); near != "" {
		return nil, fmt.Errorf("there is no rule %q; did you mean %s?", name, near)
	}
	return nil, fmt.Errorf("there is no rule %q; there are: %s", name, strings.Join(names, ", "))
}

func explainPlan(ctx context.Context, s streams, ws *workspace.Workspace, store *clickhouse.Store, r *workspace.Rule, at int64, since time.Duration) error {
	var last, before uint64
	from := at - since.Milliseconds()
	if err := store.Conn().QueryRow(ctx, fmt.Sprintf("SELECT max(pos), maxIf(pos, received_at <= fromUnixTimestamp64Milli(toInt64(%d), 'UTC')) FROM events", from)).
		Scan(&last, &before); err != nil {
		return failed(fmt.Errorf("read how far the store has come: %w", err))
	}
	planner := plan.New(plan.Options{Conn: store.Conn(), Database: store.Database(), Fixes: ws.Location, Fences: func() *geo.Fences { return ws.Fences }})
	who := []*segments.Who{r.Who}
	retention, zone := ws.Retention.Milliseconds(), ws.Zone.String()
	var queries []plan.Query
	var err error
	if r.On != nil {
		queries, err = planner.ExplainArrivals(ctx, segments.Look{
			At: at, After: events.Position(before), UpTo: events.Position(last), Who: who, Retention: retention, DefaultZone: zone,
		})
	} else {
		queries, err = planner.ExplainTick(ctx, segments.Tick{
			At: at, UpTo: events.Position(last), Who: who, Retention: retention, DefaultZone: zone,
			// Of an empty store too a tick that follows another is meant.
			From: []segments.Baseline{{At: from, UpTo: events.Position(before)}},
		})
	}
	if err != nil {
		return failed(err)
	}
	return failed(printQueries(s, r, planOf(r).Plan, at, since, queries))
}

func printQueries(s streams, r *workspace.Rule, kind string, at int64, since time.Duration, queries []plan.Query) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", r.Name, kind)
	fmt.Fprintf(&b, "-- at %s, %s after the last\n", time.UnixMilli(at).UTC().Format(time.RFC3339), since)
	for _, q := range queries {
		fmt.Fprintf(&b, "\n-- %s: ", q.For)
		switch {
		case !q.Known:
			b.WriteString("the store gives no estimate\n")
		default:
			fmt.Fprintf(&b, "about %d rows, in %d granules of %d parts\n", q.Rows, q.Marks, q.Parts)
		}
		b.WriteString(q.SQL + ";\n")
	}
	if !slices.ContainsFunc(queries, func(q plan.Query) bool { return q.SQL != "" }) {
		b.WriteString("\n-- nothing is asked: no row and no instant can change the answer\n")
	}
	if _, err := s.out.Write([]byte(b.String())); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	return nil
}
