package segments

import (
	"fmt"
	"sort"
)

// Problem is one thing that is wrong (or, as a Warning, doubtful) in a condition's source text.
type Problem struct {
	// Part names the source text: "when", "for_each", "on", "on.where", "on.by", "with.product",
	// "exit.since", "filter".
	Part string
	// From and To are byte offsets in that source text, To exclusive.
	From, To int
	// ID is stable: "expr/unknown-property".
	ID string
	// Summary is one sentence; Detail says what to do next.
	Summary, Detail string
	// Suggest is the nearest known name, for the characters From to To; "" when there is none.
	Suggest string
	Warning bool
}

// String prints the problem on one line, for logs and test failures.
func (p Problem) String() string {
	kind := "error"
	if p.Warning {
		kind = "warning"
	}
	s := fmt.Sprintf("%s %d-%d %s %s: %s", p.Part, p.From, p.To, kind, p.ID, p.Summary)
	if p.Suggest != "" {
		s += fmt.Sprintf(" (did you mean %q?)", p.Suggest)
	}
	return s
}

// Ids of problems. They are part of the product's interface: findings are silenced and tested by id.
const (
	idSyntax       = "expr/syntax"
	idTooLarge     = "expr/too-large"
	idType         = "expr/type"
	idName         = "expr/unknown-name"
	idFunction     = "expr/unknown-function"
	idArguments    = "expr/arguments"
	idField        = "expr/unknown-field"
	idEvent        = "expr/unknown-event"
	idProperty     = "expr/unknown-property"
	idTrait        = "expr/unknown-trait"
	idSegment      = "expr/unknown-segment"
	idList         = "expr/unknown-list"
	idCircle       = "expr/segment-circle"
	idBroken       = "expr/segment-broken"
	idRule         = "expr/unknown-rule"
	idFence        = "expr/unknown-fence"
	idHistoryCall  = "expr/history-call"
	idClosure      = "expr/closure"
	idScope        = "expr/not-here"
	idLiteral      = "expr/literal-needed"
	idConstant     = "expr/constant-needed"
	idRegexp       = "expr/regexp"
	idFilter       = "expr/filter"
	idNotBoolean   = "expr/not-boolean"
	idNeverTrue    = "expr/never-true"
	idAlwaysTrue   = "expr/always-true"
	idGoal         = "expr/no-goal"
	idDefinedTwice = "expr/defined-twice"
)

// HasErrors reports whether a problem is more than a warning.
func HasErrors(ps []Problem) bool {
	for _, p := range ps {
		if !p.Warning {
			return true
		}
	}
	return false
}

// sortProblems orders problems by place and drops repetitions (chained comparisons and `let` visit
// one piece of source twice).
func sortProblems(ps []Problem) []Problem {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		if a.Part != b.Part {
			return false // parts stay in the order of compilation
		}
		if a.From != b.From {
			return a.From < b.From
		}
		return a.To < b.To
	})
	out := ps[:0]
	seen := map[Problem]bool{}
	for _, p := range ps {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}
