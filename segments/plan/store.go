package plan

import (
	"context"

	"nudge/events"
	"nudge/segments"
	"nudge/segments/geo"
)

// store is where the rows of looks are read: tables in ClickHouse, or inMemory. What a method hands to each is
// valid during the call. People that are given are canonical and sorted, and so are those that come back but of
// merges and of what arrived or crosses, where rows have the person of their writing.
type store interface {
	// merges are those in (after, upTo], by position, and how far who has been erased is gone.
	merges(ctx context.Context, after, upTo uint64) (fresh []merge, erased map[uint64]uint64, err error)
	// spans cuts the people into ranges to be read one after the other.
	spans(ctx context.Context, m moment) ([]span, error)

	// arrived are the rows in (after, m.upTo], at least those that the readers read, whenever they happened.
	arrived(ctx context.Context, m moment, readers map[stream][]int, after uint64, each func(streamRow)) error
	// crossed are rows up to m.upTo, at least those whose ages become one of the needed; or some of them, more than most
	// (0: all).
	crossed(ctx context.Context, m moment, ask []needed, most int, each func(streamRow)) error
	// heard is of whom something arrived that `on` conditions are judged for: first and last are instants.
	heard(ctx context.Context, l *look, kinds []listeners, triggers []events.Position, each func(s stream, person uint64, first, last int64)) error
	// triggers are the occurrences that conditions with one `on` are judged for, of some people, by (time, position).
	triggers(ctx context.Context, l *look, on *segments.On, asked []events.Position, h *heard, people []uint64, each func(c candidate, passes bool)) error

	// passing are the people, or values, of whom conditions of a group may be true, in a range of people (nil: all).
	passing(ctx context.Context, l *look, g group, s *span) ([]candidate, error)
	// lastFixes are the last usable fixes of people of whom there is a young one, by person.
	lastFixes(ctx context.Context, m moment, o geo.Options, each func(person uint64, at geo.Fix)) error

	// histories reads the rows of a fold of some people into r, and calls each behind each. With newest the newest so many
	// are read, newest first; 0: all, in no order.
	histories(ctx context.Context, m moment, f *fold, people []uint64, newest int, r *row, each func()) error
	// profiles are the rows that profiles are put together from.
	profiles(ctx context.Context, m moment, people []uint64, parts profileParts, each func(profileRow)) error
	// fixes are those of the last time that conditions may look at.
	fixes(ctx context.Context, m moment, people []uint64, each func(person uint64, fix geo.Fix)) error
	// everyone counts the people for whom each of these is so; all have one source.
	everyone(ctx context.Context, m moment, all []asked) ([]uint64, error)

	// occurrences are the events of the names with time > after, of everybody where people is nil, by person, time and position.
	occurrences(ctx context.Context, m moment, people []uint64, names []string, after int64, each func(person uint64, o segments.Occurrence)) error
	// changes are the merges and erasures in (after, upTo], by position, each once.
	changes(ctx context.Context, after, upTo uint64) ([]segments.Change, error)
	// zones are the names of zones that people were ever in, each once.
	zones(ctx context.Context) ([]string, error)

	// saveDues writes dues down, synced.
	saveDues(ctx context.Context, l *look, dues []due) error
}

// streamRow is a row that arrived or that crosses.
type streamRow struct {
	stream
	person, pos uint64
	time        int64 // Unix ms; 0 of zones that arrived
}
