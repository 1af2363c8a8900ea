package segments

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/vm"
)

// Branches are the parts of a condition that join no others, and for candidates which of them decide: modified
// condition/decision coverage, in its masking form (Chilenski, An Investigation of Three Forms of the Modified
// Condition Decision Coverage (MCDC) Criterion, DOT/FAA/AR-01/18). Branches are safe for concurrent use.
type Branches struct {
	who    *Who
	root   branch
	leaves []Branch
}

// Branch is a part of a condition.
type Branch struct {
	From, To int    // byte offsets in the condition
	Text     string // as the author wrote it
}

// Decided says how a branch decided about a candidate.
type Decided uint8

// A branch of an `and` decides where none of the others is false, one of an `or` where none of the others is true.
const (
	Masked Decided = iota // the others decided
	Held
	HeldNot // it is false or unknown
)

// branch is a part that is to be evaluated.
type branch struct {
	op      op // opAnd, opOr, opNot, or another: a leaf
	kids    []branch
	leaf    int // index in leaves
	yes, no *vm.Program
	truth   Truth
}

// Branches takes the condition apart.
func (w *Who) Branches() (*Branches, error) {
	e := &emitter{}
	for i := range w.features {
		e.featureIndex(&w.features[i])
	}
	e.places = w.places
	b := &Branches{who: w}
	var err error
	b.root, err = b.branch(e, w.when)
	return b, err
}

func (b *Branches) branch(e *emitter, n *node) (branch, error) {
	kids := n.kids
	switch n.op {
	case opAnd, opOr:
		kids = flat(n, n.op)
	case opNot:
		if !n.kids[0].isTruth() {
			kids = nil
		}
	default:
		kids = nil
	}
	out := branch{op: n.op, leaf: -1}
	if len(kids) == 0 || !inside(kids, n) {
		out.op, out.leaf = opConst, len(b.leaves)
		leaf := Branch{From: n.from, To: n.to}
		if n.from < n.to && n.to <= len(b.who.source) {
			leaf.Text = b.who.source[n.from:n.to]
		}
		b.leaves = append(b.leaves, leaf)
		for _, x := range []struct {
			want bool
			into **vm.Program
		}{{true, &out.yes}, {false, &out.no}} {
			p, err := e.program(e.truth(n, x.want))
			if err != nil {
				return out, fmt.Errorf("take the condition apart: %s: %w", leaf.Text, err)
			}
			*x.into = p
		}
		return out, nil
	}
	for _, k := range kids {
		kid, err := b.branch(e, k)
		if err != nil {
			return out, err
		}
		out.kids = append(out.kids, kid)
	}
	return out, nil
}

// Leaves are the branches, in the order of the text.
func (b *Branches) Leaves() []Branch { return b.leaves }

// Decide says of each leaf how it decided about a candidate at an instant (Unix ms). What cannot be evaluated is
// unknown.
func (b *Branches) Decide(at int64, c *Candidate) []Decided {
	m := b.who.machine(at, c)
	defer b.who.release(m)
	out := make([]Decided, len(b.leaves))
	root := b.root.evaluate(m)
	root.decide(out)
	return out
}

// evaluate is the branch with the truth of all its parts.
func (x *branch) evaluate(m *machine) branch {
	out := *x
	if x.leaf >= 0 {
		if yes, err := m.truth(x.yes); err == nil && yes {
			out.truth = True
		} else if no, err := m.truth(x.no); err == nil && no {
			out.truth = False
		} else {
			out.truth = Unknown
		}
		return out
	}
	out.kids = make([]branch, len(x.kids))
	some := map[Truth]bool{}
	for i := range x.kids {
		out.kids[i] = x.kids[i].evaluate(m)
		some[out.kids[i].truth] = true
	}
	switch {
	case x.op == opNot:
		out.truth = map[Truth]Truth{True: False, False: True, Unknown: Unknown}[out.kids[0].truth]
	case x.op == opAnd && some[False], x.op == opOr && !some[True] && !some[Unknown]:
		out.truth = False
	case x.op == opOr && some[True], x.op == opAnd && !some[Unknown]:
		out.truth = True
	default:
		out.truth = Unknown
	}
	return out
}

// decide notes how the leaves of a branch on which the answer turns decided.
func (x *branch) decide(out []Decided) {
	switch {
	case x.leaf >= 0 && x.truth == True:
		out[x.leaf] = Held
		return
	case x.leaf >= 0:
		out[x.leaf] = HeldNot
		return
	}
	mask, joins := True, x.op == opAnd || x.op == opOr
	if x.op == opAnd {
		mask = False
	}
	masking := func(k branch) bool { return joins && k.truth == mask }
	for i := range x.kids {
		if !slices.ContainsFunc(x.kids[:i], masking) && !slices.ContainsFunc(x.kids[i+1:], masking) {
			x.kids[i].decide(out)
		}
	}
}
