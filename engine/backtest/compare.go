package backtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"nudge/engine/ledger"
	"nudge/events"
	"nudge/internal/counted"
	"nudge/internal/texttable"
)

// Audience is whom each rule of a backtest would have written to. It is filled by Take.
type Audience struct {
	of    map[string]map[uint64]*member // by rule and person
	since *Audience                     // whose members' reasons are wanted
	why   map[string]map[uint64]string  // of those, the last answer here other than a send
}

type member struct {
	user string
	at   time.Time // of the first message
	n    int64
}

// NewAudience is empty. With before, it also notes why members of that one get nothing here.
func NewAudience(before *Audience) *Audience {
	return &Audience{of: map[string]map[uint64]*member{}, since: before, why: map[string]map[uint64]string{}}
}

// Take is an Options.Row.
func (a *Audience) Take(r *Row) error {
	if r.Reason == ledger.Send && len(r.Channels) == 0 { // of an entry that goes no further, or not yet
		return nil
	}
	if r.Reason != ledger.Send {
		if a.since != nil && a.since.of[r.Rule][r.Person] != nil {
			keep(a.why, r.Rule, r.Person, why(r))
		}
		return nil
	}
	m := a.of[r.Rule][r.Person]
	if m == nil {
		m = &member{user: r.UserID, at: r.At}
		keep(a.of, r.Rule, r.Person, m)
	}
	m.n++
	return nil
}

func keep[T any](sets map[string]map[uint64]T, rule string, person uint64, value T) {
	if sets[rule] == nil {
		sets[rule] = map[uint64]T{}
	}
	sets[rule][person] = value
}

func why(r *Row) string {
	if r.By == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + " (" + r.By + ")"
}

// fold makes one of those who were merged by the end of the time.
func (a *Audience) fold(canonical func(events.PersonID) events.PersonID) {
	if canonical == nil {
		return
	}
	for _, people := range a.of {
		for id, m := range people {
			c := uint64(canonical(events.PersonID(id)))
			if c == id {
				continue
			}
			delete(people, id)
			if to := people[c]; to == nil {
				people[c] = m
			} else {
				to.n += m.n
				if m.at.Before(to.at) {
					to.at = m.at
				}
			}
		}
	}
	for _, people := range a.why {
		for id, text := range people {
			if c := uint64(canonical(events.PersonID(id))); c != id {
				delete(people, id)
				people[c] = text
			}
		}
	}
}

// Diff says in people what another rule set would have changed. Rates are a week's.
type Diff struct {
	From  time.Time  `json:"from"`  // when the rules go live
	To    time.Time  `json:"to"`    // not included
	Weeks float64    `json:"weeks"` // how long that is
	Rules []RuleDiff `json:"rules"` // those that something changes for, the most people first
	Same  []string   `json:"same"`  // the others
	// All is of everybody, whatever they would have got.
	All   Change   `json:"all"`
	Notes []string `json:"notes"` // what the numbers do not say, for people
}

// Change is of a number of people, and of messages to them.
type Change struct {
	Before   int64    `json:"before"` // people who get something before the change
	After    int64    `json:"after"`  // people who get something after it
	Gained   int64    `json:"gained"` // people who get something only after
	Lost     int64    `json:"lost"`   // people who get something only before
	Messages Messages `json:"messages"`
}

// Messages counts messages before and after a change.
type Messages struct {
	Before int64 `json:"before"` // how many without it
	After  int64 `json:"after"`  // how many with it
}

// RuleDiff is the change of one rule.
type RuleDiff struct {
	Rule string `json:"rule"`
	// Status of an unchanged rule: others make the difference.
	Status string `json:"status" jsonschema:"enum=added,enum=removed,enum=changed,enum=unchanged"`
	Change
	// Displaced are rules that people who gain this one lose.
	Displaced     []Displaced `json:"displaced,omitempty"`
	GainedSamples []Sample    `json:"gained_samples,omitempty"` // some of those who gain it
	LostSamples   []Sample    `json:"lost_samples,omitempty"`   // some of those who lose it
}

// Displaced counts people who gain one rule and lose another.
type Displaced struct {
	Rule   string  `json:"rule"`
	People int64   `json:"people"`
	Share  float64 `json:"share"` // of those who gain, 0 to 1
}

// Sample is somebody who gains or loses a rule.
type Sample struct {
	Person uint64    `json:"person"` // nudge's own number of the person
	UserID string    `json:"user_id,omitempty"`
	At     time.Time `json:"at"`            // of the message
	Why    string    `json:"why,omitempty"` // they get nothing after: the last answer, "" if they do not match
}

// Compare says what changes from one backtest to another of the same time, with that many samples of each kind.
func Compare(before, after *Result, was, is *Audience, samples int) *Diff {
	was.fold(after.canonical)
	is.fold(after.canonical)
	d := &Diff{
		From: after.From, To: after.To, Weeks: after.To.Sub(after.From).Hours() / (7 * 24), Rules: []RuleDiff{}, Same: []string{},
		Notes: slices.DeleteFunc(slices.Clone(after.Notes), func(n string) bool { return n == ofGoals }),
		All:   changeOf(was.everybody(), is.everybody()),
	}
	d.All.Messages = Messages{was.messages(""), is.messages("")}
	versions := [2]map[string]string{{}, {}}
	for i, r := range []*Result{before, after} {
		for _, rule := range r.Rules {
			if rule.Version != "" {
				versions[i][rule.Rule] = rule.Version
			}
		}
	}
	names := map[string]bool{}
	for _, v := range versions {
		for name := range v {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r := RuleDiff{Rule: name, Status: status(versions[0][name], versions[1][name]), Change: changeOf(was.of[name], is.of[name])}
		r.Messages = Messages{was.messages(name), is.messages(name)}
		if r.Status == "unchanged" && r.Gained == 0 && r.Lost == 0 && r.Messages.Before == r.Messages.After {
			d.Same = append(d.Same, name)
			continue
		}
		r.Displaced = displaced(name, was, is)
		r.GainedSamples = only(is.of[name], was.of[name], samples, nil)
		r.LostSamples = only(was.of[name], is.of[name], samples, is.why[name])
		for i := range r.LostSamples {
			if r.Status == "removed" {
				r.LostSamples[i].Why = "the rule is gone"
			}
		}
		d.Rules = append(d.Rules, r)
	}
	slices.SortStableFunc(d.Rules, func(a, b RuleDiff) int { return cmp.Compare(b.Gained+b.Lost, a.Gained+a.Lost) })
	return d
}

func status(before, after string) string {
	switch {
	case before == "":
		return "added"
	case after == "":
		return "removed"
	case before != after:
		return "changed"
	default:
		return "unchanged"
	}
}

func (a *Audience) everybody() map[uint64]*member {
	out := map[uint64]*member{}
	for _, people := range a.of {
		maps.Copy(out, people)
	}
	return out
}

// messages to the people of a rule; "" is of all.
func (a *Audience) messages(rule string) int64 {
	var n int64
	for name, people := range a.of {
		if rule != "" && name != rule {
			continue
		}
		for _, m := range people {
			n += m.n
		}
	}
	return n
}

func changeOf(was, is map[uint64]*member) Change {
	c := Change{Before: int64(len(was)), After: int64(len(is))}
	for p := range is {
		if was[p] == nil {
			c.Gained++
		}
	}
	c.Lost = c.Before - (c.After - c.Gained)
	return c
}

func displaced(rule string, was, is *Audience) []Displaced {
	counts := map[string]int64{}
	var gained int64
	for p := range is.of[rule] {
		if was.of[rule][p] != nil {
			continue
		}
		gained++
		for other, people := range was.of {
			if other != rule && people[p] != nil && is.of[other][p] == nil {
				counts[other]++
			}
		}
	}
	var out []Displaced
	for other, n := range counts {
		out = append(out, Displaced{other, n, float64(n) / float64(gained)})
	}
	slices.SortFunc(out, func(a, b Displaced) int { return cmp.Or(cmp.Compare(b.People, a.People), cmp.Compare(a.Rule, b.Rule)) })
	return out
}

// only are some of those in one set and not in another, the earliest first.
func only(in, notIn map[uint64]*member, n int, why map[uint64]string) []Sample {
	var out []Sample
	for p, m := range in {
		if notIn[p] == nil {
			out = append(out, Sample{Person: p, UserID: m.user, At: m.at, Why: why[p]})
		}
	}
	slices.SortFunc(out, func(a, b Sample) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Person, b.Person)) })
	return out[:min(n, len(out))]
}

// Largest is the largest change of a rule, or of all together: how many people gain or lose, of how many. A rule that is
// added or removed is held against everybody who was written to before.
func (d *Diff) Largest() (rule string, people, of int64) {
	rule, people, of = "all rules together", max(d.All.Gained, d.All.Lost), d.All.Before
	for _, r := range d.Rules {
		n, before := max(r.Gained, r.Lost), r.Before
		if r.Status == "added" || r.Status == "removed" || before == 0 {
			before = d.All.Before
		}
		if n*max(of, 1) > people*max(before, 1) {
			rule, people, of = r.Rule, n, before
		}
	}
	return rule, people, of
}

// DiffFormats are those that Diff.Write knows.
func DiffFormats() []string { return []string{"table", "markdown", "json"} }

// Write prints the diff.
func (d *Diff) Write(w io.Writer, format string) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(d) //nolint:wrapcheck // the writer's own error
	case "markdown":
		_, err := io.WriteString(w, d.markdown())
		return err //nolint:wrapcheck // the writer's own error
	default:
		_, err := io.WriteString(w, d.text())
		return err //nolint:wrapcheck // the writer's own error
	}
}

// change is a number with its sign, as one of a week where the time is at least that long.
func (d *Diff) change(n int64, one string) string {
	const whole = 0.99 // of a week: days change their length
	per := ""
	if d.Weeks >= whole {
		per = " a week"
		if rounded := int64(math.Round(float64(n) / d.Weeks)); rounded != 0 || n == 0 {
			n = rounded
		} else {
			return fmt.Sprintf("%s<1 %s%s", sign(n), one, per)
		}
	}
	return sign(n) + strings.TrimPrefix(counted.Of(n, one), "-") + per
}

func sign(n int64) string {
	switch {
	case n > 0:
		return "+"
	case n < 0:
		return "−"
	default:
		return ""
	}
}

// mostDisplaced is how many rules are named that people lose for another.
const mostDisplaced = 3

func (d *Diff) sentence(r *RuleDiff) string {
	var parts []string
	if r.Gained > 0 {
		parts = append(parts, d.change(r.Gained, "person"))
	}
	if r.Lost > 0 {
		parts = append(parts, d.change(-r.Lost, "person"))
	}
	if len(parts) == 0 {
		parts = append(parts, "the same people")
	}
	if m := r.Messages.After - r.Messages.Before; m != r.Gained-r.Lost && m != 0 {
		parts = append(parts, d.change(m, "message"))
	}
	said := []string{strings.Join(parts, ", ")}
	for i, x := range r.Displaced {
		if i == mostDisplaced {
			break
		}
		said = append(said, fmt.Sprintf("%.0f %% of those who gain it lose %s", math.Max(1, x.Share*100), x.Rule))
	}
	return strings.Join(said, "; ")
}

func (d *Diff) heading() string {
	if len(d.Rules) == 0 {
		return fmt.Sprintf("From %s to %s nobody would have got anything else.", d.From.Format("2006-01-02 15:04"), d.To.Format("2006-01-02 15:04"))
	}
	return fmt.Sprintf("From %s to %s (%s) %s would have been written to (%s before the change): %s newly, %s no longer; %s.",
		d.From.Format("2006-01-02 15:04"), d.To.Format("2006-01-02 15:04"), d.From.Location(), counted.Of(d.All.After, "person"), counted.Grouped(d.All.Before),
		counted.Grouped(d.All.Gained), counted.Grouped(d.All.Lost), d.change(d.All.Messages.After-d.All.Messages.Before, "message"))
}

func (d *Diff) text() string {
	var b strings.Builder
	b.WriteString(d.heading() + "\n\n")
	if len(d.Rules) > 0 {
		t := texttable.New("rule", "", "people before", "after", "gained", "lost", "messages before", "after")
		for _, r := range d.Rules {
			t.AppendRow(texttable.Row{r.Rule, r.Status, r.Before, r.After, r.Gained, r.Lost, r.Messages.Before, r.Messages.After})
		}
		b.WriteString(t.Render() + "\n\n")
	}
	for _, r := range d.Rules {
		fmt.Fprintf(&b, "%s (%s): %s\n", r.Rule, r.Status, d.sentence(&r))
		for _, s := range r.GainedSamples {
			fmt.Fprintf(&b, "  + %s, %s\n", s.who(), s.At.In(d.From.Location()).Format("2006-01-02 15:04"))
		}
		for _, s := range r.LostSamples {
			fmt.Fprintf(&b, "  − %s, %s: %s\n", s.who(), s.At.In(d.From.Location()).Format("2006-01-02 15:04"), s.because())
		}
		b.WriteString("\n")
	}
	if len(d.Same) > 0 {
		fmt.Fprintf(&b, "The same as before: %s\n\n", strings.Join(d.Same, ", "))
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "* %s\n", n)
	}
	return b.String()
}

// who names somebody. What an app calls its users is anybody's choice: nothing in it is a command to a terminal, or to
// what renders a comment.
func (s Sample) who() string {
	if s.UserID == "" {
		return fmt.Sprintf("somebody unknown (%d)", s.Person)
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '`' {
			return '\uFFFD'
		}
		return r
	}, s.UserID)
}

func (s Sample) because() string {
	if s.Why == "" {
		return "no longer matches"
	}
	return s.Why
}

func (d *Diff) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### What this changes for people\n\n%s\n\n", d.heading())
	if len(d.Rules) > 0 {
		b.WriteString("| rule | | people before | after | gained | lost | |\n| --- | --- | ---: | ---: | ---: | ---: | --- |\n")
		for _, r := range d.Rules {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", r.Rule, r.Status, counted.Grouped(r.Before), counted.Grouped(r.After), counted.Grouped(r.Gained), counted.Grouped(r.Lost), d.sentence(&r))
		}
		d.samples(&b)
	}
	if len(d.Same) > 0 {
		fmt.Fprintf(&b, "The same as before: `%s`\n\n", strings.Join(d.Same, "`, `"))
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "> %s\n", n)
	}
	return b.String()
}

func (d *Diff) samples(b *strings.Builder) {
	var lines []string
	for _, r := range d.Rules {
		for _, s := range r.GainedSamples {
			lines = append(lines, fmt.Sprintf("- `%s` + `%s`, %s", r.Rule, s.who(), s.At.In(d.From.Location()).Format("2006-01-02 15:04")))
		}
		for _, s := range r.LostSamples {
			lines = append(lines, fmt.Sprintf("- `%s` − `%s`, %s: %s", r.Rule, s.who(), s.At.In(d.From.Location()).Format("2006-01-02 15:04"), s.because()))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n<details><summary>Some of them</summary>\n\n%s\n\n</details>\n", strings.Join(lines, "\n"))
	}
	b.WriteString("\n")
}
