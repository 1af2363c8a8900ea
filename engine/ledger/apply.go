package ledger

import (
	"cmp"
	"slices"

	"nudge/events"
)

// Apply folds one record of the decision stream, or a Delivery, into the state. Decisions come in
// stream order; deliveries may come before or after the decisions that follow them.
func (s *State) Apply(r Record) {
	switch {
	case r.Tick != nil:
		s.applyTick(*r.Tick)
	case r.Decision != nil:
		s.applyDecision(r.Decision)
	case r.Flip != nil:
		s.applyFlip(*r.Flip)
	case r.Looked != nil:
		s.looked[r.Looked.Rule] = r.Looked.Hash
	case r.Pause != nil:
		s.applyPause(*r.Pause)
	case r.Resume != nil:
		delete(s.paused, r.Resume.Rule)
		s.ticks[r.Resume.Rule] = max(s.ticks[r.Resume.Rule], r.Resume.At)
		s.requests[r.Resume.Rule] = max(s.requests[r.Resume.Rule], r.Resume.Asked)
		if c, ok := s.counted[r.Resume.Rule]; ok { // the messages before are what it was paused for
			c.From = max(c.From, r.Resume.At+1)
			s.counted[r.Resume.Rule] = c
		}
	case r.Counted != nil:
		s.counted[r.Counted.Rule] = *r.Counted
	case r.Unsubscribed != nil:
		s.applyUnsubscribed(*r.Unsubscribed)
	case r.Move != nil:
		s.applyMove(*r.Move)
	case r.Forget != nil:
		s.drop(r.Forget.Person)
		s.upTo = max(s.upTo, r.Forget.Pos)
	case r.Delivery != nil:
		s.applyDelivery(*r.Delivery)
	}
}

func (s *State) applyTick(t Tick) {
	if last := s.last[t.Kind]; t.Kind == TickSchedule && (last.ID != t.ID || last.P1 != t.P1) {
		clear(s.asked.answered)
	}
	s.last[t.Kind] = t
	s.upTo = max(s.upTo, t.P1)
	if t.Kind == TickArrival {
		return
	}
	for _, rule := range t.Rules {
		s.ticks[rule] = max(s.ticks[rule], t.T1)
		hash, ok := t.Looks[rule]
		if !ok { // not looked at
			delete(s.bases, rule)
			continue
		}
		if !s.paused[rule].Stands() { // its file has changed
			delete(s.paused, rule)
		}
		if s.bases[rule] == nil {
			s.bases[rule] = map[string]Base{}
		}
		zones := t.Zones[rule]
		if zones == nil {
			zones = []string{""}
		}
		for _, zone := range zones {
			s.bases[rule][zone] = Base{At: t.T1, UpTo: t.P1, Hash: hash, Idle: t.Idle}
		}
	}
}

// applyPause notes a pause; one that stands is not replaced by one that would end by itself.
func (s *State) applyPause(p Pause) {
	s.requests[p.Rule] = max(s.requests[p.Rule], p.Asked)
	if p.Stands() || !s.paused[p.Rule].Stands() {
		s.paused[p.Rule] = p
	}
	delete(s.looked, p.Rule)
	delete(s.bases, p.Rule)
}

// keepUnsubscribed is for how long it is remembered, in ms, which messages were followed by an unsubscribe: they count
// no longer, and what comes that late is about no message any more.
const keepUnsubscribed = int64(9 * 24 * 3600 * 1000)

func (s *State) applyUnsubscribed(u Unsubscribed) {
	old := 0
	for old < len(s.unsubscribed) && s.unsubscribed[old].At < u.At-keepUnsubscribed {
		old++
	}
	s.unsubscribed = append(s.unsubscribed[old:], u)
}

func (s *State) person(id events.PersonID) *PersonState {
	p := s.people[id]
	if p == nil {
		p = &PersonState{}
		s.people[id] = p
	}
	return p
}

func (s *State) applyDecision(d *Decision) {
	for _, item := range d.Items {
		s.applyDecision(item)
	}
	p := s.person(d.Person)
	slot := p.Slot(d.Rule, d.Value)
	if slot == nil {
		slot = &Slot{Rule: d.Rule, Value: d.Value}
		p.Slots = append(p.Slots, slot)
	}
	live, shadowed := slot.Live.At, slot.Shadowed.At
	if d.Entered > slot.Entered {
		slot.Entered, slot.Recent = d.Entered, nil
	}
	if d.Entered == slot.Entered && !slices.Contains(slot.Recent, d.Entry) {
		slot.Recent = append(slot.Recent, d.Entry)
	}
	slot.Zone = d.Zone
	before := s.closeOpen(slot, d.Entry)
	delete(p.Sent, d.Entry)

	switch {
	case d.Reason == Held || d.Open:
		s.open(slot, d)
	case d.Reason == Send:
		if before == nil || !before.Follows() { // else it did when it was first sent
			slot.Live.use(d.Entry, d.Entered)
			slot.Block = NotBlocked
		}
		if d.Sends() {
			s.reserve(p, d)
			p.expose(d.Rule, Arm{Variant: d.Variant})
		}
		if d.Escalates() {
			s.open(slot, d)
		}
	case d.Reason == InDigest:
		slot.Live.use(d.Entry, d.Entered)
		slot.Block = NotBlocked
		p.expose(d.Rule, Arm{Variant: d.Variant})
	case d.Reason == Holdout:
		slot.Live.use(d.Entry, d.Entered)
		slot.Block = NotBlocked
		p.expose(d.Rule, Arm{Holdout: true})
	case d.Reason == Shadow:
		slot.Shadowed.use(d.Entry, d.Entered)
	case d.Reason == ConditionError:
		if slot.Block == NotBlocked { // what waits for a false answer has not seen one
			slot.Block = UntilEvaluated
		}
	case d.Reason == TemplateFailed:
		slot.Live.giveBack(d.Entry)
		slot.Block, slot.Message = UntilMessage, d.Message
	case d.Reason == NoLongerTrue:
		slot.Block, slot.Live.Flipped, slot.Shadowed.Flipped = NotBlocked, true, true
	case d.Reason.UsesAgain():
		slot.Live.use(d.Entry, d.Entered)
	default:
		slot.Live.giveBack(d.Entry)
		slot.Block = UntilFalse
	}
	s.watch(d.Person, slot, d.Watch || slot.Block != NotBlocked)
	s.asked.decided(d, slot, s.last[TickSchedule].ID)
	s.asked.moved(d.Person, slot, live, shadowed)
}

// UsesAgain says whether an entry that ended with r, and is not open, used up `again`.
func (r Reason) UsesAgain() bool {
	switch r {
	case Send, InDigest, Holdout, FrequencyCap, Outranked, NoAddress, NoConsent, QuietHours:
		return true
	case AlreadyTrue, NotInRollout, Exited, NoLongerTrue, Expired, Merged, TemplateFailed, ConditionError, Paused, Shadow:
		return false
	default:
		return false
	}
}

func (s *State) watch(id events.PersonID, slot *Slot, on bool) {
	set := s.watched[slot.Rule]
	w := Watch{Person: id, Value: slot.Value}
	if !on {
		delete(set, w)
		return
	}
	if set == nil {
		set = map[Watch]struct{}{}
		s.watched[slot.Rule] = set
	}
	set[w] = struct{}{}
}

// open takes in that the entry is open. One whose message is on its way falls due when that has been taken.
func (s *State) open(slot *Slot, d *Decision) {
	o := &Open{
		Entry: d.Entry, Entered: d.Entered, Attempt: d.Attempt, Reason: d.Reason, By: d.By, Due: d.Due,
		Expires: d.Expires, Since: d.Since, SincePos: d.SincePos, Trigger: d.Trigger, Channels: d.Channels, Wait: d.Wait, person: d.Person, slot: slot, index: -1,
	}
	if d.Escalates() {
		o.Channels, o.Variant = d.Fallback, d.Variant
	}
	if d.Sends() {
		o.Due, o.Expires = 0, 0
	}
	if d.Reason == Held || d.Reason == Send {
		o.Features, o.With = d.Features, d.With
	}
	slot.Open = append(slot.Open, o)
	s.schedule(o)
}

// closeOpen takes the open entry away and returns it, nil where there is none.
func (s *State) closeOpen(slot *Slot, entry string) *Open {
	i := slices.IndexFunc(slot.Open, func(o *Open) bool { return o.Entry == entry })
	if i < 0 {
		return nil
	}
	o := slot.Open[i]
	s.unschedule(o)
	slot.Open = slices.Delete(slot.Open, i, i+1)
	return o
}

func (s *State) applyFlip(f Flip) {
	slot := s.people[f.Person].Slot(f.Rule, f.Value)
	if slot == nil {
		return
	}
	slot.Block, slot.Live.Flipped, slot.Shadowed.Flipped = NotBlocked, true, true
	s.watch(f.Person, slot, false)
	s.asked.seen(f.Person, slot)
}

// reserve counts a send towards caps until its deliveries are resolved.
func (s *State) reserve(p *PersonState, d *Decision) {
	if len(p.Uses) > 0 {
		oldest := d.At - s.keepUses
		p.Uses = slices.DeleteFunc(p.Uses, func(u Use) bool { return u.Resolved && u.At <= oldest })
	}
	for _, c := range d.Channels {
		if slices.ContainsFunc(p.Uses, func(u Use) bool { return u.Entry == d.Entry && u.Channel == c }) {
			continue
		}
		p.Uses = append(p.Uses, Use{Entry: d.Entry, Rule: d.Rule, Channel: c, Category: d.Category, At: d.At})
	}
	if p.Sent == nil {
		p.Sent = map[string]*Sent{}
	}
	short := *d
	short.Profile, short.Devices, short.Items = nil, nil, nil
	if len(d.Fallback) == 0 { // else the next channel needs them
		short.Features, short.With = nil, nil
	}
	p.Sent[d.Entry] = &Sent{Decision: short, Left: slices.Clone(d.Channels)}
}

func (p *PersonState) expose(rule string, arm Arm) {
	if p.Arms == nil {
		p.Arms = map[string]*Arm{}
	}
	if have := p.Arms[rule]; have != nil {
		return
	}
	p.Arms[rule] = &arm
}

func (s *State) applyDelivery(d Delivery) {
	p := s.people[d.Person]
	if p == nil || !d.Status.Final() {
		return
	}
	for i := range p.Uses {
		u := &p.Uses[i]
		if u.Entry != d.Entry || u.Channel != d.Channel || u.Resolved {
			continue
		}
		if d.Status == Accepted {
			u.Resolved, u.At = true, d.At
		} else {
			p.Uses = slices.Delete(p.Uses, i, i+1)
		}
		break
	}
	sent := p.Sent[d.Entry]
	if sent == nil {
		return
	}
	i := slices.Index(sent.Left, d.Channel)
	if i < 0 {
		return
	}
	sent.Left = slices.Delete(sent.Left, i, i+1)
	sent.Accepted = sent.Accepted || d.Status == Accepted
	sent.Last = d.Status
	if d.Status == Accepted {
		s.taken(p, &sent.Decision, d.At)
	}
	if len(sent.Left) == 0 && sent.Next() == "" {
		delete(p.Sent, d.Entry)
	}
}

// taken makes an entry that escalates fall due when its time has passed since a channel took its message at an instant.
func (s *State) taken(p *PersonState, d *Decision, at int64) {
	slot := p.Slot(d.Rule, d.Value)
	if !d.Escalates() || slot == nil {
		return
	}
	for _, o := range slot.Open {
		if o.Entry == d.Entry && o.Due == 0 {
			s.Defer(o, at+d.Due-d.At)
		}
	}
}

// Unanswered lists the sends of everybody whose deliveries are resolved but whose entry still needs
// a decision (Next).
func (s *State) Unanswered() []*Sent {
	var out []*Sent
	for _, p := range s.people {
		for _, sent := range p.Sent {
			if sent.Next() != "" {
				out = append(out, sent)
			}
		}
	}
	slices.SortFunc(out, func(a, b *Sent) int { return cmp.Compare(a.Decision.Entry, b.Decision.Entry) })
	return out
}

// Next says what a resolved send still needs: a decision with the returned reason, or nothing ("").
// Send asks for the fallback channels.
func (sent *Sent) Next() Reason {
	if sent.Accepted || len(sent.Left) > 0 {
		return ""
	}
	switch sent.Last {
	case Failed:
		if len(sent.Decision.Fallback) > 0 {
			return Send
		}
		return ""
	case StoppedExited:
		return Exited
	case StoppedExpired:
		return Expired
	case StoppedPaused:
		return Paused
	case Unrendered:
		return TemplateFailed
	case Intent, Retrying, Accepted:
		return ""
	default:
		return ""
	}
}

// Final says whether the status ends the delivery.
func (st Status) Final() bool { return st != Intent && st != Retrying }

// applyMove unites the state of two people. For each (rule, value) both sets of open entries stand
// side by side; the loop ends all but the oldest as merged.
func (s *State) applyMove(m Move) {
	m, all := s.whole(m)
	if !all {
		return
	}
	s.upTo = max(s.upTo, m.Pos)
	if m.Out {
		s.moved[m.From], s.into[m.From] = m, m.To
		s.drop(m.From)
		return
	}
	from := m.State
	if from == nil {
		from = s.people[m.From]
		s.drop(m.From)
	} else if s.Taken(m.From) {
		return
	}
	s.into[m.From] = m.To
	if from == nil {
		return
	}
	to := s.person(m.To)
	to.Merged = max(to.Merged, m.Pos)
	for _, slot := range from.Slots {
		s.takeSlot(m.To, to, slot)
	}
	to.Uses = append(to.Uses, from.Uses...)
	slices.SortStableFunc(to.Uses, func(a, b Use) int { return cmp.Compare(a.At, b.At) })
	for entry, sent := range from.Sent {
		if to.Sent == nil {
			to.Sent = map[string]*Sent{}
		}
		moved := *sent
		moved.Decision.Person = m.To
		to.Sent[entry] = &moved
	}
	for rule, arm := range from.Arms {
		have := to.Arms[rule]
		switch {
		case have == nil:
			to.expose(rule, *arm)
		case *have != *arm:
			have.Crossover = true
		}
	}
}

func (s *State) takeSlot(id events.PersonID, to *PersonState, from *Slot) {
	slot := to.Slot(from.Rule, from.Value)
	if slot == nil {
		slot = &Slot{Rule: from.Rule, Value: from.Value, Zone: from.Zone, Block: from.Block, Message: from.Message}
		to.Slots = append(to.Slots, slot)
	}
	slot.Live = later(slot.Live, from.Live)
	slot.Shadowed = later(slot.Shadowed, from.Shadowed)
	slot.Block = max(slot.Block, from.Block)
	if from.Entered > slot.Entered {
		slot.Entered, slot.Recent = from.Entered, nil
	}
	if from.Entered == slot.Entered {
		slot.Recent = append(slot.Recent, from.Recent...)
	}
	for _, o := range from.Open {
		moved := *o
		moved.person, moved.slot, moved.index = id, slot, -1
		slot.Open = append(slot.Open, &moved)
		s.schedule(&moved)
	}
	s.watch(id, slot, true)
	s.asked.merged(id, slot)
}

// later is the newer of two usages; the other stands again where it is given back.
func later(a, b Usage) Usage {
	if !a.Used || (b.Used && b.At > a.At) {
		a, b = b, a
	}
	if b.Used {
		a.Before = max(a.Before, b.At)
	}
	return a
}

// drop forgets a person. Open entries leave the due heap.
func (s *State) drop(id events.PersonID) {
	p := s.people[id]
	if p == nil {
		return
	}
	for _, slot := range p.Slots {
		for _, o := range slot.Open {
			s.unschedule(o)
		}
		s.watch(id, slot, false)
		s.asked.drop(id, slot)
	}
	delete(s.people, id)
}
