package check

import (
	"fmt"
	"slices"
	"time"

	"nudge/internal/suggest"
	"nudge/rules"
)

// Ids of findings about `silence` itself.
const (
	idUnused  = "silence/unused"
	idExpired = "silence/expired"
)

// silenced leaves out the findings that a file silences: those of its own, by id, that are no errors. A
// silence that has ended, or that there is nothing for, is a finding.
func silenced(silences []rules.Silence, found []rules.Finding, now time.Time) []rules.Finding {
	used := make([]bool, len(silences))
	out := slices.DeleteFunc(found, func(f rules.Finding) bool {
		quiet := false
		for i, s := range silences {
			if f.File == s.Node.Doc.Path && f.Check == s.Check && f.Severity != rules.Error && !s.Over(now) {
				used[i], quiet = true, true
			}
		}
		return quiet
	})
	for i, s := range silences {
		if used[i] {
			continue
		}
		f := s.Node.Finding(idUnused, "nothing in this file is found by "+s.Check)
		f.Detail = "Leave it out: it would hide the next such finding."
		if s.Over(now) {
			f = s.Node.Finding(idExpired, fmt.Sprintf("the silence of %s ended on %s", s.Check, s.Until.Format(time.DateOnly)))
			f.Detail = "Mend what it hid, or give it a later date."
		} else if other := suggest.Nearest(s.Check, ids()); other != s.Check {
			f.Suggest = other
		}
		f.Severity = rules.Warning
		out = append(out, f)
	}
	return out
}

func ids() []string {
	var out []string
	for _, c := range All() {
		out = append(out, c.ID)
	}
	return out
}
