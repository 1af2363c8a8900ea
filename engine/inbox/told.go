package inbox

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"nudge/events"
)

// messageKey names a message: an entry has one on a channel.
type messageKey struct{ entry, channel string }

// state is what the person has done with a message.
type state struct{ read, clicked, dismissed bool }

func (s *state) add(event string) {
	switch event {
	case events.MessageOpened:
		s.read = true
	case events.MessageClicked:
		s.read, s.clicked = true, true
	case events.MessageDismissed:
		s.read, s.dismissed = true, true
	}
}

// told are the reports of this process that the store may not have yet.
type told struct {
	channels []string
	stored   func() events.Position
	now      func() time.Time

	mu     sync.Mutex
	states map[messageKey]toldState
	order  []heard // as they came
	n      uint64  // reports so far
}

type toldState struct {
	state
	last uint64 // the report that was its last
}

type heard struct {
	messageKey
	n   uint64
	pos events.Position
	at  time.Time
}

// remember is how long a report is kept at least: a query that began before the store had it is over by then.
const remember = 2 * queryFor

func newTold(channels []string, stored func() events.Position, now func() time.Time) *told {
	return &told{channels: channels, stored: stored, now: now, states: map[messageKey]toldState{}}
}

// hear takes in events that are in the queue up to a position.
func (t *told) hear(evs []events.Event, pos events.Position) {
	if len(t.channels) == 0 {
		return
	}
	for i := range evs {
		ev := &evs[i]
		if ev.Kind != events.KindMessage {
			continue
		}
		var s state
		if s.add(ev.Name); !s.read {
			continue
		}
		var of struct{ Entry, Channel string }
		if json.Unmarshal(ev.Properties, &of) != nil || !slices.Contains(t.channels, of.Channel) {
			continue
		}
		t.mark(messageKey{of.Entry, of.Channel}, ev.Name, pos)
	}
}

func (t *told) mark(key messageKey, event string, pos events.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	s := t.states[key]
	s.add(event)
	s.last = t.n
	t.states[key] = s
	t.order = append(t.order, heard{key, t.n, pos, t.now()})
	t.forget()
}

// forget drops what the store has had for long enough. t.mu is held.
func (t *told) forget() {
	stored, before := t.stored(), t.now().Add(-remember)
	for len(t.order) > 0 {
		h := t.order[0]
		if h.pos > stored || !h.at.Before(before) {
			return
		}
		t.order = t.order[1:]
		if t.states[h.messageKey].last == h.n {
			delete(t.states, h.messageKey)
		}
	}
}

// of is what was told of a message.
func (t *told) of(key messageKey) state {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.states[key].state
}
