package yamlfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"nudge/rules/finding"
)

// Limits of one file. They are far above what people write and keep a hostile file from exhausting
// memory or the stack.
const (
	maxBytes   = 1 << 20
	maxDepth   = 100
	maxAliased = 20_000 // nodes reached through aliases
)

// Parse reads a file's YAML. It always returns a Doc, of what could be read; findings say what could
// not. A file is one document.
func Parse(path string, src []byte) (*Doc, []finding.Finding) {
	b := read(path, src)
	return b.doc, b.findings
}

// read is Parse for those who want to know more of the file than its values.
func read(path string, src []byte) *builder {
	text := strings.TrimPrefix(string(src), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	d := &Doc{Path: path, src: text, lines: []int{0}}
	for i := range len(text) {
		if text[i] == '\n' && i+1 < len(text) {
			d.lines = append(d.lines, i+1)
		}
	}
	d.Root = &Node{Doc: d, Line: 1, Col: 1}
	b := &builder{doc: d, anchors: map[string]*Node{}}
	b.parse()
	return b
}

type builder struct {
	doc      *Doc
	anchors  map[string]*Node
	findings []finding.Finding
	aliased  int
	scalars  []*Node // all that are written in the file, keys included
}

func (b *builder) add(line, col int, check, summary, detail string) {
	b.findings = append(b.findings, finding.Finding{
		Check: check, Severity: finding.Error, File: b.doc.Path, Line: line, Col: col, EndCol: col + 1,
		Summary: summary, Detail: detail, Text: b.doc.Line(line),
	})
}

func (b *builder) parse() {
	d := b.doc
	if len(d.src) > maxBytes {
		b.add(1, 1, "yaml/too-large", fmt.Sprintf("the file is larger than %d KiB", maxBytes>>10), "Split it.")
		return
	}
	if !b.readable() {
		return
	}
	file := b.tree()
	if file == nil {
		return
	}
	var bodies []*ast.DocumentNode
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentGroupType && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc)
		}
	}
	if len(bodies) > 1 {
		at := bodies[1].Body.GetToken().Position
		if bodies[1].Start != nil {
			at = bodies[1].Start.Position
		}
		b.add(at.Line, max(at.Column, 1), "yaml/extra-document", "the file has a second document",
			"A file is one document: put what follows `---` into a file of its own.")
	}
	if len(bodies) > 0 {
		if n := b.node(bodies[0].Body, 0); n != nil {
			d.Root = n
		}
	}
}

// readable refuses what no editor writes: bytes that are not UTF-8, control characters, and tabs that
// indent (YAML's own complaint about them names the wrong place).
func (b *builder) readable() bool {
	line := 0
	for text := range strings.Lines(b.doc.src) {
		line++
		col := 0
		for i, r := range text {
			col++
			if r == utf8.RuneError {
				if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
					b.add(line, col, "yaml/encoding", "the file is not UTF-8 here", "Save it as UTF-8.")
					return false
				}
			}
			if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
				b.add(line, col, "yaml/control-character", fmt.Sprintf("the file has a control character here (U+%04X)", r),
					`Inside double quotes it can be written as an escape, "\t" or "\u001b".`)
				return false
			}
		}
	}
	return true
}

// tree runs the YAML library; nil after a finding.
func (b *builder) tree() (file *ast.File) {
	defer func() {
		// The library is fed whatever people write; a crash of it is a syntax error to them.
		if r := recover(); r != nil {
			file = nil
			b.add(1, 1, "yaml/syntax", "the file cannot be read as YAML", "")
		}
	}()
	tokens := lexer.Tokenize(b.doc.src)
	if !b.shallow(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			p := syntax.Token.Position
			line, col := max(p.Line, 1), max(p.Column, 1)
			m, ok := meant(syntax.Message, b.doc.Line(line), b.doc.Line(line+1))
			if !ok {
				m.summary = syntax.Message
			}
			if m.col > 0 {
				col = m.col
			}
			if m.next {
				line++
			}
			b.add(line, col, "yaml/syntax", m.summary, m.detail)
		} else {
			b.add(1, 1, "yaml/syntax", err.Error(), "")
		}
		return nil
	}
	return file
}

// shallow refuses nesting that would exhaust the parser's stack.
func (b *builder) shallow(tokens token.Tokens) bool {
	flow, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType, token.TagType, token.AnchorType:
			entries++
		default:
		}
		if flow > maxDepth || entries > maxBytes/100 || flow == 0 && entries > 2*maxDepth {
			b.add(t.Position.Line, max(t.Position.Column, 1), "yaml/too-deep", "the file is nested too deeply", "")
			return false
		}
	}
	return true
}

// node converts the library's node; nil after a finding that leaves nothing to go on with.
func (b *builder) node(n ast.Node, depth int) *Node {
	if depth > maxDepth {
		p := n.GetToken().Position
		b.add(p.Line, max(p.Column, 1), "yaml/too-deep", "the file is nested too deeply", "")
		return nil
	}
	switch n := n.(type) {
	case *ast.AnchorNode:
		v := b.node(n.Value, depth+1)
		if v != nil && n.Name != nil {
			b.anchors[n.Name.GetToken().Value] = v
		}
		return v
	case *ast.AliasNode:
		return b.alias(n)
	case *ast.TagNode:
		p := n.Start.Position
		b.add(p.Line, max(p.Column, 1), "yaml/tag", fmt.Sprintf("YAML tags such as %q are not used here", n.Start.Value),
			"Quote the value if it should be text.")
		return nil
	case *ast.MappingNode:
		return b.mapping(n.GetToken(), n.Start, n.IsFlowStyle, n.Values, depth)
	case *ast.MappingValueNode:
		return b.mapping(n.Key.GetToken(), nil, false, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out := b.place(&Node{Kind: List}, n.Start)
		for _, v := range n.Values {
			if item := b.node(v, depth+1); item != nil {
				out.Items = append(out.Items, item)
			}
		}
		return out
	case *ast.LiteralNode:
		st := styleLiteral
		if n.Start.Type == token.FoldedType {
			st = styleFolded
		}
		return b.scalar(String, n.Start, n.Value.Value, st)
	case *ast.StringNode:
		st := stylePlain
		switch n.Token.Type {
		case token.SingleQuoteType:
			st = styleSingle
		case token.DoubleQuoteType:
			st = styleDouble
		default:
		}
		return b.scalar(String, n.Token, n.Value, st)
	case *ast.IntegerNode:
		return b.scalar(Int, n.Token, n.Token.Value, stylePlain)
	case *ast.FloatNode:
		return b.scalar(Float, n.Token, n.Token.Value, stylePlain)
	case *ast.InfinityNode:
		return b.scalar(Float, n.Token, n.Token.Value, stylePlain)
	case *ast.NanNode:
		return b.scalar(Float, n.Token, n.Token.Value, stylePlain)
	case *ast.BoolNode:
		return b.scalar(Bool, n.Token, n.Token.Value, stylePlain)
	case *ast.NullNode:
		return b.place(&Node{Kind: Null}, n.Token)
	case nil:
		return &Node{Doc: b.doc, Line: 1, Col: 1}
	default:
		p := n.GetToken().Position
		b.add(p.Line, max(p.Column, 1), "yaml/unexpected", "this form of YAML is not used here", "")
		return nil
	}
}

// place gives the node the position of a token.
func (b *builder) place(n *Node, t *token.Token) *Node {
	n.Doc, n.Line, n.Col = b.doc, max(t.Position.Line, 1), max(t.Position.Column, 1)
	n.start = b.doc.offset(n.Line, n.Col)
	n.end = n.start
	return n
}

func (b *builder) scalar(kind Kind, t *token.Token, text string, st style) *Node {
	n := b.place(&Node{Kind: kind, Text: text, style: st}, t)
	b.scalars = append(b.scalars, n)
	// The library's column is too far right where blanks follow the scalar: go back on the line until
	// the text is found.
	line := b.doc.lines[min(n.Line, len(b.doc.lines))-1]
	first := n.start
	for ; ; n.start-- {
		if n.marks, n.end = follow(b.doc.src, n.start, st, text); n.marks != nil {
			n.Line, n.Col = b.doc.position(n.start)
			return n
		}
		if n.start <= line || first-n.start > maxBack {
			n.start, n.end = first, first
			return n
		}
	}
}

// maxBack bounds how far the start of a scalar is looked for, in bytes.
const maxBack = 200

func (b *builder) alias(n *ast.AliasNode) *Node {
	p := n.Start.Position
	name := n.Value.GetToken().Value
	v, ok := b.anchors[name]
	if !ok {
		b.add(p.Line, max(p.Column, 1), "yaml/unknown-anchor", fmt.Sprintf("no anchor &%s stands before this", name), "")
		return nil
	}
	b.aliased += size(v)
	if b.aliased > maxAliased {
		b.add(p.Line, max(p.Column, 1), "yaml/too-deep", "aliases make the file too large", "")
		return nil
	}
	// A copy, so that it belongs to its own key; its content keeps the anchor's place, which is
	// where a mistake in it has to be put right.
	c := *v
	return &c
}

// size counts the nodes of a tree.
func size(n *Node) int {
	total := 1
	for _, i := range n.Items {
		total += size(i)
	}
	for _, p := range n.Pairs {
		total += 1 + size(p.Value)
	}
	return total
}

func (b *builder) mapping(first, start *token.Token, flow bool, values []*ast.MappingValueNode, depth int) *Node {
	at := first
	if flow && start != nil {
		at = start
	} else if len(values) > 0 {
		at = values[0].Key.GetToken()
	}
	out := b.place(&Node{Kind: Map}, at)
	seen := map[string]*Node{}
	var merged []*Node
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merged = append(merged, b.mergees(v, depth)...)
			continue
		}
		key := b.key(v.Key, depth)
		value := b.node(v.Value, depth+1)
		if key == nil || value == nil {
			continue
		}
		if old, ok := seen[key.Text]; ok {
			f := key.Finding("yaml/duplicate-key", fmt.Sprintf("the key %q stands twice", key.Text))
			f.Detail = fmt.Sprintf("It stands in line %d already; keep one of the two.", old.Line)
			b.findings = append(b.findings, f)
			continue
		}
		seen[key.Text] = key
		value.Key = key
		out.Pairs = append(out.Pairs, Pair{key, value})
	}
	for _, m := range merged {
		for _, p := range m.Pairs {
			if _, ok := seen[p.Key.Text]; !ok {
				seen[p.Key.Text] = p.Key
				out.Pairs = append(out.Pairs, p)
			}
		}
	}
	return out
}

// key converts a key, which must be a scalar written on one line.
func (b *builder) key(k ast.MapKeyNode, depth int) *Node {
	if _, ok := k.(*ast.MappingKeyNode); ok {
		p := k.GetToken().Position
		b.add(p.Line, max(p.Column, 1), "yaml/unexpected", "keys with `?` are not used here", "Write `key: value`.")
		return nil
	}
	n := b.node(k, depth+1)
	if n == nil {
		return nil
	}
	if n.Kind == List || n.Kind == Map || n.Kind == Null {
		b.findings = append(b.findings, n.Finding("yaml/unexpected", "a key must be a word"))
		return nil
	}
	return n
}

// mergees are the maps that a `<<` key names.
func (b *builder) mergees(v *ast.MappingValueNode, depth int) []*Node {
	n := b.node(v.Value, depth+1)
	if n == nil {
		return nil
	}
	list := []*Node{n}
	if n.Kind == List {
		list = n.Items
	}
	var out []*Node
	for _, m := range list {
		if m.Kind != Map {
			b.findings = append(b.findings, m.Finding("yaml/merge", "`<<` takes a set of keys, or a list of them"))
			continue
		}
		out = append(out, m)
	}
	return out
}

// PlainText makes a node of a whole text file, so that a place in it can be reported.
func PlainText(path, src string) *Node {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	d := &Doc{Path: path, src: src, lines: []int{0}}
	n := &Node{Kind: String, Doc: d, Line: 1, Col: 1, Text: src, style: stylePlain, end: len(src)}
	for i := range len(src) {
		if src[i] == '\n' && i+1 < len(src) {
			d.lines = append(d.lines, i+1)
		}
		n.marks = append(n.marks, mark{int32(i), int32(i + 1)}) //nolint:gosec // templates are at most 1 MiB
	}
	d.Root = n
	return n
}
