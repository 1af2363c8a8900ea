package segments

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"
)

// Limits of one source text. They are far above what people write and keep compilation and judging
// bounded whatever is written.
const (
	maxSource  = 16 << 10
	maxNodes   = 2_000  // of the parsed tree
	maxEmitted = 20_000 // of the program, after lets, segments and truths are expanded
	maxNesting = 200
)

// source is a piece of text with what is needed to point into it. expr counts in runes and drops
// brackets; problems are in bytes and include them.
type source struct {
	text    string
	bytes   []int       // rune index → byte offset; nil when every rune is one byte
	closers map[int]int // byte offset where an opening bracket begins → byte offset after its closing one
	openers map[int]int // byte offset where a token begins → where the bracket right after it begins
}

// parse reads a source text. The problem's Part is left to the caller.
func parse(text string) (*source, ast.Node, *Problem) {
	s := &source{text: text}
	switch {
	case strings.TrimSpace(text) == "":
		return s, nil, &Problem{To: len(text), ID: idSyntax, Summary: "The expression is empty.", Detail: "Write a condition or leave the field out."}
	case len(text) > maxSource:
		return s, nil, &Problem{To: len(text), ID: idTooLarge, Summary: fmt.Sprintf("The expression is longer than %d bytes.", maxSource), Detail: "Move parts of it into named segments."}
	case !utf8.ValidString(text):
		return s, nil, &Problem{To: len(text), ID: idSyntax, Summary: "The expression is not valid UTF-8.", Detail: "Save the file as UTF-8."}
	}
	if utf8.RuneCountInString(text) != len(text) {
		s.bytes = make([]int, 0, len(text)+1)
		for i := range text {
			s.bytes = append(s.bytes, i)
		}
		s.bytes = append(s.bytes, len(text))
	}
	tokens, err := lexer.Lex(file.NewSource(text))
	if err != nil {
		return s, nil, s.syntax(err)
	}
	if p := s.brackets(tokens); p != nil {
		return s, nil, p
	}
	c := conf.CreateNew()
	c.MaxNodes = maxNodes
	tree, err := parser.ParseWithConfig(text, c)
	if err != nil {
		return s, nil, s.syntax(err)
	}
	return s, tree.Node, nil
}

// brackets pairs brackets, so that a call's extent is known, and limits nesting.
func (s *source) brackets(tokens []lexer.Token) *Problem {
	s.closers, s.openers = map[int]int{}, map[int]int{}
	var open []int
	unary := 0
	for i, t := range tokens {
		from, to := s.span(t.Location)
		if t.Kind == lexer.Operator && t.Value != "." {
			unary++
		} else {
			unary = 0
		}
		if len(open)+unary > maxNesting {
			return &Problem{From: from, To: to, ID: idTooLarge, Summary: fmt.Sprintf("The expression is nested more than %d deep.", maxNesting), Detail: "Name parts of it with let or as segments."}
		}
		if t.Kind != lexer.Bracket {
			continue
		}
		switch t.Value {
		case "(", "[", "{":
			open = append(open, from)
			if i > 0 {
				before, _ := s.span(tokens[i-1].Location)
				s.openers[before] = from
			}
		default:
			if len(open) > 0 {
				s.closers[open[len(open)-1]] = to
				open = open[:len(open)-1]
			}
		}
	}
	return nil
}

func (s *source) syntax(err error) *Problem {
	p := &Problem{To: len(s.text), ID: idSyntax, Summary: err.Error()}
	if fe, ok := errors.AsType[*file.Error](err); ok {
		p.From, p.To = s.span(fe.Location)
		p.Summary = fe.Message
		if strings.Contains(fe.Message, "maximum allowed nodes") {
			p.ID, p.Summary = idTooLarge, fmt.Sprintf("The expression has more than %d parts.", maxNodes)
			p.Detail = "Move parts of it into named segments."
		}
		if strings.Contains(fe.Message, "EOF") {
			p.From, p.To = len(s.text), len(s.text)
			p.Summary = "The expression ends too early."
			p.Detail = "Something is missing at the end: a value, or a closing bracket."
		}
		if m := unitBehind.FindStringSubmatch(fe.Message); m != nil {
			p.From = max(0, p.To-len(m[1])-len(m[2]))
			p.Summary = fmt.Sprintf("%q is no number.", m[1]+m[2])
			p.Detail = fmt.Sprintf("A duration is written %s(%s).", calledUnits[m[2]], m[1])
		}
		if m := unexpected.FindStringSubmatch(fe.Message); m != nil {
			s.inWords(p, m[1])
		}
	}
	return p
}

// unexpected is how expr says that it cannot go on.
var unexpected = regexp.MustCompile(`^unexpected token \w+\("(.*)"\)$`)

// unitBehind is how expr refuses a number with one of the units of the files, 1h.
var unitBehind = regexp.MustCompile(`^bad number syntax: "(\d+)([mhdw])"$`)

// calledUnits are the functions of those units.
var calledUnits = map[string]string{"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

// units are the words of a duration that people write behind a number.
var units = regexp.MustCompile(`^(minute|hour|day|week)s?$`)

// inWords says of a word that cannot stand where it does what was probably meant.
func (s *source) inWords(p *Problem, word string) {
	p.Summary = fmt.Sprintf("%q cannot stand here.", word)
	lower := strings.ToLower(word)
	m := units.FindStringSubmatch(lower)
	switch {
	case lower != word && slices.Contains([]string{"and", "or", "not", "in", "contains", "matches"}, lower):
		p.Suggest = lower
	case word == "=":
		p.Detail = "Equal is written ==, at least >= and at most <=."
	case m != nil:
		p.Detail = fmt.Sprintf("A duration is written %ss(1).", m[1])
	}
}

// span turns expr's location, in runes, into bytes.
func (s *source) span(l file.Location) (from, to int) {
	return s.offset(l.From), s.offset(max(l.From, l.To))
}

func (s *source) offset(rune int) int {
	if s.bytes == nil {
		return min(max(rune, 0), len(s.text))
	}
	return s.bytes[min(max(rune, 0), len(s.bytes)-1)]
}

// extent is the piece of source that a node was read from, with both of each pair of brackets.
func (s *source) extent(n ast.Node) (from, to int) {
	from, to = s.raw(n)
	for again := true; again; {
		again = false
		for o, c := range s.closers {
			switch {
			case o >= from && o < to && c > to:
				to, again = c, true
			case c > from && c <= to && o < from:
				from, again = o, true
			}
		}
	}
	return from, to
}

// raw is the extent without brackets around operands, which expr's tree does not have.
func (s *source) raw(n ast.Node) (from, to int) {
	from, to = s.span(n.Location())
	grow := func(kids ...ast.Node) {
		for _, k := range kids {
			if k != nil {
				f, t := s.raw(k)
				if t > f {
					from, to = min(from, f), max(to, t)
				}
			}
		}
	}
	// close extends to the closing bracket of the bracket at (or right after) an offset.
	closing := func(at int) {
		if o, ok := s.openers[at]; ok {
			at = o
		}
		if c, ok := s.closers[at]; ok {
			to = max(to, c)
		}
	}
	switch n := n.(type) {
	case *ast.UnaryNode:
		grow(n.Node)
	case *ast.BinaryNode:
		grow(n.Left, n.Right)
	case *ast.ChainNode:
		grow(n.Node)
	case *ast.MemberNode:
		if c, ok := s.closers[from]; ok {
			to = max(to, c)
		}
		grow(n.Node)
		if _, isName := n.Property.(*ast.StringNode); !isName {
			grow(n.Property)
		}
	case *ast.SliceNode:
		if c, ok := s.closers[from]; ok {
			to = max(to, c)
		}
		grow(n.Node, n.From, n.To)
	case *ast.CallNode:
		closing(from)
		if m, ok := n.Callee.(*ast.MemberNode); ok {
			grow(m.Node)
		}
	case *ast.BuiltinNode:
		closing(from)
		if len(n.Arguments) > 0 {
			grow(n.Arguments[0]) // before the name when piped
		}
	case *ast.PredicateNode:
		grow(n.Node)
	case *ast.ConditionalNode:
		from, to = s.raw(n.Cond)
		grow(n.Exp1, n.Exp2)
	case *ast.VariableDeclaratorNode:
		grow(n.Value, n.Expr)
	case *ast.SequenceNode:
		grow(n.Nodes...)
	case *ast.ArrayNode, *ast.MapNode:
		if c, ok := s.closers[from]; ok {
			to = max(to, c)
		}
	}
	return from, to
}
