package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"nudge/engine"
	"nudge/engine/preferences"
	"nudge/engine/send"
	"nudge/events"
	"nudge/events/ingest"
	"nudge/events/queue"
	"nudge/segments"
)

const (
	// poll is how often the loops look by themselves; news wakes them sooner.
	poll = time.Second
	// copyEvery is how often, at most, the streams are copied to the ledger.
	copyEvery = 500 * time.Millisecond
	// tidyEvery is how often what nobody needs leaves the streams.
	tidyEvery = time.Minute
	// lookToPrune is how often it is asked whether the ledger is to be pruned (of what nothing is decided by
	// any more), which it is once a day.
	lookToPrune = time.Hour
	// readRequests is how often it is asked which rules are to be paused or to go on.
	readRequests = 2 * time.Second
	// drainFor bounds how long a stop waits for what is under way.
	drainFor = 15 * time.Second
	// leaseFor is how long a process that died keeps others out of a shared queue.
	leaseFor = 15 * time.Second
)

// Run runs everything until ctx ends: the endpoint on l, ticks, arrivals, the sender, the ledger. It
// returns nil after an orderly stop, and otherwise why it could not go on. Gatherer serves /metrics.
func (a *App) Run(ctx context.Context, l net.Listener, gatherer prometheus.Gatherer) error {
	return a.run(ctx, func() (func(context.Context) error, error) {
		server, err := a.endpoint(gatherer)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return server.Serve(ctx, l, drainFor) }, nil
	})
}

// Work is Run without the endpoint: what is due is decided and sent, and nothing is taken in.
func (a *App) Work(ctx context.Context) error {
	return a.run(ctx, func() (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}, nil
	})
}

// run runs the parts beside what makes serve, which returns when its context ends.
func (a *App) run(ctx context.Context, endpoint func() (serve func(context.Context) error, err error)) error {
	lease, err := a.lease(ctx)
	if err != nil {
		return err
	}
	listen, err := endpoint()
	if err != nil {
		return err
	}
	// The endpoint stops first, and what it acknowledged is safe; the other parts follow.
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	g, run := errgroup.WithContext(run)
	part := func(name string, fn func(context.Context) error) {
		g.Go(func() error {
			if err := fn(run); err != nil && run.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part("the sender", a.Sender.Run)
	part("outcomes", func(ctx context.Context) error {
		return a.loop(ctx, "outcome", nil, func(ctx context.Context) error { return a.Engine.Outcomes(ctx, a.now) })
	})
	part("ticks", a.ticks)
	part("arrivals", a.arrivals)
	follows := a.Inbox != nil && len(a.inboxes()) > 0
	if follows {
		part("the inbox", a.Inbox.Run)
	}
	part("the ledger", func(ctx context.Context) error {
		a.Ledger.Run(ctx, a.opts.Now, copyEvery)
		return nil
	})
	part("tidying", func(ctx context.Context) error {
		return a.every(ctx, tidyEvery, "tidying the streams", func(ctx context.Context) error {
			if follows {
				return a.tidy(ctx, a.Inbox.Position())
			}
			return a.Tidy(ctx)
		})
	})
	part("requests", func(ctx context.Context) error {
		return a.every(ctx, readRequests, "carrying out what was asked of rules", a.Engine.Requests)
	})
	part("pruning", func(ctx context.Context) error {
		return a.every(ctx, lookToPrune, "pruning the ledger", func(ctx context.Context) error {
			return a.Ledger.Prune(ctx, a.opts.Now(), a.Workspace().Retention)
		})
	})
	if lease != nil {
		part("the lease", func(ctx context.Context) error { return renew(ctx, lease) })
	}
	part("the writer", func(ctx context.Context) error {
		select {
		case err := <-a.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	serve, closed := context.WithCancel(ctx)
	context.AfterFunc(run, closed) // a part that ends takes the endpoint with it
	if a.Inbox != nil {
		context.AfterFunc(serve, a.Inbox.Close) // or the endpoint would wait for streams, which do not end
	}
	err = listen(serve)
	if ctx.Err() != nil {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
		err = errors.Join(err, a.Sender.Drain(drain))
		cancel()
	}
	stop(nil)
	err = errors.Join(err, g.Wait())
	closed()
	if lease != nil {
		err = errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
	}
	return err
}

func (a *App) now() int64 { return a.opts.Now().UnixMilli() }

// lease takes the shards of a shared queue; the embedded one is locked by its folder.
func (a *App) lease(ctx context.Context) (*queue.Lease, error) {
	if a.Workspace().Queue.URL == "" {
		return nil, nil
	}
	lease, err := a.Queue.Lease(ctx, "engine", a.opts.Owner, leaseFor)
	if errors.Is(err, queue.ErrHeld) {
		return nil, fmt.Errorf("another nudge runs on this queue; stop it first, or wait %s if it has died: %w", leaseFor, err)
	}
	return lease, err //nolint:wrapcheck // says what it was doing
}

func renew(ctx context.Context, lease *queue.Lease) error {
	t := time.NewTicker(leaseFor / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := lease.Renew(ctx); errors.Is(err, queue.ErrHeld) {
				return err //nolint:wrapcheck // names the new owner
			}
		}
	}
}

// endpoint is the HTTP server: ingest, message receipts, metrics.
func (a *App) endpoint(gatherer prometheus.Gatherer) (*ingest.Server, error) {
	server, err := ingest.New(ingest.Options{
		Queue: &a.acked, Now: a.opts.Now, Logger: a.log, Registerer: a.opts.Registerer, PublicURL: a.Workspace().BaseURL,
		Plan: func() *events.Plan { return a.Workspace().Plan },
		Keys: func() []ingest.Key {
			var out []ingest.Key
			for _, k := range a.Workspace().Keys {
				out = append(out, ingest.Key{Name: k.Name, WriteKey: k.Value, Secret: k.Secret})
			}
			return out
		},
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	if a.Signer != nil {
		var log send.EventLog = &a.acked
		if a.Inbox != nil {
			log = a.Inbox.Log(log)
			server.Mount("/v1/inbox", a.Inbox.Handler())
			server.Mount("/v1/inbox/stream", a.Inbox.Handler())
			server.Mount("POST /v1/users/{id}/inbox/token", server.Secret(a.Inbox.Tokens()))
		}
		receipts := send.NewReceipts(a.Signer, log, a.opts.Now, a.log)
		h := receipts.Handler()
		for _, path := range []string{"/v1/messages/", "/c/", "/o/"} {
			server.Mount(path, h)
		}
		server.Mount("/v1/callbacks/", receipts.Callbacks(a.reporters))
		server.Mount("/u/", preferences.New(preferences.Options{
			Signer: a.Signer, Events: &a.acked, Profile: a.profile, Workspace: a.Workspace, Now: a.opts.Now, Logger: a.log,
		}))
	}
	if a.web != nil {
		server.Mount("/web/", a.web)
	}
	if gatherer != nil {
		server.Mount("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	}
	return server, nil
}

// profile is what is known of a person now, nil where that is nothing (any more).
func (a *App) profile(ctx context.Context, person events.PersonID) (*segments.Profile, error) {
	person = a.Writer.Canonical(person)
	if a.Writer.Erased(person) {
		return nil, nil
	}
	known, err := a.Planner.Profiles(ctx, []events.PersonID{person}, a.now(), a.Writer.Position())
	if err != nil {
		return nil, fmt.Errorf("read what is known of a person: %w", err)
	}
	return known[person], nil
}

// Handler is the endpoint's handler without a listener of its own, for those who serve it themselves.
func (a *App) Handler() (http.Handler, error) {
	s, err := a.endpoint(nil)
	if err != nil {
		return nil, err
	}
	return s.Handler(), nil
}

// ticks steps the engine whenever something is due. An error is logged and the tick repeated: the
// store may be away.
func (a *App) ticks(ctx context.Context) error {
	return a.loop(ctx, "tick", nil, func(ctx context.Context) error { return a.Engine.Step(ctx, a.now()) })
}

func (a *App) arrivals(ctx context.Context) error {
	return a.loop(ctx, "arrival", a.stored, func(ctx context.Context) error { return a.Engine.Arrived(ctx, a.now()) })
}

// loop calls fn on news, and at least every poll. It logs an error when it differs from the last.
func (a *App) loop(ctx context.Context, name string, news <-chan struct{}, fn func(context.Context) error) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-news:
		}
		err := fn(ctx)
		switch {
		case err == nil:
			last = ""
		case ctx.Err() != nil:
			return nil
		case err.Error() != last:
			last = err.Error()
			a.log.Error("could not decide; it is tried again", "what", name, "error", err)
		}
	}
}

// every calls fn again and again until ctx ends. What failed is logged and tried again at its next turn.
func (a *App) every(ctx context.Context, d time.Duration, what string, fn func(context.Context) error) error {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("it did not work, and is tried again", "what", what, "error", err)
		}
	}
}

// Tidy purges both streams once.
func (a *App) Tidy(ctx context.Context) error { return a.tidy(ctx, math.MaxUint64) }

// tidy is Tidy that leaves deliveries behind a sequence which somebody has not read yet.
func (a *App) tidy(ctx context.Context, read uint64) error {
	var errs []error
	for shard := range engine.Shards {
		decisions, deliveries := a.Sender.Done(shard)
		decisions = min(decisions, a.Ledger.Written("decisions"))
		deliveries = slices.Min([]uint64{deliveries, a.Ledger.Written("deliveries"), a.Engine.Settled(shard), read})
		errs = append(errs, a.decisions.Purge(ctx, shard, decisions+1), a.deliveries.Purge(ctx, shard, deliveries+1))
	}
	return errors.Join(errs...)
}
