package send

import (
	"html"
	"maps"
	"net/url"
	"regexp"
	"strings"
)

// href finds the links of an HTML text.
var href = regexp.MustCompile(`(?i)(<a\b[^>]*?\shref\s*=\s*)("[^"]*"|'[^']*')`)

// Link makes the redirect that records a click and leads to target: base + "/c/…".
func (s *Signer) Link(base string, m MessageRef, target string) string {
	return strings.TrimRight(base, "/") + "/c/" + s.sign(m, target) + "?u=" + url.QueryEscape(target)
}

// Rewrite returns the fields of a message with web links led through the redirect: the field
// `link`, the links of actions, and every <a href> of an HTML field. Links of apps (myapp://…), mail
// addresses and anchors stay as they are; the given fields are not changed.
func (s *Signer) Rewrite(base string, m MessageRef, fields map[string]any) map[string]any {
	follow := func(target string) string {
		if u, err := url.Parse(target); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return target
		}
		if strings.HasPrefix(target, strings.TrimRight(base, "/")+"/c/") {
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
