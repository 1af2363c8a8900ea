package finding_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/rules/finding"
)

var several = []finding.Finding{
	{Check: "rule/unknown-key", Severity: finding.Error, File: "rules/a.yaml", Line: 3, Col: 1, EndCol: 7, Summary: `unknown key "mesage"`, Suggest: "message", Text: "mesage: <x>"},
	{Check: "rule/no-exit", Severity: finding.Warning, File: "rules/a.yaml", Line: 5, Col: 7, EndCol: 9, Summary: "nothing takes it back", Detail: "Add one."},
	{Check: "a/remark", Severity: finding.Info, File: "rules/b.yaml", Summary: "by the way"},
}

func TestSARIF(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, finding.Render(&b, several, finding.SARIF))
	var got struct {
		Version string
		Runs    []struct {
			ColumnKind string
			Tool       struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				Message       struct{ Text string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine, StartColumn, EndColumn int }
					}
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Equal(t, "2.1.0", got.Version)
	require.Len(t, got.Runs, 1)
	run := got.Runs[0]
	require.Equal(t, "unicodeCodePoints", run.ColumnKind)
	require.Len(t, run.Tool.Driver.Rules, 3)
	require.Len(t, run.Results, 3)
	require.Equal(t, []string{"error", "warning", "note"}, []string{run.Results[0].Level, run.Results[1].Level, run.Results[2].Level})
	require.Equal(t, "unknown key \"mesage\"; did you mean \"message\"?", run.Results[0].Message.Text)
	at := run.Results[0].Locations[0].PhysicalLocation
	require.Equal(t, "rules/a.yaml", at.ArtifactLocation.URI)
	require.Equal(t, 3, at.Region.StartLine)
	require.Equal(t, 7, at.Region.EndColumn)
	require.Nil(t, run.Results[2].Locations[0].PhysicalLocation.Region, "a file as a whole has none")

	b.Reset()
	require.NoError(t, finding.Render(&b, nil, finding.SARIF))
	require.Contains(t, b.String(), `"results": []`)
}

func TestJUnit(t *testing.T) {
	type suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Line    int    `xml:"line,attr"`
				Failure *struct {
					Type    string `xml:"type,attr"`
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	parse := func(fs []finding.Finding) (got suites) {
		var b bytes.Buffer
		require.NoError(t, finding.Render(&b, fs, finding.JUnit))
		require.NoError(t, xml.Unmarshal(b.Bytes(), &got))
		return got
	}
	got := parse(several)
	require.Equal(t, 3, got.Tests)
	require.Equal(t, 2, got.Failures)
	require.Len(t, got.Suites, 2)
	require.Len(t, got.Suites[0].Cases, 2)
	first := got.Suites[0].Cases[0]
	require.Equal(t, 3, first.Line)
	require.Equal(t, `unknown key "mesage"`, first.Failure.Message)
	require.Contains(t, first.Failure.Text, "mesage: <x>")
	require.Nil(t, got.Suites[1].Cases[0].Failure, "a remark is no failure")

	got = parse(nil)
	require.Equal(t, 1, got.Tests)
	require.Zero(t, got.Failures)
}
