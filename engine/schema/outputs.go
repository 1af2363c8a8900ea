package schema

import (
	"embed"
	"fmt"
	"path"
	"slices"
)

// Output is something that a command prints, or writes, as JSON.
type Output struct {
	Name    string // "check-output"
	Command string // "check"; "" of any command
	How     string // what makes it print that: "--format json", "--out FILE.ndjson"
	About   string
	// Lines says that there is one JSON value on each line.
	Lines bool
}

// Outputs are all of them, those of any command first, then by command.
func Outputs() []Output {
	const asJSON = "--format json"
	return []Output{
		{Name: "findings", How: asJSON, About: "what is wrong with the files, where that keeps a command from running; it exits with 1"},
		{Name: "backtest-output", Command: "backtest", How: asJSON, About: "what rules would have done"},
		{Name: "backtest-row", Command: "backtest", How: "--out FILE.ndjson", Lines: true, About: "one answer about one entry; .csv and .parquet have the same columns"},
		{Name: "broadcast-output", Command: "broadcast", How: asJSON, About: "what would come, or came, of a broadcast"},
		{Name: "channels-output", Command: "channels", How: asJSON, About: "every adapter"},
		{Name: "channel-output", Command: "channels", How: "ADAPTER " + asJSON, About: "one adapter, with its fields"},
		{Name: "probe-output", Command: "channels test", How: asJSON, About: "what every provider said to whether we may send"},
		{Name: "check-output", Command: "check", How: asJSON, About: "findings, and the plan of each rule"},
		{Name: "check-sarif", Command: "check", How: "--format sarif", About: "findings as SARIF 2.1.0, for code hosts"},
		{Name: "explain-output", Command: "explain", How: "PERSON " + asJSON, About: "why somebody did or did not get a message"},
		{Name: "explain-plan", Command: "explain", How: "--plan RULE " + asJSON, About: "what a tick of a rule asks the store"},
		{Name: "fmt-output", Command: "fmt", How: asJSON, About: "which files were changed, or would be"},
		{Name: "import-output", Command: "import", How: asJSON, About: "what became of the rows"},
		{Name: "import-event", Command: "import", How: "--dry-run " + asJSON, Lines: true, About: "an event that a row makes"},
		{Name: "import-reject", Command: "import", How: "--rejects FILE", Lines: true, About: "a row that does not fit the mapping; without --rejects the first of them are on standard error"},
		{Name: "plan-output", Command: "plan", How: asJSON, About: "what a change of the rules changes for people"},
		{Name: "report-output", Command: "report", How: asJSON, About: "what rules did"},
		{Name: "send-output", Command: "send", How: asJSON, About: "a test message, and what the provider answered"},
		{Name: "api-answer", Command: "serve", How: "POST /v1/track and the other calls of the API", About: "whether what was sent was taken"},
		{Name: "api-status", Command: "serve", How: "GET /healthz, GET /readyz", About: "whether it runs, and takes events; where it does not, an api-answer says why"},
		{Name: "api-inbox", Command: "serve", How: "GET /v1/inbox", About: "a page of somebody's inbox"},
		{Name: "api-inbox-message", Command: "serve", How: "GET /v1/inbox/stream, the data of an event", About: "a message that has arrived"},
		{Name: "api-inbox-token", Command: "serve", How: "POST /v1/users/{id}/inbox/token", About: "with what an app reads the inbox of a user"},
		{Name: "file-message", Command: "serve", How: "a channel with the file adapter", Lines: true, About: "a message in the file"},
		{Name: "sql-output", Command: "sql", How: asJSON, About: "the rows of a result"},
		{Name: "test-output", Command: "test", How: asJSON, About: "what came of every test, and what the tests show of the rules"},
		{Name: "version-output", Command: "version", How: asJSON, About: "which nudge this is"},
	}
}

// The schemas of outputs are made of the types that commands marshal, and of the comments in their sources, which are
// not there when nudge runs: `make docs` writes them, and a test of cmd/nudge compares.
//
//go:embed outputs/*.json
var outputs embed.FS

// OfOutput is the schema of an output (draft 2020-12), as JSON.
func OfOutput(name string) ([]byte, error) {
	if !slices.ContainsFunc(Outputs(), func(o Output) bool { return o.Name == name }) {
		return nil, fmt.Errorf("there is no output %q", name)
	}
	text, err := outputs.ReadFile(path.Join("outputs", name+".json"))
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", name, err)
	}
	return text, nil
}
