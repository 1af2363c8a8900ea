package report

import (
	"cmp"
	"context"
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

// Paused is a rule that is paused.
type Paused struct {
	Rule   string         `json:"rule"`
	Since  time.Time      `json:"since"`         // from when on
	By     ledger.PauseBy `json:"by"`            // what has paused it: the store could not compute its condition, its pause_when, somebody
	Who    string         `json:"who,omitempty"` // of a person's: who has asked
	Reason string         `json:"reason"`        // for people; of a person's: as they gave it
	// Asked is what somebody has asked for that no engine has carried out yet: pause or resume.
	Asked ledger.Action `json:"asked,omitempty"`
}

// ByStore stands in reports for ledger.PauseByStore.
const ByStore ledger.PauseBy = "store"

// Overruns says that ticks of a rule ended after its next one was due.
type Overruns struct {
	Rule    string    `json:"rule"`
	Ticks   int64     `json:"ticks"`           // how many
	Longest float64   `json:"longest_seconds"` // from when a tick was planned to when it had ended, in seconds
	Last    time.Time `json:"last"`            // when the newest was planned
}

// ticks reads which rules were not done in time.
func (r *reporter) ticks(ctx context.Context) error {
	overruns := map[string]*Overruns{}
	err := ledger.NewStore(r.conn).Notes(ctx, []string{"overrun"}, func(rec ledger.Record) {
		if rec.Overrun == nil || rec.Overrun.At < r.q.From || r.q.To != 0 && rec.Overrun.At >= r.q.To {
			return
		}
		for _, rule := range rec.Overrun.Rules {
			if r.q.Rule != "" && r.q.Rule != rule {
				continue
			}
			if overruns[rule] == nil {
				overruns[rule] = &Overruns{Rule: rule}
			}
			o := overruns[rule]
			o.Ticks++
			planned, done := time.UnixMilli(rec.Overrun.At).In(r.ws.Zone), time.UnixMilli(rec.Overrun.Done)
			o.Longest = max(o.Longest, done.Sub(planned).Seconds())
			if planned.After(o.Last) {
				o.Last = planned
			}
		}
	})
	for _, o := range overruns {
		r.overruns = append(r.overruns, *o)
	}
	slices.SortFunc(r.overruns, func(a, b Overruns) int { return strings.Compare(a.Rule, b.Rule) })
	return err //nolint:wrapcheck // Run says what for
}

// PausedRules reads which rules of the workspace are paused at an instant, 0 for now, by name. One whose file is gone
// does not wait for anything.
func PausedRules(ctx context.Context, conn driver.Conn, ws *workspace.Workspace, at int64) ([]Paused, error) {
	paused, err := ledger.NewStore(conn).Paused(ctx, at)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	var out []Paused
	for _, p := range paused {
		if !slices.ContainsFunc(ws.Rules, func(r *workspace.Rule) bool { return r.Name == p.Rule }) {
			continue
		}
		out = append(out, Paused{Rule: p.Rule, Since: time.UnixMilli(p.At).In(ws.Zone), By: cmp.Or(p.By, ByStore), Who: p.Who, Reason: p.Reason, Asked: p.Asked})
	}
	return out, nil
}

func (r *reporter) pauses(ctx context.Context) error {
	paused, err := PausedRules(ctx, r.conn, r.ws, 0)
	r.paused = slices.DeleteFunc(paused, func(p Paused) bool { return r.q.Rule != "" && p.Rule != r.q.Rule })
	return err
}

// says is what has paused the rule, for people.
func (p Paused) says() string {
	by := string(p.By)
	if p.Who != "" {
		by = p.Who
	}
	switch p.Asked {
	case ledger.AskPause:
		by += " (when serve takes it up)"
	case ledger.AskResume:
		by += " (about to go on)"
	}
	return by
}

// troubles prints which rules do not run as they should; nothing where all do.
func (r *Report) troubles(w io.Writer, zone *time.Location) error {
	at := func(t time.Time) string { return t.In(zone).Format(time.DateTime) }
	if len(r.Paused) > 0 {
		t := texttable.New("rule", "since", "by", "reason")
		for _, p := range r.Paused {
			t.AppendRow(texttable.Row{p.Rule, at(p.Since), p.says(), p.Reason})
		}
		if _, err := fmt.Fprintf(w, "\nPaused, until nudge resume (by the store also until their files, or segments or fences that they use, change)\n%s\n", t.Render()); err != nil {
			return err //nolint:wrapcheck // the writer's own error
		}
	}
	if len(r.Overruns) > 0 {
		t := texttable.New("rule", "ticks", "longest", "last")
		for _, o := range r.Overruns {
			t.AppendRow(texttable.Row{o.Rule, o.Ticks, time.Duration(o.Longest * float64(time.Second)).Round(time.Second), at(o.Last)})
		}
		if _, err := fmt.Fprintf(w, "\nTicks that ended after the next was due, which covered what was missed\n%s\n", t.Render()); err != nil {
			return err //nolint:wrapcheck // the writer's own error
		}
	}
	return nil
}
