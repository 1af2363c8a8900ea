package yamlfile

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// style is how a scalar is written.
type style uint8

const (
	styleNone style = iota // not a scalar, or nothing written
	stylePlain
	styleSingle
	styleDouble
	styleLiteral
	styleFolded
)

// follow reads a scalar again from its start in the source and returns the marks of every byte of
// text, and the offset after the scalar. The YAML library has no positions inside scalars. What it
// read is the truth: where the second reading differs (marks nil), nothing is claimed.
func follow(src string, start int, st style, text string) (marks []mark, end int) {
	f := follower{src: src, pos: start}
	switch st {
	case stylePlain:
		if start < len(src) && blank(src[start]) {
			return nil, start
		}
		f.plain(solid(text))
	case styleSingle, styleDouble:
		f.quoted(st)
	case styleLiteral, styleFolded:
		return followBlock(src, start, st, text)
	case styleNone:
		return nil, start
	}
	return align(f.out, f.marks, text), f.pos
}

// solid is the number of bytes of text that are not blank.
func solid(text string) int {
	n := 0
	for i := range len(text) {
		if !blank(text[i]) {
			n++
		}
	}
	return n
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// align hands the marks of out over to text. The two are equal but for blanks: the library drops
// blanks at the ends of a block's lines and breaks between blank lines. Nil when they differ in more.
func align(out []byte, marks []mark, text string) []mark {
	res := make([]mark, 0, len(text))
	i, last := 0, mark{}
	for j := range len(text) {
		for i < len(out) && out[i] != text[j] && blank(out[i]) && !blank(text[j]) {
			i++
		}
		switch {
		case i < len(out) && out[i] == text[j]:
			last = marks[i]
			i++
		case blank(text[j]) && i < len(out):
			last = marks[i]
			if blank(out[i]) {
				i++
			}
		case blank(text[j]):
		default:
			return nil
		}
		res = append(res, last)
	}
	return res
}

// follower reads one scalar. out and marks grow together.
type follower struct {
	src   string
	pos   int
	out   []byte
	marks []mark
}

func (f *follower) emit(s string, from, to int) {
	f.out = append(f.out, s...)
	for range len(s) {
		f.marks = append(f.marks, mark{int32(from), int32(to)}) //nolint:gosec // files are at most 1 MiB
	}
}

// char copies one character.
func (f *follower) char() {
	_, n := utf8.DecodeRuneInString(f.src[f.pos:])
	f.emit(f.src[f.pos:f.pos+n], f.pos, f.pos+n)
	f.pos += n
}

// plain reads until it has as many bytes that are not blank as the scalar has: where a plain scalar
// ends is for YAML's grammar to say, and has been said.
func (f *follower) plain(want int) {
	for got := 0; got < want && f.pos < len(f.src); {
		if f.fold() {
			continue
		}
		from := f.pos
		f.char()
		got += solid(f.src[from:f.pos])
	}
}

// fold reads a line break with the blanks around it, if one is next: one break is a space, more are
// one newline fewer.
func (f *follower) fold() bool {
	at := f.pos
	for at < len(f.src) && (f.src[at] == ' ' || f.src[at] == '\t') {
		at++
	}
	if at >= len(f.src) || f.src[at] != '\n' {
		return false
	}
	first := at
	breaks := f.blankLines(at)
	if breaks == 1 {
		f.emit(" ", first, first+1)
	} else {
		f.emit(strings.Repeat("\n", breaks-1), first, first+1)
	}
	return true
}

// blankLines moves to the first character that is neither a blank nor a break, and counts breaks.
func (f *follower) blankLines(at int) int {
	breaks := 0
	for at < len(f.src) && strings.IndexByte(" \t\n", f.src[at]) >= 0 {
		if f.src[at] == '\n' {
			breaks++
		}
		at++
	}
	f.pos = at
	return breaks
}

func (f *follower) quoted(st style) {
	quote := byte('\'')
	if st == styleDouble {
		quote = '"'
	}
	if f.pos >= len(f.src) || f.src[f.pos] != quote {
		return
	}
	f.pos++
	for f.pos < len(f.src) {
		c := f.src[f.pos]
		switch {
		case c == quote && st == styleSingle && strings.HasPrefix(f.src[f.pos+1:], "'"):
			f.emit("'", f.pos, f.pos+2)
			f.pos += 2
		case c == quote:
			f.pos++
			return
		case c == '\\' && st == styleDouble:
			f.escape()
		case f.fold():
		default:
			f.char()
		}
	}
}

// simple are the escapes of one letter.
var simple = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f",
	'r': "\r", 'e': "\x1b", ' ': " ", '"': `"`, '/': "/", '\\': `\`, 'N': "\u0085", '_': "\u00a0",
	'L': "\u2028", 'P': "\u2029",
}

func (f *follower) escape() {
	from := f.pos
	if from+1 >= len(f.src) {
		f.pos++
		return
	}
	c := f.src[from+1]
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	switch {
	case digits > 0:
		r, ok := f.hex(from+2, digits)
		to := from + 2 + digits
		if c == 'u' && r >= 0xd800 && r < 0xdc00 && strings.HasPrefix(f.src[min(to, len(f.src)):], `\u`) {
			if low, lowOK := f.hex(to+2, 4); lowOK && low >= 0xdc00 && low < 0xe000 {
				r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
				to += 6
			}
		}
		if !ok {
			f.pos = len(f.src)
			return
		}
		f.emit(string(r), from, to)
		f.pos = to
	case c == '\n':
		if breaks := f.blankLines(from + 1); breaks > 1 {
			f.emit(strings.Repeat("\n", breaks-1), from, from+1)
		}
	default:
		f.emit(simple[c], from, from+2)
		f.pos += 2
	}
}

func (f *follower) hex(at, digits int) (rune, bool) {
	if at+digits > len(f.src) {
		return 0, false
	}
	v, err := strconv.ParseUint(f.src[at:at+digits], 16, 32)
	return rune(v), err == nil //nolint:gosec // at most 8 hex digits
}

// followBlock reads a block scalar, whose header is at start.
func followBlock(src string, start int, st style, text string) ([]mark, int) {
	if start >= len(src) || src[start] != '|' && src[start] != '>' {
		return nil, start
	}
	header, _, _ := strings.Cut(src[start:], "\n")
	body := min(start+len(header)+1, len(src))
	first := firstIndent(src[body:])
	indicator, _, _ := strings.Cut(header, "#")
	if strings.ContainsAny(indicator, "123456789") {
		// A declared indentation counts from the parent's, which the token does not tell: take the
		// one that yields the text.
		for indent := first; indent > 0 && first <= 2*maxDepth; indent-- {
			if out, marks, end := readBlock(src, body, st, indent); strings.HasPrefix(string(out), text) {
				return marks[:len(text)], end
			}
		}
	}
	out, marks, end := readBlock(src, body, st, first)
	return align(out, marks, text), end
}

// firstIndent is the indentation of the first line that is not blank.
func firstIndent(body string) int {
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		if rest := strings.TrimLeft(line, " "); rest != "" {
			return len(line) - len(rest)
		}
	}
	return 0
}

// readBlock reads a block whose lines are indented by indent, all breaks at its end included.
func readBlock(src string, body int, st style, indent int) (out []byte, marks []mark, end int) {
	f := follower{src: src, pos: body}
	type line struct {
		from, to int // content without indentation and break
		deeper   bool
	}
	var lines []line
	end = body
	for f.pos < len(src) {
		raw, _, broken := strings.Cut(src[f.pos:], "\n")
		lead := len(raw) - len(strings.TrimLeft(raw, " "))
		blank := lead == len(raw)
		if !blank && (lead < indent || indent == 0) {
			break
		}
		l := line{from: f.pos + min(indent, len(raw)), to: f.pos + len(raw)}
		l.deeper = l.from < l.to && (src[l.from] == ' ' || src[l.from] == '\t')
		lines = append(lines, l)
		if !blank {
			end = l.to
		}
		f.pos += len(raw)
		if broken {
			f.pos++
		}
	}
	for i, l := range lines {
		for f.pos = l.from; f.pos < l.to; {
			f.char()
		}
		brk := "\n"
		if st == styleFolded && l.from < l.to && !l.deeper {
			// The break after a text line becomes a space before another text line, and vanishes
			// before blank lines, whose own breaks stay, unless a deeper line follows them.
			next := i + 1
			for next < len(lines) && lines[next].from == lines[next].to {
				next++
			}
			switch {
			case next >= len(lines) || lines[next].deeper:
			case next == i+1:
				brk = " "
			default:
				brk = ""
			}
		}
		f.emit(brk, l.to, l.to+1)
	}
	return f.out, f.marks, end
}
