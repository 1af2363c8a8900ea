package ruletest

import "nudge/rules/yamlfile"

// word is a stretch of a text, by bytes.
type word struct {
	text     string
	from, to int
}

// words splits a terse form at its blanks.
func words(text string) []word {
	var out []word
	from := -1
	for i := 0; i <= len(text); i++ {
		blank := i == len(text) || text[i] == ' ' || text[i] == '\t'
		switch {
		case blank && from >= 0:
			out = append(out, word{text[from:i], from, i})
			from = -1
		case !blank && from < 0:
			from = i
		}
	}
	return out
}

// rest is everything from the i-th word on; quotes around it are taken off.
func rest(text string, ws []word, i int) word {
	if i >= len(ws) {
		return word{from: len(text), to: len(text)}
	}
	from, to := ws[i].from, ws[len(ws)-1].to
	if to-from >= 2 && text[from] == '"' && text[to-1] == '"' {
		from, to = from+1, to-1
	}
	return word{text[from:to], from, to}
}

// terse takes a short form apart: a text alone, or a single key that has blanks in it with a value.
// ok is false for the full form.
func terse(n *yamlfile.Node) (text, value *yamlfile.Node, ok bool) {
	if n.Kind == yamlfile.String {
		return n, nil, true
	}
	if n.Kind == yamlfile.Map && len(n.Pairs) == 1 && len(words(n.Pairs[0].Key.Text)) > 1 {
		return n.Pairs[0].Key, n.Pairs[0].Value, true
	}
	return nil, nil, false
}
