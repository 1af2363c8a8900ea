package segments

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/events"
)

// person is somebody with everything that can happen to them.
type person struct {
	history   []*happened // in order of time
	candidate Candidate   // without Values
}

type happened struct {
	Occurrence
	rule string // of a message
	cart string
}

func drawPerson() *rapid.Generator[*person] {
	return rapid.Custom(func(t *rapid.T) *person {
		p := &person{}
		// Times lie close together and at distances that conditions ask for, so that edges meet.
		around := func() int64 {
			at := now + one[int64](t, 0, 0, -msHour, -3*msHour, msHour, -msDay, -2*msDay, 5*msMinute)
			return at + one[int64](t, 0, 0, 1, -1, 7, 1234, msMinute)
		}
		for i := range roll(t, 6) {
			h := &happened{Occurrence: Occurrence{Time: around(), Pos: events.Position(i + 1), Event: one(t, "A", "A", "B", "Message Sent", "Message Opened")}}
			if strings.HasPrefix(h.Event, "Message ") {
				h.rule = "r"
			}
			h.cart = one(t, "c1", "c2")
			props := map[string]any{"cart": h.cart}
			if x := one[any](t, nil, 0.0, 1.0, 2.5); x != nil {
				props["x"] = x
			}
			if rapid.Bool().Draw(t, "has eta") {
				props["eta"] = time.UnixMilli(around()).UTC().Format(time.RFC3339Nano)
			}
			raw, err := json.Marshal(props)
			if err != nil {
				t.Fatal(err)
			}
			h.Properties = raw
			p.history = append(p.history, h)
		}
		slices.SortStableFunc(p.history, func(a, b *happened) int { return int(a.Time - b.Time) })
		profile := &Profile{Person: 1, CreatedAt: around(), Traits: map[string]json.RawMessage{}}
		profile.Zone = one(t, "", "Europe/Berlin", "Asia/Kathmandu")
		if n := one(t, "", "1", "2", "0", "-3", "0.37", "1e300", `"x"`); n != "" {
			profile.Traits["n"] = json.RawMessage(n)
		}
		if rapid.Bool().Draw(t, "has t") {
			profile.Traits["t"] = json.RawMessage(`"` + time.UnixMilli(around()).UTC().Format(time.RFC3339Nano) + `"`)
		}
		profile.Traits["plan"] = json.RawMessage(one(t, `"pro"`, `"free"`))
		p.candidate = Candidate{Person: 1, Value: "c1", Profile: profile}
		place := Place{Known: rapid.Bool().Draw(t, "place")}
		if place.Known && rapid.Bool().Draw(t, "inside") {
			place.Now, place.Entered, place.Dwell = true, around(), 5*msMinute
		}
		p.candidate.Places = []Place{place, place}
		return p
	})
}

// of reports whether something that happened is of a history.
func (h *happened) of(event, message string, keyed bool, filter *Pred, value string) bool {
	switch {
	case message != "" && (h.rule == "" || h.Event != event || message != "*" && message != h.rule):
		return false
	case message == "" && (h.rule != "" || event != "*" && h.Event != event):
		return false
	case keyed && h.cart != value:
		return false
	}
	return filter.Eval(&h.Occurrence, nil)
}

// at is the person as of an instant.
func (p *person) at(who *Who, at int64) *Candidate {
	c := p.candidate
	c.Values = make([]any, len(who.Features()))
	for i, f := range who.Features() {
		var l []*Occurrence
		var all []any
		for _, h := range slices.Backward(p.history) {
			if h.Time <= at && (f.Within == 0 || h.Time > at-f.Within) && h.of(f.Event, f.Message, f.Keyed, f.Filter, c.Value) {
				l, all = append(l, &h.Occurrence), append(all, &h.Occurrence)
			}
		}
		switch f.Agg {
		case AggCount:
			c.Values[i] = int64(len(l))
		case AggList:
			if f.N > 0 {
				l = l[:min(f.N, len(l))]
			}
			c.Values[i] = l
		case AggFirst, AggLast:
			o, _ := aggregate(all, f.Agg, "", 0).(*Occurrence)
			c.Values[i] = o
		case AggUniq:
			c.Values[i] = int64(aggregate(all, f.Agg, f.Path, 0).(float64))
		default:
			declared := events.TypeNumber
			if f.Path == "properties.eta" {
				declared = events.TypeTime
			}
			v := aggregate(all, f.Agg, f.Path, declared)
			if t, ok := v.(instant); ok {
				v = float64(t)
			}
			c.Values[i] = v
		}
	}
	return &c
}

// exists reports whether there is such a candidate: with for_each, once the value has been seen.
func (p *person) exists(who *Who, at int64) bool {
	f := who.ForEach()
	return f == nil || slices.ContainsFunc(p.history, func(h *happened) bool {
		return h.Time <= at && h.of(f.Event, "", true, f.Filter, p.candidate.Value)
	})
}

// What Changes says is held here to what Judge answers, for conditions and histories drawn at random:
// whenever an answer differs between two milliseconds, an occurrence has one of the ages there, or it
// is due there.

// claims are what is said of a condition, for a test to take something away from.
type claims struct {
	changes *Changes
	due     func(at int64, c *Candidate) (int64, bool)
	passes  func(at int64, c *Candidate) bool
}

func claimsOf(who *Who) *claims {
	return &claims{who.Changes(), who.Due, who.Passes}
}

// crosses reports whether an occurrence comes to one of the ages between two instants.
func (k *claims) crosses(p *person, t0, t1 int64) bool {
	for _, s := range k.changes.Sources {
		for _, h := range p.history {
			if !h.of(s.Event, s.Message, s.Keyed, s.Filter, p.candidate.Value) {
				continue
			}
			for _, age := range s.Ages {
				if h.Time >= t0-age && h.Time <= t1-age {
					return true
				}
			}
		}
	}
	return false
}

// interesting are instants near which something may turn.
func interesting(t *rapid.T, p *person) []int64 {
	var points []int64
	ages := []int64{0, msMinute / 10, 30 * msMinute, msHour, 90 * msMinute, 3 * msHour, msDay, 2 * msDay}
	add := func(at int64) {
		for _, age := range ages {
			points = append(points, at+age-1, at+age, at+age+1)
		}
	}
	for _, h := range p.history {
		add(h.Time)
		if eta, ok := fieldOf(&h.Occurrence, "properties.eta", events.TypeTime).(instant); ok {
			add(int64(eta))
		}
	}
	add(p.candidate.Profile.CreatedAt)
	for range 5 {
		points = append(points, now+rapid.Int64Range(-4*msDay, 9*msDay).Draw(t, "instant"))
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// check walks the time of a person and holds what is claimed to what is answered.
func (k *claims) check(t *rapid.T, who *Who, p *person) error {
	answer := func(at int64) Truth {
		if !p.exists(who, at) {
			return Unknown // nobody asks
		}
		truth, err := who.Judge(at, p.at(who, at))
		if err != nil {
			t.Fatal(err)
		}
		return truth
	}
	points := interesting(t, p)
	for i := 1; i < len(points); i++ {
		t0, t1 := points[i-1], points[i]
		before, after := answer(t0), answer(t1)
		if before == after {
			continue
		}
		for t1-t0 > 1 { // to the millisecond
			if mid := t0 + (t1-t0)/2; answer(mid) == before {
				t0 = mid
			} else {
				t1 = mid
			}
		}
		if k.crosses(p, t0, t1) {
			continue
		}
		due, ok := k.due(t0, p.at(who, t0))
		switch {
		case !ok:
			return fmt.Errorf("turns from %v to %v at %d and nothing says so", before, answer(t1), t1-now)
		case due != t1:
			return fmt.Errorf("turns from %v to %v at %d and is said to be due at %d", before, answer(t1), t1-now, due-now)
		}
	}
	return k.tick(t, who, p, points, answer)
}

// tick follows a person through some of the instants as the planner does: they are judged when
// something crosses or falls due, and pass the prefilter.
func (k *claims) tick(t *rapid.T, who *Who, p *person, points []int64, answer func(int64) Truth) error {
	is, due := False, int64(math.MaxInt64)
	last := int64(math.MinInt64 / 2)
	for _, at := range points {
		if roll(t, 4) > 0 {
			continue
		}
		first := last == math.MinInt64/2
		if first || k.crosses(p, last, at) || due > last && due <= at {
			c := p.at(who, at)
			is, due = False, math.MaxInt64
			if p.exists(who, at) && k.passes(at, c) {
				is = answer(at)
				if d, ok := k.due(at, c); ok {
					if d <= at {
						return fmt.Errorf("at %d it is due at %d", at-now, d-now)
					}
					due = d
				}
			}
		}
		if (is == True) != (answer(at) == True) {
			return fmt.Errorf("at %d it is %v and was left at %v", at-now, answer(at), is)
		}
		last = at
	}
	return nil
}

// check is rapid.Check with so many cases unless -rapid.checks says otherwise.
func check(t *testing.T, cases int, prop func(*rapid.T)) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() == f.DefValue {
		require.NoError(t, f.Value.Set(strconv.Itoa(cases)))
		defer func() { require.NoError(t, f.Value.Set(f.DefValue)) }()
	}
	rapid.Check(t, prop)
}

func TestChangesFindEveryTurn(t *testing.T) {
	schema := instantsSchema()
	drawn, incremental, dues := 0, 0, 0
	check(t, 600, func(t *rapid.T) {
		c := drawCondition(schema).Draw(t, "condition")
		drawn++
		if len(c.who.Changes().Full) > 0 {
			return
		}
		incremental++
		if c.who.Changes().Dues {
			dues++
		}
		for range 4 {
			p := drawPerson().Draw(t, "person")
			if err := claimsOf(c.who).check(t, c.who, p); err != nil {
				t.Fatalf("%s\n%+v\nprefilter %s\n%v", c.source, toldChanges(c.who.Changes(), c.source), c.who.Prefilter(), err)
			}
		}
	})
	t.Logf("%d conditions, %d incremental, %d of them with dues", drawn, incremental, dues)
	require.Greater(t, incremental, drawn/3, "too few conditions are incremental")
	require.Greater(t, dues, drawn/20, "too few conditions have dues")
}

// With each kind of turn taken away, the check above finds conditions that turn unseen.
func TestChangesThatMissAreCaught(t *testing.T) {
	without := func(drop func(f *Changes, s *ChangeSource, age int64, windows map[int64]bool) bool) func(*Who) *claims {
		return func(who *Who) *claims {
			windows := map[int64]bool{}
			for _, f := range who.Features() {
				windows[f.Within] = true
			}
			k := claimsOf(who)
			c := *k.changes
			c.Sources = slices.Clone(c.Sources)
			for i := range c.Sources {
				s := &c.Sources[i]
				s.Ages = slices.DeleteFunc(slices.Clone(s.Ages), func(age int64) bool { return drop(&c, s, age, windows) })
			}
			k.changes = &c
			return k
		}
	}
	for name, broken := range map[string]func(*Who) *claims{
		"windows": without(func(_ *Changes, _ *ChangeSource, age int64, windows map[int64]bool) bool {
			return age > 0 && windows[age]
		}),
		"compared ages": without(func(_ *Changes, _ *ChangeSource, age int64, windows map[int64]bool) bool {
			return age > 0 && !windows[age]
		}),
		"age 0": without(func(_ *Changes, _ *ChangeSource, age int64, _ map[int64]bool) bool { return age == 0 }),
		"ages a millisecond late": func(who *Who) *claims {
			k := without(func(*Changes, *ChangeSource, int64, map[int64]bool) bool { return false })(who)
			for i := range k.changes.Sources {
				for j := range k.changes.Sources[i].Ages {
					k.changes.Sources[i].Ages[j]++
				}
			}
			return k
		},
		"messages": without(func(_ *Changes, s *ChangeSource, _ int64, _ map[int64]bool) bool { return s.Message != "" }),
		"it":       without(func(_ *Changes, s *ChangeSource, _ int64, _ map[int64]bool) bool { return s.Keyed }),
		"dues": func(who *Who) *claims {
			k := claimsOf(who)
			k.due = func(int64, *Candidate) (int64, bool) { return 0, false }
			return k
		},
		"dues late": func(who *Who) *claims {
			k := claimsOf(who)
			k.due = func(at int64, c *Candidate) (int64, bool) {
				d, ok := who.Due(at, c)
				return d + 1, ok
			}
			return k
		},
		"a due only of the first comparison": func(who *Who) *claims {
			k := claimsOf(who)
			k.due = func(at int64, c *Candidate) (int64, bool) {
				m := who.machine(at, c)
				defer who.release(m)
				if len(who.dues) == 0 {
					return 0, false
				}
				return who.dues[0].next(m, at)
			}
			return k
		},
		"a prefilter that passes only who is true": func(who *Who) *claims {
			k := claimsOf(who)
			k.passes = func(at int64, c *Candidate) bool {
				truth, _ := who.Judge(at, c)
				return truth == True
			}
			return k
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.True(t, caught(t, broken), "nothing was found in %d conditions", bites)
		})
	}
}

const bites = 3000

var errCaught = errors.New("caught")

// caught draws conditions, the same every time, until the broken claims are found out.
func caught(t *testing.T, broken func(*Who) *claims) bool {
	schema := instantsSchema()
	draw := rapid.Custom(func(rt *rapid.T) error {
		c := drawCondition(schema).Draw(rt, "condition")
		if len(c.who.Changes().Full) > 0 {
			return nil
		}
		p := drawPerson().Draw(rt, "person")
		if broken(c.who).check(rt, c.who, p) == nil {
			return nil
		}
		if err := claimsOf(c.who).check(rt, c.who, p); err != nil {
			t.Fatalf("not only the broken one: %s\n%v", c.source, err)
		}
		return errCaught
	})
	for seed := range bites {
		if draw.Example(seed) != nil {
			t.Logf("after %d conditions", seed+1)
			return true
		}
	}
	return false
}
