package channels

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nudge/internal/suggest"
)

// nameForm is the form of adapter names: they are words of nudge.yaml and metric labels.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Set is a registry of adapters: a plain value, filled by Add, without global state. The zero
// value is empty and ready. Reading it concurrently is safe once nobody adds any more.
type Set struct{ specs map[string]Spec }

// Add puts an adapter in. A malformed spec or a name that is taken is an error.
func (s *Set) Add(spec Spec) error {
	if !nameForm.MatchString(spec.Name) {
		return fmt.Errorf("channel adapter %q: the name must match %s", spec.Name, nameForm)
	}
	if _, taken := s.specs[spec.Name]; taken {
		return fmt.Errorf("channel adapter %q: added twice", spec.Name)
	}
	if err := spec.wellFormed(); err != nil {
		return fmt.Errorf("channel adapter %q: %w", spec.Name, err)
	}
	if s.specs == nil {
		s.specs = make(map[string]Spec)
	}
	s.specs[spec.Name] = spec
	return nil
}

// Get returns the adapter of that name.
func (s Set) Get(name string) (Spec, bool) {
	spec, ok := s.specs[name]
	return spec, ok
}

// List returns all adapters, sorted by name.
func (s Set) List() []Spec {
	list := make([]Spec, 0, len(s.specs))
	for _, spec := range s.specs {
		list = append(list, spec)
	}
	slices.SortFunc(list, func(a, b Spec) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Kinds returns the kinds that rule files may name, sorted.
func (s Set) Kinds() []string {
	var kinds []string
	for _, spec := range s.List() {
		if !slices.Contains(kinds, spec.Kind) {
			kinds = append(kinds, spec.Kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// Suggest returns the adapter name nearest to a misspelt one, or "".
func (s Set) Suggest(name string) string {
	var names []string
	for _, spec := range s.List() {
		names = append(names, spec.Name)
	}
	return suggest.Nearest(name, names)
}

// MessageFields returns the message fields that the adapters of a kind know, sorted by name, each
// once: a rule writes one `push`, and each adapter takes of it what its platform has.
func (s Set) MessageFields(kind string) []Field {
	var fields []Field
	for _, spec := range s.List() {
		if spec.Kind != kind {
			continue
		}
		for _, f := range spec.Message {
			if !slices.ContainsFunc(fields, func(have Field) bool { return have.Name == f.Name }) {
				fields = append(fields, f)
			}
		}
	}
	slices.SortFunc(fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	return fields
}

// CheckMessage checks the message that a rule file has for a kind: names and types. Values of
// template fields may be templates. No problems is nil.
func (s Set) CheckMessage(kind string, message map[string]any) Problems {
	if !slices.Contains(s.Kinds(), kind) {
		return Problems{{Field: kind, Summary: "is not a kind of message", Suggest: didYouMean(suggest.Nearest(kind, s.Kinds()), s.Kinds())}}
	}
	for _, spec := range s.List() {
		if spec.Kind == kind && spec.Any {
			return nil
		}
	}
	return check(s.MessageFields(kind), message, templates)
}

// wellFormed is what Add asks of a spec beside its name.
func (spec Spec) wellFormed() error {
	switch {
	case spec.Kind == "":
		return errors.New("it has no kind")
	case spec.New == nil:
		return errors.New("it has no constructor")
	case spec.Batch < 1 || spec.Concurrency < 1:
		return fmt.Errorf("batch (%d) and concurrency (%d) must be at least 1", spec.Batch, spec.Concurrency)
	case spec.MaxPayload > 0 && spec.Measure == nil:
		return errors.New("it has a limit, and does not measure messages")
	case spec.LimitField != "" && !slices.ContainsFunc(spec.Config, func(f Field) bool {
		return f.Name == spec.LimitField && f.Type == "int" && f.Default == strconv.Itoa(spec.MaxPayload)
	}):
		return fmt.Errorf("the limit's field %q is no int of the config whose default is %d", spec.LimitField, spec.MaxPayload)
	case spec.Repeat != RepeatHarmless && spec.Repeat != RepeatDoubles:
		return fmt.Errorf("repeat must be %q or %q, not %q", RepeatHarmless, RepeatDoubles, spec.Repeat)
	}
	for _, fields := range [][]Field{spec.Config, spec.Message} {
		seen := make(map[string]bool)
		for _, f := range fields {
			if !nameForm.MatchString(f.Name) || seen[f.Name] {
				return fmt.Errorf("field %q: malformed or twice", f.Name)
			}
			if !slices.Contains(fieldTypes, f.Type) {
				return fmt.Errorf("field %q: type %q is none of %s", f.Name, f.Type, strings.Join(fieldTypes, ", "))
			}
			seen[f.Name] = true
		}
	}
	return nil
}
