package yamlfile

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// step is how far what is inside something is indented.
const step = 2

// printer writes a layout.
type printer struct {
	lines []printed
	cur   string
	note  string // comment behind cur
	kept  int    // number of lines after a text that keeps the blank lines behind it
	col   int    // column of the innermost key or dash of a block
}

// printed is one line.
type printed struct {
	text, comment string
	raw           bool // it is inside a text
}

func (p *printer) line() {
	p.lines = append(p.lines, printed{text: strings.TrimRight(p.cur, " \t"), comment: p.note})
	p.cur, p.note = "", ""
}

func (p *printer) blank() {
	if n := len(p.lines); n > 0 && n != p.kept && (p.lines[n-1].text != "" || p.lines[n-1].raw || p.lines[n-1].comment != "") {
		p.lines = append(p.lines, printed{})
	}
}

func (p *printer) indent(col int) { p.cur = strings.Repeat(" ", col) }

// comments writes comments on lines of their own.
func (p *printer) comments(list []comment, col int, first bool) {
	for i, c := range list {
		if c.blank && (i > 0 || !first) {
			p.blank()
		}
		p.indent(col)
		p.cur += c.text
		p.line() // without blanks at its end
	}
}

func (p *printer) page(f *page, o *Order) string {
	p.comments(f.before, 0, true)
	if f.marker != "" {
		p.cur, p.note = f.marker, f.beside
		p.line()
	}
	p.comments(f.header, 0, true)
	if len(f.header) > 0 && f.root.form != formEmpty {
		p.blank()
	}
	v := f.root
	switch v.form {
	case formMap, formList:
		if v.anchor != "" {
			p.cur = v.anchor
			p.line()
		}
		p.entries(v, 0, o, false)
	case formEmpty:
	default:
		p.col = -step // so that what follows a line break is not indented
		p.value(v, o)
		p.line()
	}
	p.comments(f.end, 0, len(p.lines) == 0)
	return p.text()
}

// entries writes the entries of a block at a column; started says that the first goes on a line that is begun.
func (p *printer) entries(v *layout, col int, o *Order, started bool) {
	for i, e := range v.entries {
		var before *entry
		if i > 0 {
			before = v.entries[i-1]
		}
		if e.key == nil {
			e.lift()
		}
		if before != nil && (e.apart() || before.foot != nil || o != nil && o.Apart) {
			p.blank()
		}
		p.comments(e.head, col, true)
		if len(e.head) > 0 && e.blank {
			p.blank()
		}
		if i > 0 || !started {
			p.indent(col)
		}
		p.col = col
		if e.key == nil {
			p.item(e, col, o.items())
		} else {
			p.pair(e, col, o.in(e.name()))
		}
		p.comments(e.foot, col, true)
	}
	if v.foot != nil {
		p.comments(v.foot, col, false)
	}
}

// apart says whether a blank line goes before the entry. One between an entry's comments and itself asks for another
// before them: they would belong to the entry before.
func (e *entry) apart() bool {
	return e.blank || len(e.head) > 0 && e.head[0].blank
}

// lift takes the comments of what is written on the dash's own line above the dash.
func (e *entry) lift() {
	v := e.value
	if v.form != formMap && v.form != formList || v.anchor != "" {
		return
	}
	first := v.entries[0]
	if first.key == nil {
		first.lift()
	}
	if len(first.head) > 0 {
		first.head[0].blank = e.blank
		e.blank = first.blank
		e.head = append(e.head, first.head...)
		first.head = nil
	}
	first.blank = false
}

func (p *printer) item(e *entry, col int, o *Order) {
	p.cur += "-"
	v := e.value
	if (v.form == formMap || v.form == formList) && v.anchor == "" {
		p.cur += " "
		p.entries(v, col+step, o, true)
		return
	}
	p.rest(e, col, o)
}

func (p *printer) pair(e *entry, col int, o *Order) {
	p.key(e)
	p.rest(e, col, o)
}

func (p *printer) key(e *entry) {
	if e.anchor != "" {
		p.cur += e.anchor + " "
	}
	p.cur += quoted(e.key)
	if e.key.kind == lexAlias {
		p.cur += " " // else the colon would be of its name
	}
	if !e.bare {
		p.cur += ":"
	}
}

// rest writes the value behind a key or a dash.
func (p *printer) rest(e *entry, col int, o *Order) {
	v := e.value
	p.note = e.beside
	if v.form == formMap || v.form == formList {
		if v.anchor != "" {
			p.cur += " " + v.anchor
		}
		p.line()
		p.entries(v, col+step, o, false)
		return
	}
	p.note = ""
	if v.form != formEmpty || v.anchor != "" {
		p.cur += " "
		p.value(v, o)
	}
	if e.beside != "" {
		p.note = e.beside
	}
	if p.cur != "" {
		p.line()
	}
}

// value writes what is no block; cur is left open.
func (p *printer) value(v *layout, o *Order) {
	if v.anchor != "" {
		p.cur += v.anchor
		if v.form != formEmpty {
			p.cur += " "
		}
	}
	switch v.form {
	case formAlias:
		p.cur += v.scalar.text
	case formScalar:
		p.scalar(v.scalar, o)
	case formFlowMap:
		p.flow(v, "{", "}", o)
	case formFlowList:
		p.flow(v, "[", "]", o)
	default:
	}
}

func (p *printer) scalar(l *lexeme, o *Order) {
	if l.isBlock() {
		p.block(l, o != nil && o.Code && l.loose())
		return
	}
	text := quoted(l)
	for i, line := range strings.Split(text, "\n") {
		if i == 0 {
			p.cur += line
			continue
		}
		p.lines = append(p.lines, printed{text: endOfLine(p.cur), raw: true})
		p.cur = ""
		if line = strings.TrimLeft(line, " \t"); line != "" {
			p.indent(p.col + step)
			p.cur += line
		}
	}
}

// endOfLine drops the blanks at the end of a line, but for one that is escaped.
func endOfLine(text string) string {
	short := strings.TrimRight(text, " \t")
	if strings.HasSuffix(short, `\`) && len(short) < len(text) {
		short = text[:len(short)+1]
	}
	return short
}

// loose says whether blanks at the ends of the lines of a condition mean nothing: they do in a folded text, and inside
// a text of the language that goes over lines.
func (l *lexeme) loose() bool { return l.node.style == styleLiteral && !strings.Contains(l.text, "`") }

// block writes a literal or folded text: its lines as they are, indented anew; trim drops blanks at their ends.
func (p *printer) block(l *lexeme, trim bool) {
	marks, note := l.blockHeader()
	body := strings.Split(l.text, "\n")[1:]
	keep := strings.Contains(marks, "+")
	cut, declared := l.indentation(body)
	marks = strings.Trim(marks, "123456789")
	marks = strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, marks)
	if declared {
		marks = marks[:1] + "2" + marks[1:]
	}
	p.cur, p.note = p.cur+marks, note
	p.line()
	for _, line := range body {
		text := line[min(cut, len(line)):]
		if trim {
			text = strings.TrimRight(text, " \t")
		}
		if text != "" {
			text = strings.Repeat(" ", p.col+step) + text
		}
		p.lines = append(p.lines, printed{text: text, raw: true})
	}
	if keep {
		p.kept = len(p.lines)
	}
}

// indentation is how far the lines of a block text are indented, and whether that has to be declared, because the
// text itself begins with a blank.
func (l *lexeme) indentation(body []string) (cut int, declared bool) {
	lead := func(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
	own := 0
	for line := range strings.SplitSeq(l.node.Text, "\n") {
		if strings.TrimSpace(line) != "" {
			own = lead(line)
			break
		}
	}
	for _, line := range body {
		if strings.TrimSpace(line) != "" {
			return max(lead(line)-own, 0), own > 0
		}
	}
	return 0, false
}

// flow writes what is in brackets: on one line, or, where the author broke it or a comment does, broken where they
// did, with the brackets' own lines around.
func (p *printer) flow(v *layout, open, end string, o *Order) {
	p.cur += open
	if !v.isBroken() {
		for i, e := range v.entries {
			if i > 0 {
				p.cur += ", "
			}
			p.flowEntry(e, v, o)
		}
		p.cur += end
		return
	}
	p.note = v.beside
	p.line()
	outer := p.col
	inner := max(outer, 0) + step
	for i, e := range v.entries {
		switch {
		case i == 0:
		case e.broken || len(e.head) > 0 || v.entries[i-1].beside != "":
			p.line()
		default:
			p.cur += " "
		}
		if p.cur == "" {
			p.comments(e.head, inner, true)
			p.indent(inner)
		}
		p.col = inner
		p.flowEntry(e, v, o)
		if i < len(v.entries)-1 {
			p.cur += ","
		}
		p.note = e.beside
	}
	if len(v.entries) > 0 {
		p.line()
	}
	p.comments(v.foot, inner, true)
	p.col = outer
	p.indent(max(outer, 0))
	p.cur += end
}

// isBroken says whether brackets take several lines.
func (v *layout) isBroken() bool {
	if v.beside != "" || v.closing || len(v.foot) > 0 {
		return true
	}
	for _, e := range v.entries {
		if e.broken || len(e.head) > 0 || e.beside != "" {
			return true
		}
	}
	return false
}

func (p *printer) flowEntry(e *entry, v *layout, o *Order) {
	below := o.items()
	if v.form == formFlowMap {
		below = o.in(e.name())
	}
	if e.key != nil {
		p.key(e)
		if !e.bare {
			p.cur += " "
		}
	}
	p.value(e.value, below)
}

// quoted is a text on one line with the quotes that it should have: double ones, or single ones where it has double
// ones or backslashes in it. What is not in quotes stays so, and so does what needs escapes.
func quoted(l *lexeme) string {
	n := l.node
	if n == nil || n.style != styleSingle && n.style != styleDouble || strings.Contains(l.text, "\n") {
		return l.text
	}
	for _, r := range n.Text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return l.text
		}
	}
	switch special := strings.ContainsAny(n.Text, `"\`); {
	case n.style == styleSingle && !special:
		return `"` + n.Text + `"`
	case n.style == styleDouble && special && !strings.Contains(n.Text, "'"):
		return "'" + n.Text + "'"
	case n.style == styleDouble && !special && !strings.Contains(l.text, `\`):
		return `"` + n.Text + `"`
	default:
		return l.text
	}
}

// text is what was written. Comments behind lines that follow each other and are indented alike stand under each other.
func (p *printer) text() string {
	var b strings.Builder
	for i := 0; i < len(p.lines); {
		j, width := i, 0
		for j < len(p.lines) && p.lines[j].comment != "" && p.lines[j].text != "" && (j == i || depth(p.lines[j].text) == depth(p.lines[i].text)) {
			width = max(width, utf8.RuneCountInString(p.lines[j].text))
			j++
		}
		for ; i < j; i++ {
			l := p.lines[i]
			b.WriteString(l.text + strings.Repeat(" ", width-utf8.RuneCountInString(l.text)+2) + strings.TrimRight(l.comment, " \t") + "\n")
		}
		if i < len(p.lines) {
			if l := p.lines[i]; l.comment == "" || l.text == "" {
				b.WriteString(l.text + strings.TrimRight(l.comment, " \t") + "\n")
				i++
			}
		}
	}
	return b.String()
}

// depth is how far a line is indented.
func depth(text string) int { return len(text) - len(strings.TrimLeft(text, " ")) }
