package ruletest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"nudge/engine/ledger"
	"nudge/internal/counted"
)

// Failure is one thing that a test wanted otherwise.
type Failure struct {
	File    string       `json:"file"`
	Line    int          `json:"line"`
	Col     int          `json:"col"`
	Summary string       `json:"summary"` // what was expected and is not so
	Diff    []Difference `json:"diff,omitempty"`
	// About says whose chain of rows Ledger is, oldest first; with none, Note says what there was
	// instead.
	About  string `json:"about,omitempty"`
	Ledger []*Row `json:"ledger,omitempty"`
	Note   string `json:"note,omitempty"`
}

// Difference is one value that is not as expected.
type Difference struct {
	Field string `json:"field"`
	Want  string `json:"want"`
	Got   string `json:"got"`
}

// outcome is what a test is held against.
type outcome struct {
	test  *Test
	rows  []*Row             // up to the end of the test, oldest first
	looks map[string][]int64 // by rule: when everybody was looked at
	each  map[string]string  // by rule with for_each: of what it has an entry, "cart_id of Product Added"
	// same names people by one name: after a merge a person has several.
	same map[string]string
}

// judge holds a test against what happened.
func (o *outcome) judge() []Failure {
	t := o.test
	taken := o.match()
	var out []Failure
	for i := range t.Expect {
		if taken.row[i] == nil {
			out = append(out, o.missed(&t.Expect[i], taken))
		}
	}
	for i := range t.Silence {
		out = append(out, o.broken(&t.Silence[i], taken)...)
	}
	if !t.OthersAllowed {
		out = append(out, o.unexpected(taken)...)
	}
	return out
}

// matching says which row each expectation has, and which rows are spoken for.
type matching struct {
	row  []*Row // by expectation; nil for none
	used map[*Row]bool
}

// match gives every expectation a row of its own, as many as possible: an expectation that takes a row
// which another could have had makes that one look for the next (augmenting paths).
func (o *outcome) match() *matching {
	m := &matching{row: make([]*Row, len(o.test.Expect)), used: map[*Row]bool{}}
	owner := map[*Row]int{}
	var claim func(i int, tried map[*Row]bool) bool
	claim = func(i int, tried map[*Row]bool) bool {
		e := &o.test.Expect[i]
		for _, r := range o.rows {
			if tried[r] || !o.about(e, r) || len(e.differences(r)) > 0 {
				continue
			}
			tried[r] = true
			if other, taken := owner[r]; !taken || claim(other, tried) {
				owner[r], m.row[i] = i, r
				return true
			}
		}
		return false
	}
	for i := range o.test.Expect {
		claim(i, map[*Row]bool{})
	}
	for r := range owner {
		m.used[r] = true
	}
	return m
}

// about says whether the row is of the expectation's person and rule. Rows that say how an escalation went on, and send
// nothing, are meant by their `by` only.
func (o *outcome) about(e *Expectation, r *Row) bool {
	return r.Rule == e.Rule && r.User == o.name(e.User) && (r.Reason != ledger.Send || r.sends() || e.By != "")
}

func (o *outcome) name(user string) string {
	if name, ok := o.same[user]; ok {
		return name
	}
	return user
}

// missed says what came instead of what was expected.
func (o *outcome) missed(e *Expectation, m *matching) Failure {
	line, col := place(e.node)
	f := Failure{File: o.test.File, Line: line, Col: col}
	var nearest *Row
	for _, r := range o.rows {
		if m.used[r] || !o.about(e, r) {
			continue
		}
		d := e.differences(r)
		if nearest == nil || weight(d) < weight(f.Diff) {
			nearest, f.Diff = r, d
		}
	}
	what := fmt.Sprintf("%s for %s by %s", e.Reason, e.User, e.Rule)
	if e.Value != nil {
		what += fmt.Sprintf(" (%s)", *e.Value)
	}
	if e.at != nil {
		what += " at " + e.at.offset(e.start)
	}
	if nearest == nil {
		f.Summary = fmt.Sprintf("expected %s, but there is none", what)
	} else {
		f.Summary = fmt.Sprintf("expected %s, but it is not so", what)
		m.used[nearest] = true
	}
	o.explain(&f, e.User, e.Rule)
	if f.Note == "" && nearest != nil && nearest.at == e.next && e.next > e.at.to {
		f.Note = fmt.Sprintf("The schedule of %s does not look at %s; the next look is at %s.", e.Rule, e.at.offset(e.start), nearest.At)
	}
	return f
}

// weight orders near misses: what was decided is further off than when or with which words.
func weight(ds []Difference) int {
	n := 0
	for _, d := range ds {
		switch d.Field {
		case "reason":
			n += 100
		case "value":
			n += 50
		case "at", "channel", "variant":
			n += 10
		default:
			n++
		}
	}
	return n
}

// broken says what was sent in spite of a promise of silence.
func (o *outcome) broken(s *Silence, m *matching) []Failure {
	var out []Failure
	line, col := place(s.node)
	for _, r := range o.rows {
		covered := (s.User == "" || r.User == o.name(s.User)) && (s.Rule == "" || r.Rule == s.Rule) && (s.Until == 0 || r.at < s.Until)
		if !covered {
			continue
		}
		f := Failure{File: o.test.File, Line: line, Col: col}
		switch {
		case r.sends():
			f.Summary = fmt.Sprintf("%s was sent %s at %s, but should hear nothing", r.User, r.Rule, r.At)
		case r.Reason == ledger.NoAddress && s.User != "" && s.Rule != "" && !m.used[r]:
			f.Summary = fmt.Sprintf("%s was silent only because %s has no address at %s: give %s one, or expect no_address", r.Rule, r.User, r.At, r.User)
		default:
			continue
		}
		m.used[r] = true
		o.explain(&f, r.User, r.Rule)
		out = append(out, f)
	}
	return out
}

// unexpected lists sends that nobody expected, and what can only be a mistake in a rule.
func (o *outcome) unexpected(m *matching) []Failure {
	var out []Failure
	for _, r := range o.rows {
		if m.used[r] {
			continue
		}
		f := Failure{File: o.test.File, Line: o.test.Line, Col: 1}
		switch {
		case r.sends():
			f.Summary = fmt.Sprintf("%s was sent %s at %s, which nothing expects", r.User, r.Rule, r.At)
		case r.Reason == ledger.TemplateFailed, r.Reason == ledger.ConditionError:
			f.Summary = fmt.Sprintf("%s failed for %s at %s (%s), which nothing expects", r.Rule, r.User, r.At, r.Reason)
		default:
			continue
		}
		o.explain(&f, r.User, r.Rule)
		out = append(out, f)
	}
	return out
}

// explain adds the chain of rows, or says why there is none.
func (o *outcome) explain(f *Failure, user, rule string) {
	f.About = fmt.Sprintf("%s and %s", o.name(user), rule)
	for _, r := range o.rows {
		if r.Rule == rule && r.User == o.name(user) {
			f.Ledger = append(f.Ledger, r)
			if r.Reason == ledger.AlreadyTrue {
				f.Note = "already_true: it was true at the first look after the rule went live, which only notes. Let it become true later, or give the rule `backfill: true`."
			}
		}
	}
	if len(f.Ledger) > 0 {
		return
	}
	var at []int64
	for _, l := range o.looks[rule] {
		if l <= o.test.Until {
			at = append(at, l)
		}
	}
	switch {
	case len(at) == 0:
		f.Note = fmt.Sprintf("The ledger has nothing of %s. The rule was not looked at up to %s, or nobody was.", f.About, offset(o.test.Until, o.test.Start))
	default:
		f.Note = fmt.Sprintf("The ledger has nothing of %s: it was looked at %s, first at %s and last at %s, and the condition was not true.",
			f.About, counted.Of(len(at), "time"), offset(at[0], o.test.Start), offset(at[len(at)-1], o.test.Start))
		if each := o.each[rule]; each != "" {
			f.Note += " The rule looks at each " + each + "; an occurrence without it does not count."
		}
	}
}

// differences says what of a row, of the right person and rule, is not as expected.
func (e *Expectation) differences(r *Row) []Difference {
	var out []Difference
	add := func(field, want, got string) { out = append(out, Difference{field, want, got}) }
	if r.Reason != e.Reason {
		add("reason", string(e.Reason), string(r.Reason))
	}
	if e.at != nil && (r.at < e.at.from || r.at > e.at.to) {
		add("at", e.at.offset(e.start), fmt.Sprintf("%s (%s)", r.At, wall(r.Time)))
	}
	if e.Value != nil && r.Value != *e.Value {
		add("value", *e.Value, r.Value)
	}
	if e.Variant != "" && r.Variant != e.Variant {
		add("variant", e.Variant, r.Variant)
	}
	if e.By != "" && r.By != e.By {
		add("by", e.By, r.By)
	}
	if e.Channel != "" && !slices.Contains(r.Channels, e.Channel) {
		add("channel", e.Channel, strings.Join(r.Channels, ", "))
	}
	if e.Text == nil || !r.sends() {
		return out
	}
	i := slices.IndexFunc(r.Sent, func(s Sent) bool { return e.Channel == "" || s.Channel == e.Channel })
	if i < 0 {
		add("text", "a message", "none was sent")
		return out
	}
	s := r.Sent[i]
	if s.Text == nil {
		add("text", "a message", strings.TrimSpace(string(s.Status)+" "+s.Error))
		return out
	}
	for _, field := range slices.Sorted(mapKeys(e.Text)) {
		if want, got := e.Text[field], s.Text[field]; !sameText(want, got) {
			add(field, show(want), show(got))
		}
	}
	return out
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// sameText compares a field as the test has it with what was sent: scalars as they print, lists and
// maps as JSON.
func sameText(want, got any) bool {
	a, scalar := printed(want)
	b, other := printed(got)
	if scalar && other {
		return a == b && (want == nil) == (got == nil)
	}
	return scalar == other && reflect.DeepEqual(plain(want), plain(got))
}

func printed(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return strconv.FormatFloat(f, 'f', -1, 64), true
		}
		return v.String(), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	default:
		return "", false
	}
}

// plain is a value as it comes out of JSON.
func plain(v any) any {
	var out any
	if json.Unmarshal(mustJSON(v), &out) != nil {
		return v
	}
	return out
}

// show prints a value in a diff.
func show(v any) string {
	if v == nil {
		return "nothing"
	}
	return compact(v)
}
