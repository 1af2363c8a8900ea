package engine_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine"
	"nudge/engine/enginetest"
	"nudge/events/queue"
)

// trouble stands between the engine and a stream. Each of its functions is called once, and then
// forgotten.
type trouble struct {
	engine.Stream
	publish func(shard int, payload []byte, expect uint64) error // instead of publishing decisions
	replay  func() error                                         // before
	last    func()                                               // before
}

func (s *trouble) Publish(ctx context.Context, shard int, payload []byte, expect uint64) (uint64, error) {
	if fn := s.publish; fn != nil && bytes.Contains(payload, []byte(`"decision":`)) {
		s.publish = nil
		return 0, fn(shard, payload, expect)
	}
	return s.Stream.Publish(ctx, shard, payload, expect)
}

func (s *trouble) Replay(ctx context.Context, shard int, after uint64, fn func(queue.Record) error) error {
	if before := s.replay; before != nil {
		s.replay = nil
		if err := before(); err != nil {
			return err
		}
	}
	return s.Stream.Replay(ctx, shard, after, fn)
}

func (s *trouble) Last(ctx context.Context, shard int) (uint64, error) {
	if before := s.last; before != nil {
		s.last = nil
		before()
	}
	return s.Stream.Last(ctx, shard)
}

// purge takes all out of both streams that may be purged when the ledger has it and it is done with.
func purge(ctx context.Context, w *enginetest.World) error {
	var errs []error
	for _, name := range []string{"decisions", "deliveries"} {
		log, err := w.App.Queue.Log(ctx, name)
		if err != nil {
			return err
		}
		for shard := range engine.Shards {
			errs = append(errs, log.Purge(ctx, shard, math.MaxUint64))
		}
	}
	return errors.Join(errs...)
}

// TestAStateThatIsLoadedAgainHasEverything has a commit fail, so that nobody knows whether it was
// written, and then one more thing go wrong while the shard's state is loaded again. What was sent
// must still count, and nothing may be decided twice.
func TestAStateThatIsLoadedAgainHasEverything(t *testing.T) {
	lost := errors.New("no answer")
	for name, arrange := range map[string]func(w *enginetest.World, decisions, deliveries *trouble){
		"nothing else": func(_ *enginetest.World, decisions, _ *trouble) {
			decisions.publish = func(int, []byte, uint64) error { return lost }
		},
		"the commit was written, and its answer lost": func(_ *enginetest.World, decisions, _ *trouble) {
			decisions.publish = func(shard int, payload []byte, expect uint64) error {
				_, err := decisions.Stream.Publish(t.Context(), shard, payload, expect)
				return errors.Join(lost, err)
			}
		},
		"the commit is written after the stream was read": func(_ *enginetest.World, decisions, _ *trouble) {
			decisions.publish = func(shard int, payload []byte, expect uint64) error {
				decisions.last = func() { _, _ = decisions.Stream.Publish(t.Context(), shard, payload, expect) }
				return lost
			}
		},
		"the ledger copies and the streams are purged meanwhile": func(w *enginetest.World, decisions, deliveries *trouble) {
			purge := func() error { return errors.Join(w.Flush(t.Context()), purge(t.Context(), w)) }
			decisions.publish = func(int, []byte, uint64) error {
				decisions.replay, deliveries.replay = purge, purge
				return lost
			}
		},
		"the outcomes cannot be read at first": func(_ *enginetest.World, decisions, deliveries *trouble) {
			decisions.publish = func(int, []byte, uint64) error {
				deliveries.replay = func() error { return lost }
				return lost
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			each := func(priority, event string) string {
				return "priority: " + priority + "\nschedule: \"0 * * * *\"\nbackfill: true\nwhen: event(\"" + event + "\").count > 0\nagain: never\n"
			}
			w := world(t, map[string]string{"first": each("20", "Seen"), "next": each("10", "Wanted"), "bill": each("5", "Billed") + "category: transactional\n"},
				"caps: [{name: one, max: 1, per: 24h, window: rolling, scope: all, at_cap: retry}]\n")
			var decisions, deliveries *trouble
			w.App.Engine.Between(
				func(s engine.Stream) engine.Stream {
					if decisions == nil {
						decisions = &trouble{Stream: s}
					}
					return decisions
				},
				func(s engine.Stream) engine.Stream {
					deliveries = &trouble{Stream: s}
					return deliveries
				})
			w.Track("ann", "Seen", nil)
			now := enginetest.Start() + hour
			w.Clock.Set(now)
			require.NoError(t, w.App.Engine.Step(t.Context(), now)) // nothing is in the ledger yet
			require.NoError(t, w.App.Sender.Settle(t.Context(), now))
			require.NoError(t, w.App.Engine.CatchUp(t.Context(), now))
			require.Equal(t, []string{"ann: first"}, w.Accepted())

			w.Track("ann", "Wanted", nil)
			w.Track("ann", "Billed", nil)
			now += hour
			w.Clock.Set(now)
			arrange(w, decisions, deliveries)
			tries := 0
			for w.App.Engine.Step(t.Context(), now) != nil {
				tries++
				require.Less(t, tries, 4)
			}
			require.Positive(t, tries, "the commit failed")
			w.To(3 * hour)
			require.Equal(t, []string{"ann: first", "ann: bill"}, w.Accepted(), "what was sent still counts")
			w.To(26 * hour)
			require.Equal(t, []string{"ann: first", "ann: bill", "ann: next"}, w.Accepted(), "and as of when it was accepted")
			require.Equal(t, []string{"bill ann send", "first ann send", "next ann send"}, answers(w))
			var twice uint64
			require.NoError(t, w.Store.Conn().QueryRow(t.Context(), "SELECT count() FROM (SELECT 1 FROM decisions GROUP BY entry, attempt HAVING count() > 1)").Scan(&twice))
			require.Zero(t, twice, "decided twice")
		})
	}
}
