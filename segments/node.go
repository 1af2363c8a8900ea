package segments

import "nudge/events"

// Type is the static type of a value in a condition.
type Type uint8

const (
	typBad    Type = iota // a problem was reported here; silences what would follow from it
	typAny                // undeclared: its JSON type stands
	typNil                // the literal nil
	typNumber             // float64, or int64 beyond ±2^53
	typString
	typBool
	typTime     // instant: Unix ms
	typDuration // span: ms, saturating
	typMeters
	typList
	typObject
	typOccurrence
	typPlace
	typHistory
	typSpace // a namespace: user, local, x.properties …
)

var typeNames = [...]string{
	"an error", "an undeclared value", "nil", "a number", "a string", "a boolean", "a time", "a duration", "a distance",
	"a list", "an object", "an occurrence", "a place", "a history", "a group of fields",
}

func (t Type) String() string { return typeNames[t] }

// op is the kind of a node of the intermediate tree.
type op uint8

const (
	opBad op = iota

	// Values.
	opConst      // val
	opNow        // the evaluation's instant
	opFeature    // feat: what the planner delivers
	opField      // of kid, an occurrence: name "at", "ago", "event", or a path "properties.x", "context.x"
	opTrigger    // the occurrence that arrived
	opElem       // # in a closure
	opIndex      // #index
	opUser       // name: id, created_at, timezone, locale
	opTrait      // name: path
	opLocal      // name: hour, weekday, date, month, day
	opPlace      // place; name: "" (the place), now, entered, dwell, distance, fence.id, fence.properties.x
	opItValue    // for_each's value
	opCall       // fn over kids
	opMember     // kid, an object: name is the key
	opList       // [kids]
	opIf         // kids: condition, then, else
	opCoalesce   // kids: value, default
	opLoop       // name: the builtin; kids: list, body (and for sortBy the keys)
	opAfter      // kids: occurrence, time: the occurrence if later than the time
	opLater      // kids: list, time: the occurrences later than the time
	opConverted  // kids: list of messages, list of goals; val: within ms
	opListAgg    // agg over kid, a list of occurrences; name is the property path
	opEveryone   // index into everyone
	opEarlier    // name of an earlier `with`
	opSinceCount // hist with one since: count, before it is known how it is compared

	// Truths.
	opAnd
	opOr
	opNot
	opCompare // name: == != < <= > >=
	opIn      // kids: value, list
	opText    // name: contains, startsWith, endsWith
	opMatches // val: *regexp.Regexp, kid
	opIsNil   // kid is missing

	// What only stands before a dot or in an occurrence filter.
	opSpace   // name: user, user.traits, local, properties, context, fence, entry, everyone
	opHistory // hist
	opPath    // filter: name is the occurrence's path
	opOutside // filter: name is the path of the value from outside
)

// node is an expression after names and history forms have been resolved and typed. Positions are
// byte offsets in the source part that is being compiled.
type node struct {
	op       op
	typ      Type
	elem     Type // of a list
	maybe    bool // may be missing
	vm       bool // holds loops, choices or truths as values: only the VM evaluates it
	from, to int
	depth    int // the innermost closure whose element it reads; 0 for none
	size     int // nodes when everything shared is written out
	kids     []*node
	name     string
	val      any
	index    int
	feat     *Feature
	fn       *function
	hist     *history
	place    *PlaceRef
	props    *props // what is declared of an occurrence's properties
	segment  bool   // it is a segment(…): what is inside has places in the segment's text
	declared events.Type
}

// props is what is known of the properties of an occurrence.
type props struct {
	event    string
	declared map[string]events.Property
	known    bool // the event is declared: an unlisted property is worth a finding
}

// at gives the node the place of a piece of source.
func (n *node) at(from, to int) *node {
	n.from, n.to = from, to
	return n
}

func (n *node) bad() bool { return n.typ == typBad }

// isConst reports whether the node's value is known at compile time.
func (n *node) isConst() bool { return n.op == opConst }

// isTruth reports whether the node is evaluated by its two truths and not as a value.
func (n *node) isTruth() bool {
	return n.op >= opAnd && n.op <= opIsNil || n.op == opLoop && isQuantifier(n.name)
}

func isQuantifier(name string) bool {
	switch name {
	case "all", "any", "none", "one":
		return true
	}
	return false
}

// mk makes an inner node: what its kids need, it needs.
func mk(o op, t Type, kids ...*node) *node {
	n := &node{op: o, typ: t, kids: kids, size: 1}
	for i, k := range kids {
		n.size = min(n.size+max(1, k.size), 1<<30)
		if k.vm || k.isTruth() {
			n.vm = true
		}
		if k.bad() {
			n.typ = typBad
		}
		if (o != opLoop || i == 0) && k.depth > n.depth {
			n.depth = k.depth
		}
		if i == 0 {
			n.from, n.to = k.from, k.to
		} else {
			n.from, n.to = min(n.from, k.from), max(n.to, k.to)
		}
	}
	switch o {
	case opIf, opCoalesce, opLoop, opIndex:
		n.vm = true
	default:
	}
	return n
}

func constant(t Type, v any) *node { return &node{op: opConst, typ: t, val: v, maybe: v == nil} }

// history is an event's history while its narrowing calls are read.
type history struct {
	feat      Feature // Event, Message, Keyed, Filter, Within
	since     []*node
	everyone  bool
	converted *conversion
	props     *props
	it        bool // the history of one value: has .value
	did       bool // did(…): a truth, that can still be narrowed
}

// conversion narrows messages to those that a goal followed in time.
type conversion struct {
	goal   Feature
	within int64 // ms; 0 is any time after
}
