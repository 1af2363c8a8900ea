package send

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	held   int
	behind map[int]cursor // by shard: the first unit that was left in the stream
}

type cursor struct {
	seq   uint64
	index int // of the record in the message
}

func (s *Sender) lineOf(u *unit) *line {
	key := lineKey{u.channel, u.decision.Rule, u.providers(), u.urgent()}
	l := s.lines[key]
	if l == nil {
		l = &line{behind: map[int]cursor{}}
		s.lines[key] = l
	}
	return l
}

// unitsOf plans every unit of a record that sends.
func (s *Sender) unitsOf(r *ledger.Record, shard int, seq uint64) []*unit {
	d := r.Decision
	if d == nil || d.Reason != ledger.Send {
		return nil
	}
	units := make([]*unit, 0, len(d.Channels))
	for _, channel := range d.Channels {
		units = append(units, s.plan(d, channel, shard, seq))
	}
	return units
}

// take takes in one message of the decision stream.
func (s *Sender) take(ctx context.Context, rec queue.Record) error {
	s.mu.Lock()
	sh := s.shards[rec.Shard]
	skip := sh == nil || rec.Seq <= sh.mark.Decisions
	s.mu.Unlock()
	var units [][]*unit
	if !skip {
		chunk, err := ledger.DecodeChunk(rec.Data)
		if err != nil {
			return fmt.Errorf("read message %d of the decision stream: %w", rec.Seq, err)
		}
		units = make([][]*unit, len(chunk.Records))
		for i := range chunk.Records {
			units[i] = s.unitsOf(&chunk.Records[i], rec.Shard, rec.Seq)
		}
	}
	var again []events.Event
	s.mu.Lock()
	for i, us := range units {
		for _, u := range us {
			l := s.lineOf(u)
			again = append(again, s.admit(u, l, i)...)
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
	if l.held >= s.opts.Hold {
		l.behind[u.shard] = cursor{u.seq, index}
		return again
	}
	delete(s.pasts, u.key())
	l.held++
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
	if len(u.line.behind) > 0 && u.line.held <= s.opts.Hold/2 {
		select {
		case s.refilled <- struct{}{}:
		default:
		}
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

// gaps are the shards that hold units for lines which are at least half empty, oldest units first.
func (s *Sender) gaps() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := map[int]uint64{}
	for _, l := range s.lines {
		if l.held > s.opts.Hold/2 {
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
		for _, l := range s.lines {
			if c, behind := l.behind[shard]; behind && l.held < s.opts.Hold {
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
			n, err := s.readOnMessage(ctx, open, rec)
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

// readOnMessage takes in the units of one message that lines had left; lines that are full again
// leave `open`.
func (s *Sender) readOnMessage(ctx context.Context, open map[*line]bool, rec queue.Record) (n int, err error) {
	chunk, err := ledger.DecodeChunk(rec.Data)
	if err != nil {
		return 0, fmt.Errorf("read message %d of the decision stream: %w", rec.Seq, err)
	}
	var again []events.Event
	s.mu.Lock()
	for i := range chunk.Records {
		for _, u := range s.unitsOf(&chunk.Records[i], rec.Shard, rec.Seq) {
			l := s.lineOf(u)
			if c := l.behind[rec.Shard]; !open[l] || rec.Seq < c.seq || rec.Seq == c.seq && i < c.index {
				continue
			}
			delete(l.behind, rec.Shard) // admit puts it back when the line is full
			before := l.held
			again = append(again, s.admit(u, l, i)...)
			n += l.held - before
			if _, full := l.behind[rec.Shard]; full {
				delete(open, l)
			} else {
				l.behind[rec.Shard] = cursor{rec.Seq, i + 1}
			}
		}
	}
	s.mu.Unlock()
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
