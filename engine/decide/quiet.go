package decide

import (
	"slices"
	"time"

	"nudge/rules"
	"nudge/segments"
)

// QuietUntil says until when (Unix ms) quiet hours forbid the channel for the category at t; 0 when
// they do not. unknown is true when that depends on a zone that nobody knows.
func (p *Policy) QuietUntil(channel, category string, profile *segments.Profile, t int64) (until int64, unknown bool) {
	for i := range p.Quiet {
		q := &p.Quiet[i]
		if !q.Covers(channel, category) {
			continue
		}
		loc, ok := p.zoneOf(q.Zone, profile)
		if !ok {
			return 0, true
		}
		if end := q.End(time.UnixMilli(t).In(loc)); end > until {
			until = end
		}
	}
	return until, false
}

// Covers says whether the window is about the channel and the category.
func (q *Quiet) Covers(channel, category string) bool {
	return among(q.Channels, channel) && among(q.Categories, category)
}

// End is when the window that contains at ends (Unix ms, on the clock of at's location), 0 when none does. A window that begins on one of
// Days may end on the next day. Ends in a DST gap are the gap's end.
func (q *Quiet) End(at time.Time) int64 {
	for _, back := range []int{0, -1} {
		y, m, d := at.Date()
		d += back
		from := clock(y, m, d, q.From, at.Location())
		to := clock(y, m, d, q.To, at.Location())
		if q.To <= q.From {
			to = clock(y, m, d+1, q.To, at.Location())
		}
		if len(q.Days) > 0 && !slices.Contains(q.Days, from.Weekday()) {
			continue
		}
		if !at.Before(from) && at.Before(to) {
			return to.UnixMilli()
		}
	}
	return 0
}

// clock is the instant at which the clock of loc shows the time of day; time.Date already moves one
// that a DST gap skips past the gap.
func clock(y int, m time.Month, d int, tod rules.TimeOfDay, loc *time.Location) time.Time {
	return time.Date(y, m, d, int(tod)/60, int(tod)%60, 0, 0, loc)
}

// nextSendAt is the first instant at or after t at which the person's clock shows the time of day.
func nextSendAt(tod rules.TimeOfDay, loc *time.Location, t int64) int64 {
	at := time.UnixMilli(t).In(loc)
	y, m, d := at.Date()
	for day := 0; ; day++ {
		if s := clock(y, m, d+day, tod, loc).UnixMilli(); s >= t {
			return s
		}
	}
}
