package segments

import (
	"fmt"

	"nudge/events"

	"github.com/expr-lang/expr/vm"
)

// machine is a VM with its environment, used by one evaluation at a time.
type machine struct {
	vm    vm.VM
	frame frame
}

func (w *Who) machine(at int64, c *Candidate) *machine {
	m, ok := w.machines.Get().(*machine)
	if !ok {
		m = &machine{frame: frame{zones: w.zones, lists: make([][]any, len(w.features))}}
	}
	m.frame.reset(at, c)
	return m
}

func (w *Who) release(m *machine) {
	m.frame.reset(0, nil)
	w.machines.Put(m)
}

func (m *machine) run(p *vm.Program) (any, error) {
	v, err := m.vm.Run(p, &m.frame)
	if err != nil {
		m.vm = vm.VM{} // its state after a failure is unknown
	}
	return v, err
}

func (m *machine) truth(p *vm.Program) (bool, error) {
	v, err := m.run(p)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the program gave %T, want bool", v)
	}
	return b, nil
}

// Judge says whether the condition is true of the candidate at the instant (Unix ms). A condition
// that cannot be evaluated is Failed, with the error.
func (w *Who) Judge(at int64, c *Candidate) (Truth, error) {
	m := w.machine(at, c)
	defer w.release(m)
	is, err := m.truth(w.isTrue)
	switch {
	case err != nil:
		return Failed, fmt.Errorf("evaluate the condition: %w", err)
	case is:
		return True, nil
	case w.isFalse == nil:
		return False, nil
	}
	isNot, err := m.truth(w.isFalse)
	switch {
	case err != nil:
		return Failed, fmt.Errorf("evaluate the condition: %w", err)
	case isNot:
		return False, nil
	}
	return Unknown, nil
}

// With evaluates the rule's `with` values; what is missing is absent. everyone answers how many
// people did what EveryoneRef i asks, with these values for its filter; nil, or false, makes it
// missing. Times are RFC 3339 strings, durations seconds, occurrences objects: JSON keeps them all.
func (w *Who) With(at int64, c *Candidate, everyone func(i int, args map[string]any) (int64, bool)) (map[string]any, error) {
	if len(w.with) == 0 {
		return nil, nil
	}
	m := w.machine(at, c)
	defer w.release(m)
	m.frame.earlier = make(map[string]any, len(w.with))
	if everyone != nil {
		m.frame.everyone = w.askOnce(&m.frame, everyone)
	}
	out := make(map[string]any, len(w.with))
	for _, n := range w.with {
		v, err := m.run(n.program)
		if err != nil {
			return nil, fmt.Errorf("evaluate with.%s: %w", n.name, err)
		}
		if v != nil {
			m.frame.earlier[n.name] = v
			out[n.name] = portable(v)
		}
	}
	return out, nil
}

// askOnce asks each question about everyone at most once an evaluation.
func (w *Who) askOnce(f *frame, everyone func(i int, args map[string]any) (int64, bool)) func(i int) (int64, bool) {
	type answer struct {
		people int64
		ok     bool
	}
	asked := make(map[int]answer, len(w.everyone))
	return func(i int) (int64, bool) {
		a, done := asked[i]
		if done {
			return a.people, a.ok
		}
		if args, ok := w.outside(i, f); ok {
			a.people, a.ok = everyone(i, args)
			a.ok = a.ok && a.people >= w.everyone[i].Min
		}
		asked[i] = a
		return a.people, a.ok
	}
}

// EveryoneArgs are the values from outside in the filter of EveryoneRef i, by path, for Pred.Bind
// (times in Unix ms). It is nil when one is missing: then nothing is asked and the value is missing.
func (w *Who) EveryoneArgs(i int, at int64, c *Candidate) map[string]any {
	var args map[string]any
	_, _ = w.With(at, c, func(j int, a map[string]any) (int64, bool) { // a failing with: is reported by With
		if i == j {
			args = a
		}
		return 0, false
	})
	return args
}

// outside computes the values for an everyone's filter.
func (w *Who) outside(i int, f *frame) (map[string]any, bool) {
	args := make(map[string]any, len(w.args[i]))
	for path, l := range w.args[i] {
		v := ms(l(f, nil))
		switch v.(type) {
		case string, float64, int64, bool:
			args[path] = v
		default:
			return nil, false
		}
	}
	return args, true
}

// Since is the instant that exit.since names, Unix ms, and where that is when something occurred, the occurrence's
// position, else 0; false when the rule names none or it is missing.
func (w *Who) Since(c *Candidate) (at int64, pos events.Position, ok bool) {
	if w.since == nil {
		return 0, 0, false
	}
	m := w.machine(0, c)
	defer w.release(m)
	v, err := m.run(w.since)
	if err != nil {
		return 0, 0, false
	}
	switch t := v.(type) {
	case instant:
		return int64(t), 0, true
	case *Occurrence:
		if t != nil {
			return t.Time, t.Pos, true
		}
	}
	return 0, 0, false
}

// Values are what the condition read, by its text in the language, for the ledger and explain. Ages
// are given as the instants they are counted from. What is missing is nil.
func (w *Who) Values(c *Candidate) map[string]any {
	m := w.machine(0, c)
	defer w.release(m)
	out := make(map[string]any, len(w.values))
	for _, v := range w.values {
		out[v.name] = portable(safely(v.load, &m.frame))
	}
	return out
}

// safely loads a value; what cannot be loaded is missing, for Judge has reported it.
func safely(l loader, f *frame) (v any) {
	defer func() {
		if recover() != nil {
			v = nil
		}
	}()
	return l(f, nil)
}

// Passes reports whether the candidate passes the prefilter, as the store's query should say it.
// Tests hold the two and Judge together: whoever is judged True passes.
func (w *Who) Passes(at int64, c *Candidate) bool {
	m := w.machine(at, c)
	defer w.release(m)
	return w.prefilter.eval(&operands{frame: &m.frame, feature: m.frame.edge})
}

// edge is an operand that reads a feature.
func (f *frame) edge(o *Operand) any {
	x := f.value(o.Feature)
	if o.Field == "" {
		return x
	}
	edge, _ := x.(*Occurrence)
	if o.Field != "ago" {
		return fieldOf(edge, o.Field, declaredType(o.Type))
	}
	if edge == nil {
		return forever
	}
	return span(f.at - edge.Time)
}
