package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// Flip is a change after which the answer of the condition would be the other one. It has been tried: the condition was
// judged with the change, over all that is known of the person.
type Flip struct {
	// Says tells the change in words, on the workspace's clock.
	Says string `json:"says"`
	// Truth is what the answer would be: true, false or unknown.
	Truth string `json:"truth"`
	// At is from when on, if what Needs says happened at the instant that is explained, and nothing else.
	At time.Time `json:"at"`
	// Needs is what would have to be otherwise, all of it; empty: time alone changes the answer.
	Needs []Need `json:"needs"`
}

// Need is one thing that would have to be otherwise.
type Need struct {
	// Kind is event (something happens), without (it had not happened: it stands in the way), trait, user (the person is
	// known by a user id), place, or trigger (what arrived says something else).
	Kind string `json:"kind"`
	// Part is the text of the part of the condition that asks for it.
	Part string `json:"part"`
	// Event is the name of the event, of kinds event and without; Rule is whose message it is about, "*" for any.
	Event string `json:"event,omitempty"`
	Rule  string `json:"rule,omitempty"`
	// Where is what the event must say, in words.
	Where string `json:"where,omitempty"`
	// Count is how many more events it takes, Had how many there are.
	Count int `json:"count,omitempty"`
	Had   int `json:"had,omitempty"`
	// Given is an example: the properties with which the change was tried.
	Given map[string]any `json:"given,omitempty"`
	// Times are when what stands in the way happened, newest first.
	Times []time.Time `json:"times,omitempty"`
	// Trait is the name of the trait, Was what it is and Value what it was tried with; null: not set.
	Trait string `json:"trait,omitempty"`
	Was   any    `json:"was,omitempty"`
	Value any    `json:"value,omitempty"`
	// Place is the pattern of fences, There whether one would have to be there, Meters how far away one is.
	Place  string  `json:"place,omitempty"`
	There  bool    `json:"there,omitempty"`
	Meters float64 `json:"meters,omitempty"`
}

const (
	ahead    = 100 * 24 * time.Hour // how far ahead time is tried
	mostRows = 20_000               // occurrences that are gone through
	// effort is how many occurrences are gone through in all for the answers of a rule, and mostTries how often the
	// condition is judged for one.
	effort    = 8_000_000
	mostTries = 2500
	// mostTold is of how many values of a for_each more is told than when time alone flips their answers: of those that
	// are not false, and then of those of which something happened last.
	mostTold = 12
)

// nearest finds what would flip the answers.
func (x *explainer) nearest(ctx context.Context, r *workspace.Rule, profile *segments.Profile, told []segments.Answer, out []Answer) error {
	if len(told) == 0 {
		return nil
	}
	past, all, err := x.planner.Past(ctx, segments.Look{
		At: x.At, UpTo: x.upTo, Who: []*segments.Who{r.Who}, People: []events.PersonID{x.person}, Retention: x.Workspace.Retention.Milliseconds(),
		DefaultZone: x.Workspace.Zone.String(), Fences: x.Workspace.Fences,
	}, profile, ahead.Milliseconds(), mostRows)
	if err != nil {
		return fmt.Errorf("read the past of %q: %w", x.Person, err)
	}
	if !all {
		return nil
	}
	tries := min(mostTries, max(60, effort/(past.Rows()+50)/len(told)))
	for i, a := range told {
		if f := r.Who.ForEach(); f != nil {
			for _, o := range past.Occurrences(&segments.Feature{Event: f.Event, Filter: f.Filter, Keyed: true}, a.Value, nil) {
				if o.Time <= x.At {
					out[i].Last = at(o.Time)
				}
			}
		}
	}
	newest := newestFirst(out)
	w := words{x.Workspace.Zone, time.UnixMilli(x.At)}
	for i, a := range told {
		flips, ok := r.Who.Nearest(segments.Question{
			At: x.At, Value: a.Value, Trigger: a.Trigger, Past: past, Ahead: ahead.Milliseconds(), Effort: tries,
			TimeAlone: slices.Index(newest, i) >= mostTold,
		}, a.Truth)
		if !ok {
			continue
		}
		for j := range flips {
			f := &flips[j]
			out[i].Flips = append(out[i].Flips, Flip{Says: w.flip(f, a.Value), Truth: f.Truth.String(), At: time.UnixMilli(f.At).UTC(), Needs: needs(f)})
			if len(f.Needs) == 0 {
				out[i].Turns = &Turn{time.UnixMilli(f.At).UTC(), f.Truth.String()}
			}
		}
		out[i].order(x.At)
	}
	return nil
}

func needs(f *segments.Flip) []Need {
	out := []Need{}
	for i := range f.Needs {
		n := &f.Needs[i]
		to := Need{Kind: string(n.Kind), Part: n.Part, Count: n.Count, Had: n.Had, Given: n.Given, Trait: n.Trait, Was: n.Was, Value: n.Value, There: n.There}
		if n.Feature != nil {
			to.Event, to.Rule, to.Where = n.Feature.Event, n.Feature.Message, filter(n.Feature.Filter)
		}
		for _, o := range n.Occurrences {
			to.Times = append(to.Times, time.UnixMilli(o.Time).UTC())
		}
		if n.Place != nil {
			to.Place = n.Place.Pattern
			if n.Were.Known {
				to.Meters = n.Were.Distance
			}
		}
		out = append(out, to)
	}
	return out
}

// newestFirst are the indices of answers: those that are not false, then the others, of each those first of which
// something happened last.
func newestFirst(answers []Answer) []int {
	out := make([]int, len(answers))
	for i := range out {
		out[i] = i
	}
	rank := func(i int) (int, int64) {
		last := int64(0)
		if answers[i].Last != nil {
			last = answers[i].Last.UnixMilli()
		}
		if answers[i].Truth == segments.False.String() {
			return 1, -last
		}
		return 0, -last
	}
	slices.SortStableFunc(out, func(a, b int) int {
		r, t := rank(a)
		s, u := rank(b)
		return cmp.Or(cmp.Compare(r, s), cmp.Compare(t, u))
	})
	return out
}

// order puts first what comes by itself soon, then what could happen, then what comes by itself later, and last what would
// have to not have happened.
func (a *Answer) order(now int64) {
	const soon = 24 * time.Hour
	rank := func(f Flip) int {
		switch {
		case slices.ContainsFunc(f.Needs, func(n Need) bool { return n.Kind == string(segments.NeedWithout) }):
			return 3
		case len(f.Needs) > 0:
			return 1
		case a.Truth != segments.True.String() && f.At.Sub(time.UnixMilli(now)) > soon:
			return 2
		}
		return 0
	}
	slices.SortStableFunc(a.Flips, func(f, g Flip) int { return rank(f) - rank(g) })
}
