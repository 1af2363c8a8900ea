package ruletest

import "nudge/engine/workspace"

// EveryTick says of each rule whether all ticks of its schedule are looked at.
func EveryTick(ws *workspace.Workspace, tests []*Test) map[string]bool {
	out := map[string]bool{}
	for _, line := range group(ws, tests) {
		for _, r := range newStops(ws, line, false).rules {
			out[r.rule.Name] = r.every
		}
	}
	return out
}

// Timelines says which tests share one, by title.
func Timelines(ws *workspace.Workspace, tests []*Test) [][]string {
	var out [][]string
	for _, line := range group(ws, tests) {
		var titles []string
		for _, t := range line.tests {
			titles = append(titles, t.Title())
		}
		out = append(out, titles)
	}
	return out
}
