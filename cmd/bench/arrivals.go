package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// arrivalsOptions are the flags of bench arrivals.
type arrivalsOptions struct {
	duration            time.Duration
	rate                float64
	connections, people int
	warm                int64
}

func arrivalsDefaults() *arrivalsOptions {
	return &arrivalsOptions{duration: time.Minute, rate: 5000, connections: 16, people: 50_000, warm: 100_000}
}

func arrivalsCommand(f *common) *cobra.Command {
	o := arrivalsDefaults()
	cmd := &cobra.Command{
		Use:   "arrivals",
		Short: "How long a rule with `on:` takes from an event's arrival to its decision",
		Long: `Starts what nudge serve starts with one rule that is judged on arrival, and sends it --rate events a
second in batches of 10, of which every tenth triggers the rule. The rule reads a day of each person's
history, and everybody for whom it is true is sent a line to a file.

The delay is from the answer to an event's request, when it is durable, to its decision, when that is
durable: it holds the writing to the store, the look and the commit. It is known to some 50 ms. With
--duration 10m merges settle while it is measured.`,
		Example: "  bench arrivals --duration 10m\n  bench arrivals --rate 10000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return f.measure(cmd, o.run)
		},
	}
	cmd.Flags().DurationVar(&o.duration, "duration", o.duration, "how long to send")
	cmd.Flags().Float64Var(&o.rate, "rate", o.rate, "events a second; a tenth of them trigger the rule")
	cmd.Flags().IntVar(&o.connections, "connections", o.connections, "connections that send")
	cmd.Flags().IntVar(&o.people, "people", o.people, "people whose events are sent")
	cmd.Flags().Int64Var(&o.warm, "warm", o.warm, "events sent before anything is measured")
	return cmd
}

func (o *arrivalsOptions) check() error {
	switch {
	case o.duration <= 0 || o.rate <= 0:
		return errors.New("--duration and --rate must be more than nothing")
	case o.connections < 1 || o.connections > 1000:
		return fmt.Errorf("--connections is 1 to 1000, not %d", o.connections)
	case o.people < 1 || o.people > 99_999_999:
		return fmt.Errorf("--people is 1 to 99,999,999, not %d", o.people)
	case o.warm < 0:
		return errors.New("--warm cannot be negative")
	}
	return nil
}

// trigger is the event of the rule, every triggerEach-th of all.
const (
	trigger     = "Order Completed"
	triggerEach = 10
)

var arrivalsWorkspace = map[string]string{
	"nudge.yaml": `zone: UTC
salt: bench
data: data
keys: [{name: web, write_key: ` + writeKey + `}]
channels:
  log: {adapter: file, config: {path: data/log.ndjson}}
`,
	"events.yaml": plan,
	"rules/thanks.yaml": `rule: thanks
category: transactional
on: {event: ` + trigger + `}
when: event("Product Viewed").within(days(1)).count >= 0
again: each_time
with:
  product: trigger.properties.name
  viewed: event("Product Viewed").within(days(1)).count
message:
  log: {title: Thank you, body: "{{ product }} is on its way. You looked at {{ viewed }} others today."}
`,
}

func (o *arrivalsOptions) run(ctx context.Context, s *session) (_ []*table, err error) {
	s.say("starting nudge with its embedded ClickHouse …")
	n, err := startNode(ctx, s, "arrivals", arrivalsWorkspace)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	decided := func(ctx context.Context) (int64, error) {
		v, err := n.metric(ctx, `nudge_decisions_total{reason="send",rule="thanks"}`)
		if errors.Is(err, errNoMetric) { // before the first
			return 0, nil
		}
		return int64(v), err
	}
	t := &table{
		Key: "arrivals", Title: "Arrivals: from an event's durable ack to its durable decision",
		Columns: []column{
			{"run", "run", 0},
			{"acked_per_s", "events/s", 0},
			{"triggers", "triggers", 0},
			{"p50_ms", "p50 ms", 0},
			{"p99_ms", "p99 ms", 0},
			{"max_ms", "most ms", 0},
			{"us_nudge", "nudge µs", 1},
			{"us_clickhouse", "clickhouse µs", 1},
			{"us_load", "load tool µs", 1},
			{"mb_nudge", "nudge MB", 0},
			{"mb_clickhouse", "clickhouse MB", 0},
			{"load", "load", 2},
		},
	}
	base := int64(0)
	one := func(name string, lane uint64, rate float64, events int64, duration time.Duration) error {
		g := &generator{
			addr: n.ready.Addr, key: writeKey, connections: o.connections, batch: 10, people: o.people, lane: lane, rate: rate, trigger: true,
		}
		if events > 0 {
			g.gate = func(context.Context) error {
				if g.acked.Load() >= events {
					return errEnough
				}
				return nil
			}
		}
		w := &watch{acked: &g.triggers, base: base, every: 50 * time.Millisecond, count: decided}
		m, err := startMeter(n.process(), n.engine, process{"load", os.Getpid()})
		if err != nil {
			return err
		}
		watching, stopWatching := context.WithCancel(ctx)
		watched := make(chan error, 1)
		go func() { watched <- w.run(watching) }()
		profiled := n.profileFor(ctx, s, "arrivals", int(duration/time.Second))
		sending, stop := ctx, context.CancelFunc(func() {})
		if duration > 0 {
			sending, stop = context.WithTimeout(ctx, duration)
		}
		start := time.Now()
		err = g.run(sending)
		stop()
		took := time.Since(start)
		used, usedErr := m.used()
		if err = errors.Join(err, usedErr); err == nil {
			err = w.waitFor(ctx, g.triggers.Load())
		}
		stopWatching()
		if err = errors.Join(err, <-watched, profiled()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		base += g.triggers.Load()
		if duration == 0 {
			return nil
		}
		all := g.acked.Load()
		p50, p99, most := w.lags()
		t.row(name, float64(all)/took.Seconds(), float64(g.triggers.Load()), ms(p50), ms(p99), ms(most),
			per(used["nudge"], all), per(used["clickhouse"], all), per(used["load"], all), n.process().rss(), n.engine.rss(), loadNumber())
		return nil
	}
	if o.warm > 0 {
		s.say("warming up with %d events …", o.warm)
		if err := one("warm-up", 1, 0, o.warm, 0); err != nil {
			return nil, err
		}
	}
	s.say("%.0f events a second, %s …", o.rate, o.duration)
	if err := one(fmt.Sprintf("%s events/s, one in %d triggers", grouped(o.rate, 0), triggerEach), 2, o.rate, 0, o.duration); err != nil {
		return []*table{t}, err
	}
	got, err := number(ctx, n.store, "SELECT count() FROM events WHERE kind = 1 AND event = '"+trigger+"'")
	if err != nil {
		return []*table{t}, err
	}
	if got != base {
		return []*table{t}, fmt.Errorf("the store has %d triggers; %d were acknowledged", got, base)
	}
	t.note("Checked: each of the %s triggers was decided once. CPU is for each event sent, until the last was.", grouped(float64(base), 0))
	return []*table{t}, nil
}
