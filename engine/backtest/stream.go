package backtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"nudge/engine/ledger"
	"nudge/events/queue"
)

// stream is a stream of decisions or deliveries in memory: who publishes is the only one. What it is given is handed
// on at once, and kept, where somebody reads it, until that has been done.
type stream struct {
	mu     sync.Mutex
	seq    uint64
	last   map[int]uint64
	kept   map[int][]queue.Record // by shard; nil: nothing is
	taking func(ledger.Record)
}

// newStream returns a stream whose first message comes after seq. taking is called with each record, one at a time.
func newStream(seq uint64, taking func(ledger.Record)) *stream {
	return &stream{seq: seq, last: map[int]uint64{}, taking: taking}
}

// Publish implements engine.Stream.
func (s *stream) Publish(_ context.Context, shard int, payload []byte, expectLast uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last[shard] != expectLast {
		return 0, queue.ErrFenced
	}
	if s.taking != nil {
		chunk, err := ledger.DecodeChunk(payload)
		if err != nil {
			return 0, fmt.Errorf("read what was decided: %w", err)
		}
		for _, r := range chunk.Records {
			s.taking(r)
		}
	}
	s.seq++
	s.last[shard] = s.seq
	if s.kept != nil {
		s.kept[shard] = append(s.kept[shard], queue.Record{Shard: shard, Seq: s.seq, Data: payload})
	}
	return s.seq, nil
}

// Last implements engine.Stream.
func (s *stream) Last(_ context.Context, shard int) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[shard], nil
}

// Replay implements engine.Stream. What it has handed on it forgets.
func (s *stream) Replay(_ context.Context, shard int, after uint64, fn func(queue.Record) error) error {
	s.mu.Lock()
	list := s.kept[shard]
	if s.kept != nil {
		s.kept[shard] = nil
	}
	s.mu.Unlock()
	for _, m := range list {
		if m.Seq <= after {
			continue
		}
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// Read implements engine.Stream.
func (s *stream) Read(context.Context, int, uint64, func(queue.Record) error) error {
	return errors.New("nobody follows the streams of a backtest")
}
