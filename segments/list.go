package segments

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// List is a set of texts, of user ids most often, that `x in list("file.txt")` asks: one lookup for each person,
// however long it is. It is immutable.
type List struct {
	values map[string]struct{}
	hash   string // of the values in order: 16 hex digits
}

// ParseList reads a list: one value a line. Blanks around it, a comma behind it and empty lines do not count, and
// neither does a byte order mark; lines that begin with # are comments; what stands twice counts once. An error
// names the line.
func ParseList(src []byte) (*List, error) {
	const longest = 1 << 10 // bytes of a value: ids that apps use are far shorter
	l := &List{values: map[string]struct{}{}}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	lines := bufio.NewScanner(bytes.NewReader(src))
	lines.Buffer(nil, len(src)+1)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(lines.Text()), ","))
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case !utf8.ValidString(text):
			return nil, fmt.Errorf("line %d is not UTF-8", n)
		case len(text) > longest:
			return nil, fmt.Errorf("line %d has %d bytes; a list has one value a line, of at most %d", n, len(text), longest)
		default:
			l.values[text] = struct{}{}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	sum := sha256.Sum256([]byte(strings.Join(l.Values(), "\n")))
	l.hash = hex.EncodeToString(sum[:8])
	return l, nil
}

// Len is how many values there are.
func (l *List) Len() int { return len(l.values) }

// Values are in order.
func (l *List) Values() []string { return slices.Sorted(maps.Keys(l.values)) }

// String names the list by what is in it, so that a condition is another one when that changes.
func (l *List) String() string { return "list(" + l.hash + ")" }

func (l *List) has(v any) (has, known bool) {
	s, ok := v.(string)
	_, has = l.values[s]
	return has, ok
}

// listWritten is for how many values a prefilter names each; of longer lists it says that there is a value at all.
const listWritten = 1000

// pred is what a prefilter says of x being in the list: it lets too many pass where the list is long.
func (l *List) pred(x *Operand, want bool) *Pred {
	if !want || l.Len() > listWritten {
		return &Pred{Op: PredHas, L: x}
	}
	p := &Pred{Op: PredIn, L: x}
	for _, v := range l.Values() {
		p.List = append(p.List, v)
	}
	return p
}

// isListCall says of what stands behind `in` that it is list("…").
func (lw *lowerer) isListCall(n ast.Node) (*ast.CallNode, bool) {
	call, ok := n.(*ast.CallNode)
	if !ok {
		return nil, false
	}
	callee, ok := call.Callee.(*ast.IdentifierNode)
	if !ok || callee.Value != "list" {
		return nil, false
	}
	return call, !slices.ContainsFunc(lw.lets, func(l let) bool { return l.name == "list" })
}

const listExample = `user.id in list("lists/friends.txt")`

// listCall reads the list that a condition names.
func (lw *lowerer) listCall(n *ast.CallNode) *node {
	from, to := lw.src.extent(n)
	if !lw.arity(n.Arguments, 1, 1, from, to, listExample) {
		return &node{op: opBad}
	}
	name, ok := lw.stringLiteral(n.Arguments[0], "A list's file")
	if !ok {
		return &node{op: opBad}
	}
	nameFrom, nameTo := lw.src.extent(n.Arguments[0])
	list, err := lw.schema.list(name)
	switch {
	case err != nil:
		return lw.problem(nameFrom, nameTo, idList, fmt.Sprintf("The list %q cannot be read: %v.", name, err),
			"Name a text file by its path in the workspace, with one value a line: lists/friends.txt.")
	case list.Len() == 0:
		return lw.problem(nameFrom, nameTo, idNeverTrue, fmt.Sprintf("Nothing is in the list %q.", name), "")
	}
	return constant(typObject, list).at(from, to)
}
