package segments

// Clause is one part of a condition with what came of it.
type Clause struct {
	// Text is the part of the source that From and To (bytes) enclose in `when`.
	Text     string
	From, To int
	// Operator is "and", "or" or "not" for a part that joins the deeper ones after it, else "".
	Operator string
	Depth    int
	Truth    Truth
	Err      error // with Failed
	// Values are what the part read, as Who.Values names them; of joining parts it is nil.
	Values map[string]any
	// Lacks is how many occurrences are missing where a count is not True for being too small; else 0.
	Lacks int64
}

// Explain evaluates each part of the condition by itself, in the order of the text: a part that joins
// others comes before them. It compiles the parts anew and is for people, not for the loop.
func (w *Who) Explain(at int64, c *Candidate) []Clause {
	e := &emitter{}
	for i := range w.features {
		e.featureIndex(&w.features[i])
	}
	e.places = w.places
	m := w.machine(at, c)
	defer w.release(m)
	var out []Clause
	var walk func(n *node, depth int)
	walk = func(n *node, depth int) {
		cl := Clause{From: n.from, To: n.to, Depth: depth}
		if n.from < n.to && n.to <= len(w.source) {
			cl.Text = w.source[n.from:n.to]
		}
		cl.Truth, cl.Err = m.judge(e, n)
		kids := n.kids
		switch n.op {
		case opAnd:
			cl.Operator, kids = "and", flat(n, opAnd)
		case opOr:
			cl.Operator, kids = "or", flat(n, opOr)
		case opNot:
			cl.Operator = "not"
			if !n.kids[0].isTruth() {
				cl.Operator = ""
			}
		default:
		}
		if cl.Operator == "" || !inside(kids, n) {
			cl.Operator = ""
			cl.Values = map[string]any{}
			for _, v := range e.valuesOf(n) {
				cl.Values[v.name] = portable(safely(v.load, &m.frame))
			}
			cl.Lacks = lacks(n, cl)
			out = append(out, cl)
			return
		}
		out = append(out, cl)
		for _, k := range kids {
			walk(k, depth+1)
		}
	}
	walk(w.when, 0)
	return out
}

// lacks is how many more occurrences make a comparison of a count with a number true.
func lacks(n *node, cl Clause) int64 {
	if n.op != opCompare || cl.Truth == True || len(cl.Values) != 1 {
		return 0
	}
	l, r, op := n.kids[0], n.kids[1], n.name
	if l.isConst() {
		l, r, op = r, l, flipped[op]
	}
	want, ok := r.val.(float64)
	if l.op != opFeature || l.feat.Agg != AggCount || !r.isConst() || !ok {
		return 0
	}
	for _, v := range cl.Values {
		have, ok := asFloat(v)
		if op, least := wholly(op, want); ok && (op == ">=" || op == "==") && least > have {
			return int64(least - have)
		}
	}
	return 0
}

// inside reports whether the parts stand in the text of the whole: what sugar and segments are made
// of does not, and is told as one.
func inside(kids []*node, whole *node) bool {
	for i, k := range kids {
		if k.from < whole.from || k.to > whole.to || k.from >= k.to || k.to-k.from == whole.to-whole.from {
			return false
		}
		if i > 0 && k.from < kids[i-1].to {
			return false
		}
	}
	return true
}

// flat lists the operands of a chain of one operator.
func flat(n *node, o op) []*node {
	var out []*node
	for _, k := range n.kids {
		if k.op == o {
			out = append(out, flat(k, o)...)
		} else {
			out = append(out, k)
		}
	}
	return out
}

func (m *machine) judge(e *emitter, n *node) (Truth, error) {
	for _, want := range []Truth{True, False} {
		p, err := e.program(e.truth(n, want == True))
		if err != nil {
			return Failed, err
		}
		holds, err := m.truth(p)
		if err != nil {
			return Failed, err
		}
		if holds {
			return want, nil
		}
	}
	return Unknown, nil
}
