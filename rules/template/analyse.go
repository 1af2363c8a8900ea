package template

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/parser"

	"nudge/internal/suggest"
)

var parserLoc = parser.SourceLoc{LineNo: 1}

// token is the library's own pattern of an object or a tag; what it does not match is text to it, and
// would be sent as it stands. Groups: expression, tag, arguments.
var tokenPattern = regexp.MustCompile(`\{\{-?\s*(.+?)\s*-?\}\}|\{%-?\s*(\w+)(?:\s+((?:[^%]|%[^}])+?))?\s*-?%\}`)

// analysis reads a template with positions, which the library does not keep: it finds names,
// mistakes, and writes the source that the library gets.
type analysis struct {
	src       string
	problems  []Problem
	vars      []Var
	printed   []string
	outside   int // bytes of text in no block
	rewritten strings.Builder
	blocks    []block
	assigned  map[string]bool // by assign and capture; Liquid has one scope for them
}

// block is an open {% if %} and the like.
type block struct {
	name     string
	from, to int
	loopVar  string // of for
}

// grammar of the tags that are allowed: those that open a block, by the tag that closes it, and the
// clauses that each block may have.
var (
	closers = map[string]string{
		"endif": "if", "endunless": "unless", "endcase": "case", "endfor": "for", "endcapture": "capture",
		"endcomment": "comment", "endraw": "raw",
	}
	clauses = map[string][]string{
		"if": {"elsif", "else"}, "unless": {"else"}, "case": {"when", "else"}, "for": {"else"},
		"capture": nil, "comment": nil, "raw": nil,
	}
	plainTags = []string{"assign", "break", "continue", "cycle"}
)

func tagNames() []string {
	names := slices.Concat(plainTags, []string{"else", "elsif", "when"})
	for open := range clauses {
		names = append(names, open)
	}
	for end := range closers {
		names = append(names, end)
	}
	slices.Sort(names)
	return names
}

func analyse(src string) *analysis {
	a := &analysis{src: src, assigned: map[string]bool{}}
	at := 0
	verbatim := "" // inside raw or comment: the tag that ends it
	for _, m := range tokenPattern.FindAllStringSubmatchIndex(src, -1) {
		if verbatim == "" {
			a.text(at, m[0])
		}
		a.rewritten.WriteString(src[at:m[0]])
		at = m[1]
		tag := ""
		if m[4] >= 0 {
			tag = src[m[4]:m[5]]
		}
		switch {
		case verbatim != "" && tag != verbatim:
			a.rewritten.WriteString(src[m[0]:m[1]])
			continue
		case m[2] >= 0:
			a.object(m)
		default:
			if tag == verbatim {
				verbatim = ""
			}
			if tag == "raw" || tag == "comment" {
				verbatim = "end" + tag
			}
			args := [2]int{m[5], m[5]}
			if m[6] >= 0 {
				args = [2]int{m[6], m[7]}
			}
			a.tag(m[0], m[1], tag, m[4], args)
		}
	}
	if verbatim == "" {
		a.text(at, len(src))
	}
	a.rewritten.WriteString(src[at:])
	for _, b := range a.blocks {
		a.problem(b.from, b.to, "template/unclosed", fmt.Sprintf("{%% %s %%} is never closed", b.name),
			fmt.Sprintf("Write {%% end%s %%} where it ends.", b.name), "")
	}
	return a
}

func (a *analysis) problem(from, to int, id, summary, detail, suggest string) {
	a.problems = append(a.problems, Problem{from, max(to, from), id, summary, detail, suggest, false})
}

// text looks for the beginning or end of a placeholder in what the library takes for text.
func (a *analysis) text(from, to int) {
	if len(a.blocks) == 0 {
		a.outside += len(strings.TrimSpace(a.src[from:to])) // a dash in a placeholder takes the blanks
	}
	for _, mark := range []string{"{{", "{%", "}}", "%}"} {
		i := strings.Index(a.src[from:to], mark)
		if i < 0 {
			continue
		}
		summary, detail := mark+" begins a placeholder that has no end", "It is closed on the same line: {{ name }}, {% if name %}."
		if mark == "}}" || mark == "%}" {
			summary, detail = mark+" ends nothing", "A placeholder begins with {{ or {%, and holds no quoted braces."
		}
		a.problem(from+i, from+i+2, "template/syntax", summary, detail, "")
		return
	}
}

// object is {{ expression }}: it goes to the library with the printing filter around it.
func (a *analysis) object(m []int) {
	from, to := m[2], m[3]
	x := a.expression(from, to, "")
	number := strconv.Itoa(len(a.printed))
	a.printed = append(a.printed, a.src[from:to])
	a.rewritten.WriteString(a.src[m[0]:from] + "(" + x + ") | " + printFilter + ": " + number + a.src[to:m[1]])
}

func (a *analysis) tag(from, to int, name string, nameAt int, args [2]int) {
	text := a.src[args[0]:args[1]]
	rewrite := text
	nameEnd := nameAt + len(name)
	open := block{}
	if len(a.blocks) > 0 {
		open = a.blocks[len(a.blocks)-1]
	}
	if _, ok := clauses[name]; ok {
		b := block{name: name, from: from, to: to}
		switch name {
		case "if", "unless", "case":
			rewrite = a.expression(args[0], args[1], "")
		case "for":
			rewrite, b.loopVar = a.loop(args[0], args[1])
		case "capture":
			a.target(args[0], args[1])
		}
		a.blocks = append(a.blocks, b)
	} else if opener, ok := closers[name]; ok {
		if open.name != opener {
			a.problem(nameAt, nameEnd, "template/unopened", fmt.Sprintf("{%% %s %%} closes nothing here", name), openHint(open), "")
			return
		}
		a.blocks = a.blocks[:len(a.blocks)-1]
	} else {
		switch name {
		case "else", "elsif", "when":
			if !slices.Contains(clauses[open.name], name) {
				a.problem(nameAt, nameEnd, "template/unopened", fmt.Sprintf("{%% %s %%} does not belong here", name), openHint(open), "")
				return
			}
			if name == "elsif" {
				rewrite = a.expression(args[0], args[1], "")
			}
			if name == "when" {
				rewrite = a.expression(args[0], args[1], expressions.WhenStatementSelector)
			}
		case "assign":
			rewrite = a.assign(args[0], args[1])
		case "cycle", "break", "continue":
			if !slices.ContainsFunc(a.blocks, func(b block) bool { return b.name == "for" }) {
				a.problem(nameAt, nameEnd, "template/unopened", fmt.Sprintf("{%% %s %%} stands outside of {%% for %%}", name), "", "")
			}
			if name == "cycle" {
				if _, err := expressions.ParseStatement(expressions.CycleStatementSelector, text); err != nil {
					a.problem(args[0], args[1], "template/syntax", "cycle takes texts: {% cycle \"odd\", \"even\" %}", "", "")
				}
			}
		default:
			a.problem(nameAt, nameEnd, "template/unknown-tag", fmt.Sprintf("there is no tag %q", name), "", suggest.Nearest(name, tagNames()))
			return
		}
	}
	a.rewritten.WriteString(a.src[from:args[0]] + rewrite + a.src[args[1]:to])
}

func openHint(open block) string {
	if open.name == "" {
		return "No block is open."
	}
	return fmt.Sprintf("The block that is open is {%% %s %%}.", open.name)
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// target is the name that assign and capture set.
func (a *analysis) target(from, to int) {
	name := a.src[from:to]
	switch {
	case !identifier.MatchString(name):
		a.problem(from, to, "template/syntax", "expected a name here", "", "")
	case name == Zone || name == printFilter || slices.Contains(roots, name):
		a.problem(from, to, "template/taken-name", fmt.Sprintf("%q is a name of nudge's own", name), "Choose another name.", "")
	default:
		a.assigned[name] = true
	}
}

func (a *analysis) assign(from, to int) string {
	text := a.src[from:to]
	eq := strings.IndexByte(text, '=')
	if eq < 0 {
		a.problem(from, to, "template/syntax", "expected {% assign name = value %}", "", "")
		return text
	}
	name := strings.TrimRight(text[:eq], " \t\n")
	value := from + eq + 1
	for value < to && strings.IndexByte(" \t\n", a.src[value]) >= 0 {
		value++
	}
	x := a.expression(value, to, "")
	a.target(from, from+len(name))
	return name + " = (" + x + ")"
}

// loop is `item in list limit:2 offset:1 reversed`.
func (a *analysis) loop(from, to int) (rewrite, loopVar string) {
	text := a.src[from:to]
	if _, err := expressions.ParseStatement(expressions.LoopStatementSelector, text); err != nil {
		a.problem(from, to, "template/syntax", "expected {% for name in list %}", "", "")
		return text, ""
	}
	toks := scan(text)
	loopVar = toks[0].text
	// The library visits a map in random order: the list goes through a filter that sorts it.
	list, end := toks[2].from, len(text)
	depth := 0
	for i, t := range toks[2:] {
		switch t.text {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case "reversed", "limit:", "offset:", "cols:":
			if depth == 0 && toks[i+1].text != "|" && toks[i+1].text != "," {
				end = min(end, t.from)
			}
		}
	}
	return text[:list] + a.walk(from+list, from+end, false) + " | " + itemsFilter + " " + a.walk(from+end, to, true), loopVar
}

// expression checks the expression in [from, to), notes its names, and returns what the library gets.
func (a *analysis) expression(from, to int, selector string) string {
	text := a.src[from:to]
	var err error
	if selector == "" {
		_, err = expressions.Parse(text)
	} else {
		_, err = expressions.ParseStatement(selector, text)
	}
	if strings.TrimSpace(text) == "" || err != nil {
		a.problem(from, to, "template/syntax", fmt.Sprintf("%q is not an expression of Liquid", strings.TrimSpace(text)),
			"Comparisons are == != < > <= >= contains, joined by and, or; there is no arithmetic and no not: use filters and unless.", "")
		return text
	}
	return a.walk(from, to, false)
}

// walk notes the names and filters of an expression that is known to parse.
func (a *analysis) walk(from, to int, loop bool) string {
	toks := scan(a.src[from:to])
	var out strings.Builder
	copied := from
	var dateArgs []int // depth of parentheses at which a date filter's arguments are open
	depth := 0
	closeDate := func(at int) {
		for len(dateArgs) > 0 && dateArgs[len(dateArgs)-1] >= depth {
			out.WriteString(strings.TrimRight(a.src[copied:at], " \t\n") + ", " + Zone + " ")
			copied = at
			dateArgs = dateArgs[:len(dateArgs)-1]
		}
	}
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		start, end := from+t.from, from+t.to
		after := i > 0 && toks[i-1].text == "|"
		switch {
		case t.text == "(" || t.text == "[":
			depth++
		case t.text == ")" || t.text == "]":
			closeDate(start)
			depth--
		case t.text == "|":
			closeDate(start)
		case after:
			name, hasArgs := strings.CutSuffix(t.text, ":")
			a.filter(name, hasArgs, from, toks, i)
			if name == "date" && hasArgs {
				dateArgs = append(dateArgs, depth)
			}
			if name == "date" && !hasArgs {
				out.WriteString(a.src[copied:start] + "date: nil, " + Zone)
				copied = end
			}
		case t.kind != tokIdent || loop && (strings.HasSuffix(t.text, ":") || t.text == "reversed"):
		case slices.Contains(words, t.text):
		default:
			path := []string{t.text}
			for i+1 < len(toks) {
				if toks[i+1].kind == tokProperty {
					path = append(path, toks[i+1].text)
					i++
					continue
				}
				if i+3 < len(toks) && toks[i+1].text == "[" && toks[i+2].kind == tokString && toks[i+3].text == "]" {
					s := toks[i+2].text
					path = append(path, "."+s[1:len(s)-1])
					i += 3
					continue
				}
				break
			}
			a.name(strings.Join(path, ""), start, from+toks[i].to)
		}
	}
	depth = -1
	closeDate(to)
	out.WriteString(a.src[copied:to])
	return out.String()
}

// words are identifiers that are not names.
var words = []string{"true", "false", "nil", "and", "or", "contains", "in"}

func (a *analysis) name(path string, from, to int) {
	root, _, _ := strings.Cut(path, ".")
	if a.assigned[root] {
		return
	}
	for _, b := range a.blocks {
		if b.loopVar == root || b.name == "for" && root == "forloop" {
			return
		}
	}
	a.vars = append(a.vars, Var{path, from, to})
}

func (a *analysis) filter(name string, hasArgs bool, from int, toks []lexeme, i int) {
	start := from + toks[i].from
	spec, ok := filters[name]
	if !ok {
		a.problem(start, start+len(name), "template/unknown-filter", fmt.Sprintf("there is no filter %q", name), "",
			suggest.Nearest(name, slices.Sorted(maps.Keys(filters))))
		return
	}
	n := 0
	if hasArgs {
		n = 1
		for depth, j := 0, i+1; j < len(toks) && depth >= 0; j++ {
			switch toks[j].text {
			case "(", "[":
				depth++
			case ")", "]":
				depth--
			case "|":
				if depth == 0 {
					depth = -1
				}
			case ",":
				if depth == 0 {
					n++
				}
			}
		}
	}
	if n < spec.min || n > spec.max {
		want := strconv.Itoa(spec.min)
		if spec.max != spec.min {
			want += " to " + strconv.Itoa(spec.max)
		}
		a.problem(start, start+len(name), "template/arguments", fmt.Sprintf("%s takes %s arguments, here are %d", name, want, n), "", "")
	}
}
