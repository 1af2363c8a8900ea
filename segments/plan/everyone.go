package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nudge/segments"
)

// crowdColumns is how many counts of everyone one query makes.
const crowdColumns = 64

// crowd counts people for everyone.event(…).people, each distinct filter once a look.
type crowd struct {
	l      *look
	counts map[string]int64
}

func newCrowd(l *look) *crowd { return &crowd{l: l, counts: map[string]int64{}} }

// asked is one count: of whom, and which rows it reads.
type asked struct {
	sql     string
	source  source
	feature segments.Feature
}

func askedOf(ref *segments.EveryoneRef, args map[string]any, at int64) asked {
	f := segments.Feature{Event: ref.Event, Filter: ref.Filter.Bind(args), Within: ref.Within}
	if ours(ref.Event) {
		f.Message = "*"
	}
	return asked{counts(&f, at), source{f.Event, f.Message, f.Within}, f}
}

// ask counts what the `with` values of these answers will want to know.
func (c *crowd) ask(ctx context.Context, told []verdict) error {
	wanted := map[string]asked{}
	for i := range told {
		who := c.l.Who[told[i].Who]
		refs := who.Everyone()
		if !told[i].asks() || len(refs) == 0 {
			continue
		}
		// A value may be asked with an earlier count in its filter; such counts come in further rounds.
		for {
			before := len(wanted)
			_, _ = who.With(c.l.At, told[i].of, func(ref int, args map[string]any) (int64, bool) { // its error is reported when the values are made
				a := askedOf(&refs[ref], args, c.l.At)
				n, known := c.counts[a.sql]
				if !known {
					wanted[a.sql] = a
				}
				return n, known
			})
			if len(wanted) == before || len(refs) == 1 {
				break
			}
			if err := c.count(ctx, wanted); err != nil {
				return err
			}
			clear(wanted)
		}
	}
	return c.count(ctx, wanted)
}

func (c *crowd) count(ctx context.Context, wanted map[string]asked) error {
	byEvent := map[string][]asked{}
	for _, a := range wanted {
		key := fmt.Sprint(a.source)
		byEvent[key] = append(byEvent[key], a)
	}
	for _, all := range byEvent {
		slices.SortFunc(all, func(a, b asked) int { return strings.Compare(a.sql, b.sql) })
		for some := range slices.Chunk(all, crowdColumns) {
			counts, err := c.l.store.everyone(ctx, c.l.moment, some)
			if err != nil {
				return fmt.Errorf("counting everyone: %w", err)
			}
			for i, n := range counts {
				c.counts[some[i].sql] = int64(n)
			}
		}
	}
	return nil
}

// of answers for the counts of one condition from what has been asked.
func (c *crowd) of(who *segments.Who) func(int, map[string]any) (int64, bool) {
	refs := who.Everyone()
	return func(i int, args map[string]any) (int64, bool) {
		n, known := c.counts[askedOf(&refs[i], args, c.l.At).sql]
		return n, known
	}
}
