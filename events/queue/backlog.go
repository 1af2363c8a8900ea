package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// backlog counts the bytes that wait for the store. Embedded, it knows the size of every unwritten
// message and is exact. On a cluster other processes append and write too: there it is told an
// estimate every second, and adds to it what this process appends in between.
type backlog struct {
	mu       sync.Mutex
	sizes    map[uint64]int64 // of the messages above written
	bytes    int64            // waiting, or the estimate
	inFlight int64            // reserved by Append calls under way
	written  uint64
	recount  bool  // Written went back: sizes no longer say all
	fresh    int64 // bytes appended since the last tidying
}

// reserve takes room for a message about to be published.
func (b *backlog) reserve(size, limit int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes+b.inFlight+size > limit {
		return fmt.Errorf("append to the queue: %d of %d bytes wait for the store: %w", b.bytes+b.inFlight, limit, ErrBacklog)
	}
	b.inFlight += size
	return nil
}

func (b *backlog) release(size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight -= size
}

// added turns a reservation into a waiting message, unless the store was quicker than we are.
func (b *backlog) added(seq uint64, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight -= size
	b.fresh += size
	if seq > b.written {
		b.put(seq, size)
	}
}

func (b *backlog) put(seq uint64, size int64) {
	if b.sizes == nil {
		b.sizes = make(map[uint64]int64)
	}
	if _, known := b.sizes[seq]; !known {
		b.sizes[seq] = size
		b.bytes += size
	}
}

// advance moves the written mark; it reports whether a recount is needed because it went back.
func (b *backlog) advance(seq uint64) (recount bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq < b.written {
		b.written, b.recount = seq, true
		return true
	}
	if seq-b.written > uint64(len(b.sizes)) {
		for s, size := range b.sizes {
			if s <= seq {
				b.bytes -= size
				delete(b.sizes, s)
			}
		}
	} else {
		for s := b.written + 1; s <= seq; s++ {
			b.bytes -= b.sizes[s]
			delete(b.sizes, s)
		}
	}
	b.written = seq
	return false
}

// estimate replaces the count by what a cluster's figures say.
func (b *backlog) estimate(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes = bytes
	clear(b.sizes)
}

// Backlog is the number of bytes appended and not yet written to the store.
func (q *Queue) Backlog() int64 {
	q.backlog.mu.Lock()
	defer q.backlog.mu.Unlock()
	return q.backlog.bytes
}

// Written tells the queue that the store holds everything up to and including sequence seq, synced:
// those messages leave the backlog and may be purged once Config.Keep has passed. The first call
// after Open may go back behind what an earlier run said (a store restored from a backup); the
// backlog is then counted anew.
func (q *Queue) Written(seq uint64) {
	if q.backlog.advance(seq) || q.backlog.dirty() > q.cfg.KeepBytes/8 {
		q.tidySoon()
	}
}

func (b *backlog) dirty() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fresh
}

func (b *backlog) mark() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written
}

// countBacklog makes the count right from what the stream holds, beginning at what the last run
// noted as written.
func (q *Queue) countBacklog(ctx context.Context) error {
	info, err := q.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("count the queue's backlog: %w", err)
	}
	noted, err := q.notedWritten(ctx)
	if err != nil {
		return err
	}
	// A stream that is shorter than the note is not the one the note was about.
	if noted > info.State.LastSeq {
		noted = 0
	}
	q.backlog.mu.Lock()
	q.backlog.written = noted
	q.backlog.mu.Unlock()
	return q.recount(ctx, noted)
}

// recount adds the sizes of all messages above written that the count does not know.
func (q *Queue) recount(ctx context.Context, written uint64) error {
	info, err := q.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("count the queue's backlog: %w", err)
	}
	if q.server == nil {
		q.estimateBacklog(info.State)
		return nil
	}
	if info.State.Msgs == 0 {
		return nil
	}
	after := max(written, info.State.FirstSeq-1)
	err = q.read(ctx, scan{stream: eventStream, after: after, until: info.State.LastSeq, headers: true},
		func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
			size, err := strconv.ParseInt(msg.Headers().Get(nats.MsgSize), 10, 64)
			if err != nil {
				return fmt.Errorf("message %d does not say its size: %w", meta.Sequence.Stream, err)
			}
			q.backlog.mu.Lock()
			defer q.backlog.mu.Unlock()
			if meta.Sequence.Stream > q.backlog.written {
				q.backlog.put(meta.Sequence.Stream, size)
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("count the queue's backlog: %w", err)
	}
	return nil
}

// estimateBacklog multiplies the unwritten messages by the mean size of all: a cluster does not
// tell the sizes of a range.
func (q *Queue) estimateBacklog(st jetstream.StreamState) {
	waiting := st.LastSeq - max(min(q.backlog.mark(), st.LastSeq), st.FirstSeq-1)
	if st.Msgs == 0 {
		waiting = 0
	}
	mean := float64(st.Bytes) / float64(max(st.Msgs, 1))
	q.backlog.estimate(int64(mean * float64(waiting)))
}

func (q *Queue) notedWritten(ctx context.Context) (uint64, error) {
	entry, err := q.state.Get(ctx, writtenKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read how far the store had come: %w", err)
	}
	seq, err := strconv.ParseUint(string(entry.Value()), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read how far the store had come: %w", err)
	}
	return seq, nil
}
