// Package junit writes results as the XML that CI servers read. There is no standard; this is the common
// part of what Jenkins, GitLab and GitHub's actions take.
package junit

import (
	"encoding/xml"
	"fmt"
	"io"
)

// Suites is a file of results.
type Suites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Suites   []Suite  `xml:"testsuite"`
}

// Suite is the cases of one file.
type Suite struct {
	Name     string `xml:"name,attr"`
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Cases    []Case `xml:"testcase"`
}

// Case is one result; without Failure it passed.
type Case struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	File    string   `xml:"file,attr,omitempty"`
	Line    int      `xml:"line,attr,omitempty"`
	Failure *Failure `xml:"failure,omitempty"`
	Out     string   `xml:"system-out,omitempty"`
}

// Failure is why a case failed.
type Failure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Add adds a case to the suite of that name, a new one unless it is the last.
func (s *Suites) Add(suite string, c Case) {
	if n := len(s.Suites); n == 0 || s.Suites[n-1].Name != suite {
		s.Suites = append(s.Suites, Suite{Name: suite})
	}
	to := &s.Suites[len(s.Suites)-1]
	to.Cases = append(to.Cases, c)
	to.Tests++
	s.Tests++
	if c.Failure != nil {
		to.Failures++
		s.Failures++
	}
}

// Write writes the file.
func (s *Suites) Write(w io.Writer) error {
	text, err := xml.MarshalIndent(s, "", "  ")
	if err == nil {
		_, err = io.WriteString(w, xml.Header+string(text)+"\n")
	}
	if err != nil {
		return fmt.Errorf("write results as JUnit XML: %w", err)
	}
	return nil
}
