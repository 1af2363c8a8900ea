package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// ingestOptions are the flags of bench ingest.
type ingestOptions struct {
	duration, burst     time.Duration
	connections, people int
	window, warm, bare  int64
	runs                []string
}

// runs of ingest, in their order.
func ingestRuns() []string { return []string{"ack", "queryable", "half", "singles"} }

func ingestDefaults() *ingestOptions {
	return &ingestOptions{duration: 20 * time.Second, burst: 10 * time.Second, connections: 32, people: 50_000, window: 150_000, warm: 200_000, bare: 1_000_000, runs: ingestRuns()}
}

func ingestCommand(f *common) *cobra.Command {
	o := ingestDefaults()
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Events a second from HTTP to durable ack and to queryable, beside a bare insert",
		Long: `Starts what nudge serve starts, with a tracking plan, in a process of its own, and sends it track calls
of 1.1 KB over HTTP from this process:

  ack           batches of 100 as fast as they are answered, for --burst; the store falls behind
  queryable     the same, but never more than --window events ahead of the store, for --duration: the
                rate at which the backlog does not grow
  half          half that rate: how long an event takes from its ack until a query sees it
  singles       one event a request from 64 connections, for --burst
  bare insert   the same rows through clickhouse-go into the same engine and the same tables, in
                inserts as large as nudge's, for as many events: once by the driver's own batches,
                once as blocks that are encoded by nudge's columns

One call in a hundred breaks the plan and is flagged, one in two hundred is sent twice; at the end the
store must have exactly what was acknowledged, once. CPU is counted until everything is stored and
ClickHouse merges nothing any more.`,
		Example: "  bench ingest --duration 10m\n  bench ingest --dir /mnt/disk --profile /tmp/profiles",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return f.measure(cmd, o.run)
		},
	}
	cmd.Flags().DurationVar(&o.duration, "duration", o.duration, "how long to send at the rate that the store keeps up with")
	cmd.Flags().DurationVar(&o.burst, "burst", o.burst, "how long to send as fast as requests are answered")
	cmd.Flags().IntVar(&o.connections, "connections", o.connections, "connections that send batches")
	cmd.Flags().IntVar(&o.people, "people", o.people, "people whose events are sent")
	cmd.Flags().Int64Var(&o.window, "window", o.window, "events that the store may be behind in the sustained run")
	cmd.Flags().Int64Var(&o.warm, "warm", o.warm, "events sent before anything is measured")
	cmd.Flags().StringSliceVar(&o.runs, "runs", o.runs, "which of them to do; half and the bare insert need queryable")
	cmd.Flags().Int64Var(&o.bare, "bare", o.bare, "most rows of the bare insert; it takes as many as the sustained run had, if fewer; 0 leaves it out")
	return cmd
}

func (o *ingestOptions) check() error {
	switch {
	case o.duration <= 0 || o.burst <= 0:
		return errors.New("--duration and --burst must be longer than nothing")
	case o.connections < 1 || o.connections > 1000:
		return fmt.Errorf("--connections is 1 to 1000, not %d", o.connections)
	case o.people < 1 || o.people > 99_999_999:
		return fmt.Errorf("--people is 1 to 99,999,999, not %d", o.people)
	case o.window < 1:
		return errors.New("--window must be at least 1")
	case o.warm < 0 || o.bare < 0:
		return errors.New("--warm and --bare cannot be negative")
	case slices.Contains(o.runs, "half") && !slices.Contains(o.runs, "queryable"):
		return errors.New("--runs: half sends half of what queryable could: ask for both")
	}
	for _, run := range o.runs {
		if !slices.Contains(ingestRuns(), run) {
			return fmt.Errorf("--runs: there is no %q, only %s", run, strings.Join(ingestRuns(), ", "))
		}
	}
	return nil
}

// batchOf is how many events a batch has, and singlesFrom how many connections send one at a time.
const (
	batchOf     = 100
	singlesFrom = 64
)

func (o *ingestOptions) run(ctx context.Context, s *session) (_ []*table, err error) {
	s.say("starting nudge with its embedded ClickHouse …")
	n, err := startNode(ctx, s, "ingest", ingestWorkspace)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	rig := &ingestRig{node: n, s: s, o: o}
	t := &table{
		Key: "ingest", Title: "Ingest: HTTP to durable ack, and to queryable",
		Columns: []column{
			{"run", "run", 0},
			{"acked_per_s", "events/s acked", 0},
			{"p50_ms", "p50 ms", 1},
			{"p99_ms", "p99 ms", 1},
			{"stored_per_s", "queryable/s", 0},
			{"lag_p50_ms", "lag p50 ms", 0},
			{"lag_p99_ms", "lag p99 ms", 0},
			{"us_nudge", "nudge µs", 1},
			{"us_clickhouse", "clickhouse µs", 1},
			{"us_load", "load tool µs", 1},
			{"mb_nudge", "nudge MB", 0},
			{"mb_clickhouse", "clickhouse MB", 0},
			{"events", "events", 0},
			{"load", "load", 2},
		},
	}
	tables := []*table{t}
	if o.warm > 0 {
		s.say("warming up with %d events …", o.warm)
		if _, err := rig.phase(ctx, phase{name: "warm-up", batch: batchOf, connections: o.connections, events: o.warm, window: o.window}); err != nil {
			return tables, err
		}
	}
	phases := []phase{
		{name: fmt.Sprintf("batches of 100, %d connections: to ack", o.connections), key: "ack", batch: batchOf, connections: o.connections, duration: o.burst},
		{name: "batches of 100: to queryable, sustained", key: "queryable", batch: batchOf, connections: o.connections, duration: o.duration, window: o.window},
		{name: "batches of 100: at half that rate", key: "half", batch: batchOf, connections: o.connections, duration: min(o.duration, 20*time.Second)},
		{name: "singles, 64 connections: to ack", key: "singles", batch: 1, connections: singlesFrom, duration: o.burst},
	}
	results := map[string]*phaseResult{}
	var works []work
	for _, p := range phases {
		if !slices.Contains(o.runs, p.key) {
			continue
		}
		if p.key == "half" {
			p.rate = results["queryable"].storedRate / 2
		}
		s.say("%s, %s …", p.name, p.duration)
		r, err := rig.phase(ctx, p)
		if err != nil {
			return tables, err
		}
		results[p.key] = r
		works = append(works, work{p.key, r.work, r.events})
		t.row(r.cells()...)
	}
	if err := rig.verify(ctx, t); err != nil {
		return tables, err
	}
	t.note("CPU (µs) is for each event, until all is stored and merges have settled; the load tool shares the machine's cores.")
	if o.bare > 0 && results["queryable"] != nil {
		bare, did, err := rig.bare(ctx, min(o.bare, results["queryable"].events), results["queryable"])
		tables = append(tables, bare...)
		if err != nil {
			return tables, err
		}
		works = append(works, did)
	}
	return append(tables, workTable(works)), nil
}

// ingestRig sends phases to one node and knows what its store must have.
type ingestRig struct {
	node *node
	s    *session
	o    *ingestOptions

	phases uint64
	acked  int64 // all that was acknowledged
	fresh  int64 // of it what is stored: each message id once
	flawed int64
}

// phase is one way of sending.
type phase struct {
	name, key          string
	batch, connections int
	duration           time.Duration // how long
	events             int64         // or how many
	rate               float64
	window             int64
}

type phaseResult struct {
	name                string
	ackRate, storedRate float64
	p50, p99            time.Duration
	lag50, lag99        time.Duration
	nudge, engine, load float64 // µs an event
	rssNudge, rssEngine float64
	events              int64
	loadAverage         float64
	perInsert           float64
	work                map[string]float64 // ClickHouse's counters
}

func (r *phaseResult) cells() []any {
	return []any{
		r.name, r.ackRate, ms(r.p50), ms(r.p99), r.storedRate, ms(r.lag50), ms(r.lag99), r.nudge, r.engine, r.load,
		r.rssNudge, r.rssEngine, float64(r.events), r.loadAverage,
	}
}

// drainWithin bounds the wait for the store to catch up after a phase.
const drainWithin = 15 * time.Minute

func (rig *ingestRig) phase(ctx context.Context, p phase) (*phaseResult, error) {
	n := rig.node
	rig.phases++
	base := rig.fresh
	g := &generator{addr: n.ready.Addr, key: writeKey, connections: p.connections, batch: p.batch, people: rig.o.people, lane: rig.phases, rate: p.rate}
	watch := &watch{acked: &g.fresh, base: base, every: watchLoosely, count: func(ctx context.Context) (int64, error) {
		return number(ctx, n.store, "SELECT count() FROM events")
	}}
	if p.rate > 0 {
		watch.every = watchClosely
	}
	g.gate = watch.gate(p.window)
	if p.events > 0 {
		ahead := g.gate
		g.gate = func(ctx context.Context) error {
			if g.acked.Load() >= p.events {
				return errEnough
			}
			return ahead(ctx)
		}
	}
	m, err := startMeter(n.process(), n.engine, process{"load", os.Getpid()})
	if err != nil {
		return nil, err
	}
	batches, err := n.metric(ctx, "nudge_writer_batches_total")
	if err != nil {
		return nil, err
	}
	workBefore, err := worked(ctx, n.store)
	if err != nil {
		return nil, err
	}
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- watch.run(watching) }()
	profiled := n.profileFor(ctx, rig.s, p.key, int(p.duration/time.Second))

	sending, stop := ctx, context.CancelFunc(func() {})
	if p.duration > 0 {
		sending, stop = context.WithTimeout(ctx, p.duration)
	}
	start := time.Now()
	err = g.run(sending)
	stop()
	took := time.Since(start)
	r := &phaseResult{
		name: p.name, ackRate: float64(g.acked.Load()) / took.Seconds(), storedRate: float64(watch.stored.Load()) / took.Seconds(),
		p50: g.acks.quantile(0.5), p99: g.acks.quantile(0.99), events: g.acked.Load(),
		rssNudge: n.process().rss(), rssEngine: n.engine.rss(), loadAverage: loadNumber(),
	}
	if err == nil {
		err = watch.waitFor(ctx, g.fresh.Load())
	}
	stopWatching()
	err = errors.Join(err, <-watched, profiled())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	if err := settle(ctx, n.store, quietAfter(p.duration)); err != nil {
		return nil, err
	}
	used, err := m.used()
	if err != nil {
		return nil, err
	}
	r.nudge, r.engine, r.load = per(used["nudge"], r.events), per(used["clickhouse"], r.events), per(used["load"], r.events)
	r.lag50, r.lag99, _ = watch.lags()
	work, err := worked(ctx, n.store)
	if err != nil {
		return nil, err
	}
	r.work = minus(work, workBefore)
	after, err := n.metric(ctx, "nudge_writer_batches_total")
	if err != nil {
		return nil, err
	}
	r.perInsert = float64(g.fresh.Load()) / max(after-batches, 1)
	rig.acked += g.acked.Load()
	rig.fresh += g.fresh.Load()
	rig.flawed += g.flawed.Load()
	if full := g.full.Load(); full > 0 {
		rig.s.say("%d requests were answered with 503 and sent again", full)
	}
	return r, nil
}

var errEnough = errors.New("enough was sent")

func loadNumber() float64 {
	var v float64
	_, _ = fmt.Sscan(load(), &v)
	return v
}

// verify holds what the store has against what was acknowledged.
func (rig *ingestRig) verify(ctx context.Context, t *table) error {
	for _, q := range []struct {
		what, query string
		want        int64
	}{
		{"events", "SELECT count() FROM events", rig.fresh},
		{"distinct message ids", "SELECT uniqExact(message_id) FROM events", rig.fresh},
		{"events flagged by the plan", "SELECT countIf(notEmpty(violations)) FROM events", rig.flawed},
		{"dead letters", "SELECT count() FROM dead_letters", 0},
	} {
		got, err := number(ctx, rig.node.store, q.query)
		if err != nil {
			return err
		}
		if got != q.want {
			return fmt.Errorf("the store has %d %s; %d were acknowledged", got, q.what, q.want)
		}
	}
	t.note("Checked: the store has the %s events that were acknowledged, each once (%s were sent twice), %s of them flagged by the plan.",
		grouped(float64(rig.fresh), 0), grouped(float64(rig.acked-rig.fresh), 0), grouped(float64(rig.flawed), 0))
	return nil
}

// watch looks again and again how many events the store has, or how many decisions were made of them.
type watch struct {
	acked  *atomic.Int64 // events acknowledged in this phase, each message id once
	base   int64         // events in the store before it
	every  time.Duration
	count  func(context.Context) (int64, error) // how many events the store has
	stored atomic.Int64
	points []point
}

// point is how many events were acknowledged at an instant, and how many a look that was answered at
// seen found in the store.
type point struct {
	at            time.Time
	acked, stored int64
	seen          time.Time
}

// How often it looks: where lags are what a run is for it bounds how exactly they are known; elsewhere
// looks only cost what they measure.
const (
	watchClosely = 50 * time.Millisecond
	watchLoosely = 250 * time.Millisecond
)

func (w *watch) run(ctx context.Context) error {
	t := time.NewTicker(w.every)
	defer t.Stop()
	for {
		acked := w.acked.Load()
		at := time.Now()
		stored, err := w.count(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		w.points = append(w.points, point{at, acked, stored - w.base, time.Now()})
		w.stored.Store(stored - w.base)
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// gate pauses the load while the store is more than window events behind; 0 never does.
func (w *watch) gate(window int64) func(context.Context) error {
	return func(ctx context.Context) error {
		for window > 0 && w.acked.Load()-w.stored.Load() >= window {
			if !waitUntil(ctx, time.Now().Add(5*time.Millisecond)) {
				return ctx.Err()
			}
		}
		return nil
	}
}

// waitFor waits until the store has n events of this phase.
func (w *watch) waitFor(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	for w.stored.Load() < n {
		if !waitUntil(ctx, time.Now().Add(10*time.Millisecond)) {
			return fmt.Errorf("wait for the store to have %d events; it has %d: %w", n, w.stored.Load(), context.Cause(ctx))
		}
	}
	return nil
}

// lags are percentiles of the time from an event's ack until a look saw it in the store, and the most.
func (w *watch) lags() (p50, p99, most time.Duration) {
	var l latencies
	i, had := 0, int64(0)
	for _, p := range w.points {
		if p.stored <= had {
			continue
		}
		for i+1 < len(w.points) && w.points[i].acked < p.stored {
			i++
		}
		l.addN(p.seen.Sub(w.ackedAt(i, p.stored)), p.stored-had)
		had = p.stored
	}
	return l.quantile(0.5), l.quantile(0.99), l.most
}

// ackedAt is when the n-th event was acknowledged, which was before the i-th look and after the one
// before it.
func (w *watch) ackedAt(i int, n int64) time.Time {
	p := w.points[i]
	if i == 0 || p.acked <= n {
		return p.at
	}
	last := w.points[i-1]
	share := float64(n-last.acked) / float64(p.acked-last.acked)
	return last.at.Add(time.Duration(share * float64(p.at.Sub(last.at))))
}
