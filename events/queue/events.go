package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"nudge/events"
)

// Message is one message of the event stream.
type Message struct {
	Seq    uint64
	At     int64 // when it was appended, Unix milliseconds
	Size   int   // bytes in the queue
	Events []events.Event
}

// Append writes the events as one message and returns its sequence once the message is on disk.
// It answers ErrBacklog when too much waits for the store, and ErrTooLarge for what does not fit
// into one message; nothing is kept of either. Any other error leaves open whether the message was
// written. Many calls may be in flight at once; their order is the order of their sequences.
func (q *Queue) Append(ctx context.Context, evs []events.Event) (uint64, error) {
	if len(evs) == 0 {
		return 0, errors.New("append to the queue: no events given")
	}
	if len(evs) > events.MaxPerMessage {
		return 0, fmt.Errorf("append %d events to the queue: at most %d fit into a message: %w", len(evs), events.MaxPerMessage, ErrTooLarge)
	}
	buf := q.encoding(evs)
	data := events.AppendBatch(buf[:0], evs)
	if len(data) > MaxPayload {
		return 0, fmt.Errorf("append %d events (%d bytes) to the queue: %w", len(evs), len(data), ErrTooLarge)
	}
	size := int64(len(data))
	if err := q.backlog.reserve(size, q.cfg.MaxBacklog); err != nil {
		return 0, err
	}
	ack, err := q.js.PublishMsg(ctx, q.message(eventStream, data))
	if err != nil {
		q.backlog.release(size)
		if isFull(err) {
			q.tidySoon()
			return 0, fmt.Errorf("append to the queue: %w: %w", ErrBacklog, err)
		}
		return 0, fmt.Errorf("append to the queue: %w", err)
	}
	q.backlog.added(ack.Sequence, size)
	q.buffers.Put(&data) // acknowledged, so nobody reads it any more
	return ack.Sequence, nil
}

// encoding is memory for one message: of one that was acknowledged, or as much as these events take.
// Grown bit by bit, a large message would be copied several times over.
func (q *Queue) encoding(evs []events.Event) []byte {
	size := 0
	for i := range evs {
		size += events.EncodedSize(&evs[i])
	}
	if b, ok := q.buffers.Get().(*[]byte); ok && cap(*b) >= size {
		return *b
	}
	return make([]byte, 0, size)
}

// Read pushes the messages after sequence `after` to fn, in order, first what is there and then
// what arrives. It returns fn's error, or ctx's when ctx ends.
func (q *Queue) Read(ctx context.Context, after uint64, fn func(Message) error) error {
	next := after + 1
	return q.read(ctx, scan{stream: eventStream, after: after}, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		if seq := meta.Sequence.Stream; seq > next {
			// Only what the store has is ever purged; a reader that begins behind it is another one,
			// or a store that was made anew.
			q.log.Warn("messages were purged before they were read here", "from", next, "to", seq-1)
		}
		next = meta.Sequence.Stream + 1
		evs, err := events.DecodeBatch(msg.Data())
		if err != nil {
			return fmt.Errorf("read message %d of the event stream: %w", meta.Sequence.Stream, err)
		}
		return fn(Message{Seq: meta.Sequence.Stream, At: sentAt(msg, meta), Size: len(msg.Data()), Events: evs})
	})
}

// LastSeq is the sequence of the newest message, 0 if there never was one.
func (q *Queue) LastSeq(ctx context.Context) (uint64, error) {
	info, err := q.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask the queue for its last sequence: %w", err)
	}
	return info.State.LastSeq, nil
}

// FirstSeq is the sequence of the oldest message still there (one above LastSeq if none is): a
// reader that wants older ones has missed some.
func (q *Queue) FirstSeq(ctx context.Context) (uint64, error) {
	info, err := q.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask the queue for its first sequence: %w", err)
	}
	return max(info.State.FirstSeq, 1), nil
}

func (q *Queue) message(subject string, data []byte) *nats.Msg {
	return &nats.Msg{
		Subject: subject,
		Header:  nats.Header{atHeader: []string{strconv.FormatInt(q.now().UnixMilli(), 10)}},
		Data:    data,
	}
}

// isFull says whether the stream refused a message for want of room.
func isFull(err error) bool {
	var api *jetstream.APIError
	const storeFailed, noResources = 10077, 10023
	return errors.As(err, &api) && (api.ErrorCode == storeFailed || api.ErrorCode == noResources)
}
