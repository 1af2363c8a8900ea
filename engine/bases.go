package engine

import (
	"maps"

	"nudge/engine/ledger"
)

// takeUp takes up, at a start, where each rule's next look begins, and which rules are paused. A look that found
// nobody stands on the first shard alone. Else, where shards differ, the oldest counts: the newer belongs to a tick that
// was cut short, which is repeated as it is written.
func (e *Engine) takeUp() {
	for i, s := range e.shards {
		if i == 0 {
			for rule, zones := range s.state.Bases() {
				e.bases[rule] = maps.Clone(zones)
			}
		}
		for rule, zones := range e.bases {
			for zone, b := range zones {
				there := s.state.Bases()[rule][zone]
				switch {
				case b.Idle:
				case there.Hash != b.Hash:
					delete(zones, zone)
				case there.At < b.At:
					zones[zone] = there
				}
			}
		}
		for _, p := range s.state.Pauses() {
			e.paused.add(p)
		}
		e.paused.carriedOut(s.state.Requests())
	}
}

// baseOf is where a rule's look begins: its last one, on people's own clocks the earliest of those of the given zones,
// of which what lies between is found for nothing. None where one of them is not known.
func (e *Engine) baseOf(rule string, zones []string) (ledger.Base, bool) {
	if zones == nil {
		zones = []string{""}
	}
	var oldest ledger.Base
	for i, zone := range zones {
		b, ok := e.bases[rule][zone]
		if !ok || i > 0 && b.Hash != oldest.Hash {
			return ledger.Base{}, false
		}
		if i == 0 || b.At < oldest.At {
			oldest = b
		}
	}
	oldest.Idle = false
	return oldest, true
}
