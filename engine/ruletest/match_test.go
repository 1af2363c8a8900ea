package ruletest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/ledger"
	"nudge/rules/yamlfile"
)

const (
	start  = int64(1_772_442_000_000)
	minute = int64(60_000)
)

func row(at int64, user, rule string, reason ledger.Reason, change ...func(*Row)) *Row {
	r := &Row{At: offset(start+at*minute, start), User: user, Rule: rule, Reason: reason, Time: time.UnixMilli(start + at*minute).UTC(), at: start + at*minute}
	if reason == ledger.Send {
		r.Channels, r.Sent = []string{"push"}, []Sent{{Channel: "push", Status: ledger.Accepted, Text: map[string]any{"title": "Hi", "n": 2.0}}}
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func expect(from, to int64, user, rule string, reason ledger.Reason, change ...func(*Expectation)) Expectation {
	e := Expectation{User: user, Rule: rule, Reason: reason, at: &span{start + from*minute, start + to*minute}, start: start, node: &yamlfile.Node{Line: 7, Col: 5}}
	for _, c := range change {
		c(&e)
	}
	return e
}

func silence(user, rule string, until int64) Silence {
	s := Silence{User: user, Rule: rule, node: &yamlfile.Node{Line: 9, Col: 5}}
	if until > 0 {
		s.Until = start + until*minute
	}
	return s
}

func value(v string) func(*Row)                { return func(r *Row) { r.Value = v } }
func valued(v string) func(*Expectation)       { return func(e *Expectation) { e.Value = &v } }
func text(m map[string]any) func(*Expectation) { return func(e *Expectation) { e.Text = m } }

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		expect  []Expectation
		silence []Silence
		others  bool
		rows    []*Row
		same    map[string]string
		want    []string // summaries
		diff    []Difference
	}{
		"as expected":         {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, rows: []*Row{row(5, "ann", "r", ledger.Send)}},
		"within a stretch":    {expect: []Expectation{expect(1, 5, "ann", "r", ledger.Send)}, rows: []*Row{row(5, "ann", "r", ledger.Send)}},
		"nothing there":       {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, want: []string{"expected send for ann by r at 5m, but there is none"}},
		"somebody else":       {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, rows: []*Row{row(5, "bob", "r", ledger.Send)}, want: []string{"expected send for ann by r at 5m, but there is none", "bob was sent r at 5m, which nothing expects"}},
		"another rule":        {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, rows: []*Row{row(5, "ann", "s", ledger.Send)}, want: []string{"expected send for ann by r at 5m, but there is none", "ann was sent s at 5m, which nothing expects"}},
		"too late, said once": {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, rows: []*Row{row(6, "ann", "r", ledger.Send)}, want: []string{"expected send for ann by r at 5m, but it is not so"}, diff: []Difference{{"at", "5m", "6m (Mon 2026-03-02 09:06:00)"}}},
		"another reason":      {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, rows: []*Row{row(5, "ann", "r", ledger.NoAddress)}, want: []string{"expected send for ann by r at 5m, but it is not so"}, diff: []Difference{{"reason", "send", "no_address"}}},
		"the nearest of two is shown": {
			expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)},
			rows:   []*Row{row(3, "ann", "r", ledger.QuietHours), row(6, "ann", "r", ledger.Send)},
			want:   []string{"expected send for ann by r at 5m, but it is not so"}, diff: []Difference{{"at", "5m", "6m (Mon 2026-03-02 09:06:00)"}},
		},
		"a row is for one expectation": {
			expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send), expect(5, 5, "ann", "r", ledger.Send)}, rows: []*Row{row(5, "ann", "r", ledger.Send)},
			want: []string{"expected send for ann by r at 5m, but there is none"},
		},
		"an expectation makes room for another": {
			expect: []Expectation{expect(1, 9, "ann", "r", ledger.Send), expect(5, 5, "ann", "r", ledger.Send)},
			rows:   []*Row{row(5, "ann", "r", ledger.Send), row(8, "ann", "r", ledger.Send)},
		},
		"values": {
			expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send, valued("b")), expect(5, 5, "ann", "r", ledger.Send, valued("a"))},
			rows:   []*Row{row(5, "ann", "r", ledger.Send, value("a")), row(5, "ann", "r", ledger.Send, value("b"))},
		},
		"an unexpected send":                    {rows: []*Row{row(5, "ann", "r", ledger.Send)}, want: []string{"ann was sent r at 5m, which nothing expects"}},
		"others are allowed":                    {others: true, rows: []*Row{row(5, "ann", "r", ledger.Send), row(5, "ann", "r", ledger.TemplateFailed)}},
		"other reasons need not be expected":    {rows: []*Row{row(5, "ann", "r", ledger.FrequencyCap), row(6, "ann", "r", ledger.Exited)}},
		"but mistakes in a rule must":           {rows: []*Row{row(5, "ann", "r", ledger.TemplateFailed), row(6, "ann", "s", ledger.ConditionError)}, want: []string{"r failed for ann at 5m (template_failed), which nothing expects", "s failed for ann at 6m (condition_error), which nothing expects"}},
		"unless they are expected":              {expect: []Expectation{expect(5, 5, "ann", "r", ledger.TemplateFailed)}, rows: []*Row{row(5, "ann", "r", ledger.TemplateFailed)}},
		"silence":                               {silence: []Silence{silence("ann", "", 0)}, rows: []*Row{row(5, "ann", "r", ledger.Exited)}},
		"a broken silence, said once":           {silence: []Silence{silence("ann", "", 0)}, rows: []*Row{row(5, "ann", "r", ledger.Send)}, want: []string{"ann was sent r at 5m, but should hear nothing"}},
		"of others even where they are allowed": {others: true, silence: []Silence{silence("", "r", 0)}, rows: []*Row{row(5, "bob", "r", ledger.Send), row(5, "bob", "s", ledger.Send)}, want: []string{"bob was sent r at 5m, but should hear nothing"}},
		"even of what is expected":              {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, silence: []Silence{silence("ann", "r", 0)}, rows: []*Row{row(5, "ann", "r", ledger.Send)}, want: []string{"ann was sent r at 5m, but should hear nothing"}},
		"silence has an end":                    {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}, silence: []Silence{silence("ann", "r", 5)}, rows: []*Row{row(5, "ann", "r", ledger.Send)}},
		"silent for want of an address":         {silence: []Silence{silence("ann", "r", 0)}, rows: []*Row{row(5, "ann", "r", ledger.NoAddress)}, want: []string{"r was silent only because ann has no address at 5m: give ann one, or expect no_address"}},
		"which may be expected":                 {expect: []Expectation{expect(5, 5, "ann", "r", ledger.NoAddress)}, silence: []Silence{silence("ann", "r", 0)}, rows: []*Row{row(5, "ann", "r", ledger.NoAddress)}},
		"a person of two names":                 {expect: []Expectation{expect(5, 5, "visitor", "r", ledger.Send)}, rows: []*Row{row(5, "ann", "r", ledger.Send)}, same: map[string]string{"visitor": "ann", "ann": "ann"}},
		"the text":                              {expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send, text(map[string]any{"title": "Hi", "n": json.Number("2")}))}, rows: []*Row{row(5, "ann", "r", ledger.Send)}},
		"another text": {
			expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send, text(map[string]any{"title": "Ho", "body": "x"}))}, rows: []*Row{row(5, "ann", "r", ledger.Send)},
			want: []string{"expected send for ann by r at 5m, but it is not so"}, diff: []Difference{{"body", `"x"`, "nothing"}, {"title", `"Ho"`, `"Hi"`}},
		},
		"another channel": {
			expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send, func(e *Expectation) { e.Channel = "email" })}, rows: []*Row{row(5, "ann", "r", ledger.Send)},
			want: []string{"expected send for ann by r at 5m, but it is not so"}, diff: []Difference{{"channel", "email", "push"}},
		},
		"not accepted": {
			expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send, text(map[string]any{"title": "Hi"}))},
			rows:   []*Row{row(5, "ann", "r", ledger.Send, func(r *Row) { r.Sent = []Sent{{Channel: "push", Status: ledger.Failed, Error: "gone"}} })},
			want:   []string{"expected send for ann by r at 5m, but it is not so"}, diff: []Difference{{"text", "a message", "failed gone"}},
		},
		"variant and winner": {
			expect: []Expectation{expect(5, 5, "ann", "r", ledger.Outranked, func(e *Expectation) { e.Variant, e.By = "a", "x" })}, rows: []*Row{row(5, "ann", "r", ledger.Outranked, func(r *Row) { r.Variant, r.By = "b", "y" })},
			want: []string{"expected outranked for ann by r at 5m, but it is not so"}, diff: []Difference{{"variant", "a", "b"}, {"by", "x", "y"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test := &Test{Start: start, Until: start + 60*minute, Expect: c.expect, Silence: c.silence, OthersAllowed: c.others, File: "tests/a_test.yaml", Line: 1}
			o := &outcome{test: test, rows: c.rows, same: c.same}
			var got []string
			var diff []Difference
			for _, f := range o.judge() {
				got = append(got, f.Summary)
				diff = append(diff, f.Diff...)
				require.Equal(t, "tests/a_test.yaml", f.File)
				require.Positive(t, f.Line)
				require.NotEmpty(t, f.About)
				require.True(t, len(f.Ledger) > 0 || f.Note != "", "the chain, or why there is none")
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.diff, diff)
		})
	}
}

// An instant at which the rule does not look is told apart from a rule that is late.
func TestNextLook(t *testing.T) {
	looks := func(next int64) func(*Expectation) { return func(e *Expectation) { e.next = start + next*minute } }
	for name, c := range map[string]struct {
		expect Expectation
		want   string
	}{
		"between two looks": {expect(3, 3, "ann", "r", ledger.Send, looks(5)), "The schedule of r does not look at 3m; the next look is at 5m."},
		"two looks before":  {expect(1, 1, "ann", "r", ledger.Send, looks(2)), ""},
		"at a look":         {expect(5, 5, "ann", "r", ledger.Outranked, looks(5)), ""},
		"nobody knows":      {expect(3, 3, "ann", "r", ledger.Send), ""},
	} {
		t.Run(name, func(t *testing.T) {
			test := &Test{Start: start, Until: start + 60*minute, Expect: []Expectation{c.expect}, OthersAllowed: true}
			o := &outcome{test: test, rows: []*Row{row(5, "ann", "r", ledger.Send)}}
			got := o.judge()
			require.Len(t, got, 1)
			require.Equal(t, c.want, got[0].Note)
		})
	}
}

// A person who did the right thing, but without the value that the rule is about, was not looked at in vain.
func TestNothingOfARuleThatIsForEach(t *testing.T) {
	o := &outcome{
		test:  &Test{Start: start, Until: start + 60*minute, Expect: []Expectation{expect(5, 5, "ann", "r", ledger.Send)}},
		looks: map[string][]int64{"r": {start + 5*minute}}, each: map[string]string{"r": "cart_id of Product Added"},
	}
	got := o.judge()
	require.Len(t, got, 1)
	require.Equal(t, "The ledger has nothing of ann and r: it was looked at 1 time, first at 5m and last at 5m, and the condition was not true. "+
		"The rule looks at each cart_id of Product Added; an occurrence without it does not count.", got[0].Note)
}

func TestTimes(t *testing.T) {
	zone := time.FixedZone("", 3600)
	at := func(text string) int64 {
		ms, err := parseTime(text, start, zone)
		require.NoError(t, err, text)
		return ms
	}
	require.Equal(t, start, at("0m"))
	require.Equal(t, start+90*minute, at("1h30m"))
	require.Equal(t, start-3*24*60*minute, at("-3d"))
	require.Equal(t, start, at("2026-03-02T10:00"))
	require.Equal(t, start, at("2026-03-02 10:00:00"))
	require.Equal(t, start, at("2026-03-02T09:00:00Z"))
	for _, bad := range []string{"", "soon", "1x", "--1h", "2026-13-01"} {
		_, err := parseTime(bad, start, zone)
		require.Error(t, err, bad)
	}
	for ms, want := range map[int64]string{0: "0m", 90 * minute: "1h30m", -3 * 24 * 60 * minute: "-3d", 1: "1ms", 61_000: "1m1s"} {
		require.Equal(t, want, offset(start+ms, start))
		require.Equal(t, start+ms, at(offset(start+ms, start)))
	}
	many, err := parseRepeat("10m..30m/10m", start, zone)
	require.NoError(t, err)
	require.Equal(t, []int64{start + 10*minute, start + 20*minute, start + 30*minute}, many)
	for _, bad := range []string{"1m..2m", "2m..1m/1m", "1m..2m/", "1m..2m/0m", "0m..100d/1s"} {
		_, err := parseRepeat(bad, start, zone)
		require.Error(t, err, bad)
	}
}

func TestMessagesStandInTheOrderOfTheRulesChannels(t *testing.T) {
	t.Parallel()
	for name, done := range map[string][]string{"as in the rule": {"push", "email", "sms"}, "the last first": {"sms", "email", "push"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := row(0, "ann", "r", ledger.Send, func(r *Row) { r.Channels, r.Sent, r.test = []string{"push", "email", "sms"}, nil, &Test{} })
			for _, channel := range done {
				r.delivered(&ledger.Delivery{Channel: channel, Status: ledger.Accepted})
			}
			r.ordered()
			var got []string
			for _, s := range r.Sent {
				got = append(got, s.Channel)
			}
			require.Equal(t, r.Channels, got)
		})
	}
}
