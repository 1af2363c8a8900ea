package engine

import (
	"sync"
	"sync/atomic"

	"nudge/events"
)

// merged is a set of merges, loser to winner. It may be used concurrently.
type merged struct {
	mu sync.RWMutex
	to map[events.PersonID]events.PersonID
}

func (m *merged) add(from, to events.PersonID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.to == nil {
		m.to = map[events.PersonID]events.PersonID{}
	}
	m.to[from] = to
}

func (m *merged) into(id events.PersonID) (to events.PersonID, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	to, ok = m.to[id]
	return to, ok
}

func (m *merged) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.to)
}

// enter says that a tick or arrivals begin. Merges are remembered only while somebody is under way that
// looked at people before them.
func (e *Engine) enter(one, other *atomic.Bool) {
	if !one.Swap(true) && !other.Load() {
		e.late.forget()
	}
}

// astray is what was found about people who have been merged since they were looked at, as found about
// whom they became. Open entries have moved by themselves and come due again.
func (e *Engine) astray(f *found) *found {
	// A merge that is under way has ended behind this: the winner holds everything.
	e.moving.Lock()
	defer e.moving.Unlock()
	next := newFound()
	for from, to := range f.strays.to {
		for _, c := range f.people[from] {
			if c.open == nil {
				next.people[to] = append(next.people[to], c)
			}
		}
	}
	return next
}
