package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/internal/texttable"
)

// Paused is a rule that is paused because the store could not compute its condition.
type Paused struct {
	Rule   string `json:"rule"`
	Since  int64  `json:"since"` // Unix ms
	Reason string `json:"reason"`
}

// Overruns says that ticks of a rule ended after its next one was due.
type Overruns struct {
	Rule  string `json:"rule"`
	Ticks int64  `json:"ticks"`
	// Longest is from when a tick was planned to when it had ended, in ms; Last is when the newest was planned.
	Longest int64 `json:"longest"`
	Last    int64 `json:"last"`
}

// ticks reads which rules are paused now, and which were not done in time.
func (r *reporter) ticks(ctx context.Context) error {
	paused := map[string]Paused{}
	overruns := map[string]*Overruns{}
	asked := func(rule string) bool { return r.q.Rule == "" || r.q.Rule == rule }
	sql := "SELECT data FROM shard_log WHERE shard = 0 AND kind IN ('pause', 'looked', 'resume', 'overrun') ORDER BY seq, `index`"
	err := r.query(ctx, sql, nil, func(rows driver.Rows) error {
		var data string
		if err := rows.Scan(&data); err != nil {
			return err //nolint:wrapcheck // Run says what for
		}
		var rec ledger.Record
		if err := json.Unmarshal([]byte(data), &rec); err != nil {
			return fmt.Errorf("decode a record of the log: %w", err)
		}
		switch {
		case rec.Pause != nil && asked(rec.Pause.Rule):
			paused[rec.Pause.Rule] = Paused{rec.Pause.Rule, rec.Pause.At, rec.Pause.Reason}
		case rec.Looked != nil:
			delete(paused, rec.Looked.Rule)
		case rec.Resume != nil:
			delete(paused, rec.Resume.Rule)
		case rec.Overrun != nil && rec.Overrun.At >= r.q.From && (r.q.To == 0 || rec.Overrun.At < r.q.To):
			for _, rule := range rec.Overrun.Rules {
				if !asked(rule) {
					continue
				}
				if overruns[rule] == nil {
					overruns[rule] = &Overruns{Rule: rule}
				}
				o := overruns[rule]
				o.Ticks++
				o.Longest, o.Last = max(o.Longest, rec.Overrun.Done-rec.Overrun.At), max(o.Last, rec.Overrun.At)
			}
		}
		return nil
	})
	for _, rule := range r.ws.Rules { // one whose file is gone does not wait for anything
		if p, ok := paused[rule.Name]; ok {
			r.paused = append(r.paused, p)
		}
	}
	for _, o := range overruns {
		r.overruns = append(r.overruns, *o)
	}
	slices.SortFunc(r.paused, func(a, b Paused) int { return strings.Compare(a.Rule, b.Rule) })
	slices.SortFunc(r.overruns, func(a, b Overruns) int { return strings.Compare(a.Rule, b.Rule) })
	return err
}

// PausedRules reads which rules of the workspace are paused now, by name.
func PausedRules(ctx context.Context, conn driver.Conn, ws *workspace.Workspace) ([]Paused, error) {
	r := &reporter{conn: conn, ws: ws}
	if err := r.ticks(ctx); err != nil {
		return nil, fmt.Errorf("read which rules are paused: %w", err)
	}
	return r.paused, nil
}

// troubles prints which rules do not run as they should; nothing where all do.
func (r *Report) troubles(w io.Writer, zone *time.Location) error {
	at := func(ms int64) string { return time.UnixMilli(ms).In(zone).Format(time.DateTime) }
	if len(r.Paused) > 0 {
		t := texttable.New("rule", "since", "reason")
		for _, p := range r.Paused {
			t.AppendRow(texttable.Row{p.Rule, at(p.Since), p.Reason})
		}
		if _, err := fmt.Fprintf(w, "\nPaused, until their files, or segments or fences that they use, change, or nudge resume\n%s\n", t.Render()); err != nil {
			return err //nolint:wrapcheck // the writer's own error
		}
	}
	if len(r.Overruns) > 0 {
		t := texttable.New("rule", "ticks", "longest", "last")
		for _, o := range r.Overruns {
			t.AppendRow(texttable.Row{o.Rule, o.Ticks, (time.Duration(o.Longest) * time.Millisecond).Round(time.Second), at(o.Last)})
		}
		if _, err := fmt.Fprintf(w, "\nTicks that ended after the next was due, which covered what was missed\n%s\n", t.Render()); err != nil {
			return err //nolint:wrapcheck // the writer's own error
		}
	}
	return nil
}
