package email

import (
	"html"
	"regexp"
	"strings"

	nethtml "golang.org/x/net/html"
)

// bodyTag is where what is seen of a page begins.
var bodyTag = regexp.MustCompile(`(?i)<body\b[^>]*>`)

// withPreheader puts a text in front of a page that inboxes show after the subject and the page itself does not.
func withPreheader(page, preheader string) string {
	preheader = line(preheader)
	if preheader == "" {
		return page
	}
	hidden := `<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">` + html.EscapeString(preheader) + `</div>`
	at := 0
	if spot := bodyTag.FindStringIndex(page); spot != nil {
		at = spot[1]
	}
	return page[:at] + hidden + page[at:]
}

// textOf is what a page says, for those who read no HTML. Links stand in brackets after their text.
func textOf(page string) string {
	var out text
	var links []string
	skipped := 0
	tokens := nethtml.NewTokenizer(strings.NewReader(page))
	for {
		kind := tokens.Next()
		if kind == nethtml.ErrorToken {
			return out.String()
		}
		token := tokens.Token()
		if kind == nethtml.TextToken {
			if skipped == 0 {
				out.words(token.Data)
			}
			continue
		}
		opens, closes := kind == nethtml.StartTagToken, kind == nethtml.EndTagToken
		switch token.Data {
		case "script", "style", "title": // not head, whose end may be left out
			if opens {
				skipped++
			} else if closes && skipped > 0 {
				skipped--
			}
			continue
		}
		if skipped > 0 {
			continue
		}
		switch {
		case kind == nethtml.CommentToken, kind == nethtml.DoctypeToken:
		case token.Data == "a" && opens:
			links = append(links, attribute(token, "href"))
		case token.Data == "a" && closes && len(links) > 0:
			link := links[len(links)-1]
			links = links[:len(links)-1]
			if strings.HasPrefix(link, "http") && !strings.HasSuffix(out.String(), link) {
				out.words(" (" + link + ")")
			}
		case token.Data == "img":
			out.words(" " + attribute(token, "alt") + " ")
		case token.Data == "br":
			out.breaks(1)
		case token.Data == "li" && opens:
			out.breaks(1)
			out.words("- ")
		case token.Data == "td", token.Data == "th":
			out.words(" ")
		default:
			out.breaks(breaksAround(token.Data))
		}
	}
}

// breaksAround is how many line breaks stand around an element, 0 for one within a line.
func breaksAround(element string) int {
	switch element {
	case "div", "tr", "table", "li", "section", "header", "footer", "hr":
		return 1
	case "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote":
		return 2
	}
	return 0
}

// attribute is an element's, "" where it has none.
func attribute(token nethtml.Token, name string) string {
	for _, a := range token.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text collects words and line breaks, never more than one blank or two breaks in a row.
type text struct {
	strings.Builder
	pending int // breaks to come before the next word
	blank   bool
}

// words adds text as a browser shows it.
func (t *text) words(s string) {
	for i, word := range strings.FieldsFunc(s, space) {
		if i > 0 || space(rune(s[0])) {
			t.blank = true
		}
		switch {
		case t.pending > 0 && t.Len() > 0:
			t.WriteString(strings.Repeat("\n", t.pending))
		case t.blank && t.Len() > 0:
			t.WriteByte(' ')
		}
		t.pending, t.blank = 0, false
		t.WriteString(word)
	}
	if s != "" && space(rune(s[len(s)-1])) {
		t.blank = true
	}
}

// space says which characters a browser collapses; a no-break space is not one.
func space(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\f' }

// breaks asks for line breaks before what comes next.
func (t *text) breaks(n int) {
	if n > 0 {
		t.pending, t.blank = max(t.pending, n), false
	}
}
