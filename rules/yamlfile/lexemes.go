package yamlfile

import (
	"slices"
	"strings"
)

// lexKind is the kind of a lexeme.
type lexKind uint8

const (
	lexScalar  lexKind = iota
	lexPunct           // one of - : { } [ ] ,
	lexAnchor          // &name
	lexAlias           // *name
	lexComment         // # to the end of the line
	lexMarker          // --- or ...
)

// lexeme is a piece of a file that has no blanks of the layout in it. All of a file's lexemes, in order, are
// everything that somebody wrote.
type lexeme struct {
	kind     lexKind
	from, to int
	line     int // of from
	last     int // line of to
	col      int // from 0, in bytes
	text     string
	node     *Node // of a scalar that the reader knows
	blank    bool  // a blank line stands before it
	own      bool  // nothing stands before it on its line
}

func (l *lexeme) is(punct string) bool { return l != nil && l.kind == lexPunct && l.text == punct }

// lexemes takes a file that was read without findings apart: where scalars stand the reader has said, and between
// them are marks, comments and blanks. ok is false where something is not understood.
func lexemes(b *builder) (out []lexeme, ok bool) {
	l := lexing{doc: b.doc, src: b.doc.src, scalars: b.scalars}
	slices.SortStableFunc(l.scalars, func(a, b *Node) int { return a.start - b.start })
	for l.pos < len(l.src) {
		if !l.next() {
			return nil, false
		}
	}
	return l.out, len(l.scalars) == 0
}

type lexing struct {
	doc     *Doc
	src     string
	pos     int
	scalars []*Node // those ahead
	flow    int     // brackets that are open
	out     []lexeme
}

// next reads one lexeme, or the blanks before it.
func (l *lexing) next() bool {
	if len(l.scalars) > 0 && l.scalars[0].start <= l.pos {
		n := l.scalars[0]
		l.scalars = l.scalars[1:]
		if n.start < l.pos || n.end <= n.start {
			return false
		}
		l.add(lexScalar, l.end(n), n)
		return true
	}
	switch c := l.src[l.pos]; {
	case c == ' ' || c == '\t' || c == '\n':
		l.pos++
		return true
	case c == '#':
		if l.pos > 0 && !blank(l.src[l.pos-1]) {
			return false
		}
		l.add(lexComment, l.pos+len(l.line()), nil)
		return true
	case l.column() == 0 && (l.word("---") || l.word("...")):
		l.add(lexMarker, l.pos+3, nil)
		return true
	case c == '{' || c == '[':
		l.flow++
	case l.flow > 0 && (c == '}' || c == ']'):
		l.flow--
	case l.flow > 0 && (c == ',' || c == ':'):
	case l.word("-"), l.word(":"):
	case c == '&', c == '*':
		kind := lexAnchor
		if c == '*' {
			kind = lexAlias
		}
		l.add(kind, l.pos+l.run(), nil)
		return true
	case strings.IndexByte("%?!|>@`\"'},]", c) >= 0:
		return false
	default:
		// What is no text of the reader's: null, ~ and <<.
		l.add(lexScalar, l.pos+l.run(), nil)
		return true
	}
	l.add(lexPunct, l.pos+1, nil)
	return true
}

// end is where a scalar ends, the blank lines included that a block with `+` keeps.
func (l *lexing) end(n *Node) int {
	if n.style != styleLiteral && n.style != styleFolded {
		return n.end
	}
	end := n.end
	if header, _, _ := strings.Cut(l.src[n.start:], "\n"); strings.Contains(strings.SplitN(header, " ", 2)[0], "+") {
		for end < len(l.src) && blank(l.src[end]) {
			end++
		}
		// The next line's indentation is not the block's.
		end = max(n.end, n.start+strings.LastIndexByte(l.src[n.start:end], '\n')+1)
		if end == len(l.src) && l.src[end-1] != '\n' {
			return end
		}
	}
	// Nor is the break behind it.
	if end > n.start && l.src[end-1] == '\n' {
		end--
	}
	return end
}

// line is the rest of the line.
func (l *lexing) line() string {
	text, _, _ := strings.Cut(l.src[l.pos:], "\n")
	return text
}

func (l *lexing) column() int { return l.pos - (strings.LastIndexByte(l.src[:l.pos], '\n') + 1) }

// word says whether w is next, and then a blank or the end.
func (l *lexing) word(w string) bool {
	rest, ok := strings.CutPrefix(l.src[l.pos:], w)
	return ok && (rest == "" || blank(rest[0]))
}

// run is the length of what stands here without a blank or a mark in it.
func (l *lexing) run() int {
	for i := l.pos + 1; i < len(l.src); i++ {
		c := l.src[i]
		switch {
		case blank(c):
			return i - l.pos
		case l.flow > 0 && strings.IndexByte(",[]{}", c) >= 0:
			return i - l.pos
		case c == ':' && l.src[l.pos] != '*' && (i+1 == len(l.src) || blank(l.src[i+1]) || l.flow > 0):
			return i - l.pos
		}
	}
	return len(l.src) - l.pos
}

// add adds the lexeme that ends at to.
func (l *lexing) add(kind lexKind, to int, n *Node) {
	line, _ := l.doc.position(l.pos)
	last, _ := l.doc.position(max(to-1, l.pos))
	x := lexeme{kind: kind, from: l.pos, to: to, line: line, last: last, col: l.column(), text: l.src[l.pos:to], node: n}
	before := 0
	if len(l.out) > 0 {
		before = l.out[len(l.out)-1].last
	}
	x.blank, x.own = line > before+1, line > before
	l.out = append(l.out, x)
	l.pos = to
}
