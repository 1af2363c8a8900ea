package template

// lexeme is one word of a Liquid expression, as the library's scanner cuts them.
type lexeme struct {
	kind     lexKind
	text     string
	from, to int
}

type lexKind uint8

const (
	tokOther    lexKind = iota // punctuation, numbers
	tokIdent                   // a name; with a ":" at its end when arguments follow
	tokProperty                // ".name"
	tokString                  // with its quotes
)

// scan cuts an expression into words. Blanks are dropped.
func scan(s string) []lexeme {
	var out []lexeme
	for at := 0; at < len(s); {
		kind, n := tokOther, 1
		c := s[at]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			at++
			continue
		case c == '"' || c == '\'':
			for at+n < len(s) && s[at+n] != c {
				n++
			}
			if at+n < len(s) {
				kind, n = tokString, n+1
			} else {
				n = 1
			}
		case isAlpha(c):
			kind, n = tokIdent, word(s[at:])
			if at+n < len(s) && s[at+n] == ':' {
				n++
			}
		case c == '.' && at+1 < len(s) && isAlpha(s[at+1]):
			kind, n = tokProperty, 1+word(s[at+1:])
		case c >= '0' && c <= '9':
			for at+n < len(s) && s[at+n] >= '0' && s[at+n] <= '9' {
				n++
			}
		}
		out = append(out, lexeme{kind, s[at : at+n], at, at + n})
		at += n
	}
	return out
}

func isAlpha(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// word is the length of the name at the start of s; a name may have dashes in it and one "?" at its end.
func word(s string) int {
	n := 1
	for n < len(s) && (isAlpha(s[n]) || s[n] == '-' || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	if n < len(s) && s[n] == '?' {
		n++
	}
	return n
}
