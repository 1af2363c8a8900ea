// Package broadcast is what `nudge broadcast` does around the engine, which itself knows a broadcast as a rule that is
// looked at once: it writes its file, says beforehand what would come of it, and afterwards what has.
package broadcast

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"nudge/engine/format"
	"nudge/engine/workspace"
)

// Draft is a broadcast of one message on one channel.
type Draft struct {
	Name     string
	Category string // "" is the default of rules
	Who      []string
	// List are the user ids to whom it goes; nil: Who alone says it.
	List    []string
	At      string // as rule files write it
	Persons bool   // At is on the person's own clock
	Holdout string // "5%", or ""
	Goal    string // an event, or ""
	Channel string
	Fields  []Field // in order
}

// Field is a field of the message. A Value is text, or with JSON set, what it says as JSON.
type Field struct {
	Name, Value string
	JSON        bool
}

// File is the path of a broadcast's file in the workspace.
func File(name string) string { return path.Join(workspace.BroadcastsDir, name+".yaml") }

// ListFile is the path of the list of a broadcast.
func ListFile(name string) string { return path.Join(workspace.BroadcastsDir, name+".txt") }

// Files are the files that make the draft a broadcast, by their paths in the workspace.
func (d *Draft) Files() map[string][]byte {
	who := d.Who
	out := map[string][]byte{}
	if d.List != nil {
		out[ListFile(d.Name)] = []byte(strings.Join(d.List, "\n") + "\n")
		who = append([]string{fmt.Sprintf("user.id in list(%q)", ListFile(d.Name))}, who...)
	}
	if len(who) > 1 {
		for i := range who {
			who[i] = "(" + who[i] + ")"
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "rule: %s\n", text(d.Name))
	if d.Category != "" {
		fmt.Fprintf(&b, "category: %s\n", text(d.Category))
	}
	if d.Persons {
		fmt.Fprintf(&b, "at: {time: %s, zone: person}\n", text(d.At))
	} else {
		fmt.Fprintf(&b, "at: %s\n", text(d.At))
	}
	fmt.Fprintf(&b, "when: |\n  %s\n", strings.ReplaceAll(strings.TrimSpace(strings.Join(who, " and\n")), "\n", "\n  "))
	b.WriteString("again: never\n")
	if d.Goal != "" {
		fmt.Fprintf(&b, "goal: {event: %s}\n", text(d.Goal))
	}
	if d.Holdout != "" {
		fmt.Fprintf(&b, "holdout: %s\n", d.Holdout)
	}
	// Whoever has no address now, or has refused, does not get it tomorrow either.
	b.WriteString("when_blocked: {no_address: drop, no_consent: drop}\n")
	fmt.Fprintf(&b, "message:\n  %s:\n", text(d.Channel))
	for _, f := range d.Fields {
		value := f.Value
		if !f.JSON {
			value = text(value)
		}
		fmt.Fprintf(&b, "    %s: %s\n", text(f.Name), value)
	}
	file := File(d.Name)
	out[file] = b.Bytes()
	if laidOut, findings := format.Source(format.File{Path: file, Kind: format.KindOf(file)}, b.Bytes()); len(findings) == 0 {
		out[file] = laidOut
	}
	return out
}

var plain = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9 _-]*[A-Za-z0-9]$`)

// words that YAML does not take for text.
var words = regexp.MustCompile(`^(?i:true|false|null|yes|no|on|off|y|n|nan|inf)$`)

// text writes a text as YAML does.
func text(s string) string {
	if plain.MatchString(s) && !words.MatchString(s) {
		return s
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // a string of JSON is one of YAML
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // of a string, into memory
	return strings.TrimSpace(b.String())
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// NameOf makes a name of what a message says; "" where it says nothing that could be in one. Fields of templates are
// left out.
func NameOf(says string) string {
	const most = 40
	says = regexp.MustCompile(`\{[{%].*?[%}]\}`).ReplaceAllString(says, " ")
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(says), "-"), "-")
	if len(name) > most {
		name = name[:most]
		if i := strings.LastIndexByte(name, '-'); i > most/2 {
			name = name[:i]
		}
	}
	return strings.Trim(name, "-")
}

// At is an instant as files of broadcasts write it, on the workspace's clock.
func At(t time.Time) string { return t.Truncate(time.Second).Format(time.RFC3339) }

var atLine = regexp.MustCompile(`(?m)^at: .*$`)

// Same says whether two texts of a broadcast's file differ in its `at` alone.
func Same(a, b []byte) bool {
	return bytes.Equal(atLine.ReplaceAll(a, nil), atLine.ReplaceAll(b, nil))
}
