package segments

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
)

// Parts of a rule that hold expressions, as Problem.Part names them.
const (
	partWhen    = "when"
	partForEach = "for_each"
	partOn      = "on.event"
	partOnWhere = "on.where"
	partOnBy    = "on.by"
	partWith    = "with."
	partSince   = "exit.since"
)

// NamedExpr is one entry of `with:`.
type NamedExpr struct{ Name, Expr string }

// WhoSpec is what a rule says of whom it is for.
type WhoSpec struct {
	When    string
	ForEach string // `event("Product Added").by("cart_id")`, or ""
	// OnEvent, OnWhere, OnBy and OnMaxAge (ms; 0 is DefaultMaxAge) are `on:`; OnEvent "" is none.
	OnEvent, OnWhere, OnBy string
	OnMaxAge               int64
	With                   []NamedExpr // in the file's order: each may use the ones before it
	ExitSince              string      // a time; "" is the default
	SaysCreated            bool        // the messages print user.created_at
}

// DefaultMaxAge is the age in ms beyond which an occurrence no longer triggers an `on:` rule.
const DefaultMaxAge = msHour

// Who is a compiled condition with what it asks of the planner. It is immutable and safe for
// concurrent use.
type Who struct {
	features  []Feature
	places    []PlaceRef
	everyone  []EveryoneRef
	forEach   *ForEach
	on        *On
	prefilter *Pred
	events    []string
	traits    []string
	profile   bool
	created   bool
	hash      string
	zones     *zones

	absent, never   []string
	asked           []string // askedFor
	changes         *Changes
	dues            []due
	isTrue, isFalse *vm.Program // isFalse is nil when the condition is never unknown
	with            []namedProgram
	named           []namedNode         // with, for Longest
	since           *vm.Program         // gives a time, or the occurrence whose time it is
	args            []map[string]loader // of everyone
	values          []namedLoader
	when            *node  // for Explain
	source          string // of when
	machines        sync.Pool
}

type namedProgram struct {
	name    string
	program *vm.Program
}

type namedLoader struct {
	name string
	load loader
}

// Compile compiles what a rule says. All problems are reported at once; the Who is nil when one of
// them is an error.
func Compile(spec WhoSpec, schema *Schema) (*Who, []Problem) {
	c := &compilation{schema: schema, refs: &everyoneRefs{outside: map[string]*node{}}}
	c.who = &Who{zones: schema.zones, created: spec.SaysCreated}
	c.readForEach(spec.ForEach)
	c.readOn(&spec)
	c.broken = HasErrors(c.problems)
	c.when = c.read(partWhen, spec.When, scopeWhen, (*lowerer).truth)
	c.who.source = spec.When
	if spec.ForEach != "" && spec.OnEvent != "" {
		c.problems = append(c.problems, Problem{
			Part: partForEach, To: len(spec.ForEach), ID: idScope, Summary: "A rule with on: has no for_each.",
			Detail: "Each occurrence is its own entry; `by:` under on: names the property whose value the entry is for.",
		})
	}
	earlier := map[string]*node{}
	for _, w := range spec.With {
		part := partWith + w.Name
		if _, is := reserved[w.Name]; is && w.Name != "at" {
			c.problems = append(c.problems, Problem{Part: part, To: len(w.Expr), ID: idName, Summary: fmt.Sprintf("%q already means something.", w.Name), Detail: "Choose another name."})
		}
		if _, twice := earlier[w.Name]; twice {
			c.problems = append(c.problems, Problem{Part: part, To: len(w.Expr), ID: idDefinedTwice, Summary: fmt.Sprintf("with has %q twice.", w.Name)})
			continue
		}
		c.earlier = earlier
		v := c.read(part, w.Expr, scopeWith, (*lowerer).value)
		c.with = append(c.with, namedNode{w.Name, v})
		earlier[w.Name] = &node{op: opEarlier, typ: v.typ, elem: v.elem, props: v.props, name: w.Name, maybe: true, declared: v.declared}
	}
	c.earlier = nil
	if spec.ExitSince != "" {
		c.since = c.read(partSince, spec.ExitSince, scopeSince, (*lowerer).time)
	}
	if !HasErrors(c.problems) {
		c.finish()
	}
	problems := sortProblems(c.problems)
	if HasErrors(problems) {
		return nil, problems
	}
	return c.who, problems
}

// CompileSegment compiles the named segment of the schema, for the problems in its own text.
func CompileSegment(name string, schema *Schema) (*Who, []Problem) {
	c := &compilation{schema: schema, refs: &everyoneRefs{outside: map[string]*node{}}, segments: []string{name}}
	c.who = &Who{zones: schema.zones}
	c.when = c.read(partWhen, schema.segments[name], scopeSegment, (*lowerer).truth)
	c.who.source = schema.segments[name]
	if !HasErrors(c.problems) {
		c.finish()
	}
	problems := sortProblems(c.problems)
	if HasErrors(problems) {
		return nil, problems
	}
	return c.who, problems
}

type namedNode struct {
	name string
	node *node
}

// compilation is one run of Compile.
type compilation struct {
	schema   *Schema
	problems []Problem
	segments []string
	refs     *everyoneRefs
	earlier  map[string]*node
	when     *node
	since    *node
	with     []namedNode
	who      *Who
	broken   bool // for_each or on has problems
}

func (c *compilation) lowerer(part string, s scope) *lowerer {
	lw := &lowerer{schema: c.schema, part: part, scope: s, problems: &c.problems, forEach: c.who.forEach, segments: c.segments, refs: c.refs, earlier: c.earlier, broken: c.broken}
	if c.who.on != nil {
		lw.trigger = c.who.on.Event
	}
	return lw
}

func (c *compilation) read(part, text string, s scope, as func(*lowerer, ast.Node) *node) *node {
	lw := c.lowerer(part, s)
	src, tree, p := parse(text)
	lw.src = src
	if p != nil {
		return lw.report(*p)
	}
	return as(lw, tree)
}

// time translates a node that must be a time.
func (lw *lowerer) time(n ast.Node) *node {
	v := lw.timeLiteral(lw.value(n))
	if !v.bad() && v.typ != typTime {
		return lw.problem(v.from, v.to, idType, fmt.Sprintf("This is %s, where a time is expected.", v.typ), "Write a time such as it.last.at, trigger.at or event(\"…\").last.at.")
	}
	return v
}

// finish compiles programs once there are no problems.
func (c *compilation) finish() {
	w := c.who
	e := &emitter{}
	part := partWhen
	judged := 0 // features of the condition itself come first
	err := guard(func() (err error) {
		if w.isTrue, err = e.program(e.truth(c.when, true)); err != nil {
			return err
		}
		if c.when.maybe {
			if w.isFalse, err = e.program(e.truth(c.when, false)); err != nil {
				return err
			}
		}
		judged = len(e.features)
		for _, n := range c.with {
			part = partWith + n.name
			p, err := e.program(e.value(n.node))
			if err != nil {
				return err
			}
			w.with = append(w.with, namedProgram{n.name, p})
		}
		if c.since != nil {
			part = partSince
			since := c.since
			if since.op == opField && since.name == "at" { // with its position, by which what happened in the same millisecond is told apart
				since = since.kids[0]
			}
			if w.since, err = e.program(e.value(since)); err != nil {
				return err
			}
		}
		part = partWith
		for _, args := range c.refs.args {
			loaders := map[string]loader{}
			for path, n := range args {
				loaders[path] = e.load(n)
			}
			w.args = append(w.args, loaders)
		}
		return nil
	})
	if err != nil {
		c.problems = append(c.problems, Problem{Part: part, ID: idTooLarge, Summary: capital(err.Error()) + ".", Detail: "Split it into segments or several rules."})
		return
	}
	for i := judged; i < len(e.features); i++ {
		e.features[i].Later = true
	}
	c.findChanges(e)
	c.problems = append(c.problems, contradictions(c.when, w.source)...)
	b := &predBuilder{features: e.featureIndex, places: e.placeIndex, awaits: len(w.changes.Full) == 0 && w.on == nil}
	w.prefilter = b.truth(c.when, true)
	w.features, w.places, w.everyone = e.features, e.places, c.refs.everyone
	c.collect(e)
	c.findReads(e)
	w.created = w.created || c.asksCreated()
	w.when, w.named, w.hash = c.when, c.with, c.hash()
}

// asksCreated says whether anything asks since when a person is known.
func (c *compilation) asksCreated() bool {
	visited := map[*node]bool{}
	var asks func(n *node) bool
	asks = func(n *node) bool {
		if visited[n] {
			return false
		}
		visited[n] = true
		return n.op == opUser && n.name == "created_at" || slices.ContainsFunc(n.kids, asks)
	}
	return asks(c.when) || slices.ContainsFunc(c.later(), asks)
}

// later are the trees of what is computed only of those for whom the condition is true.
func (c *compilation) later() []*node {
	var out []*node
	for _, n := range c.with {
		out = append(out, n.node)
	}
	if c.since != nil {
		out = append(out, c.since)
	}
	for _, args := range c.refs.args {
		for _, n := range args {
			out = append(out, n)
		}
	}
	return out
}

// findReads notes what is read of the occurrences of each feature.
func (c *compilation) findReads(e *emitter) {
	for i, r := range e.reads(c.when) {
		c.who.features[i].Reads, c.who.features[i].ReadsLater = r, r
	}
	for i, r := range e.reads(c.later()...) {
		c.who.features[i].ReadsLater |= r
	}
}

// reads is what trees read of the occurrences of each feature.
func (e *emitter) reads(roots ...*node) []Reads {
	out := make([]Reads, len(e.features))
	visited := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if visited[n] {
			return
		}
		visited[n] = true
		if len(n.kids) > 0 && n.kids[0].op == opFeature && n.kids[0].typ == typOccurrence {
			reads := &out[e.featureIndex(n.kids[0].feat)]
			switch {
			case n.op == opIsNil, n.op == opField && (n.name == "at" || n.name == "ago" || n.name == "event"):
				return
			case n.op == opField && strings.HasPrefix(n.name, "properties."):
				*reads |= ReadsProperties
				return
			case n.op == opField && strings.HasPrefix(n.name, "context."):
				*reads |= ReadsContext
				return
			}
		}
		if n.op == opFeature && (n.feat.Agg == AggFirst || n.feat.Agg == AggLast || n.feat.Agg == AggList) {
			out[e.featureIndex(n.feat)] |= ReadsProperties | ReadsContext
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	for _, n := range roots {
		walk(n)
	}
	return out
}

// findChanges analyses when its answers can change.
func (c *compilation) findChanges(e *emitter) {
	var turnings []turning
	c.who.changes, turnings = changesOf(c.when, c.who.forEach)
	c.who.absent, c.who.never, c.who.asked = absentEvents(c.when), neverDone(c.when), askedFor(c.when)
	e.count = 0
	err := guard(func() (err error) {
		c.who.dues, err = e.dues(turnings)
		return err
	})
	if err != nil {
		c.who.changes.Full = append(c.who.changes.Full, FullReason{Part: partWhen, From: c.when.from, To: c.when.to, Why: whyTooMany})
	}
}

// collect walks everything for what is told of the condition: names of events and traits, and the
// values that the ledger keeps.
func (c *compilation) collect(e *emitter) {
	w := c.who
	names, traits := map[string]bool{}, map[string]bool{}
	for i := range w.features {
		names[w.features[i].Event] = true
	}
	if w.forEach != nil {
		names[w.forEach.Event] = true
	}
	if w.on != nil {
		names[w.on.Event] = true
	}
	visited := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if visited[n] {
			return
		}
		visited[n] = true
		switch n.op {
		case opTrait:
			traits[n.name] = true
			w.profile = true
		case opUser, opLocal:
			w.profile = true
		case opCall:
			w.profile = w.profile || n.fn.zoned != nil
		default:
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	w.values = e.valuesOf(c.when)
	walk(c.when)
	judges := w.profile
	for _, n := range c.later() {
		walk(n)
	}
	w.profile = judges
	w.events, w.traits = sorted(names), sorted(traits)
}

func sorted(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// valuesOf lists the values that a condition reads, each once.
func (e *emitter) valuesOf(n *node) []namedLoader {
	var out []namedLoader
	seen := map[string]bool{}
	visited := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if visited[n] {
			return
		}
		visited[n] = true
		if name, l := e.told(n); l != nil {
			if !seen[name] {
				seen[name] = true
				out = append(out, namedLoader{name, l})
			}
			return
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	walk(n)
	return out
}

// told is a value of the condition that the ledger keeps, under the name that the language gives it.
// Ages are kept as the instants they are counted from.
func (e *emitter) told(n *node) (string, loader) {
	switch n.op {
	case opFeature:
		switch n.feat.Agg {
		case AggFirst, AggLast:
			at := field(n, "at", typTime, true)
			return n.feat.name() + ".at", e.load(at)
		case AggList:
			l := e.load(n)
			return n.feat.name() + ".len", func(f *frame, el any) any { return length([]any{l(f, el)}) }
		default:
		}
		return n.feat.name(), e.load(n)
	case opField:
		k := n.kids[0]
		if n.name == "ago" {
			n = field(k, "at", typTime, true)
		}
		switch k.op {
		case opFeature:
			return k.feat.name() + "." + n.name, e.load(n)
		case opTrigger:
			return "trigger." + n.name, e.load(n)
		default:
		}
	case opUser:
		return "user." + n.name, e.load(n)
	case opTrait:
		return "user.traits." + n.name, e.load(n)
	case opItValue:
		return "it.value", e.load(n)
	case opPlace:
		return n.place.String() + "." + n.name, e.load(n)
	default:
	}
	return "", nil
}

// hash covers what decides: when with its segments written out, for_each and on.
func (c *compilation) hash() string {
	var b strings.Builder
	c.when.write(&b)
	w := c.who
	if w.forEach != nil {
		fmt.Fprintf(&b, "\nfor_each %q %s %s", w.forEach.Event, w.forEach.Filter, w.forEach.Path)
	}
	if w.on != nil {
		fmt.Fprintf(&b, "\non %q %s %q %d", w.on.Event, w.on.Filter, w.on.By, w.on.MaxAge)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:16])
}

// Features are the values that the planner delivers in Candidate.Values, in this order. The caller
// must not change them.
func (w *Who) Features() []Feature { return w.features }

// ForEach is the rule's for_each, or nil.
func (w *Who) ForEach() *ForEach { return w.forEach }

// On is the rule's on, or nil.
func (w *Who) On() *On { return w.on }

// Prefilter is a predicate over the features: whoever does not pass cannot be judged True.
func (w *Who) Prefilter() *Pred { return w.prefilter }

// Places are the places that the planner delivers in Candidate.Places, in this order.
func (w *Who) Places() []PlaceRef { return w.places }

// Everyone are the counts of people that `with` asks for.
func (w *Who) Everyone() []EveryoneRef { return w.everyone }

// NeedsProfile reports whether Judge reads Candidate.Profile, but for its devices and consents. With and Since
// may read all of it.
func (w *Who) NeedsProfile() bool { return w.profile }

// NeedsCreated reports whether the condition, With, Since or the messages say since when a person is known, which takes
// reading when all of their events were.
func (w *Who) NeedsCreated() bool { return w.created }

// Events are the names of events that the condition reads, sorted; "*" is every app event.
func (w *Who) Events() []string { return slices.Clone(w.events) }

// TraitNames are the paths of the traits that are read, sorted.
func (w *Who) TraitNames() []string { return slices.Clone(w.traits) }

// Hash identifies what decides: equal hashes decide alike, whatever their text looks like. The
// contents of fences are not part of it.
func (w *Who) Hash() string { return w.hash }
