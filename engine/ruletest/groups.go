package ruletest

import (
	"cmp"
	"slices"

	"nudge/engine/workspace"
	"nudge/events"
)

// timeline is what runs on one clock, in one database: tests that begin at the same instant. Looking at
// the people of all of them at once is what makes tests cheap.
type timeline struct {
	start, until int64
	tests        []*Test
	// counted are the events of these tests that some rule counts over all people.
	counted map[string]bool
}

// group puts tests on as few timelines as keep them apart: those of one start together, except that
// two tests with an event that a rule counts over everyone (`everyone.event(…)`) would see each
// other's people, and get timelines of their own.
func group(ws *workspace.Workspace, tests []*Test) []*timeline {
	everyone := map[string]bool{}
	for _, r := range ws.Rules {
		for _, ref := range r.Who.Everyone() {
			everyone[ref.Event] = true
		}
	}
	var out []*timeline
	for _, t := range tests {
		counted := t.counted(everyone)
		i := slices.IndexFunc(out, func(l *timeline) bool { return l.start == t.Start && !overlap(l.counted, counted) })
		if i < 0 {
			i = len(out)
			out = append(out, &timeline{start: t.Start, until: t.Start, counted: map[string]bool{}})
		}
		l := out[i]
		l.tests = append(l.tests, t)
		l.until = max(l.until, t.Until)
		for name := range counted {
			l.counted[name] = true
		}
	}
	// The longest first, so that none is left over at the end when several run at once.
	slices.SortStableFunc(out, func(a, b *timeline) int { return cmp.Compare(b.until-b.start, a.until-a.start) })
	return out
}

func overlap(a, b map[string]bool) bool {
	for name := range a {
		if b[name] {
			return true
		}
	}
	return false
}

// counted are the test's events among those that rules count over everyone.
func (t *Test) counted(everyone map[string]bool) map[string]bool {
	out := map[string]bool{}
	for i := range t.arrivals {
		ev := &t.arrivals[i].event
		if ev.Kind != events.KindIdentify && everyone[ev.StoredName()] {
			out[ev.StoredName()] = true
		}
	}
	return out
}
