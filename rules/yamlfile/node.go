// Package yamlfile reads YAML files strictly and keeps the place of everything in them: every key
// and value has its line and column, and every byte of a scalar can be mapped back to the character
// of the file that it comes from, so that a finding inside an expression points at the right one.
package yamlfile

import (
	"strings"
	"unicode/utf8"

	"nudge/rules/finding"
)

// Kind is the kind of a node.
type Kind uint8

// Kinds of node.
const (
	Null Kind = iota
	String
	Int
	Float
	Bool
	List
	Map
)

// String is the kind as a reader of findings knows it.
func (k Kind) String() string {
	switch k {
	case Null:
		return "nothing"
	case String:
		return "text"
	case Int, Float:
		return "a number"
	case Bool:
		return "true or false"
	case List:
		return "a list"
	case Map:
		return "a set of keys"
	default:
		return "an unknown kind"
	}
}

// Node is one value of a file. A node and its file are immutable after Parse.
type Node struct {
	Kind Kind
	Doc  *Doc
	// Line and Col say where the value starts, counted from 1, Col in characters.
	Line, Col int
	// Text is a scalar's value, for every kind of scalar ("12", "true", "" for null).
	Text string
	// Key is the key that this is the value of; nil for items of lists and the root.
	Key *Node
	// Items of a list.
	Items []*Node
	// Pairs of a map in the order of the file. No key stands twice.
	Pairs []Pair

	style style
	start int    // byte offset in Doc.src of a scalar's first character, its quote or block header included
	end   int    // byte offset after a scalar's last character
	marks []mark // of each byte of Text; nil where the text could not be followed
}

// mark is the stretch of the file [from, to) that a byte of a scalar comes from.
type mark struct{ from, to int32 }

// Pair is one key with its value.
type Pair struct{ Key, Value *Node }

// Doc is one parsed file.
type Doc struct {
	Path string
	// Root is the value of the file; a Null node when the file is empty.
	Root *Node

	src   string
	lines []int // byte offset of each line's start
}

// Line is the text of a line, counted from 1; "" beyond the end.
func (d *Doc) Line(n int) string {
	if n < 1 || n > len(d.lines) {
		return ""
	}
	end := len(d.src)
	if n < len(d.lines) {
		end = d.lines[n] - 1
	}
	return strings.TrimSuffix(d.src[d.lines[n-1]:end], "\n")
}

// position of a byte offset: line and column in characters, both from 1.
func (d *Doc) position(offset int) (line, col int) {
	lo, hi := 0, len(d.lines)
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if d.lines[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo + 1, utf8.RuneCountInString(d.src[d.lines[lo]:min(offset, len(d.src))]) + 1
}

// offset of the character at line and column.
func (d *Doc) offset(line, col int) int {
	if line < 1 || line > len(d.lines) {
		return len(d.src)
	}
	at := d.lines[line-1]
	for ; col > 1 && at < len(d.src) && d.src[at] != '\n'; col-- {
		_, n := utf8.DecodeRuneInString(d.src[at:])
		at += n
	}
	return at
}

// Get is the value of a key of a map, or nil.
func (n *Node) Get(key string) *Node {
	if n == nil || n.Kind != Map {
		return nil
	}
	for _, p := range n.Pairs {
		if p.Key.Text == key {
			return p.Value
		}
	}
	return nil
}

// Span is a stretch of one line of a file.
type Span struct {
	Line, Col, EndCol int
}

// Span is where the bytes [from, to) of a scalar's Text stand in the file; only the first line of a
// longer stretch. An empty stretch is one character wide.
func (n *Node) Span(from, to int) Span {
	if n.marks == nil {
		return n.Start()
	}
	from, to = max(from, 0), min(to, len(n.marks))
	if from >= len(n.marks) {
		// Behind the last character: where the text ends, before a closing quote.
		at := n.start
		if len(n.marks) > 0 {
			at = int(n.marks[len(n.marks)-1].to)
		}
		line, col := n.Doc.position(at)
		return Span{line, col, col + 1}
	}
	// A stretch may begin in the indentation or at a line break that was folded away.
	line, col := n.Doc.position(int(n.marks[from].from))
	if to <= from {
		return Span{line, col, col + 1}
	}
	return Span{line, col, n.endCol(line, col, int(n.marks[to-1].to))}
}

// endCol is the column of the byte offset end if that is on the line, else the end of the line.
func (n *Node) endCol(line, col, end int) int {
	endLine, endCol := n.Doc.position(end)
	if endLine != line {
		endCol = utf8.RuneCountInString(strings.TrimRight(n.Doc.Line(line), " \t")) + 1
	}
	return max(endCol, col+1)
}

// Start is where the node itself begins: all of a scalar that is on its first line, one character of
// a list or a map.
func (n *Node) Start() Span {
	if n.style == styleNone || n.end <= n.start {
		return Span{n.Line, n.Col, n.Col + 1}
	}
	return Span{n.Line, n.Col, n.endCol(n.Line, n.Col, n.end)}
}

// Finding is an error at the node.
func (n *Node) Finding(check, summary string) finding.Finding {
	return n.at(n.Start(), check, summary)
}

// FindingIn is an error at the bytes [from, to) of the scalar's text.
func (n *Node) FindingIn(from, to int, check, summary string) finding.Finding {
	return n.at(n.Span(from, to), check, summary)
}

func (n *Node) at(s Span, check, summary string) finding.Finding {
	return finding.Finding{
		Check: check, Severity: finding.Error, File: n.Doc.Path,
		Line: s.Line, Col: s.Col, EndCol: s.EndCol, Summary: summary, Text: n.Doc.Line(s.Line),
	}
}
