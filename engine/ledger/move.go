package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Split makes the records of a Move: as many as its state needs, of at most about most bytes of JSON each.
func (m Move) Split(most int) ([]Record, error) {
	if m.State == nil {
		return []Record{{Move: &m}}, nil
	}
	parts := []*PersonState{{Merged: m.State.Merged}}
	size := 0
	// room answers the part that has room for v.
	room := func(v any) (*PersonState, error) {
		data, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode the state of person %d: %w", m.From, err)
		}
		const around = 100 // the key of a map's value, commas
		n := len(data) + around
		if size > 0 && size+n > most {
			parts, size = append(parts, &PersonState{}), 0
		}
		size += n
		return parts[len(parts)-1], nil
	}
	for _, slot := range m.State.Slots {
		open := slot.Open
		head := *slot
		head.Open = nil
		p, err := room(head)
		if err != nil {
			return nil, err
		}
		p.Slots = append(p.Slots, &head)
		at := &head
		for _, o := range open { // a slot of an `on:` rule may have any number
			next, err := room(o)
			if err != nil {
				return nil, err
			}
			if next != p {
				at = &Slot{Rule: slot.Rule, Value: slot.Value}
				p, next.Slots = next, append(next.Slots, at)
			}
			at.Open = append(at.Open, o)
		}
	}
	for _, u := range m.State.Uses {
		p, err := room(u)
		if err != nil {
			return nil, err
		}
		p.Uses = append(p.Uses, u)
	}
	for _, rule := range slices.Sorted(maps.Keys(m.State.Arms)) {
		p, err := room(m.State.Arms[rule])
		if err != nil {
			return nil, err
		}
		p.join(&PersonState{Arms: map[string]*Arm{rule: m.State.Arms[rule]}})
	}
	for _, entry := range slices.Sorted(maps.Keys(m.State.Sent)) {
		p, err := room(m.State.Sent[entry])
		if err != nil {
			return nil, err
		}
		p.join(&PersonState{Sent: map[string]*Sent{entry: m.State.Sent[entry]}})
	}
	out := make([]Record, len(parts))
	for i, p := range parts {
		part := m
		part.State, part.Part, part.More = p, i, i < len(parts)-1
		out[i].Move = &part
	}
	return out, nil
}

// join adds another part of the same person.
func (p *PersonState) join(part *PersonState) {
	if part == nil {
		return
	}
	for _, slot := range part.Slots {
		if have := p.Slot(slot.Rule, slot.Value); have != nil {
			have.Open = append(have.Open, slot.Open...)
		} else {
			p.Slots = append(p.Slots, slot)
		}
	}
	p.Uses = append(p.Uses, part.Uses...)
	p.Merged = max(p.Merged, part.Merged)
	for rule, arm := range part.Arms {
		if p.Arms == nil {
			p.Arms = map[string]*Arm{}
		}
		p.Arms[rule] = arm
	}
	for entry, sent := range part.Sent {
		if p.Sent == nil {
			p.Sent = map[string]*Sent{}
		}
		p.Sent[entry] = sent
	}
}

// whole collects the parts of a Move, and answers it with its whole state behind the last one.
func (s *State) whole(m Move) (Move, bool) {
	if m.Part == 0 {
		delete(s.parts, m.From) // of a series that was cut short
		if !m.More {
			return m, true
		}
	}
	have := s.parts[m.From]
	if have == nil {
		have = &PersonState{}
		s.parts[m.From] = have
	}
	have.join(m.State)
	if m.More {
		return m, false
	}
	delete(s.parts, m.From)
	m.State, m.Part = have, 0
	return m, true
}
