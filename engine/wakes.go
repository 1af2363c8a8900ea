package engine

import (
	"context"
	"slices"
	"sync"

	"nudge/events"
)

// wakes collects people who got an address, a consent or a zone, which open entries may wait for.
type wakes struct {
	mu     sync.Mutex
	people map[events.PersonID]events.Position
}

// add notes who in the batch got something; zones says whether entries wait for one.
func (w *wakes) add(batch []events.Resolved, zones bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range batch {
		ev := &batch[i]
		switch ev.Kind {
		case events.KindIdentify, events.KindDevice, events.KindConsent:
		case events.KindTrack, events.KindPage, events.KindScreen:
			_, news := events.DeviceOf(&ev.Event)
			if !news && zones {
				_, news = events.ZoneOf(&ev.Event)
			}
			if !news {
				continue
			}
		default:
			continue
		}
		if w.people == nil {
			w.people = map[events.PersonID]events.Position{}
		}
		w.people[ev.Person] = ev.Pos
	}
}

// take returns the people whose news is in the store by upTo, and forgets them.
func (w *wakes) take(upTo events.Position) []events.PersonID {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []events.PersonID
	for p, pos := range w.people {
		if pos <= upTo {
			out = append(out, p)
			delete(w.people, p)
		}
	}
	return out
}

// wake makes due what waited for something that has come.
func (e *Engine) wake(now int64) {
	for _, p := range e.wakes.take(e.people.Position()) {
		p = e.people.Canonical(p)
		s := e.shardOf(p)
		s.mu.Lock()
		s.state.Wake(p, now)
		s.mu.Unlock()
	}
}

// Waits says whether some open entry waits for an address, a consent or a zone.
func (e *Engine) Waits() bool {
	return slices.ContainsFunc(e.shards, func(s *shard) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.state.AnyWaits()
	})
}

// zoneCache keeps the list of people's zones until new ones may have come.
type zoneCache struct {
	mu    sync.Mutex
	known bool
	names []string
}

func (z *zoneCache) forget() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.known = false
}

func (z *zoneCache) get(ctx context.Context, p Planner) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.known {
		return z.names, nil
	}
	names, err := p.Zones(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // the planner says what it was doing
	}
	z.names, z.known = names, true
	return names, nil
}
