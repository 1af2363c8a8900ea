package yamlfile_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/rules/yamlfile"
)

var order = &yamlfile.Order{
	Keys: []string{"rule", "when", "again", "with", "tests"},
	Of: map[string]*yamlfile.Order{
		"tests": {Apart: true, Each: &yamlfile.Order{Keys: []string{"name", "people"}}},
		"when":  {Code: true},
		"exit":  {Keys: []string{"event", "where"}},
	},
}

func TestFormat(t *testing.T) {
	cases := []struct{ name, src, want string }{
		{"nothing", "", ""},
		{"only a comment", "\n\n# nothing  \n\n", "# nothing\n"},
		{"indentation", "a:\n    b:\n         c: 1\n", "a:\n  b:\n    c: 1\n"},
		{"a list that is not indented", "a:\n- 1\n-   2\nb: 3\n", "a:\n  - 1\n  - 2\nb: 3\n"},
		{"spaces", "a:   1\nb: {x: 1,y:  [1,2 ,3], }\n", "a: 1\nb: {x: 1, y: [1, 2, 3]}\n"},
		{"line ends", "\ufeffa: 1  \r\nb: 2", "a: 1\nb: 2\n"},
		{"blank lines", "\n\na: 1\n\n\n\nb:\n\n  c: 1\n\n\n", "a: 1\n\nb:\n  c: 1\n"},
		{"quotes", `{a: 'x', b: "say \"hi\"", c: 'it''s "x"', d: "it's", e: "\u00e9", "f g": 'h'}`, `{a: "x", b: 'say "hi"', c: 'it''s "x"', d: "it's", e: "\u00e9", "f g": "h"}` + "\n"},
		{"order", "again: x\nzeta: 1\nrule: y\nalpha: 2\n", "rule: y\nagain: x\nzeta: 1\nalpha: 2\n"},
		{"order in brackets", "exit: {where: a, event: b}\n", "exit: {event: b, where: a}\n"},
		{"order of one of several", "exit: [{where: a, event: b}, c]\n", "exit: [{event: b, where: a}, c]\n"},
		{"no order below with", "with: {b: 1, a: 2}\n", "with: {b: 1, a: 2}\n"},
		{"no order where there are anchors", "again: &a x\nrule:  *a\n", "again: &a x\nrule: *a\n"},
		{
			"comments move with their keys",
			"# file\n\n# about again\nagain: x  # once\n\n# about rule,\n# two lines\nrule: y # name\n",
			"# file\n\n# about rule,\n# two lines\nrule: y  # name\n\n# about again\nagain: x  # once\n",
		},
		{
			"what is commented out below a key",
			"again: x\n# again: y\n\nrule: z\n# end\n",
			"rule: z\n# end\n\nagain: x\n# again: y\n",
		},
		{
			"comments at the end of what is inside",
			"with:\n    a: 1\n      # b: 2\n    # c: 3\nrule: x\n# end of file\n",
			"rule: x\n# end of file\n\nwith:\n  a: 1\n  # b: 2\n  # c: 3\n",
		},
		{
			"comments of a list that is not indented",
			"tests:\n- name: a\n# second\n- name: b\n# rule\nrule: x\n",
			"# rule\nrule: x\ntests:\n  - name: a\n\n  # second\n  - name: b\n",
		},
		{
			"comments in items",
			"tests:\n  - # one\n    people: 1\n    # the name\n    name: a   # beside\n",
			"tests:\n  # one\n  # the name\n  - name: a  # beside\n    people: 1\n",
		},
		{
			"comments in brackets",
			"a: [ # open\n  {x: 1}, # one\n  # two\n  {x: 2}\n  # end\n]\nb: 1\n",
			"a: [  # open\n  {x: 1},  # one\n  # two\n  {x: 2}\n  # end\n]\nb: 1\n",
		},
		{"broken brackets", "a: {x: 1, y: 2,\n      z: 3}\nb: [1,\n 2\n ]\n", "a: {\n  x: 1, y: 2,\n  z: 3\n}\nb: [\n  1,\n  2\n]\n"},
		{"brackets in an item", "a:\n- k: {x: 1,\n     y: 2}\n", "a:\n  - k: {\n      x: 1,\n      y: 2\n    }\n"},
		{"comments beside each other", "a: 1 # x\nlonger: 2 # y\n\nc: 3    # z\n", "a: 1       # x\nlonger: 2  # y\n\nc: 3  # z\n"},
		{"a comment before a value", "a: # why\n  b\nc:\n  # what\n  d\n", "# why\na: b\n# what\nc: d\n"},
		{"a comment beside a key", "a:    # why\n  b: 1\n", "a:  # why\n  b: 1\n"},
		{"literal", "when:    |   # why\n        a and  \n          b\n\n        c\n\nrule: x\n", "rule: x\nwhen: |  # why\n  a and\n    b\n\n  c\n"},
		{"blanks at the ends of a text's lines", "a: |\n    x  \n      \n    y\n", "a: |\n  x  \n    \n  y\n"},
		{"blanks at the ends of a condition's lines", "when: |\n    x  \n      \n    y \n", "when: |\n  x\n\n  y\n"},
		{"blanks in a text of a condition", "when: |\n    x == `a  \n    y`  \n", "when: |\n  x == `a  \n  y`  \n"},
		{"folded", "a: >-\n    x\n    y\n\n    z\n", "a: >-\n  x\n  y\n\n  z\n"},
		{"literal that begins with a blank", "a:\n    b: |4-\n            x\n          y\n", "a:\n  b: |2-\n        x\n      y\n"},
		{"literal that keeps its end", "a: |+\n    x\n\n\nb: 1\n", "a: |+\n  x\n\n\nb: 1\n"},
		{"text over lines", "a: x\n      y\n\n      z\nb: \"p  \n q\"\n", "a: x\n  y\n\n  z\nb: \"p\n  q\"\n"},
		{"nothing as a value", "a:\nb: ~\nc:\n-\n- null\nd: 1\n", "a:\nb: ~\nc:\n  -\n  - null\nd: 1\n"},
		{"lists in lists", "a:\n-   - 1\n    - 2\n- - 3\n", "a:\n  - - 1\n    - 2\n  - - 3\n"},
		{"anchors", "a: &x   {b: 1}\nc:   *x\nd: &y\n    e: 1\nf: {<<: *y, g: 2}\n", "a: &x {b: 1}\nc: *x\nd: &y\n  e: 1\nf: {<<: *y, g: 2}\n"},
		{"a document's mark", "# head\n--- # mark\na:   1\n...\n", "# head\n---  # mark\na: 1\n"},
		{"a list as the file", "-   name: a\n    x: 1\n-   name: b\n", "- name: a\n  x: 1\n- name: b\n"},
		{"only a text", "  hello\n", "hello\n"},
		{"only brackets", "[1,\n2]\n# end\n", "[\n  1,\n  2\n]\n# end\n"},
		{"signs in a plain text", "a: b#c 'd'? - e # f\n", "a: b#c 'd'? - e  # f\n"},
		{"a question mark in brackets", "a: {t: Still 17?, u: x:y}\n", "a: {t: Still 17?, u: x:y}\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, findings := yamlfile.Format("f.yaml", []byte(c.src), order)
			require.Empty(t, findings)
			require.Equal(t, c.want, string(out))
			again, findings := yamlfile.Format("f.yaml", out, order)
			require.Empty(t, findings)
			require.Equal(t, c.want, string(again), "formatted again")
		})
	}
}
