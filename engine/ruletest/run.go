package ruletest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"nudge/engine/workspace"
	"nudge/events/clickhouse"
	"nudge/events/clickhouse/embedded"
	"nudge/internal/counted"
)

// Options of Run.
type Options struct {
	Workspace *workspace.Workspace
	Tests     []*Test // as Load gave them, or some of them
	Logger    *slog.Logger
	// Progress is told how much of the simulated time has passed, 0 to 1. It may be called
	// concurrently, and be nil.
	Progress func(share float64)
	// EveryTick looks on every tick of every schedule, also where nothing can have changed. It is slow,
	// and decides the same.
	EveryTick bool
	// Branches, when set, takes note of which parts of conditions decide.
	Branches *Branches
	// Engine, when set, has the histories of the tests in its tables, as production has; else they are in memory.
	// That is slower by far, and decides the same.
	Engine *embedded.Engine
}

// Result is what came of one test.
type Result struct {
	Test     *Test
	Failures []Failure // none: the test passed
	// Rows are all rows of the ledger about the people of the test, oldest first.
	Rows []*Row
}

// Run runs the tests: the production code on a real queue, in a folder that is removed afterwards, with channels
// that only remember. The results are in the order of the tests. An error says that the tests could not be run.
func Run(ctx context.Context, o Options) (_ []Result, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := os.MkdirTemp("", "nudge-test-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the tests: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &runner{o: o, dir: dir, results: map[*Test]Result{}}
	lines := group(o.Workspace, o.Tests)
	for _, l := range lines {
		r.total += l.until - l.start
	}
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, l := range lines {
		g.Go(func() error { return r.timeline(running, i, l) })
	}
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	out := make([]Result, len(o.Tests))
	for i, t := range o.Tests {
		out[i] = r.results[t]
	}
	return out, nil
}

// runner runs timelines, several at once.
type runner struct {
	o   Options
	dir string

	mu      sync.Mutex
	results map[*Test]Result
	passed  int64 // of the simulated time, ms
	total   int64
}

// timeline runs one timeline and judges its tests.
func (r *runner) timeline(ctx context.Context, i int, l *timeline) (err error) {
	name := fmt.Sprintf("timeline_%d", i+1)
	var store *clickhouse.Store
	if r.o.Engine != nil {
		database := strings.ReplaceAll(filepath.Base(r.dir), "-", "_") + "_" + name
		if store, err = clickhouse.On(ctx, r.o.Engine, database, r.o.Logger); err != nil {
			return fmt.Errorf("open the store of the tests: %w", err)
		}
		defer func() {
			drop := store.Conn().Exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+store.Database())
			err = errors.Join(err, drop, store.Close())
		}()
	}
	w, err := open(ctx, r.o.Workspace, l, store, filepath.Join(r.dir, name), r.o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.app.Close()) }()
	at := l.start
	if err := w.run(ctx, func(now int64) { at = r.progress(at, now) }); err != nil {
		return fmt.Errorf("run %s and %d more %s: %w", l.tests[0].Title(), len(l.tests)-1, counted.Word(len(l.tests)-1, "test"), err)
	}
	r.progress(at, l.until)
	return r.judge(ctx, w)
}

func (r *runner) progress(from, to int64) int64 {
	r.mu.Lock()
	r.passed += to - from
	share := float64(r.passed) / float64(max(r.total, 1))
	r.mu.Unlock()
	if r.o.Progress != nil {
		r.o.Progress(share)
	}
	return to
}

func (r *runner) judge(ctx context.Context, w *world) error {
	rows, looks, err := w.rows(ctx)
	if err != nil {
		return err
	}
	each := map[string]string{}
	for _, rule := range r.o.Workspace.Rules {
		if e := rule.Who.ForEach(); e != nil {
			each[rule.Name] = strings.TrimPrefix(e.Path, "properties.") + " of " + e.Event
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range w.line.tests {
		o := &outcome{test: t, looks: looks, each: each, same: w.same(t)}
		for _, row := range rows[t] {
			if row.at <= t.Until {
				o.rows = append(o.rows, row)
			}
		}
		r.results[t] = Result{Test: t, Rows: o.rows, Failures: append(w.failures[t], o.judge()...)}
	}
	return nil
}
