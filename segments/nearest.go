package segments

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/vm"
)

// Flip is a change after which a condition's answer about somebody would be the other one: true where it is not, or not
// true where it is. It has been tried: the condition was judged with the change.
type Flip struct {
	// At is from when on the answer would be the other, Unix ms; the instant that was asked about where Needs are enough.
	At int64
	// Truth is what the answer would be.
	Truth Truth
	// Needs is what would have to be otherwise at the instant that was asked about; none: time alone changes the answer.
	Needs []Need
	// Since says which occurrence becomes how old at At, if that is what it takes.
	Since *Aging
	// Supposed is what was taken to be otherwise, and Judged when it was judged (Unix ms): as many ms after the instant
	// as things are supposed to happen, one after the other.
	Supposed Supposed
	Judged   int64
}

// Aging is an occurrence that becomes as old as a condition asks.
type Aging struct {
	Of  Occurrence
	Age int64 // ms
}

// NeedKind says what would have to be otherwise.
type NeedKind string

// Kinds of Need.
const (
	NeedEvent   NeedKind = "event"   // something happens
	NeedWithout NeedKind = "without" // something had not happened
	NeedTrait   NeedKind = "trait"   // a trait is another
	NeedUser    NeedKind = "user"    // the person is known by a user id
	NeedPlace   NeedKind = "place"   // the person is there, or is not
	NeedTrigger NeedKind = "trigger" // what arrived says something else
)

// Need is one thing that would have to be otherwise.
type Need struct {
	Kind NeedKind
	// Part is the text of the part of the condition that asks for it, of one in a segment the segment(…).
	Part string
	// Feature is the history, of NeedEvent and NeedWithout.
	Feature *Feature
	Count   int // of NeedEvent: how many more
	Had     int // of NeedEvent: how many there are, in the window if there is one
	// Given are the properties (by path) that the events were given for the part, beside those that Feature's filter
	// asks for, of NeedTrigger those of the trigger.
	Given map[string]any
	// Occurrences are those without which it would be, newest first.
	Occurrences []*Occurrence
	Trait       string
	Was, Value  any // of the trait; nil: it has none
	Place       *PlaceRef
	There       bool  // of NeedPlace
	Dwell       int64 // of NeedPlace: for how long, ms
	Were        Place // where the person is instead
}

// cost is how far away a need is: one event is nearer than two, and what cannot be undone is last.
func (n *Need) cost() float64 {
	switch n.Kind {
	case NeedEvent:
		return 1 + 0.4*math.Log2(float64(n.Count))
	case NeedWithout:
		return 4 + 0.1*float64(len(n.Occurrences))
	case NeedTrait, NeedPlace:
		return 1.5
	case NeedUser, NeedTrigger:
		return 1.2
	}
	return 1
}

// Question is what Nearest is asked.
type Question struct {
	At      int64  // Unix ms
	Value   string // of for_each
	Trigger *Occurrence
	Past    Past
	Ahead   int64 // how far ahead time alone is tried, ms
	Effort  int   // how often the condition may be judged
	// TimeAlone asks for nothing but when time alone flips the answer.
	TimeAlone bool
}

// Nearest are the smallest changes found that would flip the answer, nearest first, at most a few: when time alone
// does it, and what could happen instead. nil and false: the past does not say what the condition says now.
func (w *Who) Nearest(q Question, truth Truth) ([]Flip, bool) {
	x := &search{Question: q, who: w, e: &emitter{}, programs: map[*node][2]*vm.Program{}, left: q.Effort}
	for i := range w.features {
		x.e.featureIndex(&w.features[i])
	}
	x.e.places = w.places
	now := state{Supposed: Supposed{Trigger: q.Trigger}, at: q.At}
	was := x.judge(&now, q.At)
	if was != truth || was == Failed {
		return nil, false
	}
	x.want = was != True
	return x.run(now), true
}

// search looks for flips: states are tried from the cheapest on, each made of the one before by one more need.
type search struct {
	Question
	who      *Who
	e        *emitter
	programs map[*node][2]*vm.Program
	want     bool // the answer that is looked for is True
	left     int  // judgements
}

type state struct {
	Supposed
	needs []Need
	at    int64 // an ms later than what is supposed to happen last
	cost  float64
}

const (
	mostFlips  = 4
	mostNeeds  = 4
	mostStates = 120
)

func (x *search) run(now state) []Flip {
	var out []Flip
	byItself := int64(math.MaxInt64)
	if f, ok := x.later(&now, true); ok {
		out, byItself = append(out, f), f.At
	}
	if x.TimeAlone {
		return out
	}
	open, seen := []state{now}, map[string]bool{}
	for tried := 0; len(open) > 0 && tried < mostStates && x.left > 0 && len(out) < mostFlips; tried++ {
		next := 0
		for i := range open {
			if open[i].cost < open[next].cost {
				next = i
			}
		}
		s := open[next]
		open = slices.Delete(open, next, next+1)
		if len(s.needs) > 0 {
			if slices.ContainsFunc(out, func(f Flip) bool { return len(f.Needs) > 0 && within(f.Needs, s.needs) }) {
				continue
			}
			f, ok := x.at1(&s)
			if !ok && x.who.on == nil && len(s.Places) == 0 {
				f, ok = x.later(&s, false)
				ok = ok && f.At < byItself
			}
			if ok {
				out = append(out, f)
				continue
			}
		}
		if len(s.needs) == mostNeeds {
			continue
		}
		for _, m := range x.moves(&s) {
			if key := keyOf(m.needs); !seen[key] {
				seen[key] = true
				open = append(open, m)
			}
		}
	}
	return out
}

func keyOf(needs []Need) string {
	var keys []string
	for i := range needs {
		keys = append(keys, needs[i].key())
	}
	slices.Sort(keys)
	return strings.Join(keys, "\x00")
}

func (n *Need) key() string {
	of := n.Trait
	switch {
	case n.Feature != nil:
		g := *n.Feature
		g.Agg, g.Path, g.N, g.Within = AggCount, "", 0, 0
		of = g.Key()
	case n.Place != nil:
		of = fmt.Sprint(n.Place, n.There, n.Dwell)
	}
	return fmt.Sprint(n.Kind, of, n.Count, n.Given, len(n.Occurrences), n.Value)
}

// within says whether the needs of a are among those of b, or asked in a lesser number.
func within(a, b []Need) bool {
	for i := range a {
		if !slices.ContainsFunc(b, func(n Need) bool {
			n.Count, n.Given = a[i].Count, a[i].Given
			return n.key() == a[i].key()
		}) {
			return false
		}
	}
	return true
}

// judge judges the condition at an instant in a state.
func (x *search) judge(s *state, at int64) Truth {
	x.left--
	truth, err := x.who.Judge(at, x.Past.Candidate(at, x.Value, &s.Supposed))
	if err != nil {
		return Failed
	}
	return truth
}

func (x *search) flips(t Truth) bool { return t != Failed && (t == True) == x.want }

// at1 judges a state at once.
func (x *search) at1(s *state) (Flip, bool) {
	tried, at := *s, s.at
	if x.who.on != nil { // the next one that arrives
		tried.Supposed = s.with()
		arrives := *s.Trigger
		arrives.Time = s.at
		tried.Added = append(tried.Added, arrives)
		tried.Trigger = &arrives
	}
	t := x.judge(&tried, at)
	return Flip{At: x.At, Truth: t, Needs: s.needs, Supposed: tried.Supposed, Judged: at}, x.flips(t)
}

// instant is one at which an answer may turn.
type moment struct {
	at    int64
	since *Aging
}

// later finds the first instant from which on a state flips. fully: with all that is known to turn answers.
func (x *search) later(s *state, fully bool) (Flip, bool) {
	if x.who.on != nil {
		return Flip{}, false
	}
	list := x.moments(s, fully)
	for _, m := range list {
		if x.left <= 0 {
			break
		}
		if t := x.judge(s, m.at); x.flips(t) {
			return Flip{At: m.at, Truth: t, Needs: s.needs, Since: m.since, Supposed: s.Supposed, Judged: m.at}, true
		}
	}
	return Flip{}, false
}

// mostMoments is how many instants are tried for a state, of one that is not what is a part of them.
const (
	mostMoments = 900
	mostOfState = 40
)

// moments are the next instants at which the answer may turn by itself, in order.
func (x *search) moments(s *state, fully bool) []moment {
	var out []moment
	last := x.At + x.Ahead
	add := func(at int64, since *Aging) {
		if at > s.at && at <= last {
			out = append(out, moment{at, since})
		}
	}
	for _, source := range x.who.changes.Sources {
		f := Feature{Event: source.Event, Message: source.Message, Keyed: source.Keyed, Filter: source.Filter}
		for _, o := range x.Past.Occurrences(&f, x.Value, &s.Supposed) {
			for _, age := range source.Ages {
				if age > math.MaxInt64/2 {
					continue
				}
				// An age may be asked for with `<` or with `<=`.
				add(o.Time+age, &Aging{*o, age})
				add(o.Time+age+1, &Aging{*o, age})
			}
			if r := x.Past.Retention(); r > 0 {
				add(o.Time+r, &Aging{*o, r})
			}
		}
	}
	for _, at := range x.Past.Ends() {
		add(at, nil)
	}
	for at, n := s.at, 0; n < 20 && x.left > 0; n++ {
		x.left--
		due, ok := x.who.Due(at, x.Past.Candidate(at, x.Value, &s.Supposed))
		if !ok || due > last {
			break
		}
		add(due, nil)
		at = due
	}
	most := mostOfState
	if fully {
		most = mostMoments
		if x.readsClock() {
			x.hours(s, add)
		}
	}
	slices.SortStableFunc(out, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	out = slices.CompactFunc(out, func(a, b moment) bool { return a.at == b.at })
	return out[:min(len(out), most)]
}

// readsClock says whether the condition reads the calendar or the time of day.
func (x *search) readsClock() bool {
	seen := map[*node]bool{}
	var reads func(n *node) bool
	reads = func(n *node) bool {
		if seen[n] {
			return false
		}
		seen[n] = true
		return n.op == opLocal || isCalendar(n) || slices.ContainsFunc(n.kids, reads)
	}
	return reads(x.who.when)
}

// hours are the full hours ahead on the person's clock.
func (x *search) hours(s *state, add func(int64, *Aging)) {
	f := frame{zones: x.who.zones}
	f.reset(s.at, x.Past.Candidate(s.at, x.Value, &s.Supposed))
	t := time.UnixMilli(s.at).In(f.zone())
	into := time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	const month = 31 * msDay
	for t = t.Add(time.Hour - into); t.UnixMilli() <= x.At+min(x.Ahead, month); t = t.Add(time.Hour) {
		add(t.UnixMilli(), nil)
	}
}

// leaf is a part of the condition that joins no others, with what it would have to be.
type leaf struct {
	part
	want bool
}

// leaves are the parts that stand in the way of an answer.
func (x *search) leaves(s *state) []leaf {
	c := x.candidate(s)
	m := x.who.machine(s.at, c)
	defer x.who.release(m)
	var out []leaf
	var walk func(p part, want bool)
	walk = func(p part, want bool) {
		n := p.node
		if n.segment && p.place == nil {
			p.place = n
		}
		if t := x.truth(m, n); t == True && want || t == False && !want {
			return
		}
		switch {
		case n.op == opNot && n.kids[0].isTruth():
			walk(part{n.kids[0], !p.denied, p.place}, !want)
		case n.op == opAnd, n.op == opOr:
			for _, k := range n.kids {
				walk(part{k, p.denied, p.place}, want)
			}
		default:
			out = append(out, leaf{p, want})
		}
	}
	walk(part{node: x.who.when}, x.want)
	return out
}

func (x *search) candidate(s *state) *Candidate { return x.Past.Candidate(s.at, x.Value, &s.Supposed) }

// truth judges a part.
func (x *search) truth(m *machine, n *node) Truth {
	p, known := x.programs[n]
	if !known {
		for i, want := range []bool{true, false} {
			x.e.count = 0
			err := guard(func() (err error) {
				p[i], err = x.e.program(x.e.truth(n, want))
				return err
			})
			if err != nil {
				p[i] = nil
			}
		}
		x.programs[n] = p
	}
	for i, want := range []Truth{True, False} {
		if p[i] == nil {
			return Failed
		}
		if holds, err := m.truth(p[i]); err != nil {
			return Failed
		} else if holds {
			return want
		}
	}
	return Unknown
}

// turns says whether a leaf is what it should be in a state.
func (x *search) turns(l leaf, s *state) bool {
	x.left--
	m := x.who.machine(s.at, x.candidate(s))
	defer x.who.release(m)
	t := x.truth(m, l.node)
	return t == True && l.want || t == False && !l.want
}
