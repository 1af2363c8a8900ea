// Package check finds what is wrong with a workspace although all of it can be used: a cap that never
// holds anything back, a holdout that nothing is measured by, a rule that only ever falls into quiet hours.
//
// Each check has a file of its own: what it finds, why that matters, and an example of the mistake and of
// what to write instead. docs/checks.md is written from them, and the examples are run.
package check

import (
	"fmt"
	"slices"
	"time"

	"nudge/engine/workspace"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// Check is one check.
type Check struct {
	ID       string // "rule/holdout-without-goal": stable, findings are silenced by it
	Severity rules.Severity
	What     string // sentences for docs/checks.md: what it finds,
	Why      string // and why that is worth mending
	// Bad and Good are examples: a rule file, or a txtar archive of several files. They are read in the
	// workspace that Example gives them.
	Bad, Good string
	run       func(*pass)
}

// All are the checks, by id.
func All() []Check {
	return []Check{
		capAlwaysBinds(),
		capNeverBinds(),
		insecureLink(),
		missingTrait(),
		overLimit(),
		againUnderSchedule(),
		alwaysQuiet(),
		expireWithoutHold(),
		fullLook(),
		guardOfOne(),
		holdoutWithoutGoal(),
		neverDone(),
		noDigest(),
		noExit(),
		quietElsewhere(),
		unreachable(),
		windowOverRetention(),
		noConsentPolicy(),
		noZonePolicy(),
	}
}

// Findings are the workspace's findings, those of reading it among them, without what its files silence as of now,
// and with what is wrong with that; none of broadcasts that are over. A workspace that could not be read (nil) has those of
// reading alone.
func Findings(ws *workspace.Workspace, reading []rules.Finding, now time.Time) []rules.Finding {
	if ws == nil {
		return reading
	}
	found := slices.Clone(reading)
	config, times := configOf(ws), map[string][]time.Time{}
	for _, c := range All() {
		p := &pass{Workspace: ws, config: config, times: times, check: &c}
		c.run(p)
		found = append(found, p.found...)
	}
	over := map[string]bool{}
	for _, r := range ws.Rules {
		if at := r.OverAt(ws.Zone); at != 0 && now.UnixMilli() >= at {
			over[r.File] = true
		}
	}
	found = slices.DeleteFunc(silenced(ws.Silences, found, now), func(f rules.Finding) bool { return over[f.File] })
	return rules.Sort(found)
}

// pass is a check at work on a workspace.
type pass struct {
	*workspace.Workspace
	config *yamlfile.Node         // the root of nudge.yaml
	times  map[string][]time.Time // instants of schedules, by cron expression: many rules share one
	check  *Check
	found  []rules.Finding
}

// report adds a finding at a node; rule is the rule's name or "".
func (p *pass) report(at *yamlfile.Node, rule, detail, format string, args ...any) {
	p.add(at.Finding(p.check.ID, fmt.Sprintf(format, args...)), rule, detail)
}

// reportIn adds a finding at the bytes [from, to) of a text.
func (p *pass) reportIn(at *yamlfile.Node, from, to int, rule, detail, format string, args ...any) {
	p.add(at.FindingIn(from, to, p.check.ID, fmt.Sprintf(format, args...)), rule, detail)
}

func (p *pass) add(f rules.Finding, rule, detail string) {
	f.Severity, f.Rule, f.Detail = p.check.Severity, rule, detail
	p.found = append(p.found, f)
}

// file is the root of a rule's file.
func file(r *workspace.Rule) *yamlfile.Node { return r.Source["rule"].Doc.Root }

// at is the value of a key of a rule's file, or its name where the key is absent.
func at(r *workspace.Rule, key string) *yamlfile.Node {
	if n := file(r).Get(key); n != nil {
		return n
	}
	return r.Source["rule"]
}

// configOf reads the text of nudge.yaml once more, for its places.
func configOf(ws *workspace.Workspace) *yamlfile.Node {
	i := slices.IndexFunc(ws.Sources, func(s workspace.Source) bool { return s.Name == workspace.ConfigFile })
	doc, _ := yamlfile.Parse(workspace.ConfigFile, []byte(ws.Sources[i].Text)) // its findings were read before
	return doc.Root
}
