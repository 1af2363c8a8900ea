package segments

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"

	"nudge/events"
)

// Past is what happened to one person, kept so that a condition can be asked what it would say at another instant or
// had something else happened.
type Past interface {
	// Candidate is what the condition reads at an instant (Unix ms) of a value of for_each ("" without one).
	Candidate(at int64, value string, s *Supposed) *Candidate
	// Occurrences are those of a feature's event that its filter lets pass, of the value alone where it is keyed, by
	// time; its window does not narrow them, and those that are still to come are among them.
	Occurrences(f *Feature, value string, s *Supposed) []*Occurrence
	// Ends are further instants at which something stops counting: fixes that become too old.
	Ends() []int64
	// Retention is how long history counts, in ms; 0 is for ever.
	Retention() int64
}

// Supposed is what is taken to be otherwise than it is.
type Supposed struct {
	Added   []Occurrence      // happened as well; the later ones have later positions
	Without []events.Position // did not happen
	Profile *Profile          // is known instead of what is; nil: what is
	Places  map[int]Place     // by index in Who.Places: where the person is instead
	Trigger *Occurrence       // arrived instead; nil: what did
}

// with is a copy that can be changed.
func (s *Supposed) with() Supposed {
	out := *s
	out.Added, out.Without, out.Places = slices.Clone(s.Added), slices.Clone(s.Without), maps.Clone(s.Places)
	return out
}

// shape is the properties and the context of an occurrence that is made up.
type shape map[string]any // by path, "properties.x"

func (s shape) and(path string, v any) shape {
	out := maps.Clone(s)
	if out == nil {
		out = shape{}
	}
	out[path] = v
	return out
}

// occurrence makes one of that shape.
func (s shape) occurrence(event string, at int64) Occurrence {
	objects := map[string]map[string]any{"properties": {}, "context": {}}
	for _, path := range slices.Sorted(maps.Keys(s)) {
		root, rest, _ := strings.Cut(path, ".")
		of := objects[root]
		if of == nil {
			continue
		}
		keys := strings.Split(rest, ".")
		for _, k := range keys[:len(keys)-1] {
			inner, is := of[k].(map[string]any)
			if !is {
				inner = map[string]any{}
				of[k] = inner
			}
			of = inner
		}
		of[keys[len(keys)-1]] = s[path]
	}
	o := Occurrence{Time: at, Event: event}
	o.Properties, o.Context = raw(objects["properties"]), raw(objects["context"])
	return o
}

func raw(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil { // a number that is not finite
		return json.RawMessage("{}")
	}
	return text
}

// passing is a shape of occurrences that a filter lets pass, as far as one is found; whoever uses it asks the filter.
func passing(p *Pred, of shape) shape {
	if p == nil {
		return of
	}
	switch p.Op {
	case PredAnd:
		for _, k := range p.Kids {
			of = passing(k, of)
		}
		return of
	case PredOr:
		for _, k := range p.Kids {
			o := passing(k, of).occurrence("", 0)
			if k.Eval(&o, nil) {
				return passing(k, of)
			}
		}
		return of
	default:
	}
	if p.L == nil || p.L.Kind != OperandPath || p.L.Path == "time" {
		return of
	}
	for _, v := range p.candidates() {
		next := of.and(p.L.Path, v)
		o := next.occurrence("", 0)
		if p.Eval(&o, nil) {
			return next
		}
	}
	return of
}

// candidates are values of the path on the left that may make a leaf true.
func (p *Pred) candidates() []any {
	switch p.Op {
	case PredIsTrue, PredIsFalse:
		return []any{p.Op == PredIsTrue}
	case PredHas:
		return sampleOf(declaredType(p.L.Type))
	case PredIn, PredNotIn:
		var out []any
		for _, v := range p.List {
			out = append(out, around(v)...)
		}
		return out
	default:
	}
	if p.R == nil || p.R.Kind != OperandLit {
		return nil
	}
	lit := p.R.Lit
	if f, is := asFloat(lit); is {
		scale := p.L.Scale
		if scale == 0 {
			scale = 1
		}
		return around(math.Round((f-p.L.Offset)/scale*1e6) / 1e6)
	}
	return around(lit)
}

func sampleOf(t events.Type) []any {
	switch {
	case isNumeric(t), t == events.TypeTime:
		return []any{1.0}
	case t == events.TypeBoolean:
		return []any{true}
	}
	return []any{"x"}
}

// around are values that compare with another one in each way that there is, itself first.
func around(v any) []any {
	switch x := v.(type) {
	case bool:
		return []any{x, !x}
	case string:
		if x == "" {
			return []any{x, "x"}
		}
		return []any{x, "another", "~" + x}
	case float64:
		return []any{x, x + 1, x - 1, math.Ceil(x), math.Floor(x)}
	case int64:
		return []any{x, x + 1, x - 1}
	}
	return nil
}
