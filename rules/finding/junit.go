package finding

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// renderJUnit prints sorted findings. Errors and warnings are failures, remarks are cases that passed and
// have something to say. Without a finding there is one case that passed, for an empty file looks broken.
func renderJUnit(w io.Writer, fs []Finding) error {
	all := junitSuites{Name: "nudge check"}
	for _, f := range fs {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != f.File {
			all.Suites = append(all.Suites, junitSuite{Name: f.File})
		}
		s := &all.Suites[len(all.Suites)-1]
		var text strings.Builder
		writeText(&text, f)
		c := junitCase{Name: fmt.Sprintf("%s:%d:%d %s", f.File, f.Line, f.Col, f.Check), Class: f.Check, File: f.File, Line: f.Line}
		if f.Severity == Info {
			c.Out = text.String()
		} else {
			c.Failure = &junitFailure{Type: string(f.Severity), Message: f.Summary, Text: text.String()}
			s.Failures++
			all.Failures++
		}
		s.Cases, s.Tests = append(s.Cases, c), s.Tests+1
		all.Tests++
	}
	if all.Tests == 0 {
		all.Tests = 1
		all.Suites = []junitSuite{{Name: "nudge", Tests: 1, Cases: []junitCase{{Name: "no findings", Class: "nudge.check"}}}}
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	_, err := io.WriteString(w, xml.Header)
	if err == nil {
		err = enc.Encode(all)
	}
	if err == nil {
		_, err = io.WriteString(w, "\n")
	}
	if err != nil {
		return fmt.Errorf("printing findings: %w", err)
	}
	return nil
}
