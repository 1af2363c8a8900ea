package ledger_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/engine/ledger"
	"nudge/events"
)

const keepUses = int64(100)

func decision(person events.PersonID, rule string, at int64, reason ledger.Reason) *ledger.Decision {
	return &ledger.Decision{
		Entry: fmt.Sprintf("%s-%d-%d", rule, person, at), Rule: rule, Person: person, Entered: at, At: at, Reason: reason,
		Channels: []string{"push"},
	}
}

func apply(s *ledger.State, records ...ledger.Record) {
	for _, r := range records {
		s.Apply(r)
	}
}

func TestAMergeKeepsWhatEitherUsed(t *testing.T) {
	s := ledger.NewState(keepUses)
	late := decision(1, "r", 10, ledger.Send)
	apply(s, ledger.Record{Decision: late}, ledger.Record{Decision: decision(2, "r", 5, ledger.Send)}, ledger.Record{Move: &ledger.Move{From: 2, To: 1, Pos: 7}})
	require.Equal(t, events.PersonID(1), s.Into(2))
	require.Len(t, s.Person(1).Uses, 2)
	stopped := *late
	stopped.Attempt, stopped.Reason = 1, ledger.Exited
	apply(s, ledger.Record{Decision: &stopped})
	require.True(t, s.Person(1).Slot("r", "").Live.Used, "the older send was made, also where the newer was stopped")
	require.Equal(t, int64(5), s.Person(1).Slot("r", "").Live.At)
}

func TestAnErrorIsNoFalseAnswer(t *testing.T) {
	s := ledger.NewState(keepUses)
	apply(s, ledger.Record{Decision: decision(1, "r", 1, ledger.AlreadyTrue)}, ledger.Record{Decision: decision(1, "r", 2, ledger.ConditionError)})
	require.Equal(t, ledger.UntilFalse, s.Person(1).Slot("r", "").Block)
}

func TestAFallbackKeepsItsValues(t *testing.T) {
	s := ledger.NewState(keepUses)
	d := decision(1, "r", 1, ledger.Send)
	d.Fallback, d.With = []string{"email"}, ledger.Values{"product": "shoe"}
	apply(s, ledger.Record{Decision: d}, ledger.Record{Delivery: &ledger.Delivery{Entry: d.Entry, Channel: "push", Person: 1, Status: ledger.Failed, At: 2}})
	un := s.Unanswered()
	require.Len(t, un, 1)
	require.Equal(t, ledger.Values{"product": "shoe"}, un[0].Decision.With)
}

// TestAnEscalationFallsDueWhenItsMessageWasTaken goes through the states of an entry that escalates, side by side with a
// newer entry: the older goes on, and its usage does not replace the newer's.
func TestAnEscalationFallsDueWhenItsMessageWasTaken(t *testing.T) {
	s := ledger.NewState(keepUses)
	d := decision(1, "r", 10, ledger.Send)
	d.Fallback, d.Due, d.Trigger, d.Variant, d.With = []string{"email", "sms"}, 15, 3, "b", ledger.Values{"product": "shoe"}
	apply(s, ledger.Record{Decision: d}, ledger.Record{Decision: decision(1, "r", 12, ledger.Send)})
	_, due := s.NextDue()
	require.False(t, due, "its message is on the way")
	require.Empty(t, s.Unanswered())
	apply(s, ledger.Record{Delivery: &ledger.Delivery{Entry: d.Entry, Channel: "push", Person: 1, Status: ledger.Accepted, At: 20}})
	at, due := s.NextDue()
	require.True(t, due)
	require.Equal(t, int64(25), at, "five behind when it was taken")
	o := s.DueBy(at)[0]
	require.True(t, o.Follows())
	require.Equal(t, []string{"email", "sms"}, o.Channels)
	require.Equal(t, d.With, o.With)
	next := o.Ended(ledger.Expired, "", 25)
	require.Equal(t, ledger.Send, next.Reason, "its answer stays")
	require.Equal(t, "b", next.Variant)
	next.By, next.Channels = ledger.Escalation, []string{"email"}
	apply(s, ledger.Record{Decision: next})
	require.Empty(t, s.DueBy(1<<40))
	require.Equal(t, int64(12), s.Person(1).Slot("r", "").Live.At)
	require.Len(t, s.Person(1).Uses, 3, "each channel counts")
	apply(s, ledger.Record{Delivery: &ledger.Delivery{Entry: d.Entry, Channel: "email", Person: 1, Status: ledger.StoppedExpired, At: 30}})
	un := s.Unanswered()
	require.Len(t, un, 1)
	require.True(t, un[0].Decision.Follows())
}

// world draws records of every kind as decide and the loop write them: entries begin, are tried again,
// held and ended, deliveries end, people merge and are erased.
type world struct {
	*rapid.T
	state *ledger.State
	now   int64
}

func (w *world) person() events.PersonID {
	return w.state.Into(events.PersonID(rapid.Uint64Range(1, 4).Draw(w.T, "person")))
}

func (w *world) next() ledger.Record {
	w.now++
	id := w.person()
	rule := rapid.SampledFrom([]string{"a", "b"}).Draw(w.T, "rule")
	value := rapid.SampledFrom([]string{"", "x"}).Draw(w.T, "value")
	switch rapid.SampledFrom([]string{"enter", "enter", "again", "again", "deliver", "flip", "move", "forget", "tick", "looked"}).Draw(w.T, "kind") {
	case "again":
		if slot := w.state.Person(id).Slot(rule, value); slot != nil && len(slot.Open) > 0 {
			o := slot.Open[rapid.IntRange(0, len(slot.Open)-1).Draw(w.T, "open")]
			if o.Follows() {
				return ledger.Record{Decision: w.further(o)}
			}
			return ledger.Record{Decision: w.answer(&ledger.Decision{
				Entry: o.Entry, Attempt: o.Attempt + 1, Rule: rule, Value: value, Person: id, Entered: o.Entered, At: w.now,
			})}
		}
	case "deliver":
		if p := w.state.Person(id); p != nil && len(p.Uses) > 0 {
			u := p.Uses[rapid.IntRange(0, len(p.Uses)-1).Draw(w.T, "use")]
			status := rapid.SampledFrom([]ledger.Status{ledger.Accepted, ledger.Failed, ledger.StoppedExited, ledger.Retrying}).Draw(w.T, "status")
			return ledger.Record{Delivery: &ledger.Delivery{Entry: u.Entry, Channel: u.Channel, Rule: u.Rule, Person: id, Status: status, At: w.now}}
		}
	case "flip":
		return ledger.Record{Flip: &ledger.Flip{Rule: rule, Person: id, Value: value, At: w.now}}
	case "move":
		if to := w.person(); to != id {
			m := ledger.Move{From: id, To: to, Pos: events.Position(w.now)}
			switch rapid.IntRange(0, 2).Draw(w.T, "shards") {
			case 0:
				m.Out, m.State = true, w.state.Person(id) // to another shard
			case 1:
				m.From, m.State = events.PersonID(100+w.now), w.state.Person(id) // from another shard, the like of somebody here
				if m.State == nil {
					m.State = &ledger.PersonState{}
				}
				m.State = clone(w.T, m.State)
			}
			return ledger.Record{Move: &m}
		}
	case "forget":
		return ledger.Record{Forget: &ledger.Forget{Person: id, Pos: events.Position(w.now)}}
	case "tick":
		return ledger.Record{Tick: &ledger.Tick{ID: strconv.FormatInt(w.now, 10), Kind: ledger.TickSchedule, T1: w.now, P1: events.Position(w.now), Rules: []string{rule}}}
	case "looked":
		return ledger.Record{Looked: &ledger.Looked{Rule: rule, Hash: "h", At: w.now}}
	}
	d := decision(id, rule, w.now, "")
	d.Value = value
	return ledger.Record{Decision: w.answer(d)}
}

func (w *world) answer(d *ledger.Decision) *ledger.Decision {
	d.Reason = rapid.SampledFrom(append(ledger.Reasons(), ledger.Held, ledger.Held, ledger.NoAddress)).Draw(w.T, "reason")
	d.Watch = rapid.Bool().Draw(w.T, "watch")
	switch d.Reason {
	case ledger.Held:
		d.Due, d.Expires, d.Wait = w.now+3, w.now+9, rapid.Bool().Draw(w.T, "wait")
		d.With = ledger.Values{"n": int64(1)}
	case ledger.FrequencyCap, ledger.Outranked, ledger.QuietHours:
		if d.Open = rapid.Bool().Draw(w.T, "stays open"); d.Open {
			d.Due = w.now + 2
		}
	case ledger.NoAddress, ledger.NoConsent:
		if d.Open = rapid.Bool().Draw(w.T, "stays open"); d.Open {
			d.Wait = true
		}
	case ledger.Send:
		d.Channels = []string{"push", "email"}[:rapid.IntRange(1, 2).Draw(w.T, "channels")]
		if len(d.Channels) == 1 && rapid.Bool().Draw(w.T, "has a fallback") {
			d.Fallback, d.With = []string{"email"}, ledger.Values{"n": int64(2)}
			if rapid.Bool().Draw(w.T, "escalates") {
				d.Due = w.now + 2
			}
		}
	default:
	}
	return d
}

// further is a row of an entry that escalates: the next channel, a wait, or the end.
func (w *world) further(o *ledger.Open) *ledger.Decision {
	d := o.Ended(ledger.Expired, "", w.now)
	switch rapid.IntRange(0, 2).Draw(w.T, "further") {
	case 0:
		d.By, d.Channels = ledger.Escalation, o.Channels[:1]
	case 1:
		d.By, d.Due, d.Fallback, d.Wait = ledger.Following("no_address"), w.now+4, o.Channels, rapid.Bool().Draw(w.T, "wait")
	}
	return d
}

func clone(t *rapid.T, p *ledger.PersonState) *ledger.PersonState {
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	out := &ledger.PersonState{}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// image is everything that a state answers.
func image(t require.TestingT, s *ledger.State) string {
	people := map[events.PersonID]*ledger.PersonState{}
	waits := map[events.PersonID]bool{}
	into := map[events.PersonID]events.PersonID{}
	s.Each(func(id events.PersonID, p *ledger.PersonState) { people[id], waits[id] = p, s.Waits(id) })
	for id := range events.PersonID(5) {
		into[id] = s.Into(id)
	}
	var due []string
	for _, o := range s.DueBy(1 << 40) {
		due = append(due, fmt.Sprintf("%d %d %s", o.Due, o.Person(), o.Entry))
	}
	watched := map[string]map[string]bool{}
	for _, rule := range []string{"a", "b"} {
		watched[rule] = map[string]bool{}
		for w := range s.Watched(rule) {
			watched[rule][fmt.Sprint(w)] = true
		}
	}
	tick, _ := s.Last(ledger.TickSchedule)
	data, err := json.Marshal([]any{
		people, waits, into, due, watched, tick, s.UpTo(), s.TickOf("a"), s.TickOf("b"), s.Looked("a"), s.Moved(), len(s.Unanswered()),
	})
	require.NoError(t, err)
	return string(data)
}

// consistent checks the due heap, the waiting counts and what is watched against the slots themselves.
func consistent(t *rapid.T, s *ledger.State) {
	due, waiting := map[*ledger.Open]bool{}, 0
	for _, o := range s.DueBy(1 << 40) {
		due[o] = true
	}
	n := 0
	s.Each(func(id events.PersonID, p *ledger.PersonState) {
		waits := false
		for _, slot := range p.Slots {
			for _, o := range slot.Open {
				if o.Person() != id || o.Slot() != slot {
					t.Fatalf("the open entry %s of %d thinks that it is %d's", o.Entry, id, o.Person())
				}
				if due[o] != (o.Due != 0) {
					t.Fatalf("the open entry %s, due at %d, stands in the due heap: %t", o.Entry, o.Due, due[o])
				}
				if o.Due != 0 {
					n++
				}
				waits = waits || o.Wait
			}
			if _, watched := s.Watched(slot.Rule)[ledger.Watch{Person: id, Value: slot.Value}]; slot.Block != ledger.NotBlocked && !watched {
				t.Fatalf("a false answer ends the block of %s/%s of %d, and nobody watches for it", slot.Rule, slot.Value, id)
			}
		}
		if waits {
			waiting++
		}
		if waits != s.Waits(id) {
			t.Fatalf("%d waits: %t, but the count says %t", id, waits, s.Waits(id))
		}
	})
	if n != len(due) {
		t.Fatalf("%d entries stand in the due heap, but %d are due", len(due), n)
	}
	for _, rule := range []string{"a", "b"} {
		for w := range s.Watched(rule) {
			if s.Person(w.Person).Slot(rule, w.Value) == nil {
				t.Fatalf("%v of %s is watched but not remembered", w, rule)
			}
		}
	}
}

// TestTheStateIsAFold plays random records: after each the indexes agree with the slots, and whoever
// reads the records from their encoding, in messages split anywhere, has the same state.
func TestTheStateIsAFold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{T: rt, state: ledger.NewState(keepUses)}
		again := ledger.NewState(keepUses)
		var message []ledger.Record
		flush := func() {
			data, err := ledger.EncodeChunk(message)
			require.NoError(rt, err)
			back, err := ledger.DecodeChunk(data)
			require.NoError(rt, err)
			apply(again, back.Records...)
			message = nil
			if a, b := image(rt, w.state), image(rt, again); a != b {
				rt.Fatalf("the state is\n%s\nand read back\n%s", a, b)
			}
		}
		for range rapid.IntRange(1, 60).Draw(rt, "records") {
			r := w.next()
			// As written, not as it stands later: what a move carries goes on living.
			data, err := ledger.EncodeChunk([]ledger.Record{r})
			require.NoError(rt, err)
			back, err := ledger.DecodeChunk(data)
			require.NoError(rt, err)
			message = append(message, back.Records...)
			w.state.Apply(r)
			consistent(rt, w.state)
			if rapid.IntRange(0, 3).Draw(rt, "the message ends") == 0 {
				flush()
			}
		}
		flush()
	})
}
