package backtest

import (
	"cmp"
	"context"
	"maps"
	"math"
	"math/bits"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/report"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// Result is what the rules would have done.
type Result struct {
	From     time.Time `json:"from"`            // when the rules go live
	To       time.Time `json:"to"`              // not included
	Arrivals Arrivals  `json:"arrivals"`        // when the rules know what happened
	Every    string    `json:"every,omitempty"` // the step, where the schedules were not followed: 1h
	Rules    []Rule    `json:"rules"`           // by name
	// Overlaps are of pairs of rules that sent to the same people, the most first.
	Overlaps []Overlap `json:"overlaps"`
	People   int64     `json:"people"`   // who entered any rule
	Messaged int64     `json:"messaged"` // who was sent anything
	Ticks    int64     `json:"ticks"`    // looks by schedule
	Judged   int64     `json:"judged"`   // conditions answered, each of a person
	Queries  int64     `json:"queries"`  // that were asked of the store
	Seconds  float64   `json:"seconds"`  // how long it took
	Notes    []string  `json:"notes"`    // what the numbers do not say, for people

	// canonical says who somebody became by the end of the time.
	canonical func(events.PersonID) events.PersonID
	shown     []string // Only
}

// Rule is what one rule would have done.
type Rule struct {
	Rule    string                  `json:"rule"`
	Version string                  `json:"version"`
	Entries int64                   `json:"entries"` // how often somebody entered
	People  int64                   `json:"people"`  // who entered
	Sent    int64                   `json:"sent"`    // (entry, channel)s that a channel took
	Reached int64                   `json:"reached"` // people who were sent one
	Reasons map[ledger.Reason]int64 `json:"reasons"` // the last answers of entries; held for those still on the way
	// Delayed are entries that were sent after they had been held back.
	Delayed int64 `json:"delayed"`
	Days    []Day `json:"days"` // on which entries began, in order
	// Lost are entries that another rule's message kept from being sent when they first could have been, by that
	// rule: it outranked this one, or used up the room under a cap. The most first.
	Lost []Lost `json:"lost"`
	Goal *Goal  `json:"goal,omitempty"`
}

// Day is one day of a rule, on the workspace's clock.
type Day struct {
	Day     string                  `json:"day"`     // 2026-03-01
	Entries int64                   `json:"entries"` // that began on it
	Reasons map[ledger.Reason]int64 `json:"reasons"` // their last answers
}

// Lost counts entries that were held back.
type Lost struct {
	To  string `json:"to"`            // the other rule, "" for messages of before
	Cap string `json:"cap,omitempty"` // under which it had used up the room; "" when it outranked
	N   int64  `json:"entries"`       // how many
}

// Overlap counts people whom both rules sent something.
type Overlap struct {
	A      string `json:"a"` // the one rule
	B      string `json:"b"` // the other
	People int64  `json:"people"`
}

// Goal is what followed messages, by last touch.
type Goal struct {
	Event    string  `json:"event"`
	Within   string  `json:"within"`   // how long after the message, as rule files write it: 7d
	Followed int64   `json:"followed"` // messages that were followed by it
	Value    float64 `json:"value"`    // what the events were worth, in the currency of the goal's value
}

// tally counts as decisions come.
type tally struct {
	ws    *workspace.Workspace
	index map[string]int // of rules
	rules []*ruleTally
	who   map[events.PersonID]*person
	open  map[string]*entry // that may get another answer
	sends int64
}

type ruleTally struct {
	name, version string
	entries, sent int64
	delayed       int64
	days          map[string]*Day
	lost          map[Lost]int64 // N is 0
	touches       []report.Touch
	followed      int64
	value         float64
}

// person is what somebody was part of, by rule.
type person struct {
	entered, sent set
	last          []int // rules that have sent them something that takes room under caps, the newest last
}

type set []uint64

func (s *set) add(i int) {
	for len(*s) <= i/64 {
		*s = append(*s, 0)
	}
	(*s)[i/64] |= 1 << (i % 64)
}

func (s set) each(fn func(i int)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			fn(w*64 + bits.TrailingZeros64(word))
		}
	}
}

// entry is one that may get another answer.
type entry struct {
	day    string
	reason ledger.Reason
	left   int  // outcomes that have not come
	open   bool // it is tried again, or escalates
	held   bool
	told   bool // its first message is a touch
	sent   bool // what comes behind a send is another try of it
}

func newTally(ws *workspace.Workspace) *tally {
	t := &tally{ws: ws, index: map[string]int{}, who: map[events.PersonID]*person{}, open: map[string]*entry{}}
	for _, r := range ws.Rules {
		t.rule(r.Name).version = r.Version
	}
	return t
}

func (t *tally) rule(name string) *ruleTally {
	i, ok := t.index[name]
	if !ok { // its entries of before end, because it is gone
		i = len(t.rules)
		t.index[name] = i
		t.rules = append(t.rules, &ruleTally{name: name, days: map[string]*Day{}, lost: map[Lost]int64{}})
	}
	return t.rules[i]
}

func (t *tally) person(id events.PersonID) *person {
	p := t.who[id]
	if p == nil {
		p = &person{}
		t.who[id] = p
	}
	return p
}

// decided takes in an answer.
func (t *tally) decided(d *ledger.Decision) {
	r := t.rule(d.Rule)
	i := t.index[d.Rule]
	e := t.open[d.Entry]
	if e == nil {
		e = &entry{day: time.UnixMilli(d.Entered).In(t.ws.Zone).Format(time.DateOnly)}
		t.open[d.Entry] = e
		r.entries++
		r.day(e.day).Entries++
		t.person(d.Person).entered.add(i)
	} else {
		r.day(e.day).Reasons[e.reason]--
	}
	e.reason = ledger.CountsAs(d.Reason, d.By)
	r.day(e.day).Reasons[e.reason]++
	p := t.person(d.Person)
	switch d.Reason {
	case ledger.FrequencyCap, ledger.Outranked:
		if !e.held && !e.sent {
			r.lost[t.lostTo(p, d)]++
		}
		e.held = !e.sent
	case ledger.InDigest:
		e.held = false
	case ledger.Held, ledger.QuietHours, ledger.NoAddress, ledger.NoConsent:
		if _, _, collected := ledger.CollectedFor(d.By); !collected {
			e.held = !e.sent
		}
	case ledger.Send:
		e.left += len(d.Channels)
		if e.held {
			r.delayed++
		}
		e.held, e.sent = false, true
		if d.Category == rules.Transactional || !d.Sends() { // it takes no room under a cap
			break
		}
		p.last = append(slices.DeleteFunc(p.last, func(rule int) bool { return rule == i }), i)
	default:
	}
	e.open = d.Open || d.Reason == ledger.Held || d.Escalates()
	t.close(d.Entry, e, e.open)
}

// lostTo is whose message an entry had to give way to: the one that outranked it, or the newest of the person's.
func (t *tally) lostTo(p *person, d *ledger.Decision) Lost {
	if d.Reason == ledger.Outranked {
		return Lost{To: d.By}
	}
	out := Lost{Cap: d.By}
	if n := len(p.last); n > 0 {
		out.To = t.rules[p.last[n-1]].name
	}
	return out
}

func (t *tally) close(id string, e *entry, open bool) {
	if !open && e.left <= 0 {
		delete(t.open, id)
	}
}

// delivered takes in what became of a message.
func (t *tally) delivered(d *ledger.Decision, x *ledger.Delivery) {
	r := t.rule(d.Rule)
	told := false
	if e := t.open[d.Entry]; e != nil {
		told, e.told = e.told, e.told || x.Status == ledger.Accepted
		e.left--
		t.close(d.Entry, e, e.open || e.reason != ledger.Send || x.Status != ledger.Accepted)
	}
	if x.Status != ledger.Accepted {
		return
	}
	t.sends++
	r.sent++
	t.person(d.Person).sent.add(t.index[d.Rule])
	if n := len(r.touches); !told && (n == 0 || r.touches[n-1].Entry != d.Entry) {
		r.touches = append(r.touches, report.Touch{Rule: d.Rule, Entry: d.Entry, Person: d.Person, At: x.At, Value: d.Value})
	}
}

func (r *ruleTally) day(day string) *Day {
	d := r.days[day]
	if d == nil {
		d = &Day{Day: day, Reasons: map[ledger.Reason]int64{}}
		r.days[day] = d
	}
	return d
}

// goals finds what followed the messages.
func (t *tally) goals(ctx context.Context, history report.History) error {
	var touches []report.Touch
	for _, r := range t.rules {
		touches = append(touches, r.touches...)
	}
	return report.Credit(ctx, history, t.ws, touches, func(touch *report.Touch, first bool, value float64) { //nolint:wrapcheck // says what it was doing
		r := t.rule(touch.Rule)
		r.value += value
		if first {
			r.followed++
		}
	})
}

func (t *tally) result(canonical func(events.PersonID) events.PersonID) *Result {
	for id, p := range t.who { // who was merged is one
		if c := canonical(id); c != id {
			to := t.person(c)
			p.entered.each(to.entered.add)
			p.sent.each(to.sent.add)
			delete(t.who, id)
		}
	}
	out := &Result{Rules: []Rule{}, Overlaps: []Overlap{}, People: int64(len(t.who))}
	people, reached := make([]int64, len(t.rules)), make([]int64, len(t.rules))
	both := map[[2]int]int64{}
	for _, p := range t.who {
		p.entered.each(func(i int) { people[i]++ })
		any := false
		p.sent.each(func(i int) {
			any = true
			reached[i]++
			p.sent.each(func(j int) {
				if i < j {
					both[[2]int{i, j}]++
				}
			})
		})
		if any {
			out.Messaged++
		}
	}
	goals := map[string]*workspace.Goal{}
	for _, r := range t.ws.Rules {
		goals[r.Name] = r.Goal
	}
	for i, r := range t.rules {
		rule := Rule{
			Rule: r.name, Version: r.version, Entries: r.entries, People: people[i], Sent: r.sent, Reached: reached[i], Delayed: r.delayed,
			Reasons: map[ledger.Reason]int64{}, Days: []Day{}, Lost: []Lost{},
		}
		for _, day := range slices.Sorted(maps.Keys(r.days)) {
			d := r.days[day]
			maps.DeleteFunc(d.Reasons, func(_ ledger.Reason, n int64) bool { return n == 0 })
			for reason, n := range d.Reasons {
				rule.Reasons[reason] += n
			}
			rule.Days = append(rule.Days, *d)
		}
		for l, n := range r.lost {
			l.N = n
			rule.Lost = append(rule.Lost, l)
		}
		slices.SortFunc(rule.Lost, func(a, b Lost) int {
			return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.To, b.To), cmp.Compare(a.Cap, b.Cap))
		})
		if g := goals[r.name]; g != nil {
			rule.Goal = &Goal{Event: g.Event, Within: yamlfile.FormatDuration(g.Within), Followed: r.followed, Value: math.Round(r.value*1e6) / 1e6}
		}
		out.Rules = append(out.Rules, rule)
	}
	slices.SortFunc(out.Rules, func(a, b Rule) int { return cmp.Compare(a.Rule, b.Rule) })
	for pair, n := range both {
		a, b := t.rules[pair[0]].name, t.rules[pair[1]].name
		out.Overlaps = append(out.Overlaps, Overlap{min(a, b), max(a, b), n})
	}
	slices.SortFunc(out.Overlaps, func(a, b Overlap) int {
		return cmp.Or(cmp.Compare(b.People, a.People), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B))
	})
	return out
}
