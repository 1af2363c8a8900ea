package rules

import (
	"slices"

	"nudge/rules/yamlfile"
)

// Segment is one segment file: a condition with a name, for other conditions to use.
type Segment struct {
	Name  string
	File  string
	About string
	When  string
	// Name and When, with their places.
	NameNode, WhenNode *yamlfile.Node

	Silences []Silence
}

// ParseSegment reads one segment file; nil when it has no name or no condition.
func ParseSegment(path string, src []byte) (*Segment, []Finding) {
	doc, broken := yamlfile.Parse(path, src)
	r := yamlfile.NewReader("segment")
	if len(broken) > 0 && doc.Root.Kind != yamlfile.Map {
		return nil, broken
	}
	if doc.Root.Kind == yamlfile.Null {
		r.Report(doc.Root, "empty-file", "A segment file is `segment: its-name` and `when: …`.", "the file holds no segment")
		return nil, r.Findings()
	}
	f := r.Fields(doc.Root)
	s := &Segment{File: path}
	s.NameNode = f.Must("segment", "Begin the file with `segment: its-name`.")
	s.Name = name(r, s.NameNode)
	r.SetRule(s.Name)
	s.About = r.Text(f.Get("about"))
	s.WhenNode = f.Must("when", "Say who is in it: `when: event(\"Order Completed\").count >= 5`.")
	s.When = r.Text(s.WhenNode)
	s.Silences = ReadSilences(r, f.Get("silence"))
	f.Done()
	findings := slices.Concat(broken, r.Findings())
	if s.Name == "" || s.When == "" {
		return nil, findings
	}
	return s, findings
}
