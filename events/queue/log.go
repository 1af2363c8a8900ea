package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// AllShards asks Read and Replay for every shard.
const AllShards = -1

// Log is a durable stream with one subject a shard ("decisions.3"). Sequences are counted over the
// whole stream, so they order the records of all shards. All methods may be called concurrently.
type Log struct {
	q      *Queue
	name   string
	stream jetstream.Stream
}

// Record is one message of a log.
type Record struct {
	Shard int
	Seq   uint64
	At    int64 // when it was published, Unix milliseconds
	Data  []byte
}

// Log opens the log with the given name (letters, digits and dashes), made if it is missing.
func (q *Queue) Log(ctx context.Context, name string) (*Log, error) {
	if name == eventStream || name == "" || strings.ContainsAny(name, ".*> \t/\\") {
		return nil, fmt.Errorf("open the log %q: the name must be letters, digits and dashes, and not %q", name, eventStream)
	}
	stream, err := q.createStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"}})
	if err != nil {
		return nil, err
	}
	return &Log{q: q, name: name, stream: stream}, nil
}

// Publish writes one record to a shard if the shard's last sequence is still expectLast (0: the
// shard has no record yet), and returns its sequence once it is on disk. ErrFenced says that
// another writer was there: reload and decide again. Any other error leaves open whether the
// record was written; ask Last before going on. A record that was on its way then still cannot do
// harm: whoever publishes next is fenced.
func (l *Log) Publish(ctx context.Context, shard int, payload []byte, expectLast uint64) (uint64, error) {
	return l.publish(ctx, shard, payload, jetstream.WithExpectLastSequencePerSubject(expectLast))
}

// Append writes one record to a shard whatever was written before, and returns its sequence once
// it is on disk.
func (l *Log) Append(ctx context.Context, shard int, payload []byte) (uint64, error) {
	return l.publish(ctx, shard, payload)
}

func (l *Log) publish(ctx context.Context, shard int, payload []byte, opts ...jetstream.PublishOpt) (uint64, error) {
	if shard < 0 {
		return 0, fmt.Errorf("publish on %s: there is no shard %d", l.name, shard)
	}
	if len(payload) > MaxPayload {
		return 0, fmt.Errorf("publish %d bytes on %s: %w", len(payload), l.subject(shard), ErrTooLarge)
	}
	ack, err := l.q.js.PublishMsg(ctx, l.q.message(l.subject(shard), payload), opts...)
	if err != nil {
		if isWrongLast(err) {
			return 0, fmt.Errorf("publish on %s: %w (%w)", l.subject(shard), ErrFenced, err)
		}
		return 0, fmt.Errorf("publish on %s: %w", l.subject(shard), err)
	}
	return ack.Sequence, nil
}

func isWrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Last is the sequence of the shard's newest record, 0 if it never had one; for AllShards, the
// newest of the log.
func (l *Log) Last(ctx context.Context, shard int) (uint64, error) {
	if shard == AllShards {
		info, err := l.stream.Info(ctx)
		if err != nil {
			return 0, fmt.Errorf("ask for the last record of %s: %w", l.name, err)
		}
		return info.State.LastSeq, nil
	}
	msg, err := l.stream.GetLastMsgForSubject(ctx, l.subject(shard))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the last record of %s: %w", l.subject(shard), err)
	}
	return msg.Sequence, nil
}

// Read pushes the records of a shard after sequence `after` to fn, in order, first what is there
// and then what arrives. It returns fn's error, or ctx's when ctx ends.
func (l *Log) Read(ctx context.Context, shard int, after uint64, fn func(Record) error) error {
	return l.scan(ctx, shard, after, 0, fn)
}

// Replay pushes the records of a shard after sequence `after` that are there now, and returns.
func (l *Log) Replay(ctx context.Context, shard int, after uint64, fn func(Record) error) error {
	last, err := l.Last(ctx, shard)
	if err != nil || last == 0 {
		return err
	}
	return l.scan(ctx, shard, after, last, fn)
}

func (l *Log) scan(ctx context.Context, shard int, after, until uint64, fn func(Record) error) error {
	s := scan{stream: l.name, subject: l.subject(shard), after: after, until: until}
	return l.q.read(ctx, s, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		n, err := strconv.Atoi(strings.TrimPrefix(msg.Subject(), l.name+"."))
		if err != nil {
			return fmt.Errorf("record %d of %s has the subject %q, which names no shard", meta.Sequence.Stream, l.name, msg.Subject())
		}
		return fn(Record{Shard: n, Seq: meta.Sequence.Stream, At: sentAt(msg, meta), Data: msg.Data()})
	})
}

// Purge drops the shard's records below the given sequence, but never its last one: without it the
// expected sequence would start over.
func (l *Log) Purge(ctx context.Context, shard int, below uint64) error {
	last, err := l.Last(ctx, shard)
	if err != nil {
		return err
	}
	below = min(below, last)
	if below <= 1 {
		return nil
	}
	err = l.stream.Purge(ctx, jetstream.WithPurgeSubject(l.subject(shard)), jetstream.WithPurgeSequence(below))
	if err != nil {
		return fmt.Errorf("purge %s below %d: %w", l.subject(shard), below, err)
	}
	return nil
}

func (l *Log) subject(shard int) string {
	if shard == AllShards {
		return l.name + ".*"
	}
	return l.name + "." + strconv.Itoa(shard)
}
