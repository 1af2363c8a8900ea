// Package app puts the parts of nudge together: queue, store, identity writer, planner, engine,
// sender and ledger, from a workspace. It runs them live (Run), or steps them on a simulated clock
// (Sim); both are the same parts.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"nudge/channels"
	"nudge/engine"
	"nudge/engine/inbox"
	"nudge/engine/ledger"
	"nudge/engine/send"
	"nudge/engine/sources"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/clickhouse"
	"nudge/events/memory"
	"nudge/events/queue"
	"nudge/events/writer"
	"nudge/segments"
	"nudge/segments/geo"
	"nudge/segments/plan"
)

// Options is what an App is opened with. Workspace and Now are required.
type Options struct {
	Workspace *workspace.Workspace
	// Now is the clock of everything.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Stdout is where the stdout channel writes.
	Stdout io.Writer
	// Store, when set, is used instead of opening one, and not closed.
	Store *clickhouse.Store
	// Memory, when set, is the store instead. It begins empty, and the ledger is then in the queue alone.
	Memory *memory.Store
	// Routes, when set, are used instead of the workspace's channels.
	Routes map[string]send.Route
	// Only, when set, is the name of the one rule that is looked at (engine.Options.Only).
	Only string
	// Owner names this process to others on a shared queue, "host/pid".
	Owner string
	// Since is when a rule that has never run goes live, Unix ms; 0 is now.
	Since int64
	// FlushEvery is how long the writer waits for more before it writes; 0 is its default. A Sim,
	// which waits for every write, wants little.
	FlushEvery time.Duration
	// Runnable, when set, counts the goroutines that wait for a processor (RunnableGoroutines): the
	// writer gives way to bursts of requests. A Sim, which waits for every write, has none.
	Runnable func() int
	// Judged, when set, is told whom conditions are judged for. It may be called concurrently.
	Judged func(who *segments.Who, at int64, of *segments.Candidate)
	// Between, when set, stands between the engine and the planner.
	Between func(engine.Planner) engine.Planner
	// Simulated leaves out syncing the queue to disk: nobody opens it again.
	Simulated bool
}

// App is nudge, opened. Close it when done.
type App struct {
	opts    Options
	log     *slog.Logger
	Queue   *queue.Queue
	Store   *clickhouse.Store
	Writer  *writer.Writer
	Planner *plan.Planner
	Engine  *engine.Engine
	Sender  *send.Sender
	Ledger  *ledger.Reader
	Signer  *send.Signer
	// Inbox is nil without a store or a signing secret.
	Inbox *inbox.Inbox

	decisions, deliveries *queue.Log
	channels              []string                     // that the sender has open
	web                   http.Handler                 // for browsers, nil where no channel has something for them
	reporters             map[string]channels.Reporter // by the path at which their providers call
	workspace             atomic.Pointer[workspace.Workspace]
	former                former
	changed               atomic.Uint64 // position of the newest merge or erasure in the store
	tail                  *plan.Tail    // what arrived last
	acked                 ackedQueue
	stored                chan struct{} // something new is in the store
	failed                chan error    // a part ended that must not
	steps                 []step
	ready                 chan struct{} // closed once Engine is set
}

// step is one part to end, in the reverse order of beginning.
type step struct {
	name string
	stop func() error
}

// Open opens everything and starts the identity writer, without which nothing else can tell who is
// who. Nothing is decided or sent before Run or a Sim's steps.
func Open(ctx context.Context, o Options) (*App, error) {
	a, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := a.open(ctx, a.openQueue, a.openStore, a.startWriter, a.openEngine, a.openSender, a.openInbox); err != nil {
		return nil, err
	}
	return a, nil
}

// prepare makes an App with nothing open.
func prepare(o Options) (*App, error) {
	if o.Workspace == nil || o.Now == nil {
		return nil, errors.New("open nudge: Options.Workspace and Options.Now are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Since == 0 {
		o.Since = o.Now().UnixMilli()
	}
	a := &App{opts: o, log: o.Logger, tail: plan.NewTail(0), stored: make(chan struct{}, 1), failed: make(chan error, 4), ready: make(chan struct{}), reporters: map[string]channels.Reporter{}}
	a.workspace.Store(o.Workspace)
	return a, nil
}

// open opens parts in order; when one fails it closes those before it.
func (a *App) open(ctx context.Context, parts ...func(context.Context) error) error {
	for _, open := range parts {
		if err := open(ctx); err != nil {
			return errors.Join(err, a.Close())
		}
	}
	return nil
}

// Close ends everything in the reverse order of opening. It is safe after a failed Open.
func (a *App) Close() error {
	var errs []error
	for _, s := range slices.Backward(a.steps) {
		if err := s.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop the %s: %w", s.name, err))
		}
	}
	a.steps = nil
	return errors.Join(errs...)
}

func (a *App) onStop(name string, stop func() error) { a.steps = append(a.steps, step{name, stop}) }

// Workspace is the one that is running.
func (a *App) Workspace() *workspace.Workspace { return a.workspace.Load() }

func (a *App) openQueue(ctx context.Context) (err error) {
	c := a.Workspace().Queue
	a.Queue, err = queue.Open(ctx, queue.Config{
		Dir: c.Dir, URL: c.URL, MaxBacklog: c.MaxBacklog, Keep: c.Keep, Logger: a.log, Now: a.opts.Now, NoSync: a.opts.Simulated,
	})
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	a.onStop("queue", func() error {
		a.Queue.Close()
		return nil
	})
	a.acked.queue = a.Queue
	// What was acknowledged before the last stop counts as well: it may hold an exit.
	last, err := a.Queue.LastSeq(ctx)
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	a.acked.last.Store(last)
	if a.decisions, err = a.Queue.Log(ctx, "decisions"); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	a.deliveries, err = a.Queue.Log(ctx, "deliveries")
	return err //nolint:wrapcheck // says what it was doing
}

func (a *App) openStore(ctx context.Context) (err error) {
	if a.opts.Memory != nil {
		return nil
	}
	ws := a.Workspace()
	a.Store = a.opts.Store
	if a.Store == nil {
		a.Store, err = OpenStore(ctx, ws, a.log)
		if err != nil {
			return err
		}
		a.onStop("store", a.Store.Close)
	}
	if err := a.Store.Migrate(ctx, clickhouse.Layout{Cluster: ws.Store.Cluster, Retention: ws.Retention}); err != nil {
		return fmt.Errorf("prepare the tables: %w", err)
	}
	return sources.Record(ctx, a.Store.Conn(), ws, a.opts.Now()) //nolint:wrapcheck // says what it was doing
}

// OpenStore connects to the workspace's store, or starts or joins its embedded engine.
func OpenStore(ctx context.Context, ws *workspace.Workspace, log *slog.Logger) (*clickhouse.Store, error) {
	s, err := clickhouse.Open(ctx, clickhouse.Config{
		DSN: ws.Store.DSN, Dir: ws.Store.Dir, Lib: ws.Store.Library, Database: ws.Store.Database, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return s, nil
}

func (a *App) startWriter(ctx context.Context) error {
	o := writer.Options{
		Queue: a.Queue, Memory: a.opts.Memory, Now: a.opts.Now, Logger: a.log, Registerer: a.opts.Registerer, FlushEvery: a.opts.FlushEvery, Runnable: a.opts.Runnable,
		OnResolved: func(batch []events.Resolved, upTo events.Position) bool {
			awaited := a.tail.Add(batch, upTo)
			<-a.ready
			if a.Engine != nil {
				a.Engine.Resolved(batch, upTo)
			}
			return awaited
		},
		OnStored: func(s writer.Stored) {
			if s.Merges > 0 || len(s.Erased) > 0 {
				a.changed.Store(uint64(s.To))
			}
			<-a.ready
			if a.Engine != nil {
				a.Engine.Stored(engine.Stored{UpTo: s.To, Received: s.Received, Names: s.Names, Zones: s.Zones+s.Traits > 0})
			}
			select {
			case a.stored <- struct{}{}:
			default:
			}
		},
	}
	if a.Store != nil {
		o.Store = a.Store
	}
	w, err := writer.New(o)
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	a.Writer = w
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() {
		if err := w.Run(run); err != nil && run.Err() == nil {
			a.failed <- fmt.Errorf("the writer ended: %w", err)
		}
	})
	a.onStop("writer", func() error {
		stop()
		select {
		case <-a.ready:
		default:
			close(a.ready) // lets a callback go that waits for an engine that never came
		}
		done.Wait()
		return nil
	})
	select {
	case <-w.Ready():
		return nil
	case err := <-a.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer: %w", context.Cause(ctx))
	}
}

func (a *App) openEngine(ctx context.Context) (err error) {
	ws := a.Workspace()
	o := plan.Options{
		Memory: a.opts.Memory, Judged: a.opts.Judged, Fixes: ws.Location,
		Fences: func() *geo.Fences { return a.Workspace().Fences }, Changed: a.people().Changed,
		Logger: a.log.With("component", "planner"), Tail: a.tail,
	}
	store := ledger.Nowhere()
	if a.Store != nil {
		o.Conn, o.Database = a.Store.Conn(), a.Store.Database()
		store = ledger.NewStore(a.Store.Conn())
	}
	a.Planner = plan.New(o)
	a.Ledger = ledger.NewReader(store, a.decisions, a.deliveries, a.Writer, a.log)
	if err := a.Ledger.Flush(ctx); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	var asked engine.Planner = a.Planner
	if a.opts.Between != nil {
		asked = a.opts.Between(asked)
	}
	a.Engine, err = engine.New(ctx, engine.Options{
		Planner: asked, People: a.people(), Ledger: store, Decisions: a.decisions, Deliveries: a.deliveries, Workspace: ws,
		Since: a.opts.Since, From: a.Writer.Position(), Only: a.opts.Only, Now: a.opts.Now, Logger: a.log, Registerer: a.opts.Registerer,
	})
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	close(a.ready)
	return nil
}

func (a *App) openSender(ctx context.Context) (err error) {
	ws := a.Workspace()
	routes := a.opts.Routes
	if routes == nil {
		if routes, err = a.openChannels(ws); err != nil {
			return err
		}
	}
	for name := range routes {
		a.channels = append(a.channels, name)
	}
	if ws.Signing != nil {
		if a.Signer, err = send.NewSigner(ws.Signing); err != nil {
			return err //nolint:wrapcheck // says what it was doing
		}
	}
	shards := make([]int, engine.Shards)
	for i := range shards {
		shards[i] = i
	}
	a.Sender, err = send.New(send.Options{
		Decisions: a.decisions, Deliveries: a.deliveries, Events: &a.acked, Notes: a.Queue, Shards: shards, Routes: routes,
		Render: a.render, Exited: a.exited, Halted: a.Engine.Halted, Signer: a.Signer, Links: ws.BaseURL, Now: a.opts.Now, Logger: a.log, Registerer: a.opts.Registerer,
	})
	return err //nolint:wrapcheck // says what it was doing
}

// openInbox makes what apps fetch messages from.
func (a *App) openInbox(context.Context) (err error) {
	if a.Store == nil || a.Signer == nil {
		return nil
	}
	a.Inbox, err = inbox.New(inbox.Options{
		Signer: a.Signer, Store: a.Store.Conn(), Deliveries: a.deliveries, Copied: func() uint64 { return a.Ledger.Written("deliveries") },
		People: a.people(), From: a.acked.position(), Channels: a.inboxes(),
		IDs: func(ctx context.Context, p events.PersonID) ([]events.PersonID, error) {
			return a.Planner.IDs(ctx, p, a.Writer.Position()) //nolint:wrapcheck // says what it was doing
		},
		Retention: func() time.Duration { return a.Workspace().Retention }, Now: a.opts.Now, Logger: a.log, Registerer: a.opts.Registerer,
	})
	return err //nolint:wrapcheck // says what it was doing
}

// exited asks the engine whether a send that is queued has an exit, once everything that has been
// acknowledged so far has been resolved. While that cannot be known the message waits. Nobody who
// was erased is sent anything.
func (a *App) exited(ctx context.Context, d *ledger.Decision, now int64) (bool, error) {
	if a.Writer.Erased(d.Person) {
		return true, nil
	}
	return a.Engine.Exited(ctx, d, now, a.acked.position()) //nolint:wrapcheck // says what it was doing
}

// Reload takes another workspace into use. The store, the queue, the address and the channels stay
// those of the start.
func (a *App) Reload(ctx context.Context, ws *workspace.Workspace) error {
	for _, r := range ws.Rules {
		for _, name := range r.Channels() {
			if !slices.Contains(a.channels, name) {
				return fmt.Errorf("rule %s: the channel %s is new in nudge.yaml: restart nudge to open it", r.Name, name)
			}
		}
	}
	if err := sources.Record(ctx, a.Store.Conn(), ws, a.opts.Now()); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	// Before the engine decides by it: what it decides is rendered from here.
	running := a.workspace.Load()
	a.former.keep(running.Rules)
	a.workspace.Store(ws)
	if err := a.Engine.Reload(ctx, ws); err != nil {
		a.workspace.Store(running)
		return err //nolint:wrapcheck // says what it was doing
	}
	return nil
}

// Append makes events durable, as the HTTP endpoint does.
func (a *App) Append(ctx context.Context, evs []events.Event) (uint64, error) {
	return a.acked.Append(ctx, evs)
}

// ackedQueue remembers the newest message that anybody in this process had acknowledged.
type ackedQueue struct {
	queue *queue.Queue
	last  atomic.Uint64
}

// Append appends to the queue.
func (q *ackedQueue) Append(ctx context.Context, evs []events.Event) (uint64, error) {
	seq, err := q.queue.Append(ctx, evs)
	if err != nil {
		return seq, err //nolint:wrapcheck // says what it was doing
	}
	for {
		last := q.last.Load()
		if seq <= last || q.last.CompareAndSwap(last, seq) {
			return seq, nil
		}
	}
}

func (q *ackedQueue) position() events.Position {
	if last := q.last.Load(); last > 0 {
		return events.EndOf(last)
	}
	return 0
}

// SecondEngine is another engine on the same streams, as a second process started by mistake would
// have. It is for tests of the fence.
func (a *App) SecondEngine(ctx context.Context) (*engine.Engine, error) {
	return engine.New(ctx, engine.Options{
		Planner: a.Planner, People: a.people(), Ledger: ledger.NewStore(a.Store.Conn()), Decisions: a.decisions, Deliveries: a.deliveries,
		Workspace: a.Workspace(), Since: a.opts.Since, From: a.Writer.Position(), Logger: a.log,
	})
}

// people is the writer, and when people were last merged or erased.
type people struct {
	*writer.Writer
	app   *App
	start events.Position // what came before, nobody here has seen
}

func (a *App) people() people { return people{a.Writer, a, a.Writer.Position()} }

// Changed is a position after which nobody in the store was merged or erased.
func (p people) Changed() events.Position {
	return max(p.start, events.Position(p.app.changed.Load()))
}
