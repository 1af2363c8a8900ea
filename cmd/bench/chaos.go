package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nudge/channels"
)

// chaosOptions are the flags of bench chaos.
type chaosOptions struct {
	rate float64
	each time.Duration
	only []string
}

func chaosDefaults() *chaosOptions { return &chaosOptions{rate: 200, each: time.Minute} }

func chaosCommand(f *common) *cobra.Command {
	o := chaosDefaults()
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Each provider in turn slow, refusing, resetting, talking garbage: what becomes of its messages, and of others'",
		Long: `Sends at a rate on five channels at once, each with its local provider (apns, fcm, webpush, email, webhook), through one
whole sender. In turn each provider behaves badly for a while: every answer two seconds late, every message refused as an
overloaded one does, every connection reset, answers that are not the protocol's. Then it is well again, and what waited
goes out.

Counted, by message ids at the providers: messages that never arrived (there must be none), and those that a provider
accepted twice. For the other four channels: the p99 from a decision's commit to its outcome, beside that of a run in
which all is well.

With --each 1m it takes about half an hour.`,
		Example: "  bench chaos --each 10s --rate 100\n  bench chaos --only fcm,email",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.rate <= 0 || o.each < time.Second {
				return errors.New("--rate must be more than nothing, and --each at least 1s")
			}
			for _, name := range o.only {
				if !slices.Contains(serviceNames(), name) {
					return fmt.Errorf("--only knows %v, not %q", serviceNames(), name)
				}
			}
			return f.measure(cmd, o.run)
		},
	}
	cmd.Flags().Float64Var(&o.rate, "rate", o.rate, "decisions a second on each channel")
	cmd.Flags().DurationVar(&o.each, "each", o.each, "how long each provider behaves in each way")
	cmd.Flags().StringSliceVar(&o.only, "only", nil, "only these providers behave badly; all five are sent to")
	return cmd
}

// chaosRig is one sender with all providers.
type chaosRig struct {
	o        *chaosOptions
	s        *session
	services *services
	targets  []target
	sending  *sending
	table    *table
	n        int // decided on each channel so far

	mu    sync.Mutex
	done  map[string]int // accepted, by channel
	took  map[string]*latencies
	moved chan struct{} // something was accepted
}

func (o *chaosOptions) run(ctx context.Context, s *session) (_ []*table, err error) {
	r := &chaosRig{o: o, s: s, done: map[string]int{}, took: map[string]*latencies{}, moved: make(chan struct{}, 1)}
	if r.services, err = startServicesChild(ctx, s, "--count"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.services.stop()) }()
	r.targets = targets(r.services.ready, nil)
	r.table = &table{
		Key: "chaos", Title: fmt.Sprintf("Providers that behave badly, %g decisions a second on each of %d channels, %s each", o.rate, len(r.targets), o.each),
		Columns: []column{
			{"run", "provider", 0},
			{"sent", "decided on it", 0},
			{"lost", "lost", 0},
			{"twice", "accepted twice", 0},
			{"well_s", "s until all were out", 1},
			{"others_p50_ms", "others' p50 ms", 0},
			{"others_p99_ms", "others' p99 ms", 0},
			{"load", "load", 2},
		},
	}
	tables := []*table{r.table}
	if r.sending, err = newSending(ctx, s); err != nil {
		return nil, err
	}
	defer r.sending.close()
	opened := map[string]channels.Channel{}
	for _, t := range r.targets {
		c, err := t.spec.New(channels.Options{Config: t.config, Now: time.Now})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.title, err)
		}
		if closer, ok := c.(channels.Closer); ok {
			defer closer.Close() //nolint:errcheck // connections of this run
		}
		opened[t.name] = c
	}
	if err := r.sending.open(opened, r.targets, nil); err != nil {
		return nil, err
	}
	over := make(chan struct{})
	err = r.sending.run(ctx, func(ctx context.Context) error {
		defer close(over)
		return r.all(ctx)
	}, func(name string, took time.Duration) bool {
		r.mu.Lock()
		r.done[name]++
		r.took[name].add(took)
		r.mu.Unlock()
		select {
		case r.moved <- struct{}{}:
		default:
		}
		select {
		case <-over:
			return true
		default:
			return false
		}
	})
	r.table.note("Others: the channels whose provider was well, together; from a decision's commit to its outcome on the stream, synced. Accepted twice: a provider took it, and its answer did not arrive.")
	return tables, err
}

// all lets every provider behave in every way, after a run in which all is well. The last message ends the run.
func (r *chaosRig) all(ctx context.Context) error {
	if err := r.phase(ctx, "", ""); err != nil {
		return err
	}
	kinds := slices.Sorted(maps.Keys(faults()))
	for _, t := range r.targets {
		if len(r.o.only) > 0 && !slices.Contains(r.o.only, t.name) {
			continue
		}
		for _, kind := range kinds {
			if kind == "" {
				continue
			}
			if err := r.phase(ctx, t.name, kind); err != nil {
				return err
			}
		}
	}
	return r.sending.decide(ctx, &r.targets[0], r.n, r.n+1) // told looks up once more
}

// outWithin is how long what waited may take after a provider is well again: the longest pause between two attempts,
// and some more.
const outWithin = 10 * time.Minute

// phase sends for a while with one provider behaving badly, and then waits until everything is out.
func (r *chaosRig) phase(ctx context.Context, name, kind string) error {
	title := "all are well"
	if name != "" {
		title = name + " " + kind
	}
	r.s.say("%s …", title)
	r.mu.Lock()
	for _, t := range r.targets {
		r.took[t.name] = &latencies{}
	}
	r.mu.Unlock()
	before, err := r.services.accepted(ctx)
	if err != nil {
		return err
	}
	if name != "" {
		if err := r.services.order(ctx, name, kind); err != nil {
			return err
		}
	}
	n := max(int(r.o.rate*r.o.each.Seconds()), 1)
	var group sync.WaitGroup
	failed := make([]error, len(r.targets))
	for i := range r.targets {
		group.Go(func() { failed[i] = r.sending.pace(ctx, &r.targets[i], r.n, r.n+n, r.o.rate) })
	}
	group.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	r.n += n
	if name != "" {
		if err := r.services.order(ctx, name, ""); err != nil {
			return err
		}
	}
	well := time.Now()
	for !r.out() {
		left := outWithin - time.Since(well)
		if left <= 0 {
			break // what is missing is counted below
		}
		select {
		case <-r.moved:
		case <-time.After(min(left, time.Second)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.judge(ctx, title, name, n, time.Since(well), before)
}

// out says whether everything that was decided has its outcome.
func (r *chaosRig) out() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		if r.done[t.name] < r.n {
			return false
		}
	}
	return true
}

func (r *chaosRig) judge(ctx context.Context, title, name string, n int, well time.Duration, before map[string]tally) error {
	after, err := r.services.accepted(ctx)
	if err != nil {
		return err
	}
	var lost, twice int64
	for _, t := range r.targets {
		distinct := after[t.name].Distinct - before[t.name].Distinct
		lost += int64(n) - distinct
		twice += after[t.name].Accepted - before[t.name].Accepted - distinct
	}
	others := &latencies{}
	r.mu.Lock()
	for _, t := range r.targets {
		if t.name != name {
			others.merge(r.took[t.name])
		}
	}
	r.mu.Unlock()
	r.table.row(title, float64(n), float64(lost), float64(twice), well.Seconds(), ms(others.quantile(0.5)), ms(others.quantile(0.99)), loadNumber())
	if lost != 0 {
		return fmt.Errorf("%s: %d messages were lost", title, lost)
	}
	return nil
}
