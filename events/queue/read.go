package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// scan is one pass over a stream.
type scan struct {
	stream  string
	subject string // filter; empty is all
	after   uint64 // the sequence before the first wanted
	until   uint64 // the sequence to stop after; 0 follows the tail for ever
	headers bool   // headers only
}

// errStop ends a scan from inside.
var errStop = errors.New("stop")

// errOverflow ends a pass that may have lost messages.
var errOverflow = errors.New("messages were dropped on their way to a reader")

// read pushes the messages of a scan to fn in order until it is done, ctx ends (the error is
// ctx's) or fn errs.
func (q *Queue) read(ctx context.Context, s scan, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	for {
		err := q.pass(ctx, &s, fn)
		if !errors.Is(err, errOverflow) {
			return err
		}
		q.log.Debug("reading again from where a reader was", "stream", s.stream, "after", s.after)
	}
}

// pass is read, until messages may have been lost: then it ends with errOverflow, and s says where to
// go on.
func (q *Queue) pass(ctx context.Context, s *scan, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	if s.until > 0 && s.until <= s.after {
		return nil
	}
	if s.after == math.MaxUint64 {
		return fmt.Errorf("read the stream %q: there is nothing after sequence %d", s.stream, s.after)
	}
	reading, stop := q.overflow.watch(ctx)
	defer stop()
	cfg := jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   s.after + 1,
		HeadersOnly:   s.headers,
	}
	if s.subject != "" {
		cfg.FilterSubjects = []string{s.subject}
	}
	consumer, err := q.js.OrderedConsumer(ctx, s.stream, cfg)
	if err != nil {
		return q.readError(ctx, s, err)
	}
	opts := []jetstream.PullMessagesOpt{
		jetstream.PullMaxMessagesWithBytesLimit(readMessages, readBytes),
		// Asked for only when all of the last are taken: there is room for as many as are asked for at once,
		// and none for what the server says between them.
		jetstream.PullThresholdMessages(1),
	}
	if q.heartbeat > 0 {
		opts = append(opts, jetstream.PullHeartbeat(q.heartbeat))
	}
	it, err := consumer.Messages(opts...)
	if err != nil {
		return q.readError(ctx, s, err)
	}
	defer it.Stop()
	for {
		msg, err := it.Next(jetstream.NextContext(reading))
		if err != nil {
			if ctx.Err() == nil && errors.Is(context.Cause(reading), errOverflow) {
				return errOverflow
			}
			return q.readError(ctx, s, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return q.readError(ctx, s, err)
		}
		seq := meta.Sequence.Stream
		if seq <= s.after {
			continue // a consumer made anew after a lost connection may begin earlier
		}
		s.after = seq
		if err := fn(msg, meta); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
		if s.until > 0 && seq >= s.until {
			return nil
		}
	}
}

// overflow tells readers that messages were dropped on their way to one of them: it is not said to which.
// The client has room for as many messages as it asks for, and what the server says between them (that a
// request is done, that it is still there) takes of it; a message that finds none is dropped. A reader
// would notice at the next one, and wait for that however long it takes.
type overflow struct {
	mu     sync.Mutex
	passes map[*context.CancelCauseFunc]struct{}
}

// watch returns a context that ends with errOverflow when messages have been dropped. Call stop when done.
func (o *overflow) watch(ctx context.Context) (reading context.Context, stop func()) {
	reading, cancel := context.WithCancelCause(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.passes == nil {
		o.passes = map[*context.CancelCauseFunc]struct{}{}
	}
	o.passes[&cancel] = struct{}{}
	return reading, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.passes, &cancel)
		cancel(nil)
	}
}

// happened makes every reader begin again where it was.
func (o *overflow) happened() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for cancel := range o.passes {
		(*cancel)(errOverflow)
	}
}

func (q *Queue) readError(ctx context.Context, s *scan, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("read the stream %q of the queue %s: %w", s.stream, q.place(), err)
}

// sentAt is when a message was appended, by the clock of whoever appended it; for a message
// without the header, by the server's.
func sentAt(msg jetstream.Msg, meta *jetstream.MsgMetadata) int64 {
	if at, err := strconv.ParseInt(msg.Headers().Get(atHeader), 10, 64); err == nil {
		return at
	}
	return meta.Timestamp.UnixMilli()
}
