package finding

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The parts of SARIF 2.1.0 that findings need:
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
type (
	// SARIFLog is findings as SARIF has them. What is not said of a field here says the standard.
	SARIFLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"` // one
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndColumn   int `json:"endColumn"`
	}
)

// renderSARIF prints sorted findings. Files are relative to the workspace.
func renderSARIF(w io.Writer, fs []Finding) error {
	run := sarifRun{
		Tool: sarifTool{sarifDriver{Name: "nudge check", Rules: []sarifRule{}}}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{},
	}
	var ids []string
	for _, f := range fs {
		ids = append(ids, f.Check)
		at := sarifPhysical{Artifact: sarifArtifact{f.File}}
		if f.Line > 0 {
			at.Region = &sarifRegion{f.Line, f.Col, max(f.EndCol, f.Col+1)}
		}
		text := f.Summary
		if f.Suggest != "" {
			text += fmt.Sprintf("; did you mean %q?", f.Suggest)
		}
		if f.Detail != "" {
			text += "\n" + f.Detail
		}
		run.Results = append(run.Results, sarifResult{f.Check, sarifLevel(f.Severity), sarifMessage{strings.TrimSpace(text)}, []sarifLocation{{at}}})
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{id})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	log := SARIFLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
	if err := enc.Encode(log); err != nil {
		return fmt.Errorf("printing findings: %w", err)
	}
	return nil
}

func sarifLevel(s Severity) string {
	if s == Info {
		return "note"
	}
	return string(s)
}
