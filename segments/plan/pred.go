package plan

import (
	"strings"

	"nudge/segments"
)

// leaves renders the operands of a predicate; the predicate's own structure is the same for the
// filter of an occurrence and for a prefilter.
type leaves interface {
	// values are the ways the operand may read (several for a path that can be split differently).
	// ok is false when SQL cannot say it here.
	values(o *segments.Operand) (ways []value, ok bool)
	// unknown is what stands for a leaf that cannot be said.
	unknown(leaf *segments.Pred) string
}

// render writes a predicate as a condition that is 1 exactly when it is definitely true.
func render(p *segments.Pred, in leaves) string {
	if p == nil {
		return "1"
	}
	switch p.Op {
	case segments.PredTrue:
		return "1"
	case segments.PredFalse:
		return "0"
	case segments.PredMaybe:
		return in.unknown(p)
	case segments.PredAnd, segments.PredOr:
		kids := make([]string, len(p.Kids))
		for i, kid := range p.Kids {
			kids[i] = render(kid, in)
		}
		if p.Op == segments.PredAnd {
			return all(kids...)
		}
		return anyOf(kids...)
	default:
	}
	if (p.Op == segments.PredHas || p.Op == segments.PredHasNot) && p.L.Kind == segments.OperandFeature && p.L.Field != "" && p.L.Type == "" && p.L.Field != "at" {
		return in.unknown(p) // it may be a list or an object, which the flattened maps do not hold
	}
	ls, ok := in.values(p.L)
	if !ok {
		return in.unknown(p)
	}
	rs := []value{{}}
	if p.R != nil {
		if rs, ok = in.values(p.R); !ok {
			return in.unknown(p)
		}
	}
	if p.Op == segments.PredHasNot {
		ways := make([]string, len(ls))
		for i, l := range ls {
			ways[i] = "NOT " + l.present()
			if l.present() == "0" {
				ways[i] = "1"
			}
			if l.present() == "1" {
				return "0"
			}
		}
		return all(ways...)
	}
	var ways []string
	for _, l := range ls {
		for _, r := range rs {
			ways = append(ways, leaf(p, l, r))
		}
	}
	return anyOf(ways...)
}

func leaf(p *segments.Pred, l, r value) string {
	text := func(condition string) string {
		if l.isStr == "" || r.isStr == "" {
			return "0"
		}
		return all(l.isStr, r.isStr, condition)
	}
	switch p.Op {
	case segments.PredEq, segments.PredNe, segments.PredLt, segments.PredLe, segments.PredGt, segments.PredGe:
		return compare(p.Op, l, r)
	case segments.PredIn, segments.PredNotIn:
		return member(p, l)
	case segments.PredContains:
		return text("position(" + l.str + ", " + r.str + ") > 0")
	case segments.PredNotContains:
		return text("position(" + l.str + ", " + r.str + ") = 0")
	case segments.PredStartsWith:
		return text("startsWith(" + l.str + ", " + r.str + ")")
	case segments.PredNotStartsWith:
		return text("NOT startsWith(" + l.str + ", " + r.str + ")")
	case segments.PredEndsWith:
		return text("endsWith(" + l.str + ", " + r.str + ")")
	case segments.PredNotEndsWith:
		return text("NOT endsWith(" + l.str + ", " + r.str + ")")
	case segments.PredMatches, segments.PredNotMatches:
		pattern, _ := p.R.Lit.(string)
		// ClickHouse lets a dot match a newline unless told otherwise.
		match := "match(" + l.str + ", " + Literal("(?-s)"+pattern) + ")"
		if p.Op == segments.PredNotMatches {
			match = "NOT " + match
		}
		return text(match)
	case segments.PredHas:
		return l.present()
	case segments.PredIsTrue:
		return all(never(l.isBool), l.bool)
	case segments.PredIsFalse:
		return all(never(l.isBool), "NOT "+l.bool)
	default:
	}
	return "0"
}

// member is L in List or, when there and of the elements' type, not in it.
func member(p *segments.Pred, l value) string {
	not := p.Op == segments.PredNotIn
	var texts, others []string
	kind := value{}
	for _, element := range p.List {
		v := literalValue(element)
		if v.isStr != "" {
			texts = append(texts, v.str)
			kind.isStr = l.isStr
			continue
		}
		if v.isNum != "" {
			kind.isNum = l.isNum
		}
		if v.isBool != "" {
			kind.isBool = l.isBool
		}
		others = append(others, compare(segments.PredEq, l, v))
	}
	if len(texts) > 0 && l.isStr != "" {
		others = append(others, all(l.isStr, l.str+" IN ("+strings.Join(texts, ", ")+")"))
	}
	in := anyOf(others...)
	if !not {
		return in
	}
	if len(p.List) == 0 {
		return l.present()
	}
	return all(kind.present(), "NOT "+in)
}

// occurrence renders the operands of an occurrence filter: columns of one row of events. Time is in
// the column t, Unix milliseconds.
type occurrence struct{}

func (occurrence) values(o *segments.Operand) ([]value, bool) {
	var ways []value
	switch o.Kind {
	case segments.OperandLit:
		ways = []value{literalValue(o.Lit)}
	case segments.OperandPath:
		ways = pathValues(o.Path, o.Type, "properties", "context", "t")
	default:
		return nil, false
	}
	for i := range ways {
		ways[i] = ways[i].scaled(o)
	}
	return ways, true
}

// unknown never holds: an occurrence filter counts only what is definitely so.
func (occurrence) unknown(*segments.Pred) string { return "0" }

// pathValues are the ways a path of an occurrence may read, given the columns that hold it.
func pathValues(path, declared, properties, context, at string) []value {
	if rest, ok := strings.CutPrefix(path, "properties."); ok {
		v := mapValue(rest, declared)
		if declared != "" && declared != "array" && declared != "object" {
			return []value{v}
		}
		for _, j := range jsonValues(properties, rest) {
			v.other = anyOf(never(v.other), j.other)
		}
		return []value{v}
	}
	if rest, ok := strings.CutPrefix(path, "context."); ok {
		return jsonValues(context, rest)
	}
	switch path {
	case "time", "at":
		return []value{{num: at, isNum: "1"}}
	case "event":
		return []value{{str: "event", isStr: "1"}}
	}
	return []value{{}}
}
