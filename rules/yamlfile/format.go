package yamlfile

import (
	"cmp"
	"slices"
	"strings"

	"nudge/rules/finding"
)

// Order says in which order keys stand. Keys that it does not name keep the author's order, behind those that it
// does; a nil Order, or one without keys, sorts nothing.
type Order struct {
	// Keys of a map, in their order.
	Keys []string
	// Of is the order below a key.
	Of map[string]*Order
	// Each is the order of all items of a list, and below every key of a map that Of does not have.
	Each *Order
	// Apart puts a blank line between the items of a list.
	Apart bool
	// Code says that the text is a condition or a value of the language: blanks at the ends of its lines are dropped.
	Code bool
}

// in is the order below a key.
func (o *Order) in(key string) *Order {
	if o == nil {
		return nil
	}
	if of, ok := o.Of[key]; ok {
		return of
	}
	return o.Each
}

// items is the order of a list's items. One or a list of something have the same order.
func (o *Order) items() *Order {
	if o == nil {
		return nil
	}
	if o.Each == nil || len(o.Keys) > 0 {
		return o
	}
	return o.Each
}

// Format lays a file out anew: two blanks an indentation, keys in their order, one way of quoting, of spacing and of
// blank lines. Comments stay with what they belong to, and what the file says stays the same: what was written is
// read again and compared. A file with findings is not formatted: out is nil then.
func Format(path string, src []byte, order *Order) (out []byte, findings []finding.Finding) {
	b := read(path, src)
	if len(b.findings) > 0 {
		return nil, b.findings
	}
	lexemes, ok := lexemes(b)
	if !ok {
		return nil, []finding.Finding{b.unformatted()}
	}
	laid := lay(lexemes)
	if laid == nil {
		return nil, []finding.Finding{b.unformatted()}
	}
	if !slices.ContainsFunc(lexemes, func(l lexeme) bool { return l.kind == lexAnchor || l.kind == lexAlias }) {
		// An anchor has to stand before what refers to it, so a file that has one keeps the author's order.
		laid.root.arrange(order)
	}
	text := (&printer{}).page(laid, order)
	again := read(path, []byte(text))
	if len(again.findings) > 0 || !same(b.doc.Root, again.doc.Root, order) || !slices.Equal(comments(b), comments(again)) {
		return nil, []finding.Finding{b.unformatted()}
	}
	return []byte(text), nil
}

// unformatted is the finding about a file that is right and that the formatter does not get through.
func (b *builder) unformatted() finding.Finding {
	return finding.Finding{
		Check: "yaml/unformatted", Severity: finding.Error, File: b.doc.Path, Summary: "the file cannot be formatted without changing what it says",
		Detail: "It was left as it is. Write what is unusual in it in a simpler way.",
	}
}

// same says whether two files say the same. Where keys have an order of their own, the author's means nothing.
func same(a, b *Node, o *Order) bool {
	if a.Kind != b.Kind || a.Text != b.Text && (o == nil || !o.Code || WithoutTrailing(a.Text) != WithoutTrailing(b.Text)) || len(a.Items) != len(b.Items) || len(a.Pairs) != len(b.Pairs) {
		return false
	}
	for i := range a.Items {
		if !same(a.Items[i], b.Items[i], o.items()) {
			return false
		}
	}
	for i, p := range a.Pairs {
		q := b.Pairs[i]
		if o != nil && len(o.Keys) > 0 {
			at := slices.IndexFunc(b.Pairs, func(q Pair) bool { return q.Key.Text == p.Key.Text })
			if at < 0 {
				return false
			}
			q = b.Pairs[at]
		}
		if p.Key.Text != q.Key.Text || p.Key.Kind != q.Key.Kind || !same(p.Value, q.Value, o.in(p.Key.Text)) {
			return false
		}
	}
	return true
}

// WithoutTrailing is a text of the language of conditions without the blanks at the ends of its lines, which mean nothing,
// but in a text in backquotes that goes over lines.
func WithoutTrailing(code string) string {
	if !strings.Contains(code, "\n") || strings.Contains(code, "`") {
		return code
	}
	lines := strings.Split(code, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t")
	}
	return strings.Join(lines, "\n")
}

// comments are the texts of all comments of a file, sorted; nil where it is not understood.
func comments(b *builder) []string {
	all, ok := lexemes(b)
	if !ok {
		return nil
	}
	out := []string{}
	for _, l := range all {
		switch {
		case l.kind == lexComment:
			out = append(out, strings.TrimRight(l.text, " \t"))
		case l.isBlock():
			if _, c := l.blockHeader(); c != "" {
				out = append(out, c)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Comments are the texts of all comments of a file, sorted.
func Comments(path string, src []byte) []string {
	b := read(path, src)
	return comments(b)
}

// isBlock says whether the lexeme is a literal or folded text.
func (l *lexeme) isBlock() bool {
	return l.node != nil && (l.node.style == styleLiteral || l.node.style == styleFolded)
}

// blockHeader are the marks of a block text, and the comment behind them.
func (l *lexeme) blockHeader() (marks, comment string) {
	header, _, _ := strings.Cut(l.text, "\n")
	marks, text, ok := strings.Cut(header, "#")
	if ok {
		comment = "#" + strings.TrimRight(text, " \t")
	}
	return strings.TrimSpace(marks), comment
}

// arrange sorts keys.
func (v *layout) arrange(o *Order) {
	if v == nil || o == nil {
		return
	}
	isMap := v.form == formMap || v.form == formFlowMap
	merges := slices.ContainsFunc(v.entries, func(e *entry) bool { return e.key != nil && e.key.text == "<<" })
	if isMap && len(o.Keys) > 0 && !merges {
		slices.SortStableFunc(v.entries, func(a, b *entry) int { return cmp.Compare(o.place(a), o.place(b)) })
	}
	for _, e := range v.entries {
		if isMap || e.key != nil {
			e.value.arrange(o.in(e.name()))
		} else {
			e.value.arrange(o.items())
		}
	}
}

// place is where a key stands.
func (o *Order) place(e *entry) int {
	if i := slices.Index(o.Keys, e.name()); i >= 0 {
		return i
	}
	return len(o.Keys)
}

// name is the text of the key.
func (e *entry) name() string {
	switch {
	case e.key == nil:
		return ""
	case e.key.node != nil:
		return e.key.node.Text
	default:
		return e.key.text
	}
}
