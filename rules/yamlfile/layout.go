package yamlfile

// form is how a value is laid out.
type form uint8

const (
	formEmpty form = iota // nothing is written
	formScalar
	formAlias
	formMap
	formList
	formFlowMap
	formFlowList
)

// layout is a value as it stands in a file, with the comments in it.
type layout struct {
	form    form
	anchor  string // &name
	scalar  *lexeme
	entries []*entry
	foot    []comment // below the last entry
	beside  string    // behind an opening bracket
	closing bool      // the closing bracket stands on a line of its own
}

// entry is one key with its value, or one item of a list, with the comments that belong to it.
type entry struct {
	head   []comment // above it
	blank  bool      // a blank line stands between head, or the entry before, and it
	anchor string    // of the key
	key    *lexeme   // nil in lists
	bare   bool      // a key without its colon, in brackets
	value  *layout
	beside string    // behind it, on its line
	foot   []comment // right below it, with a blank line after them
	broken bool      // in brackets: it stands on another line than what is before it
}

// comment is one line of comment.
type comment struct {
	text  string
	blank bool // a blank line stands before it
	col   int
}

// page is a whole file.
type page struct {
	before []comment // above the marker
	marker string    // ---
	beside string
	header []comment // about the file, with a blank line after them
	root   *layout
	end    []comment // what is about nothing above it
}

// layouter makes the layout of lexemes. A file that was read without findings is well-formed, so it only has to
// find out what belongs to what; where it does not get through, bad says so.
type layouter struct {
	rest  []lexeme
	notes []*lexeme // comments read and not yet given to anything
	last  int       // line on which the last lexeme ended
	bad   bool
}

// lay makes the layout of a file; nil where it does not understand it.
func lay(lexemes []lexeme) *page {
	l := &layouter{rest: lexemes}
	p := &page{}
	next := l.peek()
	if next != nil && next.kind == lexMarker && next.text == "---" {
		p.before = l.comments()
		p.marker = l.take().text
		p.beside = l.besideComment()
		next = l.peek()
	}
	// What stands above a blank line is about the file, what stands right above a key is the key's.
	notes := l.notes
	split := 0
	for i := 1; i < len(notes); i++ {
		if notes[i].blank {
			split = i
		}
	}
	if next == nil || next.blank || next.kind == lexMarker {
		split = len(notes)
	}
	l.notes = notes[:split]
	p.header = l.comments()
	l.notes = notes[split:]
	p.root = l.block(-1)
	if next = l.peek(); next != nil && next.kind == lexMarker && next.text == "..." {
		l.take()
		next = l.peek()
	}
	p.end = l.comments()
	if next != nil || l.bad {
		return nil
	}
	return p
}

// peek is the next lexeme that is no comment; the comments before it are noted.
func (l *layouter) peek() *lexeme {
	for len(l.rest) > 0 && l.rest[0].kind == lexComment {
		l.notes = append(l.notes, &l.rest[0])
		l.rest = l.rest[1:]
	}
	if len(l.rest) == 0 {
		return nil
	}
	return &l.rest[0]
}

func (l *layouter) take() *lexeme {
	x := l.peek()
	if x == nil {
		l.bad = true
		return &lexeme{}
	}
	l.rest = l.rest[1:]
	l.last = x.last
	return x
}

// after is the i-th lexeme behind the next one, comments counted; nil beyond the end.
func (l *layouter) after(i int) *lexeme {
	l.peek()
	if i >= len(l.rest) {
		return nil
	}
	return &l.rest[i]
}

// comments are all that were noted.
func (l *layouter) comments() []comment {
	out := make([]comment, 0, len(l.notes))
	for _, n := range l.notes {
		out = append(out, comment{n.text, n.blank, n.col})
	}
	l.notes = nil
	return out
}

// besideComment is the comment behind what was taken last.
func (l *layouter) besideComment() string {
	l.peek()
	if len(l.notes) == 0 || l.notes[0].own || l.notes[0].line != l.last {
		return ""
	}
	text := l.notes[0].text
	l.notes = l.notes[1:]
	return text
}

// block reads the value that stands in a block deeper than the column parent.
func (l *layouter) block(parent int) *layout {
	out := &layout{}
	x := l.peek()
	if x == nil || x.kind == lexMarker || x.col <= parent && x.own && !x.is("-") {
		return out
	}
	if x.kind == lexAnchor && !l.keyAhead() {
		out.anchor = l.take().text
		next := l.peek()
		if next == nil || next.own && next.col <= parent && !next.is("-") {
			return out
		}
		x = next
	}
	switch {
	case x.is("-"):
		l.list(out, x.col)
	case l.keyAhead():
		l.mapping(out, x.col)
	default:
		l.leaf(out)
	}
	return out
}

// keyAhead says whether a key of a block comes next.
func (l *layouter) keyAhead() bool {
	x := l.peek()
	i := 0
	if x != nil && x.kind == lexAnchor {
		i = 1
	}
	key, colon := l.after(i), l.after(i+1)
	return key != nil && colon != nil && (key.kind == lexScalar || key.kind == lexAlias) && key.line == x.line && colon.is(":") && colon.line == key.line
}

// leaf reads a scalar, an alias or what stands in brackets.
func (l *layouter) leaf(out *layout) {
	switch x := l.take(); {
	case x.kind == lexAlias:
		out.form, out.scalar = formAlias, x
	case x.kind == lexScalar:
		out.form, out.scalar = formScalar, x
	case x.is("{"):
		out.form = formFlowMap
		l.brackets(out, "}")
	case x.is("["):
		out.form = formFlowList
		l.brackets(out, "]")
	default:
		l.bad = true
	}
}

// heads gives the noted comments to the entry before, if they stand right below it and apart from what
// follows, and to the one that comes.
func (l *layouter) heads(before *entry, e *entry, next *lexeme) {
	notes := l.comments()
	n := 0
	if before != nil && len(notes) > 0 && !notes[0].blank {
		for n = 1; n < len(notes) && !notes[n].blank; {
			n++
		}
		if n == len(notes) && !next.blank {
			n = 0
		}
		before.foot = append(before.foot, notes[:n]...)
	}
	e.head, e.blank = append(e.head, notes[n:]...), next.blank
}

// feet gives comments behind the last entry to the block, as far as they are not less indented than it.
func (l *layouter) feet(out *layout, col int) {
	n := 0
	for n < len(l.notes) && l.notes[n].col >= col {
		n++
	}
	rest := l.notes[n:]
	l.notes = l.notes[:n]
	notes := l.comments()
	l.notes = rest
	n = 0
	for n < len(notes) && !notes[n].blank {
		n++
	}
	e := out.entries[len(out.entries)-1]
	e.foot = append(e.foot, notes[:n]...)
	out.foot = append(out.foot, notes[n:]...)
}

func (l *layouter) mapping(out *layout, col int) {
	out.form = formMap
	var before *entry
	for !l.bad {
		x := l.peek()
		if x == nil || x.col != col && before != nil || x.is("-") || !l.keyAhead() {
			break
		}
		e := &entry{}
		l.heads(before, e, x)
		if x.kind == lexAnchor {
			e.anchor = l.take().text
		}
		e.key = l.take()
		l.take() // the colon
		e.beside = l.besideComment()
		e.value = l.under(e, col)
		out.entries = append(out.entries, e)
		before = e
	}
	l.close(out, col)
}

func (l *layouter) list(out *layout, col int) {
	out.form = formList
	var before *entry
	for !l.bad {
		x := l.peek()
		if !x.is("-") || x.col != col {
			break
		}
		e := &entry{}
		l.heads(before, e, x)
		l.take()
		e.beside = l.besideComment()
		e.value = l.under(e, col)
		out.entries = append(out.entries, e)
		before = e
	}
	l.close(out, col)
}

func (l *layouter) close(out *layout, col int) {
	if len(out.entries) == 0 {
		l.bad = true
		return
	}
	if next := l.peek(); next == nil || next.col < col || next.kind == lexMarker {
		l.feet(out, col)
	} else if len(l.notes) > 0 && l.notes[0].col > col {
		// A list that is not indented, before the next key of its map.
		l.feet(out, col+1)
	}
}

// under reads the value of an entry whose key or dash stands at col, and what is written beside it.
func (l *layouter) under(e *entry, col int) *layout {
	x := l.peek()
	if x != nil && x.is("-") && x.own && (x.col < col || e.key == nil && x.col == col) {
		return &layout{}
	}
	nothing := x == nil || x.kind == lexMarker || x.own && x.col <= col && !x.is("-")
	if nothing {
		return &layout{}
	}
	nested := x.is("-") || l.keyAhead() || x.kind == lexAnchor && l.anchorsBlock()
	if !nested || e.key == nil {
		// There is no place between the key and what it is of.
		e.raise(&e.beside)
		e.head = append(e.head, l.comments()...)
	}
	v := l.block(col)
	if v.form != formMap && v.form != formList {
		e.beside = l.besideComment()
	}
	return v
}

// anchorsBlock says whether the anchor that is next is of a block, and not of a word or brackets.
func (l *layouter) anchorsBlock() bool {
	next := l.after(1)
	for i := 2; next != nil && next.kind == lexComment; i++ {
		next = l.after(i)
	}
	return next != nil && next.own
}

// raise puts a comment above the entry.
func (e *entry) raise(text *string) {
	if *text != "" {
		e.head = append(e.head, comment{text: *text})
		*text = ""
	}
}

// brackets reads what stands up to the closing bracket.
func (l *layouter) brackets(out *layout, end string) {
	out.beside = l.besideComment()
	for !l.bad {
		x := l.peek()
		switch {
		case x == nil:
			l.bad = true
		case x.is(end):
			out.foot = append(out.foot, l.comments()...)
			out.closing = x.own
			l.take()
			return
		case x.is(","):
			// Comments between a value and its comma.
			if n := len(out.entries); n > 0 {
				e := out.entries[n-1]
				e.head = append(e.head, l.comments()...)
			}
			l.take()
			if n := len(out.entries); n > 0 {
				e := out.entries[n-1]
				beside := l.besideComment()
				if e.beside != "" {
					e.raise(&e.beside)
				}
				e.beside = beside
			}
		default:
			out.entries = append(out.entries, l.flowEntry(x, out.form == formFlowMap))
		}
	}
}

func (l *layouter) flowEntry(x *lexeme, inMap bool) *entry {
	e := &entry{broken: x.own, head: l.comments()}
	v := &layout{}
	switch {
	case x.is(":"):
	default:
		if x.kind == lexAnchor {
			v.anchor = l.take().text
		}
		if x = l.peek(); !x.is(",") && !x.is("}") && !x.is("]") && !x.is(":") {
			l.leaf(v)
		}
	}
	if x = l.peek(); !x.is(":") {
		if inMap {
			if v.form != formScalar && v.form != formAlias {
				l.bad = true
				return e
			}
			e.anchor, e.key, e.bare, v = v.anchor, v.scalar, true, &layout{}
		}
		e.value = v
		e.beside = l.besideComment()
		return e
	}
	if v.form != formScalar && v.form != formAlias {
		l.bad = true
		return e
	}
	e.anchor, e.key, e.value = v.anchor, v.scalar, &layout{}
	l.take()
	x = l.peek()
	e.head = append(e.head, l.comments()...)
	if x != nil && x.kind == lexAnchor {
		e.value.anchor = l.take().text
		x = l.peek()
	}
	if x != nil && !x.is(",") && !x.is("}") && !x.is("]") {
		l.leaf(e.value)
	}
	e.beside = l.besideComment()
	return e
}
