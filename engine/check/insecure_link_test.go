package check_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/check"
)

func TestInsecureLink(t *testing.T) {
	const rule = `-- nudge.yaml --
channels:
  email: {adapter: file, kind: email, needs: email, config: {path: out.ndjson}}
-- rules/r.yaml --
rule: r
on: {event: Viewed}
again: never
message: {email: {subject: Hi, html: templates/r.html}}
-- templates/r.html --
`
	for _, c := range []struct{ name, html, want string }{
		{"a link", `<a href="http://shop.example">Shop</a>`, "templates/r.html:1:10"},
		{"this machine", `<a href="http://localhost:8080/x">Shop</a>`, ""},
		{"names of namespaces, as MJML writes them", `<html xmlns="http://www.w3.org/1999/xhtml" xmlns:v='http://vml.example/x'><a href="https://shop.example">Shop</a>`, ""},
		{"a link beside one", `<html xmlns="http://www.w3.org/1999/xhtml"><img src="http://shop.example/p.png">`, "templates/r.html:1:54"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := found(t, check.Example(rule+c.html+"\n"))["message/insecure-link"]
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, c.want, fmt.Sprintf("%s:%d:%d", got[0].File, got[0].Line, got[0].Col))
		})
	}
}
