package engine

import (
	"encoding/json"

	"nudge/engine/ledger"
	"nudge/events"
)

// Snapshot is what every shard remembers, as JSON by person, for tests.
func (e *Engine) Snapshot() map[events.PersonID]string {
	out := map[events.PersonID]string{}
	for _, s := range e.shards {
		s.mu.Lock()
		s.state.Each(func(id events.PersonID, p *ledger.PersonState) {
			data, err := json.Marshal(p)
			if err != nil {
				panic(err)
			}
			out[id] = string(data)
		})
		s.mu.Unlock()
	}
	return out
}

// Between puts something between the engine and its two streams.
func (e *Engine) Between(decisions, deliveries func(Stream) Stream) {
	for _, s := range e.shards {
		s.decisions = decisions(s.decisions)
	}
	e.deliveries = deliveries(e.deliveries)
}

// Plan puts something between the engine and its planner.
func (e *Engine) Plan(with func(Planner) Planner) { e.planner = with(e.planner) }
