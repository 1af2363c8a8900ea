package segments

import (
	"fmt"
	"strings"

	"nudge/internal/suggest"
)

// people reads everyone.event(…).within(…).people.
func (lw *lowerer) people(h *node) *node {
	hs := h.hist
	if hs.feat.Within == 0 {
		return lw.problem(h.from, h.to, idArguments, "Say of how long everyone is counted.", "Write .within(days(1)) before .people: all of history would be read at each tick.")
	}
	ref := EveryoneRef{Event: hs.feat.Event, Filter: hs.feat.Filter, Within: hs.feat.Within, Min: lw.schema.min}
	args := map[string]*node{}
	collectOutside(ref.Filter, func(path string) { args[path] = lw.refs.outside[path] })
	lw.refs.everyone = append(lw.refs.everyone, ref)
	lw.refs.args = append(lw.refs.args, args)
	return &node{op: opEveryone, typ: typNumber, maybe: true, index: len(lw.refs.everyone) - 1}
}

// everyoneRefs collects what a rule asks of everyone.
type everyoneRefs struct {
	everyone []EveryoneRef
	args     []map[string]*node // of each: the values from outside in its filter
	outside  map[string]*node   // every value from outside by its path
}

func collectOutside(p *Pred, found func(path string)) {
	if p == nil {
		return
	}
	for _, k := range p.Kids {
		collectOutside(k, found)
	}
	for _, o := range []*Operand{p.L, p.R} {
		if isOutside(o) {
			found(o.Path)
		}
	}
}

// outsideValue reads $it.last.properties.x in the filter of everyone.event(…): what follows the $ is
// an expression of the rule around it, with the rule's names.
func (lw *lowerer) outsideValue(filter *lowerer, path string, from, to int) *node {
	text := strings.TrimPrefix(path, "$")
	root, _, _ := strings.Cut(text, ".")
	known := []string{"it", "trigger", "user"}
	for n := range lw.earlier {
		known = append(known, n)
	}
	if _, earlier := lw.earlier[root]; !earlier && root != "it" && root != "trigger" && root != "user" {
		s := suggest.Nearest(root, known)
		if s != "" {
			s = "$" + s
		}
		return filter.report(Problem{From: from, To: min(to, from+1+len(root)), ID: idName, Summary: fmt.Sprintf("There is no $%s.", root), Suggest: s, Detail: "Outside a filter of everyone are $it, $trigger, $user and the names of with: above this one."})
	}
	src, tree, p := parse(text)
	if p != nil {
		return filter.problem(from, to, p.ID, p.Summary, p.Detail)
	}
	var inner []Problem
	outer := *lw
	outer.src, outer.problems, outer.lets, outer.elems = src, &inner, nil, nil
	v := outer.value(tree)
	for _, p := range inner { // from+1: after the $
		p.From, p.To = from+1+p.From, min(from+1+p.To, to)
		filter.report(p)
	}
	if v.bad() || HasErrors(inner) {
		return &node{op: opBad}
	}
	switch v.typ {
	case typNumber, typString, typBool, typTime, typAny:
	default:
		return filter.problem(from, to, idType, fmt.Sprintf("%s is %s and cannot be compared.", path, v.typ), "Name one of its values.")
	}
	lw.refs.outside[path] = v
	n := &node{op: opOutside, typ: v.typ, name: path, declared: v.declared, maybe: true}
	if v.op == opItValue && v.typ == typString && v.declared == 0 { // the text of a value of unknown type
		n.typ, n.index = typAny, textual
	}
	return n.at(from, to)
}
