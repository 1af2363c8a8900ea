package yamlfile_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nudge/rules/finding"
	"nudge/rules/yamlfile"
)

func parse(t require.TestingT, src string) *yamlfile.Doc {
	d, fs := yamlfile.Parse("f.yaml", []byte(src))
	require.Empty(t, fs)
	return d
}

// under is the text of the file under a span.
func under(d *yamlfile.Doc, s yamlfile.Span) string {
	line := []rune(d.Line(s.Line))
	from, to := min(s.Col-1, len(line)), min(s.EndCol-1, len(line))
	return string(line[from:to])
}

func TestSpanInScalar(t *testing.T) {
	cases := []struct{ name, src, find, under string }{
		{"plain", "a: one two\n", "two", "two"},
		{"plain after wide key", "é: één två\n", "två", "två"},
		{"plain over lines", "a: one\n  two\n   three\n", "three", "three"},
		{"plain over a blank line", "a: one\n\n  two\n", "two", "two"},
		{"plain with blanks after it", "a: one two   \nb: 1\n", "one", "one"},
		{"plain with blanks and a comment after it", "a: one two   # why\nb: 1\n", "one", "one"},
		{"plain over lines with blanks", "a: one  \n  two \n   three  \nb: 1\n", "three", "three"},
		{"single", "a: 'it''s two'\n", "'s", "''s"},
		{"double with escapes", `a: "x \"é\" \u00e9 \t two"` + "\n", "two", "two"},
		{"an escape", `a: "x \"q\" y"` + "\n", `"q"`, `\"q\"`},
		{"an escaped letter", `a: "x \u00e9 y"` + "\n", "é", `\u00e9`},
		{"double over lines", "a: \"one\n   two \\\n   three\"\n", "three", "three"},
		{"literal", "a:\n  b: |\n    one\n      two\n\n    three\n", "three", "three"},
		{"literal, deeper", "a:\n  b: |\n    one\n      two\n\n    three\n", "  two", "  two"},
		{"literal with comment on the header", "a: |- # why\n  one\n  two\n", "two", "two"},
		{"literal declared", "a: |2-\n    one\n   two\n", "two", "two"},
		{"folded", "a: >-\n  one\n  two\n\n  three\n    four\n  five\n", "five", "five"},
		{"folded, over a break", "a: >\n  one\n  two\n", "one two", "one"},
		{"in a flow list", "a: [one, 'two', \"three\"]\n", "", ""},
		{"list item", "- one\n- |\n  two\n", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := parse(t, c.src)
			n := d.Root
			for n.Kind == yamlfile.Map {
				n = n.Pairs[0].Value
			}
			if n.Kind == yamlfile.List {
				for _, i := range n.Items {
					require.NotEmpty(t, strings.Trim(under(d, i.Start()), " "))
				}
				return
			}
			at := strings.Index(n.Text, c.find)
			require.GreaterOrEqual(t, at, 0, "text is %q", n.Text)
			require.Equal(t, c.under, under(d, n.Span(at, at+len(c.find))))
		})
	}
}

// encode writes text as a scalar in the style under the key "k" inside "a:", or says that it cannot.
func encode(text string, style, indent int, comment string) (string, bool) {
	pad := strings.Repeat(" ", indent)
	lines := func() string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			if strings.Trim(line, "\n") != "" {
				b.WriteString(pad)
			}
			b.WriteString(line)
		}
		return b.String()
	}
	switch style {
	case 0:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'" + comment + "\n", !strings.Contains(text, "\n")
	case 1:
		q := fmt.Sprintf("%+q", text)
		return q + comment + "\n", !strings.Contains(text, "\x7f")
	case 2:
		// Without declared indentation a literal's first line must not begin with a blank.
		ok := strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "\n\n") && strings.Trim(text, " \n") != "" &&
			!strings.HasPrefix(text, " ") && !strings.HasPrefix(text, "\n") && !strings.Contains(text, " \n")
		return "|" + comment + "\n" + lines(), ok
	default:
		ok := !strings.HasPrefix(text, " ") && !strings.HasPrefix(text, "\n") && strings.Trim(text, " \n") != "" &&
			!strings.HasSuffix(text, "\n") && !strings.Contains(text, " \n")
		return "|-" + comment + "\n" + lines() + "\n", ok
	}
}

// Whatever text a scalar holds and however it is written, each character of the text is mapped to
// the place in the file that was written for it.
func TestSpanProperty(t *testing.T) {
	letters := []rune("ab é漢\"'\\#:{}[]->|&*!%@`,.\n\n😀_5")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom(letters), 1, 40, -1).Draw(t, "text")
		style := rapid.IntRange(0, 3).Draw(t, "style")
		comment := rapid.SampledFrom([]string{"", " # é"}).Draw(t, "comment")
		scalar, ok := encode(text, style, rapid.IntRange(3, 7).Draw(t, "indent"), comment)
		if !ok {
			t.SkipNow()
		}
		src := "# é\nb: 'x\n   y'\na:\n  k: " + scalar + "c: end\n"
		d, fs := yamlfile.Parse("f.yaml", []byte(src))
		require.Empty(t, fs, src)
		n := d.Root.Get("a").Get("k")
		// The library drops blanks at the end of a block's last line.
		require.Equal(t, strings.TrimRight(text, " "), strings.TrimRight(n.Text, " "), src)
		text = n.Text
		if text == "" {
			return
		}
		for i, r := range text {
			got := under(d, n.Span(i, i+len(string(r))))
			switch {
			case style == 1:
				require.Equal(t, strings.TrimPrefix(strings.TrimSuffix(fmt.Sprintf("%+q", string(r)), `"`), `"`), got, src)
			case style == 0 && r == '\'':
				require.Equal(t, "''", got, src)
			case r == '\n':
				require.Empty(t, got, src)
			default:
				require.Equal(t, string(r), got, src)
			}
		}
	})
}

// Folded and plain text is written first and mapped after: every word must be found under its own
// place, in order.
func TestSpanFoldedProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		folded := rapid.Bool().Draw(t, "folded")
		n := rapid.IntRange(1, 8).Draw(t, "lines")
		var body strings.Builder
		var words []string
		for i := range n {
			kind := rapid.IntRange(0, 3).Draw(t, "kind")
			if i == 0 || i == n-1 {
				kind = 0
			}
			switch kind {
			case 0, 1:
				w := fmt.Sprintf("wé%d x%d", i, i)
				words = append(words, strings.Fields(w)...)
				body.WriteString("    " + w + "\n")
			case 2:
				body.WriteString(rapid.SampledFrom([]string{"\n", "  \n"}).Draw(t, "blank"))
			case 3:
				w := fmt.Sprintf("d%d", i)
				words = append(words, w)
				body.WriteString("      " + w + "\n")
			}
		}
		chomp := rapid.SampledFrom([]string{">", ">-", ">+"}).Draw(t, "chomp")
		src := "a:\n  k: " + strings.TrimLeft(body.String(), " ")
		if blanks := rapid.SampledFrom([]string{"", "   "}).Draw(t, "blanks"); !folded {
			src = strings.ReplaceAll(src, "\n", blanks+"\n")
		}
		if folded {
			src = "a:\n  k: " + chomp + "\n" + body.String()
		}
		src += "c: end\n"
		d, fs := yamlfile.Parse("f.yaml", []byte(src))
		require.Empty(t, fs, src)
		node := d.Root.Get("a").Get("k")
		require.Equal(t, words, strings.Fields(node.Text), src)
		at := 0
		for _, w := range words {
			at += strings.Index(node.Text[at:], w)
			require.Equal(t, w, under(d, node.Span(at, at+len(w))), src+"\n%q", node.Text)
			at += len(w)
		}
	})
}

func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	cases := []struct{ name, src, want string }{
		{"syntax", "a: [1, 2\n", "yaml/syntax"},
		{"second document", "a: 1\n---\nb: 2\n", "2:1 yaml/extra-document"},
		{"duplicate", "a: 1\nb: 2\na: 3\n", "3:1 yaml/duplicate-key"},
		{"tag", "a: !!str 1\n", "1:4 yaml/tag"},
		{"unknown anchor", "a: *x\n", "1:4 yaml/unknown-anchor"},
		{"anchor inside itself", "a: &x [*x]\n", "1:8 yaml/unknown-anchor"},
		{"deep", "a: " + deep, "yaml/too-deep"},
		{"deep list", strings.Repeat("- ", 5000) + "a\n", "yaml/too-deep"},
		{"laughs", "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" +
			"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "yaml/too-deep"},
		{"encoding", "a: \"\xff\"\n", "1:5 yaml/encoding"},
		{"control character", "a: x\x01\n", "1:5 yaml/control-character"},
		{"complex key", "? a\n: b\n", "1:1 yaml/unexpected"},
		{"large", "a: " + strings.Repeat("x", 2<<20), "1:1 yaml/too-large"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, fs := yamlfile.Parse("f.yaml", []byte(c.src))
			require.NotEmpty(t, fs)
			f := fs[0]
			require.Contains(t, fmt.Sprintf("%d:%d %s", f.Line, f.Col, f.Check), c.want)
			require.Equal(t, finding.Error, f.Severity)
		})
	}
}

func TestAnchorsAndMerge(t *testing.T) {
	d := parse(t, "x: &x {p: 1, q: 2}\ny:\n  <<: *x\n  q: 3\nz: *x\n")
	y := d.Root.Get("y")
	require.Equal(t, "1", y.Get("p").Text)
	require.Equal(t, "3", y.Get("q").Text)
	require.Equal(t, "z", d.Root.Get("z").Key.Text)
	require.Equal(t, "x", d.Root.Get("x").Key.Text)
}

func TestEmptyFile(t *testing.T) {
	for _, src := range []string{"", "\n", "# only a comment\n", "---\n"} {
		d := parse(t, src)
		require.Equal(t, yamlfile.Null, d.Root.Kind, "%q", src)
	}
}

func TestWindowsLines(t *testing.T) {
	d := parse(t, "\ufeffa: 1\r\nb: |\r\n  one\r\n  two\r\n")
	n := d.Root.Get("b")
	require.Equal(t, "one\ntwo\n", n.Text)
	require.Equal(t, yamlfile.Span{Line: 4, Col: 3, EndCol: 6}, n.Span(4, 7))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a: 1", "a: |\n  b\n", "a: >-\n b\n\n  c\n", "'a''b': \"c\\n\"", "- - a\n  - {b: [c]}", "a: &x 1\nb: *x",
		"<<: {a: 1}", "? a\n: b", "a: !!str b", "\ta: b", "a:\n\tb", "---\na\n...\n---\nb", "%YAML 1.2\n---\na",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		d, fs := yamlfile.Parse("f.yaml", []byte(src))
		for _, x := range fs {
			if x.Line < 1 || x.Col < 1 || x.EndCol <= x.Col {
				t.Fatalf("a finding without a place: %+v", x)
			}
		}
		var walk func(n *yamlfile.Node)
		walk = func(n *yamlfile.Node) {
			for i := range len(n.Text) + 1 {
				s := n.Span(i, i+1)
				if s.Line < 1 || s.Col < 1 || s.EndCol <= s.Col {
					t.Fatalf("no place for byte %d of %q", i, n.Text)
				}
			}
			for _, i := range n.Items {
				walk(i)
			}
			for _, p := range n.Pairs {
				walk(p.Key)
				walk(p.Value)
			}
		}
		walk(d.Root)
	})
}

// What YAML's grammar lacks is told as what is wrong with the text.
func TestSyntaxIsToldInWords(t *testing.T) {
	cases := []struct{ name, src, want, summary string }{
		{"a template without quotes", "title: {{ product }} waits\n", "1:8", "a text that begins with {{ needs quotes"},
		{"one inside brackets", "push: {title: {{ product }}, body: x}\n", "1:15", "a text that begins with {{ needs quotes"},
		{"one below others", "push:\n  title: {{ product }}\n", "2:10", "a text that begins with {{ needs quotes"},
		{"a colon in a text", "title: Still waiting: your tea\n", "1:21", "a text with a colon and a blank in it needs quotes"},
		{"a colon after an umlaut", "title: Für dich: Tee\n", "1:16", "a text with a colon and a blank in it needs quotes"},
		{"quotes in quotes", "body: \"In your \"cart\".\"\n", "1:16", "the text ends at this quote, and more follows"},
		{"an apostrophe", "body: 'It's here'\n", "1:10", "the text ends at this quote, and more follows"},
		{"a cron without quotes", "schedule: */5 * * * *\n", "1:11", "a text that begins with * needs quotes"},
		{"a reserved sign", "schedule: @daily\n", "1:11", "a text that begins with @ needs quotes"},
		{"too far left", "push:\n    title: a\n  body: b\n", "3:3", "this fits nothing above it: is it indented as it should be?"},
		{"too far right", "push:\n  title: a\n    body: b\n", "3:5", "this fits nothing above it: is it indented as it should be?"},
		{"tabs", "push:\n\ttitle: a\n", "2:1", `found character '\t' that cannot start any token`},
		{"a bracket that is not closed", "when: [a, b\nagain: never\n", "2:1", "',' or ']' must be specified"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, fs := yamlfile.Parse("f.yaml", []byte(c.src))
			require.Len(t, fs, 1)
			require.Equal(t, c.summary, fs[0].Summary)
			require.Equal(t, c.want, fmt.Sprintf("%d:%d", fs[0].Line, fs[0].Col))
			require.Equal(t, "yaml/syntax", fs[0].Check)
		})
	}
}

// Whatever is written, a syntax error has its place within the file.
func TestSyntaxHasAPlace(t *testing.T) {
	parts := []string{"a", "é", ":", " ", "\"", "'", "{", "}", "{{", "[", "]", "#", "*", "@", "\n", "\n  ", "- ", ": ", ",", "|", "&", "\\", "\t"}
	rapid.Check(t, func(t *rapid.T) {
		src := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 20).Draw(t, "parts"), "")
		doc, fs := yamlfile.Parse("f.yaml", []byte("key: "+src))
		for _, f := range fs {
			require.NotEmpty(t, f.Summary)
			require.LessOrEqual(t, f.Line, strings.Count(src, "\n")+2)
			if f.Check == "yaml/syntax" && f.Detail != "" {
				require.LessOrEqual(t, f.Col, utf8.RuneCountInString(doc.Line(f.Line))+1)
			}
		}
	})
}
