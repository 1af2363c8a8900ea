package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

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

// read pushes the messages of a scan to fn in order until it is done, ctx ends (the error is
// ctx's) or fn errs.
func (q *Queue) read(ctx context.Context, s scan, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	if s.until > 0 && s.until <= s.after {
		return nil
	}
	if s.after == math.MaxUint64 {
		return fmt.Errorf("read the stream %q: there is nothing after sequence %d", s.stream, s.after)
	}
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
	it, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(readMessages, readBytes))
	if err != nil {
		return q.readError(ctx, s, err)
	}
	defer it.Stop()
	last := s.after
	for {
		msg, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return q.readError(ctx, s, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return q.readError(ctx, s, err)
		}
		seq := meta.Sequence.Stream
		if seq <= last {
			continue // a consumer made anew after a lost connection may begin earlier
		}
		last = seq
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

func (q *Queue) readError(ctx context.Context, s scan, err error) error {
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
