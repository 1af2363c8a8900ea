package ledger

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"

	"nudge/events"
)

// Block says why a slot whose entry ended without using up `again` does not let in at once.
type Block uint8

// Blocks. All end when the condition was false at a look.
const (
	NotBlocked Block = iota
	UntilFalse
	UntilEvaluated // condition_error: ends when the condition could be evaluated
	UntilMessage   // template_failed: ends also when the message changed
)

// Slot is what a shard remembers of (rule, person, value).
type Slot struct {
	Rule  string `json:"rule"`
	Value string `json:"value,omitempty"`
	// Live and Shadowed keep what used up `again`, for the rule live and in shadow apart.
	Live     Usage `json:"live,omitzero"`
	Shadowed Usage `json:"shadow,omitzero"`

	Block   Block  `json:"block,omitempty"`
	Message string `json:"message,omitempty"` // with UntilMessage: the message that failed
	Entered int64  `json:"entered,omitempty"` // of the newest entry
	// Recent are the entries that entered then: a tick that is repeated finds them.
	Recent []string `json:"recent,omitempty"`
	Zone   string   `json:"zone,omitempty"`
	// Open are the entries that have no final answer: one, but for `on:` rules.
	Open []*Open `json:"open,omitempty"`
}

// Usage says whether an entry used up `again`, and when it had entered (Unix ms).
type Usage struct {
	Used bool   `json:"used,omitempty"`
	At   int64  `json:"at,omitempty"`
	By   string `json:"by,omitempty"` // the entry
	// Before is At of the usage that By replaced, 0 for none: it stands again where By's send is
	// stopped in the queue.
	Before int64 `json:"before,omitempty"`
	// Flipped: the condition was false at a look since.
	Flipped bool `json:"flipped,omitempty"`
}

func (u *Usage) use(entry string, at int64) {
	if u.By == entry {
		return
	}
	*u = Usage{Used: true, At: at, By: entry, Before: u.At}
}

func (u *Usage) giveBack(entry string) {
	if u.By == entry {
		*u = Usage{Used: u.Before != 0, At: u.Before, Flipped: u.Flipped}
	}
}

// Open is an entry that is held, or that is tried again.
type Open struct {
	Entry    string          `json:"entry"`
	Entered  int64           `json:"entered"`
	Attempt  int             `json:"attempt"`
	Reason   Reason          `json:"reason"` // Held, Send (see Follows), or what it was refused for
	By       string          `json:"by,omitempty"`
	Due      int64           `json:"due,omitempty"` // 0: none, see Wait; or its message has not been taken yet
	Expires  int64           `json:"expires,omitempty"`
	Since    int64           `json:"since,omitempty"`
	SincePos events.Position `json:"since_pos,omitempty"`
	Trigger  events.Position `json:"trigger,omitempty"`
	Channels []string        `json:"channels,omitempty"` // only these are left to try
	// Wait: an address or a consent that comes releases it before Due.
	Wait    bool   `json:"wait,omitempty"`
	Variant string `json:"variant,omitempty"` // that was sent, of an entry that Follows
	// Features and With are those of the entry, while it is held or Follows.
	Features Values `json:"features,omitempty"`
	With     Values `json:"with,omitempty"`

	person events.PersonID
	slot   *Slot
	index  int // in the due heap, -1 when not there
}

// Person is whom the entry is about.
func (o *Open) Person() events.PersonID { return o.person }

// Slot is where the entry stands.
func (o *Open) Slot() *Slot { return o.slot }

// Use is one (entry, channel) that counts towards caps.
type Use struct {
	Entry    string `json:"entry"`
	Rule     string `json:"rule"`
	Channel  string `json:"channel"`
	Category string `json:"category"`
	At       int64  `json:"at"` // accepted at; until then, decided at
	Resolved bool   `json:"resolved,omitempty"`
	// Delivered is when a receipt came, 0 until then.
	Delivered int64 `json:"delivered,omitempty"`
}

// Sent is a send decision whose delivery is not resolved.
type Sent struct {
	Decision Decision `json:"decision"` // without profile and devices; with values only for a fallback
	// Left are the channels that have no outcome yet.
	Left []string `json:"left"`
	// Accepted: a channel took it.
	Accepted bool   `json:"accepted,omitempty"`
	Last     Status `json:"last,omitempty"` // the newest outcome
}

// Arm is the experiment arm of a person in a rule, once exposed.
type Arm struct {
	Variant string `json:"variant,omitempty"`
	Holdout bool   `json:"holdout,omitempty"`
	// Crossover: two exposed histories were merged; out of the lift.
	Crossover bool `json:"crossover,omitempty"`
}

// PersonState is all that a shard knows of one person.
type PersonState struct {
	Slots []*Slot          `json:"slots,omitempty"`
	Uses  []Use            `json:"uses,omitempty"`
	Arms  map[string]*Arm  `json:"arms,omitempty"` // by rule
	Sent  map[string]*Sent `json:"sent,omitempty"` // by entry
	// Merged is the position of the newest merge into the person.
	Merged events.Position `json:"merged,omitempty"`

	// byName holds the first of Slots, as many as indexed says, of a person who has many.
	byName  map[slotName]*Slot
	indexed int
}

type slotName struct{ rule, value string }

// fewSlots are found faster by looking through them.
const fewSlots = 16

// Slot returns the slot of (rule, value), or nil. Like Apply it is not safe for concurrent use.
func (p *PersonState) Slot(rule, value string) *Slot {
	if p == nil {
		return nil
	}
	if len(p.Slots) <= fewSlots {
		for _, s := range p.Slots {
			if s.Rule == rule && s.Value == value {
				return s
			}
		}
		return nil
	}
	if p.byName == nil {
		p.byName = make(map[slotName]*Slot, 2*len(p.Slots))
	}
	for ; p.indexed < len(p.Slots); p.indexed++ {
		s := p.Slots[p.indexed]
		p.byName[slotName{s.Rule, s.Value}] = s
	}
	return p.byName[slotName{rule, value}]
}

// State is the fold of a shard's records: who entered which rule, what is open, and what counts
// towards caps. Apply is its only writer; it is not safe for concurrent use.
type State struct {
	people  map[events.PersonID]*PersonState
	watched map[string]map[Watch]struct{} // by rule: slots for which a false answer matters
	due     dueHeap
	waiting map[events.PersonID]int // open entries that wait for an address or a consent
	looked  map[string]string
	ticks   map[string]int64 // by rule: t1 of its newest schedule tick
	last    map[string]Tick  // by kind: the newest
	upTo    events.Position
	moved   map[events.PersonID]Move            // handed out
	into    map[events.PersonID]events.PersonID // who was merged away here, or handed in from another shard
	parts   map[events.PersonID]*PersonState    // of Moves that are not all there
	bases   map[string]map[string]Base          // by rule and, on people's own clocks, zone: its newest look
	paused  map[string]Pause                    // by rule
	asked   asked
	// requests has by rule the newest Request that was carried out.
	requests     map[string]int64
	counted      map[string]Counted // by rule
	unsubscribed []Unsubscribed     // the newest last
	// keepUses is how long a resolved use can matter, in ms.
	keepUses int64
}

// Watch names a slot of a rule.
type Watch struct {
	Person events.PersonID
	Value  string
}

// NewState returns an empty state. keepUses is the longest cap window in milliseconds; older uses
// are dropped.
func NewState(keepUses int64) *State {
	return &State{
		people:   map[events.PersonID]*PersonState{},
		watched:  map[string]map[Watch]struct{}{},
		waiting:  map[events.PersonID]int{},
		looked:   map[string]string{},
		ticks:    map[string]int64{},
		last:     map[string]Tick{},
		moved:    map[events.PersonID]Move{},
		into:     map[events.PersonID]events.PersonID{},
		parts:    map[events.PersonID]*PersonState{},
		bases:    map[string]map[string]Base{},
		paused:   map[string]Pause{},
		asked:    newAsked(),
		requests: map[string]int64{},
		counted:  map[string]Counted{},
		keepUses: keepUses,
	}
}

// Person is what is known of a person; nil when nothing is.
func (s *State) Person(id events.PersonID) *PersonState { return s.people[id] }

// Each calls fn for everybody whom the state remembers, in no order.
func (s *State) Each(fn func(events.PersonID, *PersonState)) {
	for id, p := range s.people {
		fn(id, p)
	}
}

// Looked is the hash under which the rule's first look was completed, "" before.
func (s *State) Looked(rule string) string { return s.looked[rule] }

// TickOf is t1 of the rule's newest schedule tick, or when it was let go on behind a pause, 0 before the first.
func (s *State) TickOf(rule string) int64 { return s.ticks[rule] }

// Bases are the newest looks of each rule, by zone, "" for a schedule on one clock. The newest tick of all
// counts as carried through: at a start it is repeated before any other. The caller must not change them.
func (s *State) Bases() map[string]map[string]Base { return s.bases }

// Pauses are the rules that were paused and have not gone on since. The caller must not change them.
func (s *State) Pauses() map[string]Pause { return s.paused }

// Halted says that a rule decides nothing from here on until it is resumed.
func (s *State) Halted(rule string) bool { return s.paused[rule].Stands() }

// Requests are by rule the newest Request that was carried out. The caller must not change them.
func (s *State) Requests() map[string]int64 { return s.requests }

// Counted says by rule from when on its messages count. The caller must not change it.
func (s *State) Counted() map[string]Counted { return s.counted }

// Unsubscribed are the messages of the last days that were followed by an unsubscribe. The caller must not change them.
func (s *State) Unsubscribed() []Unsubscribed { return s.unsubscribed }

// Last is the newest tick of a kind.
func (s *State) Last(kind string) (Tick, bool) {
	t, ok := s.last[kind]
	return t, ok
}

// UpTo is the position up to which merges and erasures are in the state.
func (s *State) UpTo() events.Position { return s.upTo }

// Watched lists the slots of a rule for which it matters that the condition turns false.
func (s *State) Watched(rule string) map[Watch]struct{} { return s.watched[rule] }

// Taken says whether the person's state came here from another shard.
func (s *State) Taken(from events.PersonID) bool {
	_, ok := s.into[from]
	return ok
}

// Into is who holds what the person had, as far as this shard knows: the person, unless they were
// merged.
func (s *State) Into(id events.PersonID) events.PersonID {
	for {
		to, ok := s.into[id]
		if !ok {
			return id
		}
		id = to
	}
}

// MovedOut is the Move by which the person was handed to another shard.
func (s *State) MovedOut(id events.PersonID) (Move, bool) {
	m, ok := s.moved[id]
	return m, ok
}

// Moved lists people handed to another shard by a Move with Out, in the order of the merges.
func (s *State) Moved() []Move {
	out := make([]Move, 0, len(s.moved))
	for _, m := range s.moved {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Move) int { return cmp.Compare(a.Pos, b.Pos) })
	return out
}

// Waits says whether the person has an open entry that waits for an address or a consent.
func (s *State) Waits(id events.PersonID) bool { return s.waiting[id] > 0 }

// AnyWaits says it of everybody.
func (s *State) AnyWaits() bool { return len(s.waiting) > 0 }

// NextDue is the earliest due time, Unix ms.
func (s *State) NextDue() (int64, bool) {
	if len(s.due) == 0 {
		return 0, false
	}
	return s.due[0].Due, true
}

// DueBy lists the open entries that are due at t, earliest first.
func (s *State) DueBy(t int64) []*Open {
	var out []*Open
	var walk func(i int)
	walk = func(i int) {
		if i >= len(s.due) || s.due[i].Due > t {
			return
		}
		out = append(out, s.due[i])
		walk(2*i + 1)
		walk(2*i + 2)
	}
	walk(0)
	slices.SortFunc(out, func(a, b *Open) int {
		return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.Entry, b.Entry))
	})
	return out
}

// Wake makes the person's entries that wait for an address or a consent due at t, and says how many.
// It is not a record: after a restart everything that waits is woken once.
func (s *State) Wake(id events.PersonID, t int64) int {
	p := s.people[id]
	if p == nil || s.waiting[id] == 0 {
		return 0
	}
	n := 0
	for _, slot := range p.Slots {
		for _, o := range slot.Open {
			if o.Wait && (o.Due == 0 || o.Due > t) {
				s.Defer(o, t)
				n++
			}
		}
	}
	return n
}

// WakeAll wakes everybody who waits.
func (s *State) WakeAll(t int64) {
	for _, id := range slices.Collect(maps.Keys(s.waiting)) {
		s.Wake(id, t)
	}
}

// Defer moves the due time of an open entry whose next try came to the same answer. Like Wake it
// is no record, because nothing was answered.
func (s *State) Defer(o *Open, due int64) {
	s.unschedule(o)
	o.Due = due
	s.schedule(o)
}

func (s *State) schedule(o *Open) {
	if o.Wait {
		s.waiting[o.person]++
	}
	if o.Due != 0 {
		heap.Push(&s.due, o)
	}
}

func (s *State) unschedule(o *Open) {
	if o.index >= 0 {
		heap.Remove(&s.due, o.index)
	}
	if o.Wait {
		if s.waiting[o.person]--; s.waiting[o.person] <= 0 {
			delete(s.waiting, o.person)
		}
	}
}

// dueHeap is a min-heap by Due.
type dueHeap []*Open

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].Due < h[j].Due }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	o := x.(*Open)
	o.index = len(*h)
	*h = append(*h, o)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	o.index = -1
	return o
}
