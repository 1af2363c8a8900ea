package check

import (
	"regexp"

	"nudge/rules"
	"nudge/rules/yamlfile"
)

func insecureLink() Check {
	// The name of a namespace (xmlns="http://www.w3.org/1999/xhtml") is no link: nobody opens it.
	plain := regexp.MustCompile(`(?i)(xmlns(?::\w+)?\s*=\s*["'])?(http://[^\s"'<>)]*)`)
	local := regexp.MustCompile(`(?i)^http://(localhost|127\.0\.0\.1|\[::1\])([:/]|$)`)
	return Check{
		ID: "message/insecure-link", Severity: rules.Warning,
		What: "A link in a message that begins with http:// and not https://.",
		Why:  "Apps refuse to open it (App Transport Security on iOS, cleartext rules on Android), mail programs warn of it, and anybody on the way can read and change it.",
		Bad: `rule: sale
schedule: "0 9 * * 1"
when: did("Product Viewed").within(days(7))
again: never
message:
  push: {title: Sale, body: All shoes, link: "http://shop.example/sale"}
`,
		Good: `rule: sale
schedule: "0 9 * * 1"
when: did("Product Viewed").within(days(7))
again: never
message:
  push: {title: Sale, body: All shoes, link: "https://shop.example/sale"}
`,
		run: func(p *pass) {
			look := func(n *yamlfile.Node, rule string) {
				for _, m := range plain.FindAllStringSubmatchIndex(n.Text, -1) {
					from, to := m[4], m[5]
					if m[2] < 0 && !local.MatchString(n.Text[from:to]) {
						p.reportIn(n, from, to, rule, "Write https://.", "the link is not encrypted")
					}
				}
			}
			for _, r := range p.Rules {
				for _, key := range []string{"message", "variants"} {
					texts(file(r).Get(key), func(n *yamlfile.Node) { look(n, r.Name) })
				}
			}
			for _, s := range p.Sources {
				if s.Kind == "template" {
					look(yamlfile.PlainText(s.Name, s.Text), "")
				}
			}
		},
	}
}

// texts calls fn for each text below a node.
func texts(n *yamlfile.Node, fn func(*yamlfile.Node)) {
	if n == nil {
		return
	}
	if n.Kind == yamlfile.String {
		fn(n)
	}
	for _, item := range n.Items {
		texts(item, fn)
	}
	for _, pair := range n.Pairs {
		texts(pair.Value, fn)
	}
}
