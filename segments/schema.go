package segments

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"nudge/events"
)

// SchemaOptions is what conditions may name.
type SchemaOptions struct {
	// Plan is the tracking plan; nil declares nothing and every name is accepted.
	Plan *events.Plan
	// Rules are the names that message("…") may use; nil leaves them unchecked.
	Rules []string
	// Goals are the goals of rules by rule name, for message("…").converted.
	Goals map[string]Goal
	// Segments are the source texts of named segments.
	Segments map[string]string
	// Fences are the ids of the geofences.
	Fences []string
	// List reads the list that list("…") names, by its path within the workspace; nil: there are none.
	List func(path string) (*List, error)
	// EveryoneMin is the number below which everyone.….people is missing; 0 is DefaultEveryoneMin.
	EveryoneMin int64
}

// Goal is what counts as a conversion of a rule's message: the event, within a time of it.
type Goal struct {
	Event  string
	Where  string // source of a filter without entry.*, or ""
	Within int64  // milliseconds
}

// DefaultEveryoneMin is the fewest people that `everyone` tells of, so that a number says nothing
// about one person.
const DefaultEveryoneMin = 5

// Schema is what conditions are compiled against. It is immutable and safe for concurrent use.
type Schema struct {
	plan     *events.Plan
	rules    map[string]bool
	goals    map[string]Goal
	segments map[string]string
	fences   []string
	list     func(path string) (*List, error)
	min      int64
	zones    *zones
}

// NewSchema makes a schema; it copies what it keeps.
func NewSchema(o SchemaOptions) *Schema {
	s := &Schema{
		plan: o.Plan, goals: o.Goals, segments: o.Segments, min: o.EveryoneMin,
		fences: slices.Clone(o.Fences), zones: &zones{},
	}
	if s.list = o.List; s.list == nil {
		s.list = func(string) (*List, error) { return nil, fs.ErrNotExist }
	}
	if s.min == 0 {
		s.min = DefaultEveryoneMin
	}
	if o.Rules != nil {
		s.rules = make(map[string]bool, len(o.Rules))
		for _, r := range o.Rules {
			s.rules[r] = true
		}
	}
	return s
}

// zones remembers loaded time zones: loading one reads a file. The set of zone names is finite, so
// it does not grow without bound.
type zones struct{ loaded sync.Map }

// load returns the zone, or nil when there is none of that name.
func (z *zones) load(name string) *time.Location {
	if v, ok := z.loaded.Load(name); ok {
		return v.(*time.Location)
	}
	if name == "Local" { // this machine's zone means nothing to anyone
		return nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	z.loaded.Store(name, loc)
	return loc
}

// declared is the plan's entry of an event, if there is one.
func (s *Schema) declared(event string) (map[string]events.Property, bool) {
	if s.plan != nil {
		if d, ok := s.plan.Events[event]; ok {
			return d.Properties, true
		}
	}
	props, ok := builtinEvents[event]
	return props, ok
}

// eventNames lists every known event, for suggestions.
func (s *Schema) eventNames() []string {
	names := s.declaredNames()
	for n := range builtinEvents {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// declaredNames are the events that the plan declares, in order.
func (s *Schema) declaredNames() []string {
	if s.plan == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.plan.Events))
}

// closed reports whether the plan says what exists, so that an unlisted name is worth a finding.
func (s *Schema) closed() bool { return s.plan != nil && len(s.plan.Events) > 0 }

func (s *Schema) matchesFence(pattern string) (bool, error) {
	for _, f := range s.fences {
		ok, err := path.Match(pattern, f)
		if err != nil {
			return false, err
		}
		if ok {
			return true, nil
		}
	}
	_, err := path.Match(pattern, "")
	return false, err
}

// builtinEvents are the events that exist without being declared.
var builtinEvents = map[string]map[string]events.Property{
	"Page Viewed":            stringProps("name", "title", "url", "path", "referrer", "search"),
	"Screen Viewed":          stringProps("name"),
	events.LocationUpdated:   nil,
	events.MessageSent:       messageProps,
	events.MessageFailed:     messageProps,
	events.MessageDelivered:  messageProps,
	events.MessageOpened:     messageProps,
	events.MessageClicked:    messageProps,
	events.MessageDismissed:  messageProps,
	events.MessageBounced:    messageProps,
	events.MessageComplained: messageProps,
}

var messageProps = stringProps("rule", "entry", "channel", "variant", "category", "adapter", "reason", "text", "link")

func stringProps(names ...string) map[string]events.Property {
	m := make(map[string]events.Property, len(names))
	for _, n := range names {
		m[n] = events.Property{Path: n, Type: events.TypeString}
	}
	return m
}

// isMessage reports whether the event is one that only the engine writes.
func isMessage(event string) bool {
	return strings.HasPrefix(event, "Message ") && builtinEvents[event] != nil
}

// keysOf lists the paths of declared properties or traits.
func keysOf(m map[string]events.Property) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
