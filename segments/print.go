package segments

import (
	"fmt"
	"strconv"
	"strings"
)

// Key is the feature's text: equal keys are one column of a query. It also names the feature in the
// ledger, as in `event("Product Added").within(days(7)).count`.
func (f *Feature) Key() string {
	var b strings.Builder
	switch {
	case f.Keyed:
		b.WriteString("it")
	case f.Message != "":
		b.WriteString("message(" + quote(f.Message) + ")")
		if f.Event != "Message Sent" {
			b.WriteString("." + strings.ToLower(strings.TrimPrefix(f.Event, "Message ")))
		}
	default:
		b.WriteString("event(" + quote(f.Event))
		if f.Filter != nil {
			b.WriteString(", " + quote(f.Filter.String()))
		}
		b.WriteString(")")
	}
	if (f.Keyed || f.Message != "") && f.Filter != nil {
		b.WriteString(".where(" + quote(f.Filter.String()) + ")")
	}
	if f.Keyed {
		b.WriteString(".of(" + quote(f.Event) + ")")
	}
	if f.Within > 0 {
		b.WriteString(".within(" + spanText(span(f.Within)) + ")")
	}
	b.WriteString("." + f.Agg.String())
	switch {
	case f.Path != "":
		b.WriteString("(" + quote(strings.TrimPrefix(f.Path, "properties.")) + ")")
	case f.Agg == AggList:
		b.WriteString("(" + strconv.Itoa(f.N) + ")")
	}
	return b.String()
}

// name is the feature as a reader of the ledger would write it.
func (f *Feature) name() string {
	g := *f
	k := g.Key()
	if f.Keyed { // of and where repeat what for_each says
		if i := strings.Index(k, ".of("+quote(f.Event)+")"); i >= 0 {
			k = "it" + k[i+len(".of("+quote(f.Event)+")"):]
		}
	}
	return k
}

// String is the aggregate's name in the language.
func (a Agg) String() string {
	if int(a) >= len(aggNames) {
		return "Agg(" + strconv.Itoa(int(a)) + ")"
	}
	return aggNames[a]
}

var aggNames = [...]string{"?", "count", "sum", "avg", "min", "max", "uniq", "top", "first", "last", "list"}

// String writes the predicate in the language; equal texts are equal predicates.
func (p *Pred) String() string {
	if p == nil {
		return "true"
	}
	switch p.Op {
	case PredTrue:
		return "true"
	case PredFalse:
		return "false"
	case PredMaybe:
		return "maybe"
	case PredAnd, PredOr:
		word := " and "
		if p.Op == PredOr {
			word = " or "
		}
		parts := make([]string, len(p.Kids))
		for i, k := range p.Kids {
			parts[i] = k.String()
		}
		return "(" + strings.Join(parts, word) + ")"
	case PredIn, PredNotIn:
		parts := make([]string, len(p.List))
		for i, v := range p.List {
			parts[i] = litText(v)
		}
		return fmt.Sprintf("%s%s[%s]", p.L, predWords[p.Op], strings.Join(parts, ", "))
	case PredHas:
		return "has(" + p.L.String() + ")"
	case PredHasNot:
		return "not has(" + p.L.String() + ")"
	case PredIsTrue:
		return p.L.String()
	case PredIsFalse:
		return "not " + p.L.String()
	default:
	}
	return p.L.String() + predWords[p.Op] + p.R.String()
}

var predWords = map[PredOp]string{
	PredEq: " == ", PredNe: " != ", PredLt: " < ", PredLe: " <= ", PredGt: " > ", PredGe: " >= ", PredIn: " in ", PredNotIn: " not in ",
	PredContains: " contains ", PredNotContains: " not contains ", PredStartsWith: " startsWith ", PredNotStartsWith: " not startsWith ",
	PredEndsWith: " endsWith ", PredNotEndsWith: " not endsWith ", PredMatches: " matches ", PredNotMatches: " not matches ",
}

// String writes the operand; the declared type is part of it, for it changes what is read.
func (o *Operand) String() string {
	var s string
	switch o.Kind {
	case OperandLit:
		s = litText(o.Lit)
	case OperandPath, OperandOutside:
		s = o.Path
	case OperandFeature:
		s = fmt.Sprintf("feature[%d]", o.Feature)
		if o.Field != "" {
			s += "." + o.Field
		}
	case OperandTrait:
		s = "user.traits." + o.Path
	case OperandNow:
		s = "now"
	case OperandUserID:
		s = "user.id"
	case OperandPlace:
		s = fmt.Sprintf("place[%d].%s", o.Place, o.Field)
	}
	if o.Type != "" && o.Kind != OperandLit {
		s += ":" + o.Type
	}
	if o.Scale != 0 && o.Scale != 1 {
		s += "*" + litText(o.Scale)
	}
	if o.Offset != 0 {
		s += "+" + litText(o.Offset)
	}
	return s
}

func litText(v any) string {
	switch x := v.(type) {
	case nil:
		return "nil"
	case string:
		return quote(x)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case int64:
		return strconv.FormatInt(x, 10)
	case bool:
		return strconv.FormatBool(x)
	case instant:
		return quote(instantText(x))
	case span:
		return spanText(x)
	}
	return fmt.Sprint(v)
}

// write prints a node in a normal form: what has one meaning has, as far as it is cheap, one text.
// Names given by let and the text's layout are gone; segments are written out.
func (n *node) write(b *strings.Builder) {
	list := func(open, sep, closing string) {
		b.WriteString(open)
		for i, k := range n.kids {
			if i > 0 {
				b.WriteString(sep)
			}
			k.write(b)
		}
		b.WriteString(closing)
	}
	switch n.op {
	case opConst:
		b.WriteString(litText(n.val))
	case opNow:
		b.WriteString("now")
	case opFeature:
		b.WriteString(n.feat.Key())
	case opField:
		n.kids[0].write(b)
		b.WriteString("." + n.name)
		if n.declared != 0 {
			b.WriteString(":" + typeWord(n.declared))
		}
	case opTrigger:
		b.WriteString("trigger")
	case opElem:
		b.WriteString("#" + strconv.Itoa(n.depth))
	case opIndex:
		b.WriteString("#index")
	case opUser:
		b.WriteString("user." + n.name)
	case opTrait:
		b.WriteString("user.traits." + n.name + ":" + typeWord(n.declared))
	case opLocal:
		b.WriteString("local." + n.name)
	case opPlace:
		b.WriteString(n.place.String() + "." + n.name)
	case opItValue:
		b.WriteString("it.value:" + typeWord(n.declared))
	case opEarlier:
		b.WriteString("$" + n.name)
	case opEveryone:
		b.WriteString("everyone[" + strconv.Itoa(n.index) + "]")
	case opCall:
		list(n.fn.name+"(", ", ", ")")
	case opMember:
		n.kids[0].write(b)
		b.WriteString("[" + quote(n.name) + "]")
	case opAnd:
		list("(", " and ", ")")
	case opOr:
		list("(", " or ", ")")
	case opNot:
		list("not(", "", ")")
	case opCompare, opText:
		list("(", " "+n.name+" ", ")")
	case opMatches:
		list("(", "", " matches "+quote(n.name)+")")
	case opIn:
		list("(", " in ", ")")
	case opIsNil:
		list("missing(", "", ")")
	case opList:
		list("[", ", ", "]")
	case opListAgg:
		list(Agg(n.index).String()+"("+quote(n.name)+", ", "", ")")
	default:
		list(fmt.Sprintf("op%d %s %v(", n.op, n.name, n.val), ", ", ")")
	}
}

func (n *node) String() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

// String is the place as the language writes it.
func (p *PlaceRef) String() string {
	if p.Inside {
		return "inside(" + quote(p.Pattern) + ")"
	}
	return "near(" + quote(p.Pattern) + ", meters(" + strconv.FormatFloat(p.Meters, 'g', -1, 64) + "))"
}
