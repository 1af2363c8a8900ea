package segments

import "strings"

// truths are the truths that a condition can have.
type truths struct{ isTrue, isFalse, isUnknown bool }

var anyTruth = truths{true, true, true}

func only(t Truth) truths { return truths{t == True, t == False, t == Unknown} }

func (t truths) not() truths { return truths{t.isFalse, t.isTrue, t.isUnknown} }

// and is Kleene's over what each side can be.
func (t truths) and(u truths) truths {
	return truths{
		isTrue:    t.isTrue && u.isTrue,
		isFalse:   t.isFalse || u.isFalse,
		isUnknown: t.isUnknown && (u.isUnknown || u.isTrue) || u.isUnknown && t.isTrue,
	}
}

func (t truths) union(u truths) truths {
	return truths{t.isTrue || u.isTrue, t.isFalse || u.isFalse, t.isUnknown || u.isUnknown}
}

// absence is what is known not to be there: of an empty one there is not one row that the condition names, no event,
// trait, id or fix; else it is a trait, and all else may be anything. Now, the clock, and when they were first seen are
// anything in both.
type absence struct {
	trait string // "" is all
}

// possible says what a condition can be of somebody of whom there is not one row that it names.
func possible(n *node) truths { return absence{}.possible(n) }

// Requires says that the condition is true of nobody without the trait, a path as Traits has it.
func (w *Who) Requires(trait string) bool {
	return w != nil && w.when != nil && !absence{trait}.possible(w.when).isTrue
}

// is says whether a trait is among what is absent.
func (a absence) is(trait string) bool {
	return a.trait == "" || trait == a.trait || strings.HasPrefix(trait, a.trait+".")
}

// possible says what a condition can be.
func (a absence) possible(n *node) truths {
	switch n.op {
	case opConst:
		return truthOfValue(n.val)
	case opAnd:
		return a.possible(n.kids[0]).and(a.possible(n.kids[1]))
	case opOr:
		return a.possible(n.kids[0]).not().and(a.possible(n.kids[1]).not()).not()
	case opNot:
		return a.possible(n.kids[0]).not()
	case opIf:
		c := a.possible(n.kids[0])
		var out truths
		if c.isTrue {
			out = out.union(a.possible(n.kids[1]))
		}
		if c.isFalse {
			out = out.union(a.possible(n.kids[2]))
		}
		if c.isUnknown {
			out.isUnknown = true
		}
		return out
	case opLoop:
		if l, ok := a.known(n.kids[0]); ok && n.isTruth() {
			return overNothing(n, l)
		}
		return anyTruth
	default:
	}
	if !n.isTruth() {
		v, ok := a.known(n)
		if !ok {
			return anyTruth
		}
		return truthOfValue(v)
	}
	args, all := make([]any, len(n.kids)), true
	for i, k := range n.kids {
		v, ok := a.known(k)
		if ok && v == nil && n.op != opIsNil {
			return only(Unknown)
		}
		args[i], all = v, all && ok
	}
	e := &emitter{}
	switch {
	case !all:
		return anyTruth
	case e.truthOf(n, true)(args):
		return only(True)
	case e.truthOf(n, false)(args):
		return only(False)
	}
	return only(Unknown)
}

func truthOfValue(v any) truths {
	switch v {
	case true:
		return only(True)
	case false:
		return only(False)
	}
	return only(Unknown)
}

// overNothing is what a quantifier says of an empty list, or of none.
func overNothing(n *node, list any) truths {
	l, ok := list.([]any)
	switch {
	case !ok:
		return only(Unknown)
	case len(l) > 0:
		return anyTruth
	case n.name == "all" || n.name == "none":
		return only(True)
	}
	return only(False)
}

// known is a value of such a person, where it is known.
func (a absence) known(n *node) (v any, ok bool) {
	switch n.op {
	case opConst:
		return n.val, true
	case opFeature:
		return ofNothing(n.feat.Agg), a.trait == ""
	case opTrait:
		return nil, a.is(n.name)
	case opPlace:
		return nil, a.trait == ""
	case opUser:
		return nil, a.trait == "" && n.name == "id"
	case opField:
		return a.knownField(n)
	case opIf, opCoalesce:
		return a.knownChoice(n)
	case opCall, opMember, opList, opAfter, opLater, opConverted, opListAgg:
		return a.knownOf(n)
	case opAnd, opOr, opNot, opCompare, opIn, opText, opMatches, opIsNil:
		switch a.possible(n) {
		case only(True):
			return true, true
		case only(False):
			return false, true
		case only(Unknown):
			return nil, true
		}
	default:
	}
	return nil, false
}

func ofNothing(agg Agg) any {
	switch agg {
	case AggCount, AggUniq, AggSum:
		return 0.0
	case AggList:
		return []any{}
	default:
	}
	return nil
}

func (a absence) knownField(n *node) (any, bool) {
	v, ok := a.known(n.kids[0])
	switch {
	case !ok || v != nil:
		return nil, false
	case n.name != "ago":
		return nil, true
	case n.kids[0].op == opFeature:
		return forever, true
	}
	return nil, false // missing, or longer than any
}

func (a absence) knownChoice(n *node) (any, bool) {
	if n.op == opCoalesce {
		v, ok := a.known(n.kids[0])
		if !ok || v != nil {
			return v, ok
		}
		return a.known(n.kids[1])
	}
	switch a.possible(n.kids[0]) {
	case only(True):
		return a.known(n.kids[1])
	case only(False):
		return a.known(n.kids[2])
	case only(Unknown):
		return nil, true
	}
	return nil, false
}

func (a absence) knownOf(n *node) (any, bool) {
	args := make([]any, len(n.kids))
	all := n.op != opCall || n.fn.zoned == nil
	for i, k := range n.kids {
		v, ok := a.known(k)
		if ok && v == nil && n.op == opCall && !n.fn.nils {
			return nil, true
		}
		args[i], all = v, all && ok
	}
	if !all {
		return nil, false
	}
	return (&emitter{}).apply(n)(nil, args), true
}
