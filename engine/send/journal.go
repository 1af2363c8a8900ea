package send

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"nudge/engine/ledger"
	"nudge/events/queue"
)

// retryQueue is how long the sender waits before it writes again to a queue that failed.
const retryQueue = time.Second

// longestText bounds what one record keeps of a message's text, so that a record always fits.
const longestText = 128 << 10

// journal writes the records of one shard to the delivery stream: in groups, each one synced
// message, fenced by the last sequence. Only one journal may write to a shard.
type journal struct {
	log   DeliveryLog
	shard int
	slog  *slog.Logger
	last  atomic.Uint64
	group group[ledger.Record]
	// ctx ends all waiting; set before the first write.
	ctx func() context.Context
}

func newJournal(log DeliveryLog, shard int, last uint64, logger *slog.Logger, ctx func() context.Context) *journal {
	j := &journal{log: log, shard: shard, slog: logger, ctx: ctx}
	j.last.Store(last)
	j.group.write = j.write
	return j
}

// add returns when the records are on disk. ErrFenced says that another sender has written.
func (j *journal) add(ctx context.Context, records []ledger.Record) error {
	return j.group.add(ctx, records)
}

func (j *journal) write(records []ledger.Record) error {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && size < ledger.MaxChunk {
			size += recordSize(records[n].Delivery)
			n++
		}
		data, err := ledger.EncodeChunk(records[:n])
		if err != nil {
			return err
		}
		if err := j.publish(data); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// recordSize is an upper estimate of the encoded size.
func recordSize(d *ledger.Delivery) int {
	return 400 + len(d.Text) + 2*(len(d.Error)+len(d.Rule)+len(d.Entry))
}

// publish writes one chunk, however long the queue is away, until the sender ends.
func (j *journal) publish(data []byte) error {
	unsure := false
	for {
		seq, err := j.log.Publish(j.ctx(), j.shard, data, j.last.Load())
		switch {
		case err == nil:
			j.last.Store(seq)
			return nil
		case errors.Is(err, queue.ErrFenced) && unsure:
			// An attempt that seemed to fail may be what fences us now.
			ours, lookErr := j.wasWritten(data)
			if lookErr != nil {
				return lookErr
			}
			if ours {
				return nil
			}
			return j.fenced(err)
		case errors.Is(err, queue.ErrFenced):
			return j.fenced(err)
		case errors.Is(err, queue.ErrTooLarge):
			return err
		}
		unsure = true
		j.slog.Warn("the delivery stream cannot be written; trying again", "shard", j.shard, "error", err)
		if err := sleep(j.ctx(), retryQueue); err != nil {
			return err
		}
	}
}

func (j *journal) fenced(err error) error {
	return fmt.Errorf("another sender is delivering shard %d; stop one of the two: %w", j.shard, err)
}

// wasWritten says whether the one record after the last known is data, and takes its sequence.
func (j *journal) wasWritten(data []byte) (bool, error) {
	n, ours := 0, uint64(0)
	err := j.log.Replay(j.ctx(), j.shard, j.last.Load(), func(r queue.Record) error {
		if n++; n == 1 && bytes.Equal(r.Data, data) {
			ours = r.Seq
		}
		return nil
	})
	if err != nil || n != 1 || ours == 0 {
		return false, err
	}
	j.last.Store(ours)
	return true, nil
}

// sleep waits d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
