// Package demo plays a day of recorded behaviour through a whole nudge on a simulated clock: history
// first, then the day, tick by tick. What it leaves behind is what `nudge serve` goes on from.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"nudge/engine/app"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/history"
)

// Plan is demo.yaml.
type Plan struct {
	// Day of the recording, "2017-11-20", on the workspace's clock.
	Day     string   `yaml:"day"`
	Sources []Source `yaml:"sources"`
}

// Source is one file and its mapping (see package history), relative to the workspace.
type Source struct {
	File string `yaml:"file"`
	Map  string `yaml:"map"`
}

// Options of a Demo. All but Date and Progress are required.
type Options struct {
	Workspace *workspace.Workspace
	// Now is the wall clock: the day is moved to the last one of the same weekday that is over.
	Now func() time.Time
	// Date, "2026-11-16", is where to move the day instead.
	Date     string
	Stdout   io.Writer
	Logger   *slog.Logger
	Progress func(Progress)
}

// Progress is how far a demo has come.
type Progress struct {
	Phase string // "history" or "day"
	// Done of Total events of the history, or milliseconds of the day.
	Done, Total int64
	At          int64 // the simulated instant, Unix ms
}

// Where says it in words.
func (p Progress) Where(zone *time.Location) string {
	if p.Phase == "day" {
		return time.UnixMilli(p.At).In(zone).Format("15:04")
	}
	return fmt.Sprintf("%d of %d events", p.Done, p.Total)
}

// Result is what a demo played.
type Result struct {
	From, To int64 // the day, Unix ms
	History  int   // events before it
	Day      int   // events of it
	People   int
}

// marker is the file that says that a data folder belongs to a demo and may be emptied by the next.
const marker = "made-by-nudge-demo"

// Run plays the demo into an empty data folder (see Empty). then is called with the app still open.
func Run(ctx context.Context, o Options, then func(*app.App, Result) error) (err error) {
	plan, err := read(o.Workspace.Dir)
	if err != nil {
		return err
	}
	from, day, err := days(plan, o)
	if err != nil {
		return err
	}
	evs, err := load(ctx, plan, o, day-from)
	if err != nil {
		return err
	}
	end := day + 24*time.Hour.Milliseconds()
	split, _ := slices.BinarySearchFunc(evs, day, func(e events.Event, t int64) int { return cmp.Compare(e.Time, t) })
	until, _ := slices.BinarySearchFunc(evs, end, func(e events.Event, t int64) int { return cmp.Compare(e.Time, t) })
	past, today := evs[:split], evs[split:until]

	clock := app.NewClock(day)
	a, err := app.Open(ctx, app.Options{
		Workspace: o.Workspace, Now: clock.Now, Logger: o.Logger, Stdout: o.Stdout, FlushEvery: time.Millisecond,
	})
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	p := &player{sim: app.NewSim(a, clock), report: o.Progress}
	if err := p.history(ctx, past); err != nil {
		return err
	}
	if err := p.day(ctx, today, day, end); err != nil {
		return err
	}
	if err := p.sim.Flush(ctx); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	people := map[string]bool{}
	for i := range evs[:until] {
		people[evs[i].UserID] = true
	}
	return then(a, Result{From: day, To: end, History: len(past), Day: len(today), People: len(people)})
}

func read(dir string) (*Plan, error) {
	path := filepath.Join(dir, "demo.yaml")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no demo.yaml, which says what to play; examples/shop has one", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the demo: %w", err)
	}
	var p Plan
	if err := yaml.UnmarshalWithOptions(data, &p, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(p.Sources) == 0 {
		return nil, fmt.Errorf("%s: `sources` names no file", path)
	}
	return &p, nil
}

// days are the begin of the recorded day and of the day that it is moved to, Unix ms.
func days(p *Plan, o Options) (from, to int64, err error) {
	loc := o.Workspace.Zone
	recorded, err := time.ParseInLocation(time.DateOnly, p.Day, loc)
	if err != nil {
		return 0, 0, fmt.Errorf("demo.yaml: `day` is a date like 2017-11-20: %w", err)
	}
	if o.Date != "" {
		at, err := time.ParseInLocation(time.DateOnly, o.Date, loc)
		if err != nil {
			return 0, 0, fmt.Errorf("the date is one like 2026-11-16: %w", err)
		}
		return recorded.UnixMilli(), at.UnixMilli(), nil
	}
	y, m, d := o.Now().In(loc).Date()
	at := time.Date(y, m, d-1, 0, 0, 0, 0, loc)
	for at.Weekday() != recorded.Weekday() {
		at = at.AddDate(0, 0, -1)
	}
	return recorded.UnixMilli(), at.UnixMilli(), nil
}

// Empty makes a data folder anew. One that no demo made is left alone: that is an error.
func Empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look into the data folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, marker)); len(entries) > 0 && err != nil {
		return fmt.Errorf("the data folder %s holds something that no demo made; move it away, or set `data` in nudge.yaml to another folder", dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("empty the data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, marker), []byte("`nudge demo` empties this folder when it runs again.\n"), 0o600); err != nil {
		return fmt.Errorf("mark the data folder: %w", err)
	}
	return nil
}

// load reads every source and moves its times by shift, in ms. Events come by time.
func load(ctx context.Context, p *Plan, o Options, shift int64) ([]events.Event, error) {
	ws := o.Workspace
	var all collector
	for _, s := range p.Sources {
		m, err := history.LoadMapping(filepath.Join(ws.Dir, s.Map))
		if err != nil {
			return nil, err //nolint:wrapcheck // says what it was doing
		}
		var bad rejects
		_, err = history.Import(ctx, history.Options{
			File: filepath.Join(ws.Dir, s.File), Mapping: m, Appender: &all, Now: o.Now, Plan: ws.Plan, Rejects: &bad,
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.File, err)
		}
		if len(bad) > 0 {
			return nil, fmt.Errorf("read %s: a row does not fit its mapping: %s", s.File, bad)
		}
	}
	for i := range all.events {
		all.events[i].Time += shift
	}
	slices.SortStableFunc(all.events, func(a, b events.Event) int { return cmp.Compare(a.Time, b.Time) })
	return all.events, nil
}

// collector keeps the events that an import hands on.
type collector struct{ events []events.Event }

// Append implements history.Appender.
func (c *collector) Append(_ context.Context, evs []events.Event) (uint64, error) {
	for i := range evs {
		c.events = append(c.events, events.CopyEvent(&evs[i]))
	}
	return uint64(len(c.events)), nil
}

type rejects []byte

// Write implements io.Writer.
func (r *rejects) Write(b []byte) (int, error) {
	if len(*r) == 0 {
		*r = append(*r, b...)
	}
	return len(b), nil
}

// String is the first rejected row.
func (r rejects) String() string { return string(r) }

// player feeds a Sim.
type player struct {
	sim    *app.Sim
	report func(Progress)
}

func (p *player) tell(phase string, done, total, at int64) {
	if p.report != nil {
		p.report(Progress{Phase: phase, Done: done, Total: total, At: at})
	}
}

func (p *player) history(ctx context.Context, past []events.Event) error {
	const portion = 2000
	for i := 0; i < len(past); i += portion {
		if err := p.sim.Feed(ctx, past[i:min(i+portion, len(past))]); err != nil {
			return fmt.Errorf("load the history: %w", err)
		}
		p.tell("history", int64(min(i+portion, len(past))), int64(len(past)), past[i].Time)
	}
	return nil
}

// step is how often what has arrived is handed over: as often as the most frequent schedule.
const step = 5 * time.Minute

// day plays the events of the day at their times, a few minutes together.
func (p *player) day(ctx context.Context, today []events.Event, from, to int64) error {
	for at := from + step.Milliseconds(); at <= to; at += step.Milliseconds() {
		before := at - 1 // just before the tick, so that the tick sees it
		n := 0
		for n < len(today) && today[n].Time < at {
			today[n].Flags &^= events.Imported
			today[n].ReceivedAt = before
			n++
		}
		if n > 0 {
			if err := p.sim.Advance(ctx, before, nil); err != nil {
				return fmt.Errorf("play the day: %w", err)
			}
			if err := p.sim.Feed(ctx, today[:n]); err != nil {
				return fmt.Errorf("play the day: %w", err)
			}
			today = today[n:]
		}
		if err := p.sim.Advance(ctx, at, nil); err != nil {
			return fmt.Errorf("play the day: %w", err)
		}
		p.tell("day", at-from, to-from, at)
	}
	return nil
}
