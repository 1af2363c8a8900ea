package segments

import "regexp"

// PredOp is the operator of a Pred node.
type PredOp uint8

// A Pred is compiled from an expr tree so that "the predicate is definitely true" in Kleene's sense
// is what it says: `not` has been pushed to the leaves, and a leaf with a missing or wrongly typed
// operand is false. So And and Or are plain two-valued ones, in SQL and in Go.
const (
	PredTrue  PredOp = iota + 1
	PredFalse        // nothing passes
	PredMaybe        // cannot be said here: a prefilter passes it, an occurrence filter never holds it
	PredAnd          // all of Kids
	PredOr           // any of Kids
	PredEq           // L == R
	PredNe           // both present, of one type, and different
	PredLt
	PredLe
	PredGt
	PredGe
	PredIn          // L equals one of List (literals, all strings, all numbers or all booleans)
	PredNotIn       // L is present, of the type of List's elements, and equals none
	PredContains    // string L contains string R
	PredNotContains // both present strings, and not
	PredStartsWith
	PredNotStartsWith
	PredEndsWith
	PredNotEndsWith
	PredMatches // string L matches the RE2 literal R
	PredNotMatches
	PredHas    // L is present (not missing, not null)
	PredHasNot // L is missing or null
	PredIsTrue // boolean L is true
	PredIsFalse
)

// Pred is a predicate over one occurrence (an occurrence filter) or over the features of one
// candidate (a prefilter).
type Pred struct {
	Op   PredOp
	Kids []*Pred
	L, R *Operand
	List []any // string, float64, int64, bool

	re *regexp.Regexp // R compiled, of PredMatches and PredNotMatches
}

// OperandKind says where an operand's value is from.
type OperandKind uint8

// Kinds of operand.
const (
	OperandLit     OperandKind = iota + 1 // Lit: string, float64, int64, bool
	OperandPath                           // Path of an occurrence: "properties.x", "context.y.z", "time" (Unix ms)
	OperandFeature                        // Feature (index into Who.Features) and Field
	OperandTrait                          // Path: a trait's name
	OperandOutside                        // Path: "$it.last.properties.x", "entry.value": bound before use by Bind
	OperandNow                            // the evaluation's now, Unix ms
	OperandUserID                         // the profile's user id
	OperandPlace                          // Place (index into Who.Places) and Field
)

// Operand is one side of a leaf. For numbers the value is Scale·x + Offset, so that
// `last.ago >= hours(1)` and `last.at + days(1) < now` need no arithmetic nodes (Scale 0 reads as 1).
type Operand struct {
	Kind    OperandKind
	Lit     any
	Path    string
	Type    string // declared type of a path: "string", "number", "integer", "decimal", "boolean", "time", "" undeclared
	Feature int
	Place   int
	// Field of First and Last: "at" (Unix ms), "ago" (ms; longer than all when it never happened), or a
	// property path "properties.x". Of a place: "now", "entered" (Unix ms), "dwell" (ms), "distance",
	// "fence.id" or "fence.properties.x"; all are missing where nothing is known.
	Field  string
	Scale  float64
	Offset float64
}
