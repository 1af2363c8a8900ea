package send

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/events/queue"
)

// Sender delivers what was decided. Run it live, or step it with Settle; not both at once.
type Sender struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	routes  map[string]*route
	nowhere *route
	all     []*provider
	teller  group[events.Event]

	// clock is Unix ms: Options.Now while it runs, the given instant while it settles.
	clock    func() int64
	lifetime atomic.Pointer[context.Context]
	fatal    func(error) // ends the run
	refilled chan struct{}
	drain    chan struct{}
	drained  sync.Once
	ended    chan struct{}
	settled  int  // calls of Settle that did something
	stepped  bool // by Settle: whoever must wait does

	mu        sync.Mutex
	shards    map[int]*shard
	recovered bool
	startEnd  uint64 // end of the decision stream at start
	pos       uint64 // decisions read up to here
	units     map[unitKey]*unit
	pasts     map[unitKey]*past
	lines     map[lineKey]*line
	blind     bool // the last patient question about exits had no answer
}

// New checks the options and makes a Sender. Nothing is read or sent before Run or Settle.
func New(o Options) (*Sender, error) {
	switch {
	case o.Decisions == nil || o.Deliveries == nil || o.Events == nil || o.Notes == nil:
		return nil, errors.New("make the sender: the two logs, the event stream and the notes are required")
	case o.Render == nil:
		return nil, errors.New("make the sender: Options.Render is required")
	case len(o.Shards) == 0:
		return nil, errors.New("make the sender: Options.Shards is empty; name the shards to serve")
	}
	o.setDefaults()
	s := &Sender{
		opts: o, log: o.Logger.With("component", "send"), routes: map[string]*route{},
		shards: map[int]*shard{}, units: map[unitKey]*unit{}, pasts: map[unitKey]*past{}, lines: map[lineKey]*line{},
		refilled: make(chan struct{}, 1), drain: make(chan struct{}), ended: make(chan struct{}),
		fatal: func(error) {},
	}
	var err error
	if s.nowhere, err = newRoute("none", refusing()); err != nil {
		return nil, err
	}
	s.all = slices.Clone(s.nowhere.providers)
	for word, conf := range o.Routes {
		r, err := newRoute(word, conf)
		if err != nil {
			return nil, fmt.Errorf("make the sender: %w", err)
		}
		s.routes[word] = r
		s.all = append(s.all, r.providers...)
	}
	if s.metrics, err = newMetrics(o.Registerer, s); err != nil {
		return nil, fmt.Errorf("make the sender: %w", err)
	}
	s.teller.write = func(evs []events.Event) error { return tell(s.life(), s.opts.Events, evs, s.log) }
	return s, nil
}

// life is the context that ends writing and waiting.
func (s *Sender) life() context.Context {
	if ctx := s.lifetime.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}

// lineKey names units that wait together: bounded together, and read on together.
type lineKey struct {
	channel, rule, providers string
	urgent                   bool
}

// line bounds the units of one key in memory. What does not fit is read again from the stream.
type line struct {
	lead   *provider // the first of its providers
	held   int
	behind map[int]cursor // by shard: the first unit that was left in the stream
}

// full says that the line takes no more into memory: it has its own share, and its provider as much as it can do with.
// Sender.mu is held.
func (s *Sender) full(l *line) bool {
	return l.held >= s.opts.Hold && (s.opts.exact || l.lead.held >= 2*l.lead.window())
}

// low says that it is time to read on for a line. Sender.mu is held.
func (s *Sender) low(l *line) bool {
	return l.held <= s.opts.Hold/2 || !s.opts.exact && l.lead.held <= l.lead.window()
}

type cursor struct {
	seq   uint64
	index int // of the record in the message
}

func (s *Sender) lineOf(u *unit) *line {
	key := u.lineKey()
	l := s.lines[key]
	if l == nil {
		l = &line{lead: u.jobs[0].provider, behind: map[int]cursor{}}
		s.lines[key] = l
	}
	return l
}

// unitsOf plans every unit of a decision that sends.
func (s *Sender) unitsOf(d *ledger.Decision, shard int, seq uint64) []*unit {
	if d.Reason != ledger.Send {
		return nil
	}
	units := make([]*unit, 0, len(d.Channels))
	for _, channel := range d.Channels {
		units = append(units, s.plan(d, channel, shard, seq))
	}
	return units
}

// message is one message of the decision stream, decoded as far as somebody has asked.
type message struct {
	s     *Sender
	shard int
	seq   uint64
	raw   []ledger.RawDecision
}

func (s *Sender) open(rec queue.Record) (*message, error) {
	raw, err := ledger.DecodeRaw(rec.Data)
	if err != nil {
		return nil, fmt.Errorf("read message %d of the decision stream: %w", rec.Seq, err)
	}
	return &message{s, rec.Shard, rec.Seq, raw}, nil
}

// units plans the units of the decision with an index.
func (m *message) units(i int) ([]*unit, error) {
	d, err := m.raw[i].Decode()
	if err != nil {
		return nil, fmt.Errorf("read message %d of the decision stream: %w", m.seq, err)
	}
	return m.s.unitsOf(d, m.shard, m.seq), nil
}

// left are the lines of the decision with an index if `closed` says of all of them that they take nothing: then there is no
// need to decode more of it. A line that is not known yet takes something.
func (m *message) left(i int, closed func(*line) bool) (lines []*line, all bool, err error) {
	h, err := m.raw[i].Head()
	if err != nil {
		return nil, false, fmt.Errorf("read message %d of the decision stream: %w", m.seq, err)
	}
	if h.Reason != ledger.Send {
		return nil, true, nil
	}
	keys := make([]lineKey, len(h.Channels))
	for n, channel := range h.Channels {
		keys[n] = lineKey{channel, h.Rule, names(m.s.places(channel, h.Devices)), h.Category == transactional}
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for _, key := range keys {
		l := m.s.lines[key]
		if l == nil || !closed(l) {
			return nil, false, nil
		}
		lines = append(lines, l)
	}
	return lines, true, nil
}

// take takes in one message of the decision stream.
func (s *Sender) take(ctx context.Context, rec queue.Record) error {
	s.mu.Lock()
	sh := s.shards[rec.Shard]
	skip := sh == nil || rec.Seq <= sh.mark.Decisions
	behind := false
	for _, l := range s.lines {
		_, here := l.behind[rec.Shard]
		behind = behind || here
	}
	s.mu.Unlock()
	var units [][]*unit
	var left [][]*line
	if !skip {
		m, err := s.open(rec)
		if err != nil {
			return err
		}
		units, left = make([][]*unit, len(m.raw)), make([][]*line, len(m.raw))
		for i, raw := range m.raw {
			if raw == nil {
				continue
			}
			all := false
			if behind {
				left[i], all, err = m.left(i, func(l *line) bool { _, here := l.behind[rec.Shard]; return here })
			}
			if err == nil && !all {
				units[i], err = m.units(i)
			}
			if err != nil {
				return err
			}
		}
	}
	var again []events.Event
	s.mu.Lock()
	for i, us := range units {
		for _, l := range left[i] {
			if _, here := l.behind[rec.Shard]; !here { // it has caught up since
				l.behind[rec.Shard] = cursor{rec.Seq, i}
				s.wantMore()
			}
		}
		for _, u := range us {
			again = append(again, s.admit(u, s.lineOf(u), i)...)
		}
	}
	s.pos = rec.Seq
	if !skip {
		sh.passed(rec.Seq, rec.Seq <= s.startEnd)
	}
	s.forgetPast()
	s.mu.Unlock()
	if len(again) > 0 {
		return s.teller.add(ctx, again)
	}
	return nil
}

// wantMore has lines read on that have room.
func (s *Sender) wantMore() {
	select {
	case s.refilled <- struct{}{}:
	default:
	}
}

// forgetPast drops what is known from before the start once nothing can ask for it any more.
func (s *Sender) forgetPast() {
	if len(s.pasts) == 0 || s.pos < s.startEnd {
		return
	}
	for _, l := range s.lines {
		if len(l.behind) > 0 {
			return
		}
	}
	clear(s.pasts)
}

// admit takes a unit into memory, or leaves it in the stream when its line is full. It returns the
// events of an outcome from before a crash that may not have been told.
func (s *Sender) admit(u *unit, l *line, index int) []events.Event {
	if _, behind := l.behind[u.shard]; behind {
		return nil
	}
	if _, here := s.units[u.key()]; here {
		return nil
	}
	p := s.pasts[u.key()]
	var again []events.Event
	if p != nil {
		again = s.retell(u, p)
		if p.apply(u) {
			if p.final != nil {
				delete(s.pasts, u.key())
				return again
			}
			// Each device ended by itself and the whole has no outcome: only after a change of the
			// providers. Let it end like a unit without any.
			j := u.jobs[len(u.jobs)-1]
			j.closed, j.begun, j.provider = false, false, s.nowhere.providers[0]
			u.open = 1
		}
	}
	if s.full(l) {
		l.behind[u.shard] = cursor{u.seq, index}
		return again
	}
	delete(s.pasts, u.key())
	l.held++
	l.lead.held++
	u.line, u.left = l, u.open
	s.units[u.key()] = u
	for _, j := range u.jobs {
		if j.closed {
			continue
		}
		s.queue(j)
	}
	return again
}

// queue makes a job wait for its time, or ready.
func (s *Sender) queue(j *job) {
	if j.next > s.clock() {
		j.provider.wait(j)
	} else {
		j.provider.push(j)
	}
	j.provider.signal()
}

// release forgets a resolved unit.
func (s *Sender) release(u *unit) {
	delete(s.units, u.key())
	u.line.held--
	u.line.lead.held--
	if len(u.line.behind) > 0 && s.low(u.line) {
		s.wantMore()
	}
}

// refill reads on for the lines that were full and have room again. It says whether it took
// anything in.
func (s *Sender) refill(ctx context.Context) (took bool, err error) {
	for _, shard := range s.gaps() {
		t, err := s.readOn(ctx, shard)
		took = took || t
		if err != nil {
			return took, err
		}
	}
	return took, nil
}

// gaps are the shards that hold units for lines which are low, oldest units first.
func (s *Sender) gaps() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := map[int]uint64{}
	for _, l := range s.lines {
		if !s.low(l) {
			continue
		}
		for shard, c := range l.behind {
			if seq, ok := oldest[shard]; !ok || c.seq < seq {
				oldest[shard] = c.seq
			}
		}
	}
	return slices.SortedFunc(maps.Keys(oldest), func(a, b int) int { return cmp.Compare(oldest[a], oldest[b]) })
}

// errFull ends a scan: no line has room for more.
var errFull = errors.New("the lines are full")

// readOn reads the units of a shard that were left in the stream, for every line that has room.
func (s *Sender) readOn(ctx context.Context, shard int) (took bool, err error) {
	for {
		s.mu.Lock()
		target, from := s.pos, uint64(0)
		open := map[*line]bool{}
		others := false
		for _, l := range s.lines {
			c, behind := l.behind[shard]
			switch {
			case !behind:
			case s.full(l):
				others = true
			default:
				open[l] = true
				if from == 0 || c.seq < from {
					from = c.seq
				}
			}
		}
		s.mu.Unlock()
		if len(open) == 0 {
			return took, nil
		}
		err := s.opts.Decisions.Replay(ctx, shard, from-1, func(rec queue.Record) error {
			if rec.Seq > target {
				return errFull
			}
			n, err := s.readOnMessage(ctx, open, others, rec)
			took = took || n > 0
			return err
		})
		if err != nil && !errors.Is(err, errFull) {
			return took, err
		}
		if s.caughtUp(shard, open, target) {
			return took, nil
		}
	}
}

// caughtUp closes the gaps of the lines that found room for everything up to target, unless more
// has come since.
func (s *Sender) caughtUp(shard int, open map[*line]bool, target uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range open {
		if s.pos == target {
			delete(l.behind, shard)
		} else {
			l.behind[shard] = cursor{seq: target + 1}
		}
	}
	s.forgetPast()
	return len(open) == 0 || s.pos == target
}

// readAtOnce is how many decisions of a message are decoded before it is seen whether there is room for more.
const readAtOnce = 64

// readOnMessage takes in the units of one message that lines had left; lines that are full again leave `open`. others
// says that the stream has more for lines which are not open.
func (s *Sender) readOnMessage(ctx context.Context, open map[*line]bool, others bool, rec queue.Record) (n int, err error) {
	m, err := s.open(rec)
	if err != nil {
		return 0, err
	}
	var again []events.Event
	for i := s.firstLeft(open, rec); i < len(m.raw) && len(open) > 0; i += readAtOnce {
		units := make([][]*unit, min(readAtOnce, len(m.raw)-i))
		for k := range units {
			if m.raw[i+k] == nil {
				continue
			}
			all := false
			if others {
				_, all, err = m.left(i+k, func(l *line) bool { return !open[l] })
			}
			if err == nil && !all {
				units[k], err = m.units(i + k)
			}
			if err != nil {
				return n, err
			}
		}
		s.mu.Lock()
		for k, us := range units {
			for _, u := range us {
				took, evs := s.readOnUnit(open, u, i+k)
				again = append(again, evs...)
				if took {
					n++
				}
			}
		}
		s.mu.Unlock()
	}
	if len(again) > 0 {
		if err := s.teller.add(ctx, again); err != nil {
			return n, err
		}
	}
	if len(open) == 0 {
		return n, errFull
	}
	return n, nil
}

// firstLeft is the index of the first record of a message that an open line has left.
func (s *Sender) firstLeft(open map[*line]bool, rec queue.Record) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := -1
	for l := range open {
		c := l.behind[rec.Shard]
		switch {
		case c.seq > rec.Seq:
		case c.seq < rec.Seq:
			return 0
		case first < 0 || c.index < first:
			first = c.index
		}
	}
	if first < 0 {
		return math.MaxInt / 2
	}
	return first
}

// readOnUnit takes in a unit if its line is open and had left it. Sender.mu is held.
func (s *Sender) readOnUnit(open map[*line]bool, u *unit, index int) (took bool, again []events.Event) {
	l := s.lineOf(u)
	if c := l.behind[u.shard]; !open[l] || u.seq < c.seq || u.seq == c.seq && index < c.index {
		return false, nil
	}
	delete(l.behind, u.shard) // admit puts it back when the line is full
	before := l.held
	again = s.admit(u, l, index)
	if _, full := l.behind[u.shard]; full {
		delete(open, l)
	} else {
		l.behind[u.shard] = cursor{u.seq, index + 1}
	}
	return l.held > before, again
}

// Next is the earliest instant (Unix ms) at which something can be sent, tried again or expires
// that cannot now; false when nothing waits for time.
func (s *Sender) Next() (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := int64(0)
	if s.clock != nil {
		now = s.clock()
	}
	next := int64(0)
	for _, p := range s.all {
		if at := p.nextAt(now); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	return next, next != 0
}

// clockOf turns the options' clock into Unix ms.
func clockOf(now func() time.Time) func() int64 {
	return func() int64 { return now().UnixMilli() }
}
