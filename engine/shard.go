package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// Stream is one of the two streams that shards write: decisions and deliveries.
type Stream interface {
	Publish(ctx context.Context, shard int, payload []byte, expectLast uint64) (uint64, error)
	Last(ctx context.Context, shard int) (uint64, error)
	Replay(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error
	Read(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error
}

// shard is the one loop of its people: whoever decides holds mu, and a decision counts only once
// commit has published it.
type shard struct {
	id        int
	decisions Stream
	mu        sync.Mutex
	state     *ledger.State
	last      uint64 // newest message of this shard's subject that is in state
	doubt     bool   // a commit failed so that nobody knows whether it was written: load again
}

// commit publishes records as one message and folds them into the state. The caller holds mu.
// queue.ErrFenced means that somebody else wrote: the state must be loaded again.
func (s *shard) commit(ctx context.Context, records []ledger.Record) error {
	if len(records) == 0 {
		return nil
	}
	data, err := ledger.EncodeChunk(records)
	if err != nil {
		return err
	}
	if len(data) > ledger.MaxChunk && len(records) > 1 {
		half := len(records) / 2
		if err := s.commit(ctx, records[:half]); err != nil {
			return err
		}
		return s.commit(ctx, records[half:])
	}
	seq, err := s.decisions.Publish(ctx, s.id, data, s.last)
	if err != nil {
		s.doubt = true
		return fmt.Errorf("commit %d records on shard %d: %w", len(records), s.id, err)
	}
	s.last = seq
	for _, r := range records {
		s.state.Apply(r)
	}
	return nil
}

// message is one of a stream.
type message struct {
	seq     uint64
	records []ledger.Record
}

// load rebuilds the states of shards from the ledger up to its newest message, and from the streams after
// it. The caller holds their mu, and clears doubt when all is in. Deliveries of people who have moved here
// from other shards are in the streams of those: the engine replays deliveries for all shards after all
// have loaded.
func load(ctx context.Context, store *ledger.Store, keepUses int64, shards ...*shard) error {
	from, err := store.Checkpoint(ctx, "decisions")
	if err != nil {
		return err
	}
	// The stream first, and then the ledger as far as it has come by then: meanwhile what it has may
	// leave the stream.
	tails := make([][]message, len(shards))
	for i, s := range shards {
		err = s.decisions.Replay(ctx, s.id, from, func(r queue.Record) error {
			chunk, err := ledger.DecodeChunk(r.Data)
			if err != nil {
				return fmt.Errorf("shard %d, message %d: %w", s.id, r.Seq, err)
			}
			tails[i] = append(tails[i], message{r.Seq, chunk.Records})
			return nil
		})
		if err != nil {
			return fmt.Errorf("replay the decisions of shard %d: %w", s.id, err)
		}
	}
	present, err := store.Checkpoint(ctx, "decisions")
	if err != nil {
		return err
	}
	states, numbers := map[int]*ledger.State{}, make([]int, len(shards))
	for i, s := range shards {
		states[s.id], numbers[i] = ledger.NewState(keepUses), s.id
	}
	if present > 0 {
		if err := store.Load(ctx, numbers, present, func(shard int, r ledger.Record) { states[shard].Apply(r) }); err != nil {
			return err
		}
	}
	for i, s := range shards {
		var last uint64
		for _, m := range tails[i] {
			last = m.seq
			if m.seq <= present {
				continue
			}
			for _, r := range m.records {
				states[s.id].Apply(r)
			}
		}
		// The stream keeps the last message of every subject, so that this is 0 only where nothing was
		// ever decided. One that is in neither was written just now, by another process or by a commit of
		// ours that failed: left out here, it refuses the next commit, and that loads again.
		newest, err := s.decisions.Last(ctx, s.id)
		if err != nil {
			return err
		}
		if newest <= present {
			last = max(last, newest)
		}
		s.state, s.last = states[s.id], last
	}
	return nil
}

// decide runs fn, which decides from the state and answers with what to commit, and commits in
// chunks. When the fence refuses, the state is loaded again and fn runs again.
func (e *Engine) decide(ctx context.Context, s *shard, fn func(*ledger.State, func([]ledger.Record) error) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for try := 0; ; try++ {
		if s.doubt {
			if err := load(ctx, e.ledger, e.keepUses(), s); err != nil {
				return err
			}
			if err := e.replayDeliveries(ctx, s); err != nil {
				return err
			}
			s.state.WakeAll(e.since) // who had been woken is in no record
			s.doubt = false
		}
		err := fn(s.state, func(records []ledger.Record) error { return s.commit(ctx, records) })
		if !errors.Is(err, queue.ErrFenced) || try == maxFenced {
			return err
		}
		e.metrics.fenced.Inc()
		e.log.Warn("another process wrote to a shard; its state is loaded again", "shard", s.id)
	}
}

// maxFenced bounds how often a decision is made again because somebody else wrote.
const maxFenced = 5

// shardOf is the shard of a person: by a multiplicative hash, since ids are positions and grow.
func (e *Engine) shardOf(p events.PersonID) *shard {
	return e.shards[ShardOf(p, len(e.shards))]
}

// ShardOf is the shard of a person among n.
func ShardOf(p events.PersonID, n int) int {
	return int((uint64(p) * 0x9E3779B97F4A7C15 >> 32) % uint64(n))
}
