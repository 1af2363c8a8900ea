package send

import (
	"html"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"nudge/engine/render"
)

// href finds the links of an HTML text.
var href = regexp.MustCompile(`(?i)(<a\b[^>]*?\shref\s*=\s*)("[^"]*"|'[^']*')`)

// Tracking says what of a message is to be known.
type Tracking struct {
	Links bool // rewritten to the signed redirect, which records the click
	Opens bool // of a mail: a picture of one pixel records that it was shown
}

// finish returns the fields as they are sent: with tracked links, with the link at which the person chooses what to
// get where the message names it, and with the pixel. base is what links begin with; "" leaves all as it is.
func (s *Signer) finish(base string, m MessageRef, track Tracking, fields map[string]any) map[string]any {
	if s == nil || base == "" {
		return fields
	}
	if track.Links {
		fields = s.Rewrite(base, m, fields)
	}
	if hasLink(fields) {
		fields = withLink(fields, s.Preferences(base, m))
	}
	if track.Opens {
		fields = s.withPixel(base, m, fields)
	}
	return fields
}

// Link makes the redirect that records a click and leads to target: base + "/c/…".
func (s *Signer) Link(base string, m MessageRef, target string) string {
	return strings.TrimRight(base, "/") + "/c/" + s.sign(m, target) + "?u=" + url.QueryEscape(target)
}

// Preferences makes the link at which whoever got a message chooses what to get: base + "/u/…".
func (s *Signer) Preferences(base string, m MessageRef) string {
	return strings.TrimRight(base, "/") + "/u/" + s.sign(m, forPreferences)
}

// TestPreferences is the link of a message that is a test: a page of nobody's.
func TestPreferences(base string) string { return strings.TrimRight(base, "/") + "/u/" + TestMessage }

// TestMessage stands for a signed id in the links of test messages.
const TestMessage = "test"

// VerifyPreferences reads what a link of Preferences was made for.
func (s *Signer) VerifyPreferences(signed string) (MessageRef, error) {
	return s.verify(signed, forPreferences)
}

// withPixel returns the fields with a picture at the end of the HTML that says that the message was opened.
func (s *Signer) withPixel(base string, m MessageRef, fields map[string]any) map[string]any {
	page, ok := fields["html"].(string)
	if !ok || page == "" {
		return fields
	}
	image := `<img src="` + html.EscapeString(strings.TrimRight(base, "/")+"/o/"+s.sign(m, forPixel)) + `" width="1" height="1" alt="" style="display:block;border:0">`
	at := len(page)
	if body := bodyEnd.FindAllStringIndex(page, -1); body != nil {
		at = body[len(body)-1][0]
	}
	out := maps.Clone(fields)
	out["html"] = page[:at] + image + page[at:]
	return out
}

// bodyEnd ends the body of an HTML text.
var bodyEnd = regexp.MustCompile(`(?i)</body\s*>`)

// withLink returns the fields with render.UnsubscribeLink replaced wherever it stands; those given are not changed.
func withLink(fields map[string]any, link string) map[string]any {
	out := make(map[string]any, len(fields))
	for name, value := range fields {
		out[name] = replaced(value, link)
	}
	return out
}

func hasLink(value any) bool {
	switch v := value.(type) {
	case string:
		return strings.Contains(v, render.UnsubscribeLink)
	case []any:
		return slices.ContainsFunc(v, hasLink)
	case map[string]any:
		for _, item := range v {
			if hasLink(item) {
				return true
			}
		}
	}
	return false
}

func replaced(value any, link string) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(v, render.UnsubscribeLink, link)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = replaced(item, link)
		}
		return out
	case map[string]any:
		return withLink(v, link)
	default:
		return value
	}
}

// Rewrite returns the fields of a message with web links led through the redirect: the field
// `link`, the links of actions, and every <a href> of an HTML field. Links of apps (myapp://…), mail
// addresses and anchors stay as they are; the given fields are not changed.
func (s *Signer) Rewrite(base string, m MessageRef, fields map[string]any) map[string]any {
	follow := func(target string) string {
		if u, err := url.Parse(target); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return target
		}
		if ours := strings.TrimRight(base, "/"); strings.HasPrefix(target, ours+"/c/") || strings.HasPrefix(target, ours+"/u/") {
			return target
		}
		return s.Link(base, m, target)
	}
	out := maps.Clone(fields)
	for name, value := range fields {
		switch v := value.(type) {
		case string:
			switch name {
			case "link", "url":
				out[name] = follow(v)
			case "html":
				out[name] = rewriteHTML(v, follow)
			}
		case []any:
			if name == "actions" {
				out[name] = rewriteActions(v, follow)
			}
		}
	}
	return out
}

func rewriteHTML(text string, follow func(string) string) string {
	return href.ReplaceAllStringFunc(text, func(tag string) string {
		parts := href.FindStringSubmatch(tag)
		quote, target := parts[2][:1], parts[2][1:len(parts[2])-1]
		plain := strings.TrimSpace(html.UnescapeString(target))
		if followed := follow(plain); followed != plain {
			return parts[1] + quote + html.EscapeString(followed) + quote
		}
		return tag
	})
}

func rewriteActions(actions []any, follow func(string) string) []any {
	out := make([]any, len(actions))
	for i, a := range actions {
		out[i] = a
		if action, ok := a.(map[string]any); ok {
			if link, ok := action["link"].(string); ok {
				changed := maps.Clone(action)
				changed["link"] = follow(link)
				out[i] = changed
			}
		}
	}
	return out
}
