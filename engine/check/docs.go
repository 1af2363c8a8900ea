package check

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"

	"nudge/engine/workspace"
)

// Example is the workspace that a check's Bad or Good stands for: its files, and those that it needs
// beside them.
func Example(text string) *txtar.Archive {
	a := txtar.Parse([]byte(text))
	if len(a.Files) == 0 {
		a = &txtar.Archive{Files: []txtar.File{{Name: "rules/" + exampleRule, Data: []byte(text)}}}
	}
	config := `channels:
  push: {adapter: file, kind: push, config: {path: data/push.ndjson}}
  email: {adapter: file, needs: email, config: {path: data/email.ndjson}}
`
	named := false
	for i, f := range a.Files {
		if f.Name == workspace.ConfigFile {
			named = true
			if !bytes.Contains(append([]byte("\n"), f.Data...), []byte("\nchannels:")) {
				a.Files[i].Data = slices.Concat(f.Data, []byte(config))
			}
		}
	}
	if !named {
		a.Files = append(a.Files, txtar.File{Name: workspace.ConfigFile, Data: []byte(config)})
	}
	rule := false
	for _, f := range a.Files {
		rule = rule || strings.HasPrefix(f.Name, "rules/")
	}
	if !rule {
		a.Files = append(a.Files, txtar.File{Name: "rules/" + exampleRule, Data: []byte(`rule: hello
schedule: "0 9 * * *"
when: did("Product Viewed").within(days(1))
again: never
message:
  push: {title: Hello, body: Have a look}
`)})
	}
	return a
}

const exampleRule = "example.yaml"

// Docs is docs/checks.md.
func Docs() string {
	var b strings.Builder
	b.WriteString(intro)
	for _, c := range All() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n%s\n\nBad:\n\n%s\nGood:\n\n%s", c.ID, c.What, c.Why, fencedFiles(c.Bad), fencedFiles(c.Good))
	}
	return b.String()
}

// fencedFiles are the files of an example as fenced blocks.
func fencedFiles(text string) string {
	var b strings.Builder
	a := txtar.Parse([]byte(text))
	if len(a.Files) == 0 {
		a.Files = []txtar.File{{Data: []byte(text)}}
	}
	for _, f := range a.Files {
		b.WriteString("```yaml\n")
		if f.Name != "" {
			b.WriteString("# " + f.Name + "\n")
		}
		b.WriteString(string(f.Data) + "```\n")
	}
	return b.String()
}

const intro = "# Checks\n\n<!-- Written from the checks by: go test ./engine/check -run Docs -update -->\n\n" +
	"`nudge check` first reads every file: what cannot be used at all (an unknown key, an event that the tracking plan does not\n" +
	"know, a number where a time belongs) is an error, with its place and mostly with what was meant. Nothing is served with\n" +
	"an error. Then it looks at what can be used and is probably not what was wanted. These checks are below.\n\n" +
	"Each finding ends with the id of its check. Where one is wrong for you, silence it in the file that it is about\n" +
	"(nudge.yaml, a rule, a segment):\n\n" +
	"```yaml\n" +
	"silence:\n" +
	"  - {check: rule/no-exit, reason: \"the voucher holds after buying, too\", until: 2027-06-30}\n" +
	"```\n\n" +
	"`reason` is for whoever reads the file next. `until`, which can be left out, is the last day (UTC); afterwards the\n" +
	"finding is back, and so is `silence/expired`. A silence that hides nothing is the finding `silence/unused`: left standing it\n" +
	"would hide the next mistake. Errors cannot be silenced, nor what is found in templates, fences and events.yaml.\n"
