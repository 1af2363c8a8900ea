package rules

import "time"

// firstInstant is the first instant at which loc's clock shows t; for a time that the clock skips,
// the end of the gap.
func firstInstant(t LocalTime, loc *time.Location) time.Time {
	naive := time.Date(t.Year, time.Month(t.Month), t.Day, t.Hour, t.Minute, t.Second, 0, time.UTC)
	offset := func(at time.Time) time.Duration {
		_, s := at.In(loc).Zone()
		return time.Duration(s) * time.Second
	}
	// Offsets lie between −12 h and +14 h, so these two instants are on either side of whatever
	// change of the clock is near.
	const side = 26 * time.Hour
	before, after := offset(naive.Add(-side)), offset(naive.Add(side))
	early, late := naive.Add(-before), naive.Add(-after)
	if late.Before(early) {
		early, late = late, early
	}
	for _, at := range []time.Time{early, late} {
		wall := at.In(loc)
		if wall.Hour() == naive.Hour() && wall.Minute() == naive.Minute() && wall.Day() == naive.Day() {
			return at
		}
	}
	// Neither shows it: the clock jumps over it, between the two.
	change, _ := late.In(loc).ZoneBounds()
	return change
}
