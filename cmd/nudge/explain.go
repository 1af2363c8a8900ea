package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels/all"
	"nudge/engine/explain"
	"nudge/engine/sources"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/internal/counted"
	"nudge/internal/suggest"
	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
)

func explainCommand(s streams) *cobra.Command {
	var dir, rule, value, at, format string
	var files bool
	since := 5 * time.Minute
	cmd := &cobra.Command{
		Use:   "explain PERSON [RULE]",
		Short: "Why somebody did or did not get a message; or what a tick of a rule asks the store",
		Long: `Prints of one person, named by the user id or an anonymous id, and of one rule or of all: in a sentence whether
they got it, and if not, why not and what it would take; each part of the condition with what it read and
what came of it; the nearest changes that would flip the answer (a time that comes, one more event, another
trait), each of them tried; what a message would meet; and every entry of the ledger: when it was decided,
why not, by which cap or rule, when it is tried again, what was sent, and what became of it.

--at explains an earlier instant, with what was known then, or, where that is nothing, as of history that was
imported later, with what had happened; and by the rules of then. --files goes by those in the files, as one
does where a rule was not live. Of a rule with on: the last event that it listens to is judged.

--plan RULE instead prints whether a tick of the rule looks at everybody or only at those for whom something
has changed (nudge check says why), and each query that such a tick asks, with the number of rows that
ClickHouse estimates it reads from its indexes. Histories are read of a few thousand people by a query; the
estimate is for one person.

Nothing is decided and nothing is written. It may run beside a running serve.`,
		Example: "  nudge explain ann cart-abandoned --dir examples/shop\n  nudge explain ann --at 2026-03-01T09:00 --format json\n" +
			"  nudge explain --plan cart-abandoned --dir examples/shop",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case rule == "" && len(args) == 0:
				return errors.New("whom? Name a person by the user id, and perhaps a rule: nudge explain ann cart-abandoned")
			case rule != "" && len(args) > 0:
				return errors.New("--plan is about a rule and no person; leave out the one or the other")
			case since <= 0:
				return fmt.Errorf("--since is a time like 5m, not %s", since)
			case format != "text" && format != "json":
				return fmt.Errorf("--format is text or json, not %q", format)
			}
			s := s.as(format)
			ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSending: true})
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
			if rule == "" {
				return explainPerson(cmd.Context(), s, ws, args, value, instant, format, at == "" || files)
			}
			r, err := ruleOf(ws, rule)
			if err != nil {
				return err
			}
			return withStore(cmd.Context(), ws, func(store *clickhouse.Store) error {
				return explainPlan(cmd.Context(), s, ws, store, r, instant, since)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&rule, "plan", "", "the rule whose plan is wanted")
	f.StringVar(&dir, "dir", ".", "the workspace")
	f.StringVar(&at, "at", "", "the instant, 2026-03-01T09:00 (default: now)")
	f.BoolVar(&files, "files", false, "by the rules in the files, also at an instant at which others were in use")
	f.StringVar(&value, "value", "", "of a rule with for_each: only this value")
	f.StringVar(&format, "format", "text", "text or json")
	f.DurationVar(&since, "since", since, "of a plan: how long before it the rule was last looked at")
	return cmd
}

// explainPerson explains the person args[0] under the rule args[1], or under all.
func explainPerson(ctx context.Context, s streams, ws *workspace.Workspace, args []string, value string, at int64, format string, files bool) error {
	list := ws.Rules
	if len(args) > 1 {
		r, err := ruleOf(ws, args[1])
		if err != nil {
			return err
		}
		list = []*workspace.Rule{r}
	}
	return withStore(ctx, ws, func(store *clickhouse.Store) error {
		o := explain.Options{Conn: store.Conn(), Database: store.Database(), Workspace: ws, Rules: list, Person: args[0], Value: value, At: at}
		if !files {
			if err := asOfThen(ctx, &o, len(args) > 1); err != nil {
				return failed(err)
			}
		}
		e, err := explain.Explain(ctx, o)
		if errors.Is(err, explain.ErrNobody) {
			return err //nolint:wrapcheck // says whom
		}
		if err != nil {
			return failed(err)
		}
		return failed(e.Write(s.out, format, ws.Zone))
	})
}

// asOfThen puts the rules of o.At in the place of those in the files, where they were others; named says that o.Rules is
// one that was asked for, which is explained as it is in the files where it was not live then.
func asOfThen(ctx context.Context, o *explain.Options, named bool) error {
	set, err := sources.At(ctx, o.Conn, time.UnixMilli(o.At))
	if err != nil || set == nil || set.Is(o.Workspace) {
		return err //nolint:wrapcheck // says what it was doing
	}
	dir, err := os.MkdirTemp("", "nudge-explain-")
	if err != nil {
		return fmt.Errorf("make a folder for the rules of then: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := set.Write(dir); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	adapters, err := all.Set()
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	then, findings := workspace.Load(dir, workspace.Options{
		Adapters: adapters, WithoutSecrets: true, Now: func() time.Time { return time.UnixMilli(o.At) },
	})
	if then == nil {
		return fmt.Errorf("the rules of then cannot be read any more, by this version of nudge; --files takes those of now: %s", findings[0].Summary)
	}
	list := then.Rules
	if named {
		i := slices.IndexFunc(then.Rules, func(r *workspace.Rule) bool { return r.Name == o.Rules[0].Name })
		if i < 0 {
			return nil
		}
		list = then.Rules[i : i+1]
	}
	o.Workspace, o.Rules, o.Since = then, list, set.Since
	return nil
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
	out := tickJSON{Rule: r.Name, Plan: planOf(r).Plan, At: time.UnixMilli(at).In(ws.Zone), Since: time.UnixMilli(from).In(ws.Zone), Queries: []queryJSON{}}
	for _, q := range queries {
		asked := queryJSON{For: q.For, SQL: q.SQL}
		if q.Known {
			asked.Estimate = &estimateJSON{q.Rows, q.Marks, q.Parts}
		}
		out.Queries = append(out.Queries, asked)
	}
	if s.json {
		return failed(writeJSON(s.out, out))
	}
	return failed(printQueries(s, out, since))
}

// tickJSON is what a tick of a rule asks the store.
type tickJSON struct {
	Rule    string      `json:"rule"`
	Plan    tickPlan    `json:"plan"`    // whom it looks at
	At      time.Time   `json:"at"`      // the tick's instant
	Since   time.Time   `json:"since"`   // when the rule was last looked at before
	Queries []queryJSON `json:"queries"` // in order; none: no row and no instant can change the answer
}

// queryJSON is a query of a tick.
type queryJSON struct {
	For string `json:"for"` // what it is asked for: arrivals, crossings, prefilter, histories, …
	SQL string `json:"sql"` // ClickHouse's
	// Estimate is ClickHouse's of what it reads, by its indexes; absent where it gives none.
	Estimate *estimateJSON `json:"estimate,omitempty"`
}

// estimateJSON is how much a query reads.
type estimateJSON struct {
	Rows     uint64 `json:"rows"`     // how many
	Granules uint64 `json:"granules"` // of ClickHouse's indexes: up to 8192 rows each
	Parts    uint64 `json:"parts"`    // of the table
}

func printQueries(s streams, tick tickJSON, since time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", tick.Rule, tick.Plan)
	fmt.Fprintf(&b, "-- at %s, %s after the last\n", tick.At.UTC().Format(time.RFC3339), since)
	for _, q := range tick.Queries {
		fmt.Fprintf(&b, "\n-- %s: ", q.For)
		switch e := q.Estimate; e {
		case nil:
			b.WriteString("the store gives no estimate\n")
		default:
			fmt.Fprintf(&b, "about %s, in %s of %s\n", counted.Of(e.Rows, "row"), counted.Of(e.Granules, "granule"), counted.Of(e.Parts, "part"))
		}
		b.WriteString(q.SQL + ";\n")
	}
	if !slices.ContainsFunc(tick.Queries, func(q queryJSON) bool { return q.SQL != "" }) {
		b.WriteString("\n-- nothing is asked: no row and no instant can change the answer\n")
	}
	if _, err := s.out.Write([]byte(b.String())); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	return nil
}
