package writer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"nudge/events"
	"nudge/events/memory"
	"nudge/events/queue"
)

// Queue is what the writer needs of queue.Queue.
type Queue interface {
	Read(ctx context.Context, after uint64, fn func(queue.Message) error) error
	LastSeq(ctx context.Context) (uint64, error)
	FirstSeq(ctx context.Context) (uint64, error)
	Written(seq uint64)
}

// Store is what the writer needs of clickhouse.Store.
type Store interface {
	Conn() driver.Conn
}

// Stored tells a subscriber what a batch added to the store.
type Stored struct {
	// From and To are the ends of the positions: rows of (From, To] are there, synced.
	From, To events.Position
	// Received is when the newest event of them was received, Unix ms, leaving out what was imported; 0
	// without such events.
	Received int64
	// Names counts events by their name in the store: "Product Added", "Page Viewed",
	// "Message Opened", … Identify, group and alias calls count under "".
	Names map[string]int
	// How many rows of these kinds came.
	Traits, Devices, Consents, Zones, Fixes, Merges int
	// Erased people (canonical ones): forget what is known of them.
	Erased []events.PersonID
}

// Options of a Writer. Queue, Now, and Store or Memory are required.
type Options struct {
	Queue Queue
	Store Store
	// Memory, where it is set, takes what Store would. It begins empty, and so must the queue.
	Memory *memory.Store
	Now    func() time.Time
	Logger *slog.Logger
	// Registerer takes the metrics; nil: none are kept.
	Registerer prometheus.Registerer

	// OnResolved is called with every accepted event, in stream order, before it is in the store, and
	// with the position after them, also when none was accepted. It is called from one goroutine, must not keep the slice, and holds up the writer while it runs. A
	// start repeats what comes after the checkpoint. It reports whether somebody waits for one of them: their batch
	// waits less for others.
	OnResolved func(batch []events.Resolved, upTo events.Position) (awaited bool)
	// OnStored is called after a batch is in the store, synced and checkpointed, in order, from one
	// goroutine. It must not wait for the writer.
	OnStored func(Stored)

	// Runnable counts the goroutines of this process that wait for a processor. Where there are many,
	// writing waits up to ten seconds, so that a burst of requests is answered sooner. nil: it never
	// does.
	Runnable func() int

	// MaxRows and MaxBytes bound a batch; FlushEvery is how long its first event waits while
	// the store is quick, and up to four times as long while it is not (twice where it is awaited). 0: DefaultMaxRows, DefaultMaxBytes, DefaultFlushEvery.
	MaxRows    int
	MaxBytes   int
	FlushEvery time.Duration
}

// Defaults of Options.
const (
	DefaultMaxRows    = 50_000
	DefaultMaxBytes   = 16 << 20
	DefaultFlushEvery = 250 * time.Millisecond
)

func (o *Options) check() error {
	switch {
	case o.Queue == nil:
		return errors.New("make a writer: Options.Queue is missing")
	case o.Store == nil && o.Memory == nil:
		return errors.New("make a writer: Options.Store is missing")
	case o.Now == nil:
		return errors.New("make a writer: Options.Now is missing; pass the process's clock")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.OnResolved == nil {
		o.OnResolved = func([]events.Resolved, events.Position) bool { return false }
	}
	if o.OnStored == nil {
		o.OnStored = func(Stored) {}
	}
	if o.MaxRows == 0 {
		o.MaxRows = DefaultMaxRows
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = DefaultFlushEvery
	}
	return nil
}
