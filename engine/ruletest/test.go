// Package ruletest runs the tests that people write beside their rules: events at times in, decisions
// at times out, on a simulated clock, through the production code. docs/testing.md describes the files.
package ruletest

import (
	"cmp"
	"time"

	"nudge/engine/decide"
	"nudge/engine/ledger"
	"nudge/events"
	"nudge/rules/yamlfile"
)

// Test is one test of a file, checked against its workspace. Instants are Unix milliseconds. It is
// immutable after Load.
type Test struct {
	// Suite is the file's name without folder and _test.yaml; with Name it names the test.
	Suite, Name string
	File        string // path within the workspace
	Line        int
	// Start is when the clock begins and the rules go live, Until is how far it goes.
	Start, Until int64
	Expect       []Expectation
	Silence      []Silence
	// OthersAllowed lets people be sent what no expectation names.
	OthersAllowed bool

	prefix   string // of every id of this test, so that tests do not see each other's people
	zone     *time.Location
	people   []person
	arrivals []arrival // in order of at; history first
	arms     map[string]decide.Arm
}

// Title is how a test is called in reports and by --run.
func (t *Test) Title() string { return t.Suite + ": " + t.Name }

// person is somebody of a test.
type person struct {
	name      string
	anonymous bool // the name is an anonymous id
	zone      *time.Location
}

// id is what the apps call the person while the test runs.
func (t *Test) id(name string) string { return t.prefix + name }

// known finds a person by the test's name for them.
func (t *Test) known(name string) *person {
	for i := range t.people {
		if t.people[i].name == name {
			return &t.people[i]
		}
	}
	return nil
}

// arrival is something that reaches nudge at an instant: an event, or the report that a message was
// opened or clicked.
type arrival struct {
	at      int64
	history bool // it is there before the rules go live
	event   events.Event
	report  *report
}

// report says what somebody did with the last message of a rule.
type report struct {
	user, rule string
	what       string // "opened", "clicked"
	node       *yamlfile.Node
}

// span is a stretch of time, both ends included.
type span struct{ from, to int64 }

// Expectation is a decision that must be in the ledger.
type Expectation struct {
	User    string
	Rule    string
	Reason  ledger.Reason
	Value   *string
	Variant string
	Channel string
	By      string
	// Text is what fields of the message must be, as JSON values.
	Text map[string]any

	at    *span // nil: at any time
	start int64 // of the test
	// next is when the rule's schedule looks first, from the instant on that is expected; 0: nobody knows, or that is
	// no one instant.
	next int64
	node *yamlfile.Node
}

// Silence is a promise that nothing is sent.
type Silence struct {
	User  string // "" is everybody of the test
	Rule  string // "" is every rule
	Until int64  // nothing is sent before; 0 is to the end of the test

	node *yamlfile.Node
}

// place is where in a file something stands.
func place(n *yamlfile.Node) (line, col int) {
	if n.Key != nil && n.Kind == yamlfile.Map {
		n = cmp.Or(n.Key, n)
	}
	return n.Line, n.Col
}
