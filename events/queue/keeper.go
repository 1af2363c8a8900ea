package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keep runs until ctx ends: it notes how far the store has come, so that the next start counts the
// backlog from there, and purges what is written and old.
func (q *Queue) keep(ctx context.Context) {
	note := time.NewTicker(noteEvery)
	defer note.Stop()
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	noted := q.backlog.mark()
	for {
		var err error
		select {
		case <-ctx.Done():
			if last := q.backlog.mark(); last != noted {
				end, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
				defer cancel()
				if err := q.note(end, last); err != nil {
					q.log.Warn("the next start counts a longer backlog", "error", err)
				}
			}
			return
		case <-note.C:
			if now := q.backlog.mark(); now != noted {
				if err = q.note(ctx, now); err == nil {
					noted = now
				}
			}
			if err == nil && q.server == nil {
				err = q.follow(ctx)
			}
		case <-tidy.C:
			err = q.Tidy(ctx)
		case <-q.kick:
			err = q.Tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			q.log.Warn("the queue could not be tidied; it is tried again", "error", err)
		}
	}
}

func (q *Queue) note(ctx context.Context, seq uint64) error {
	if _, err := q.state.Put(ctx, writtenKey, strconv.AppendUint(nil, seq, 10)); err != nil {
		return fmt.Errorf("note that the store has come to message %d: %w", seq, err)
	}
	return nil
}

// follow takes over what other processes wrote to the store and appended to the stream.
func (q *Queue) follow(ctx context.Context) error {
	noted, err := q.notedWritten(ctx)
	if err != nil {
		return err
	}
	if noted > q.backlog.mark() {
		q.backlog.advance(noted)
	}
	info, err := q.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("count the queue's backlog: %w", err)
	}
	q.estimateBacklog(info.State)
	return nil
}

func (q *Queue) tidySoon() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// Tidy purges the events that are written to the store and either older than Config.Keep or over
// Config.KeepBytes; the last message always stays. It runs by itself every 30 seconds; tests and a
// simulated clock call it.
func (q *Queue) Tidy(ctx context.Context) error {
	q.tidying.Lock()
	defer q.tidying.Unlock()
	q.backlog.mu.Lock()
	q.backlog.fresh = 0
	recount, written := q.backlog.recount, q.backlog.written
	q.backlog.recount = false
	q.backlog.mu.Unlock()
	if recount {
		if err := q.recount(ctx, written); err != nil {
			return err
		}
	}
	info, err := q.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("purge the queue: %w", err)
	}
	st := info.State
	// Everything below `end` is written, and the last message is never below it.
	end := min(written+1, st.LastSeq)
	if st.Msgs == 0 || end <= st.FirstSeq {
		return nil
	}
	below, err := q.firstSince(ctx, st.FirstSeq, end, q.now().Add(-q.cfg.Keep).UnixMilli())
	if err != nil {
		return err
	}
	if tail := int64(st.Bytes) - q.Backlog(); tail > q.cfg.KeepBytes {
		// Sizes of written messages are no longer known; the mean is near enough for a bound.
		share := float64(tail-q.cfg.KeepBytes) / float64(tail)
		below = max(below, st.FirstSeq+uint64(share*float64(end-st.FirstSeq)))
	}
	if below <= st.FirstSeq {
		return nil
	}
	if err := q.stream.Purge(ctx, jetstream.WithPurgeSequence(below)); err != nil {
		return fmt.Errorf("purge the queue below message %d: %w", below, err)
	}
	q.log.Debug("purged", "below", below, "first", st.FirstSeq)
	return nil
}

// firstSince is the first sequence in [from, end) appended at or after `at`, or end. Appending
// times do not decrease, but for the jitter of concurrent calls, which Keep dwarfs.
func (q *Queue) firstSince(ctx context.Context, from, end uint64, at int64) (uint64, error) {
	for from < end {
		mid := from + (end-from)/2
		msg, err := q.stream.GetMsg(ctx, mid)
		if err != nil {
			return 0, fmt.Errorf("look at message %d of the event stream: %w", mid, err)
		}
		sent := msg.Time.UnixMilli()
		if v, err := strconv.ParseInt(msg.Header.Get(atHeader), 10, 64); err == nil {
			sent = v
		}
		if sent < at {
			from = mid + 1
		} else {
			end = mid
		}
	}
	return from, nil
}

// SetNote keeps a small value under a name (letters, digits, dashes and dots), on disk when it
// returns. It is for the resume positions of readers whose own store is the queue.
func (q *Queue) SetNote(ctx context.Context, name string, value []byte) error {
	if _, err := q.state.Put(ctx, "note."+name, value); err != nil {
		return fmt.Errorf("keep the note %q in the queue: %w", name, err)
	}
	return nil
}

// Note is what SetNote kept, nil if there is nothing.
func (q *Queue) Note(ctx context.Context, name string) ([]byte, error) {
	entry, err := q.state.Get(ctx, "note."+name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the note %q of the queue: %w", name, err)
	}
	return entry.Value(), nil
}
