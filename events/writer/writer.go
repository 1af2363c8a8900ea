// Package writer is the one way from the queue to the store. In stream order it drops duplicates,
// says whose each event is, derives the rows of devices, zones and the like, tells subscribers, and
// inserts into ClickHouse; then it moves the checkpoint.
//
// What it keeps in memory (who is who, what came before) is a fold over the stream up to a position
// and is loaded from the store up to the checkpoint; what follows the checkpoint is read from the
// queue and written again, and rows that are already there are left out.
package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nudge/events"
	"nudge/events/queue"
)

// Writer is one identity writer; there must be one only for a stream. Its methods may be called
// concurrently.
type Writer struct {
	opts    Options
	queue   Queue
	store   Store
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics

	mu  sync.RWMutex // guards ids; written by the resolving goroutine only
	ids *identity
	// copying is held for reading by who copies the ledger (Steady), and for writing while people leave it.
	copying sync.RWMutex

	dedup  *dedup
	derive *derive

	unshelved struct { // rows that reached the dedup table, for the resolving goroutine to forget
		sync.Mutex
		rows []dedupRow
	}

	ready    chan struct{}
	resolved atomic.Uint64
	took     atomic.Int64 // nanoseconds that the store took for the last batch

	progress struct {
		sync.Mutex
		pos   events.Position
		moved chan struct{} // closed when pos moves
	}
}

// New makes a writer; Run runs it.
func New(opts Options) (*Writer, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	w := &Writer{
		opts:    opts,
		queue:   opts.Queue,
		store:   opts.Store,
		now:     opts.Now,
		log:     opts.Logger.With("component", "writer"),
		metrics: newMetrics(opts.Registerer),
		ready:   make(chan struct{}),
		ids:     newIdentity(salt{}),
	}
	w.progress.moved = make(chan struct{})
	return w, nil
}

// Run loads what the store knows and then writes until ctx ends (the error is ctx's) or something
// happens that waiting cannot mend: the queue has lost messages that the store lacks. A store that
// is away is waited for. What was read and not yet written when Run ends is written by the next.
func (w *Writer) Run(ctx context.Context) error {
	if w.opts.Memory != nil {
		return w.runInMemory(ctx)
	}
	from, err := w.load(ctx)
	if err != nil {
		return err
	}
	if err := w.checkQueue(ctx, from.Seq()); err != nil {
		return err
	}
	w.resolved.Store(uint64(from))
	w.advance(from)
	w.queue.Written(from.Seq())
	close(w.ready)

	g, ctx := errgroup.WithContext(ctx)
	messages := make(chan queue.Message, 32)
	batches, built := make(chan *batch), make(chan *batch)
	erasures := make(chan []erasure, 1)
	g.Go(func() error { return w.read(ctx, from.Seq(), messages) })
	g.Go(func() error { return w.collect(ctx, messages, batches) })
	g.Go(func() error { return w.build(ctx, batches, built) })
	g.Go(func() error { return w.insert(ctx, from, built, erasures) })
	g.Go(func() error { return w.eraseAll(ctx, erasures) })
	return g.Wait()
}

// checkQueue refuses a queue that cannot be the one that the store was filled from.
func (w *Writer) checkQueue(ctx context.Context, written uint64) error {
	last, err := w.queue.LastSeq(ctx)
	if err != nil {
		return err
	}
	first, err := w.queue.FirstSeq(ctx)
	if err != nil {
		return err
	}
	switch {
	case written > last:
		return fmt.Errorf("the store has everything up to message %d, but the queue ends at %d: this is another queue, or it was emptied; "+
			"restore the queue's folder, or start with an empty store", written, last)
	case first > written+1:
		return fmt.Errorf("the store has everything up to message %d, but the queue begins at %d: messages %d to %d are lost; "+
			"restore the queue's folder, or the newest backup of the store", written, first, written+1, first-1)
	}
	return nil
}

// Ready is closed once the maps are loaded; before it, Resolve and Canonical know nobody.
func (w *Writer) Ready() <-chan struct{} { return w.ready }

// Position is the end of what the store has: everything up to it is there, synced.
func (w *Writer) Position() events.Position {
	w.progress.Lock()
	defer w.progress.Unlock()
	return w.progress.pos
}

// Resolved is the end of what OnResolved has been called with. It is ahead of Position.
func (w *Writer) Resolved() events.Position { return events.Position(w.resolved.Load()) }

// WaitFor returns once Position has reached pos, or with ctx's error.
func (w *Writer) WaitFor(ctx context.Context, pos events.Position) error {
	for {
		w.progress.Lock()
		at, moved := w.progress.pos, w.progress.moved
		w.progress.Unlock()
		if at >= pos {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for the store to reach %s (it is at %s): %w", pos, at, context.Cause(ctx))
		}
	}
}

func (w *Writer) advance(pos events.Position) {
	w.progress.Lock()
	defer w.progress.Unlock()
	w.progress.pos = pos
	close(w.progress.moved)
	w.progress.moved = make(chan struct{})
}

// maxWalk is how long a chain of merges a reader walks before it has it shortened.
const maxWalk = 16

// Canonical is the person that p has become by the merges resolved so far, which may be ahead of
// the store.
func (w *Writer) Canonical(p events.PersonID) events.PersonID {
	w.mu.RLock()
	root, steps := w.ids.walk(p, maxWalk)
	w.mu.RUnlock()
	if steps < maxWalk {
		return root
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ids.canonical(p)
}

// Resolve is the person of a user id or, when that is empty, of an anonymous id, as resolved so far.
// It reports false for an id that nobody has.
func (w *Writer) Resolve(userID, anonymousID string) (events.PersonID, bool) {
	kind, id := kindUser, userID
	if id == "" {
		kind, id = kindAnonymous, anonymousID
	}
	w.mu.RLock()
	k, _ := w.ids.salt.id(nil, kind, id)
	p, ok := w.ids.ids[k]
	w.mu.RUnlock()
	if !ok {
		return 0, false
	}
	p = w.Canonical(p)
	return p, !w.Erased(p)
}

// Erased says whether a person has been erased: nothing may be kept under that number any more.
func (w *Writer) Erased(p events.PersonID) bool {
	p = w.Canonical(p)
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.ids.isErased(p)
}

// read passes messages on, reading again from the last one after an error of the queue.
func (w *Writer) read(ctx context.Context, after uint64, out chan<- queue.Message) error {
	var retry backoff
	for {
		err := w.queue.Read(ctx, after, func(m queue.Message) error {
			if after > 0 && m.Seq != after+1 || after == 0 && m.Seq != 1 {
				return fmt.Errorf("%w: message %d follows message %d", errGap, m.Seq, after)
			}
			select {
			case out <- m:
				after = m.Seq
				retry = backoff{}
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errGap) {
			return err
		}
		if retry.changed(err) {
			w.log.Error("read the queue; trying again", "after", after, "error", err)
		}
		if err := retry.wait(ctx); err != nil {
			return err
		}
	}
}

var errGap = errors.New("the queue has lost messages")

// collect resolves messages as they come and hands on batches as the inserting goroutine is ready
// for them: while that is busy, the batch at hand grows, up to its bounds. The longer the store took
// for the last batch, the longer the next waits for more: a batch costs the store much the same
// whatever its size, so on a busy machine fewer and larger ones leave more of it to everything else (but what somebody
// waits for waits half as long);
// on a full one it takes nothing from the queue for a while (hold).
func (w *Writer) collect(ctx context.Context, in <-chan queue.Message, out chan<- *batch) error {
	b := &batch{}
	timer := time.NewTimer(w.opts.FlushEvery)
	defer timer.Stop()
	due := false // b has waited long enough
	var began time.Time
	var held hold
	var look <-chan time.Time
	if w.opts.Runnable != nil {
		t := time.NewTicker(holdEvery)
		defer t.Stop()
		look = t.C
	}
	group := make([]queue.Message, 0, cap(in))
	for {
		from, to := in, out
		full := b.size() >= w.opts.MaxRows || b.bytes >= w.opts.MaxBytes
		if full || held.on() {
			from = nil
		}
		if b.empty() || !due && !full {
			to = nil
		}
		select {
		case at := <-look:
			w.metrics.held.Add(held.look(at, w.opts.Runnable()).Seconds())
		case m := <-from:
			held.read(time.Duration(w.now().UnixMilli()-m.At) * time.Millisecond)
			if b.empty() {
				due, began = false, w.now()
				timer.Reset(w.flushAfter(false))
			}
			awaited := b.awaited
			group = drain(append(group[:0], m), in, w.opts.MaxRows-b.size())
			if err := w.resolve(ctx, group, b); err != nil {
				return err
			}
			if b.awaited && !awaited && !due {
				timer.Reset(min(w.flushAfter(true), w.flushAfter(false)-w.now().Sub(began)))
			}
		case to <- b:
			b = &batch{}
		case <-timer.C:
			due = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// flushAfter is how long the first event of a batch waits for others, or the first that somebody waits for.
func (w *Writer) flushAfter(awaited bool) time.Duration {
	patience, most := time.Duration(2), time.Duration(4) // of what the last took; of FlushEvery
	if awaited {
		patience, most = 1, 2
	}
	return max(w.opts.FlushEvery, min(patience*time.Duration(w.took.Load()), most*w.opts.FlushEvery))
}

// drain adds the messages that wait already, up to the capacity of group and some rows.
func drain(group []queue.Message, in <-chan queue.Message, rows int) []queue.Message {
	for rows -= len(group[0].Events); len(group) < cap(group) && rows > 0; {
		select {
		case m := <-in:
			group = append(group, m)
			rows -= len(m.Events)
		default:
			return group
		}
	}
	return group
}
