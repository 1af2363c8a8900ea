package yamlfile

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// mistake is what a syntax error means to people who do not know YAML.
type mistake struct {
	col             int  // in runes, from 1; 0: where the library says
	next            bool // it is on the line after
	summary, detail string
}

var (
	keyed = regexp.MustCompile(`^\s*(?:- )*[^\s'"\[\]{}#:][^'"\[\]{}#:]*:\s+`)
	// quotedText is one in quotes of either kind, as far as a line goes.
	quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'`)
	// misplaced is how the library says that something stands where nothing of the kind can.
	misplaced = regexp.MustCompile(`^(value is not allowed|mapping value is not allowed|non-map value|unexpected key name|could not find expected ':')`)
)

// meant is what a syntax error probably means, by the line that it is found at and the one after: the library tells
// what its grammar lacks, and mostly what is missing is a pair of quotes.
func meant(message, line, following string) (mistake, bool) {
	if strings.Contains(message, "'\t' that cannot start") {
		return mistake{0, false, strings.ReplaceAll(message, "\t", `\t`), "YAML is indented with spaces, not with tabs."}, true
	}
	head := keyed.FindString(line)
	value := line[len(head):]
	at := func(offset int) int { return utf8.RuneCountInString(line[:len(head)+offset]) + 1 }
	if head != "" && value != "" {
		if m, ok := textBehind(value, at); ok {
			return m, true
		}
		// Blanks stand for what is in quotes: it is right, whatever it is.
		bare := quotedText.ReplaceAllStringFunc(value, func(s string) string { return strings.Repeat(" ", len(s)) })
		if comment := strings.Index(bare, " #"); comment >= 0 {
			bare = bare[:comment]
		}
		if i := strings.Index(bare, "{{"); i >= 0 && strings.TrimRight(bare[:i], " ,:[{") == "" || strings.Contains(bare, ": {{") {
			return mistake{at(max(i, 0)), false, "a text that begins with {{ needs quotes", `Write "{{ … }}" with the whole text between the quotes.`}, true
		}
		if first := (bare + " ")[0]; strings.IndexByte("@`%*&!", first) >= 0 {
			return mistake{at(0), false, fmt.Sprintf("a text that begins with %c needs quotes", first), `Put the whole of it between quotes: "…".`}, true
		}
		if i := strings.Index(bare, ": "); i > 0 && bare[0] != '{' && bare[0] != '[' {
			return mistake{at(i), false, "a text with a colon and a blank in it needs quotes", `Put the whole of it between quotes: "…".`}, true
		}
	}
	if misplaced.MatchString(message) {
		// A key below a text and further in is read as more of the text, and found at the text.
		in, next := indent(line), indent(following)
		if head != "" && next > in && keyed.MatchString(following) {
			return mistake{next + 1, true, misplacedSummary, misplacedDetail}, true
		}
		return mistake{0, false, misplacedSummary, misplacedDetail}, true
	}
	return mistake{}, false
}

const (
	misplacedSummary = "this fits nothing above it: is it indented as it should be?"
	misplacedDetail  = "Keys of one level begin in the same column, and what belongs to a key stands below it, two blanks further in."
)

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// textBehind finds text behind the closing quote of a value.
func textBehind(value string, at func(int) int) (mistake, bool) {
	quote := value[0]
	if quote != '"' && quote != '\'' {
		return mistake{}, false
	}
	m := quotedText.FindStringIndex(value)
	if m == nil || m[0] != 0 {
		return mistake{}, false
	}
	rest := strings.TrimSpace(value[m[1]:])
	if rest == "" || rest[0] == '#' {
		return mistake{}, false
	}
	detail := `Inside double quotes write \" for a quote, or put single quotes around the whole text.`
	if quote == '\'' {
		detail = `Put double quotes around a text with an apostrophe in it: "It's here".`
	}
	return mistake{at(m[1] - 1), false, "the text ends at this quote, and more follows", detail}, true
}
