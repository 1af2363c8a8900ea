package ruletest

import (
	"fmt"
	"strings"
	"sync"

	"nudge/engine/workspace"
	"nudge/segments"
)

// Branches take note of which parts of the rules' conditions decide about somebody in tests. They are safe for
// concurrent use.
//
// With histories in ClickHouse the planner asks only about those whom its prefilters let through: in memory it asks
// about everybody, and so more is seen.
type Branches struct {
	mu   sync.Mutex
	of   map[*segments.Who]*ruleBranches
	list []*ruleBranches // in the order of the rules
}

type ruleBranches struct {
	rule          *workspace.Rule
	branches      *segments.Branches
	held, heldNot []bool // by leaf
}

// Uncovered is a part of a rule's condition of which tests do not show that it matters.
type Uncovered struct {
	Rule    string  `json:"rule"`
	Part    string  `json:"part"` // as the author wrote it
	Missing Missing `json:"missing"`
}

// Missing is what no test shows of a part.
type Missing string

// What may be missing.
const (
	MissingHeld   Missing = "held"   // nobody has it of whom all else is so
	MissingFailed Missing = "failed" // nobody is kept out by it alone
	MissingBoth   Missing = "both"
)

// NewBranches takes the conditions of rules apart.
func NewBranches(of []*workspace.Rule) (*Branches, error) {
	out := &Branches{of: map[*segments.Who]*ruleBranches{}}
	for _, r := range of {
		b, err := r.Who.Branches()
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		n := len(b.Leaves())
		x := &ruleBranches{rule: r, branches: b, held: make([]bool, n), heldNot: make([]bool, n)}
		out.of[r.Who], out.list = x, append(out.list, x)
	}
	return out, nil
}

// judged notes what decided about a candidate.
func (b *Branches) judged(who *segments.Who, at int64, of *segments.Candidate) {
	x := b.of[who]
	if x == nil {
		return
	}
	decided := x.branches.Decide(at, of)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, d := range decided {
		x.held[i] = x.held[i] || d == segments.Held
		x.heldNot[i] = x.heldNot[i] || d == segments.HeldNot
	}
}

// Uncovered lists the parts that were not seen to decide both ways, and how many parts there are. A condition that is
// nothing but true has none.
func (b *Branches) Uncovered() (missing []Uncovered, parts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	missing = []Uncovered{}
	for _, x := range b.list {
		for i, leaf := range x.branches.Leaves() {
			if strings.TrimSpace(leaf.Text) == "" || leaf.Text == "true" {
				continue
			}
			parts++
			u := Uncovered{Rule: x.rule.Name, Part: strings.Join(strings.Fields(leaf.Text), " ")}
			switch held, not := x.held[i], x.heldNot[i]; {
			case held && not:
				continue
			case held:
				u.Missing = MissingFailed
			case not:
				u.Missing = MissingHeld
			default:
				u.Missing = MissingBoth
			}
			missing = append(missing, u)
		}
	}
	return missing, parts
}
