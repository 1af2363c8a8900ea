package events

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// plain counts the leading bytes of b that stand for themselves inside a JSON string and are ASCII:
// eight at a time, then one by one.
func plain(b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		q := w ^ (ones * '"')
		e := w ^ (ones * '\\')
		if m := (w | (w - ones*' ') | ((q - ones) &^ q) | ((e - ones) &^ e)) & tops; m != 0 {
			return n + bits.TrailingZeros64(m)/8 // the lowest mark is exact, higher ones may be borrowed
		}
		n += 8
	}
	for n < len(b) && b[n] >= ' ' && b[n] < utf8.RuneSelf && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// str reads a string, checks that it is UTF-8 and rewrites escapes that are not necessary. It
// reports whether the string has any escape.
func (s *scanner) str() (escaped bool, err error) {
	open := s.pos
	s.pos++
	for {
		s.pos += plain(s.in[s.pos:])
		if s.pos >= len(s.in) {
			return escaped, &SyntaxError{Offset: open, What: "this string has no end"}
		}
		switch c := s.in[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return escaped, err
			}
		case c < ' ':
			return escaped, s.syntax("a control character must be escaped in a string")
		default:
			r, n := utf8.DecodeRune(s.in[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return escaped, refuse("is not valid UTF-8 at byte %d of the body", s.pos)
			}
			s.pos += n
		}
	}
}

// escape reads one escape (two for a surrogate pair).
func (s *scanner) escape() error {
	from := s.pos
	if from+1 >= len(s.in) {
		return &SyntaxError{Offset: from, What: "it ends too early"}
	}
	switch s.in[from+1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case '/':
		s.pos += 2
		s.flush(from, from+1) // the slash needs no backslash
		return nil
	case 'u':
	default:
		return &SyntaxError{Offset: from, What: "unknown escape"}
	}
	r, n, err := s.unicode(from)
	if err != nil {
		return err
	}
	s.pos = from + n
	if s.silent {
		return nil
	}
	s.flush(from, s.pos)
	s.out = appendRune(s.out, r)
	return nil
}

// unicode decodes the \u escape at from, with the second half of a surrogate pair.
func (s *scanner) unicode(from int) (r rune, n int, err error) {
	r, ok := hex4(s.in[from:])
	if !ok {
		return 0, 0, &SyntaxError{Offset: from, What: "\\u needs four hexadecimal digits"}
	}
	if !utf16.IsSurrogate(r) {
		return r, 6, nil
	}
	low, ok := hex4(s.in[from+6:])
	if both := utf16.DecodeRune(r, low); ok && both != utf8.RuneError {
		return both, 12, nil
	}
	return 0, 0, refuse("has half of a surrogate pair (%s) at byte %d of the body", s.in[from:from+6], from)
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendRune writes a rune as the normal form has it.
func appendRune(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if r < ' ' {
		const hex = "0123456789abcdef"
		return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// appendDecoded decodes the inside of a string that has been checked.
func appendDecoded(dst, in []byte) []byte {
	for i := 0; i < len(in); i++ {
		if in[i] != '\\' {
			dst = append(dst, in[i])
			continue
		}
		i++
		switch in[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(in[i-1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(in[i+1:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, in[i])
		}
	}
	return dst
}

// AppendString appends s as a JSON string in normal form. s must be valid UTF-8.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for {
		n := plainText(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		dst = appendRune(dst, rune(s[n]))
		s = s[n+1:]
	}
}

// plainText counts the leading bytes that need no escape.
func plainText(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' {
			return i
		}
	}
	return len(s)
}
