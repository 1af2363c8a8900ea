package backtest

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/internal/counted"
)

//go:embed page.gohtml
var pageSource string

// family is a kind of answer that the page shows in one colour.
type family struct {
	Name, Class, About string
	reasons            []ledger.Reason
}

func families() []family {
	return []family{
		{"sent", "sent", "a message would have gone out", []ledger.Reason{ledger.Send}},
		{"in a digest", "digest", "it would have gone out with others, in one message", []ledger.Reason{ledger.InDigest}},
		{"held back", "held", "by a cap, quiet hours, or another rule that goes first", []ledger.Reason{ledger.FrequencyCap, ledger.Outranked, ledger.QuietHours, ledger.Held}},
		{"not reachable", "unreachable", "no address, or no consent", []ledger.Reason{ledger.NoAddress, ledger.NoConsent}},
		{"over by itself", "over", "exited, no longer true, expired, merged", []ledger.Reason{ledger.Exited, ledger.NoLongerTrue, ledger.Expired, ledger.Merged}},
		{"control group", "control", "holdout, not in the rollout, shadow", []ledger.Reason{ledger.Holdout, ledger.NotInRollout, ledger.Shadow}},
		{"only noted", "noted", "already true when the rule went live", []ledger.Reason{ledger.AlreadyTrue}},
		{"failed", "failed", "a condition or a template failed, or the rule was paused", []ledger.Reason{ledger.TemplateFailed, ledger.ConditionError, ledger.Paused}},
	}
}

// chart is one rule's days as stacked bars; lengths in the units of its view box.
type chart struct {
	Rule
	Width, Height float64
	Bars          []bar
	Lines         []line // of the scale
	Labels        []label
	Families      []famCount
}

type bar struct {
	X, Y, W, H  float64
	Class, Text string
}

type line struct {
	Y    float64
	Text string
}

type label struct {
	X    float64
	Text string
}

type famCount struct {
	family
	N int64
}

// page is what the template reads.
type page struct {
	*Result
	Heading  string
	Families []family
	Charts   []chart
	Names    []string // of rules that others give way to
	Matrix   []matrixRow
	Reasons  []ledger.Reason
}

type matrixRow struct {
	Rule  string
	Cells []cell
}

type cell struct {
	N     int64
	Shade float64 // 0 to 1
}

// Page writes the result as one HTML page that needs nothing else.
func (r *Result) Page(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"n":       counted.Grouped[int64],
		"word":    counted.Word[int64],
		"px":      func(f float64) string { return fmt.Sprintf("%.1f", f) },
		"pct":     func(f float64) string { return fmt.Sprintf("%.0f", f*100) },
		"count":   func(m map[ledger.Reason]int64, reason ledger.Reason) int64 { return m[reason] },
		"because": Lost.because, "to": Lost.to,
		"date": func(t time.Time) string { return t.Format("2 January 2006 15:04") },
	}).Parse(pageSource)
	if err != nil {
		return fmt.Errorf("the page of a backtest: %w", err)
	}
	p := &page{Result: r, Heading: r.heading(), Families: r.families()}
	for _, reason := range reasons() {
		if r.any(reason) {
			p.Reasons = append(p.Reasons, reason)
		}
	}
	for i := range r.Rules {
		p.Charts = append(p.Charts, newChart(&r.Rules[i], r.days()))
	}
	p.Names, p.Matrix = r.matrix()
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("write the page of a backtest: %w", err)
	}
	return nil
}

// WritePage writes the page to a file.
func (r *Result) WritePage(path string) error {
	w, err := createWhole(path)
	if err != nil {
		return err
	}
	return w.commit(r.Page(w.file))
}

// families are those that occur.
func (r *Result) families() []family {
	return slices.DeleteFunc(families(), func(f family) bool { return !slices.ContainsFunc(f.reasons, r.any) })
}

// days are all that were played, and those before on which something began that was still open.
func (r *Result) days() []string {
	first := r.From.Format(time.DateOnly)
	for _, rule := range r.Rules {
		if len(rule.Days) > 0 {
			first = min(first, rule.Days[0].Day)
		}
	}
	var out []string
	at, _ := time.Parse(time.DateOnly, first)
	last := r.To.Add(-time.Millisecond).Format(time.DateOnly)
	for ; at.Format(time.DateOnly) <= last; at = at.AddDate(0, 0, 1) {
		out = append(out, at.Format(time.DateOnly))
	}
	return out
}

// newChart lays out a rule's days.
func newChart(rule *Rule, days []string) chart {
	const width, height, left, bottom, top, labels = 860.0, 150.0, 56.0, 22.0, 8.0, 8
	c := chart{Rule: *rule, Width: width, Height: height}
	byDay := map[string]*Day{}
	var most int64
	for i := range rule.Days {
		byDay[rule.Days[i].Day] = &rule.Days[i]
		most = max(most, rule.Days[i].Entries)
	}
	for _, f := range families() {
		var n int64
		for _, reason := range f.reasons {
			n += rule.Reasons[reason]
		}
		if n > 0 {
			c.Families = append(c.Families, famCount{f, n})
		}
	}
	scale := niceAbove(most)
	plot := height - bottom - top
	y := func(n int64) float64 { return top + plot*(1-float64(n)/float64(scale)) }
	for _, n := range []int64{0, scale / 2, scale} {
		c.Lines = append(c.Lines, line{y(n), counted.Grouped(n)})
	}
	step := (width - left) / float64(len(days))
	each := (len(days) + labels - 1) / labels
	for i, day := range days {
		x := left + float64(i)*step
		if i%each == 0 {
			at, _ := time.Parse(time.DateOnly, day)
			c.Labels = append(c.Labels, label{x + step/2, at.Format("2 Jan")})
		}
		d := byDay[day]
		if d == nil {
			continue
		}
		var below int64
		for _, f := range families() {
			var n int64
			for _, reason := range f.reasons {
				n += d.Reasons[reason]
			}
			if n == 0 {
				continue
			}
			gap := min(step*0.2, 3)
			c.Bars = append(c.Bars, bar{
				X: x + gap/2, W: max(step-gap, 0.5), Y: y(below + n), H: y(below) - y(below+n), Class: f.Class,
				Text: fmt.Sprintf("%s: %s %s of %s", day, counted.Grouped(n), f.Name, counted.Grouped(d.Entries)),
			})
			below += n
		}
	}
	return c
}

// niceAbove is the smallest number of the form 2, 4, 10, 20, 40, 100, … that is not below n.
func niceAbove(n int64) int64 {
	for base := int64(1); ; base *= 10 {
		for _, x := range []int64{2, 4, 10} {
			if x*base >= n {
				return x * base
			}
		}
	}
}

// matrix says how many entries of each rule (rows) gave way to each other.
func (r *Result) matrix() (names []string, rows []matrixRow) {
	var most int64
	for _, rule := range r.Rules {
		for _, l := range rule.Lost {
			if !slices.Contains(names, l.to()) {
				names = append(names, l.to())
			}
		}
	}
	slices.Sort(names)
	sums := map[[2]string]int64{}
	for _, rule := range r.Rules {
		for _, l := range rule.Lost {
			at := [2]string{rule.Rule, l.to()}
			sums[at] += l.N
			most = max(most, sums[at])
		}
	}
	for _, rule := range r.Rules {
		if len(rule.Lost) == 0 {
			continue
		}
		row := matrixRow{Rule: rule.Rule}
		for _, to := range names {
			n := sums[[2]string{rule.Rule, to}]
			row.Cells = append(row.Cells, cell{n, float64(n) / float64(max(most, 1))})
		}
		rows = append(rows, row)
	}
	return names, rows
}
