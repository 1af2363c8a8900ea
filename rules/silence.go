package rules

import (
	"time"

	"nudge/rules/yamlfile"
)

// Silence is one entry of `silence`: the file that holds it has no finding of that check, but for errors.
type Silence struct {
	Check  string
	Reason string
	Until  time.Time      // the last day, 00:00 UTC; zero: for ever
	Node   *yamlfile.Node // of the check's id
}

// Over says whether the last day has passed, in UTC.
func (s Silence) Over(now time.Time) bool {
	return !s.Until.IsZero() && !now.Before(s.Until.AddDate(0, 0, 1))
}

// ReadSilences reads the `silence` of a file.
func ReadSilences(r *yamlfile.Reader, n *yamlfile.Node) []Silence {
	var out []Silence
	for _, item := range r.Items(n) {
		f := r.Fields(item)
		id := f.Must("check", "Name the id that stands in brackets behind the finding.")
		s := Silence{Check: r.Text(id), Node: id}
		s.Reason = r.Text(f.Must("reason", "Say why, for whoever reads the file next."))
		if until := f.Get("until"); until != nil {
			day, err := time.Parse(time.DateOnly, until.Text)
			if err != nil {
				r.Report(until, "bad-time", "Write the last day: 2027-01-31.", "%q is not a date", until.Text)
			}
			s.Until = day
		}
		f.Done()
		if s.Check != "" {
			out = append(out, s)
		}
	}
	return out
}
