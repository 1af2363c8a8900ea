// Package inbox is where apps fetch the messages of the channel adapter inbox: a list, and a stream of what arrives.
//
// Nothing is kept here. A message is in an inbox because the ledger says that it was accepted, with its text; that it was
// read or dismissed is a Message event, as of any other message. Both take a moment until they are in the tables, so two
// things are in memory for that long: what was accepted since the ledger was last copied, read from the delivery stream,
// and what this process was told of messages.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"nudge/engine/send"
	"nudge/events"
	"nudge/events/queue"
)

// Options of New; all but Logger and Registerer are required.
type Options struct {
	// Signer reads the tokens.
	Signer *send.Signer
	// Store holds the ledger and the events.
	Store driver.Conn
	// Deliveries is the delivery stream, and Copied the sequence up to which the ledger has it.
	Deliveries Deliveries
	Copied     func() uint64
	People     People
	// From is the end of the event stream at the start: what was reported to the process before is in the queue, and
	// nothing is said before the store has it.
	From events.Position
	// IDs are the ids under which rows of a person may stand.
	IDs func(context.Context, events.PersonID) ([]events.PersonID, error)
	// Channels are the names of the channels with the adapter inbox.
	Channels []string
	// Retention is how long texts are kept; 0: for ever.
	Retention func() time.Duration
	Now       func() time.Time

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Deliveries is the delivery stream.
type Deliveries interface {
	Read(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error
}

// People says who is who.
type People interface {
	// Resolve is the person of a user id, false where there is none (any more).
	Resolve(userID, anonymousID string) (events.PersonID, bool)
	Canonical(events.PersonID) events.PersonID
	// Position is how far the store has come; WaitFor waits until it has come as far.
	Position() events.Position
	WaitFor(context.Context, events.Position) error
	// Changed is a position after which nobody in the store was merged or erased.
	Changed() events.Position
}

// Inbox serves inboxes. Its methods may be called concurrently.
type Inbox struct {
	o       Options
	log     *slog.Logger
	feed    *feed
	told    *told
	reading chan struct{} // bounds the queries at once
}

const (
	// mostMessages is how many messages an inbox shows: the newest.
	mostMessages = 500
	// queriesAtOnce leaves the store to those that decide, however many apps ask.
	queriesAtOnce = 8
	// queryFor bounds a query.
	queryFor = 10 * time.Second
)

// New makes an Inbox. Streams say nothing before Run.
func New(o Options) (*Inbox, error) {
	if o.Signer == nil || o.Store == nil || o.Deliveries == nil || o.Copied == nil || o.People == nil || o.IDs == nil || o.Retention == nil || o.Now == nil {
		return nil, errors.New("make the inbox: an option is missing")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	in := &Inbox{
		o: o, log: o.Logger.With("component", "inbox"), reading: make(chan struct{}, queriesAtOnce),
		feed: newFeed(o.People, o.Copied), told: newTold(o.Channels, o.People.Position, o.Now),
	}
	if o.Registerer != nil {
		if err := in.feed.register(o.Registerer); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// Run follows the delivery stream until ctx ends.
func (in *Inbox) Run(ctx context.Context) error {
	last := ""
	for {
		err := in.o.Deliveries.Read(ctx, queue.AllShards, in.feed.position(), in.feed.take)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && err.Error() != last {
			last = err.Error()
			in.log.Error("cannot read what was delivered; apps learn of it when they fetch their inbox", "error", err)
		}
		again := time.NewTimer(time.Second)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
	}
}

// Position is the sequence of the delivery stream up to which streams have been told: what follows must not be purged.
func (in *Inbox) Position() uint64 { return in.feed.position() }

// Close ends all streams, and lets none begin: apps come back to whoever serves then.
func (in *Inbox) Close() { in.feed.close() }

// Log is next for what is told of messages, so that it counts at once.
func (in *Inbox) Log(next send.EventLog) send.EventLog { return tellingLog{next, in.told} }

type tellingLog struct {
	next send.EventLog
	told *told
}

// Append implements send.EventLog.
func (l tellingLog) Append(ctx context.Context, evs []events.Event) (uint64, error) {
	seq, err := l.next.Append(ctx, evs)
	if err == nil {
		l.told.hear(evs, events.EndOf(seq))
	}
	return seq, err //nolint:wrapcheck // says what it was doing
}

// Handler serves GET /v1/inbox and GET /v1/inbox/stream.
func (in *Inbox) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/inbox", in.list)
	mux.HandleFunc("GET /v1/inbox/stream", in.stream)
	for _, path := range []string{"/v1/inbox", "/v1/inbox/stream"} {
		mux.HandleFunc("OPTIONS "+path, func(w http.ResponseWriter, _ *http.Request) {
			anyOrigin(w)
			w.Header().Set("Access-Control-Allow-Methods", "GET")
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Last-Event-ID, Cache-Control")
			w.Header().Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
		})
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", "GET")
			fail(w, http.StatusMethodNotAllowed, "use GET here, not "+r.Method+"; read, click and dismiss by POST /v1/messages/{id}/opened, …/clicked, …/dismissed")
		})
	}
	return mux
}

// anyOrigin: the token is what allows, not the origin.
func anyOrigin(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
}

// place is where a delivery stands in the delivery stream. It is what pages go on from, and streams resume behind.
type place struct {
	seq   uint64
	index uint32
}

func (p place) after(q place) bool { return p.seq > q.seq || p.seq == q.seq && p.index > q.index }

// String is "SEQ-INDEX".
func (p place) String() string { return fmt.Sprintf("%d-%d", p.seq, p.index) }

// parsePlace reads what String wrote.
func parsePlace(text string) (p place, ok bool) {
	n, err := fmt.Sscanf(text, "%d-%d", &p.seq, &p.index)
	return p, err == nil && n == 2 && p.String() == text
}
