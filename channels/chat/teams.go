package chat

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"nudge/channels"
)

// teamsAnswers are those of the flows of Power Automate that post to Teams.
func teamsAnswers() []channels.Answer {
	return []channels.Answer{
		{Status: 400, Code: "WorkflowTriggerIsNotEnabled", Class: channels.ClassCredential, About: "Teams: the workflow is switched off or deleted"},
		{Status: 400, Code: "TriggerInputSchemaMismatch", Class: channels.ClassMessage, About: "Teams: the workflow wants another form than cards"},
		{Status: 401, Code: "DirectApiAuthorizationRequired", Class: channels.ClassCredential, About: "Teams: the URL's signature is missing or wrong"},
		{Status: 403, Code: "AuthorizationFailed", Class: channels.ClassCredential, About: "Teams: the workflow does not take posts from anyone"},
		{Status: 404, Code: "WorkflowNotFound", Class: channels.ClassCredential, About: "Teams: the workflow is gone"},
		{Status: 413, Class: channels.ClassMessage, About: "Teams: above 28 KB (checked before sending)"},
	}
}

// retiredTeams is for webhooks that Microsoft has switched off.
func retiredTeams(*url.URL) (*service, string) {
	return nil, "is of an Office connector, which Microsoft has retired: in Teams add the workflow that posts to a channel when a webhook request is received, and take its URL"
}

// teamsURL is a workflow's URL.
func teamsURL(u *url.URL) (*service, string) {
	at := *u
	at.Scheme = strings.TrimPrefix(u.Scheme, "teams+")
	if len(parts(at.Path)) == 0 || at.Query().Get("sig") == "" {
		return nil, "is not the whole URL of a Teams workflow, which has its signature (sig) at the end"
	}
	root := url.URL{Scheme: at.Scheme, Host: at.Host, Path: "/"}
	s := &service{
		name: "Teams", post: at.String(), answers: teamsAnswers(), limit: 28 << 10, unit: "bytes", read: readTeams,
		// Whatever is asked of the URL itself starts the workflow.
		probe:  probe{method: http.MethodHead, url: root.String(), any: true},
		encode: func(p *post) (any, int) { return teamsCard(p), 0 },
	}
	s.hide(at.Query().Get("sig"), at.RawQuery, at.EscapedPath(), at.Host+at.EscapedPath())
	return s, ""
}

// teamsCard is a post as an adaptive card, the only form that workflows take.
func teamsCard(p *post) any {
	block := func(text string) map[string]any {
		return map[string]any{"type": "TextBlock", "text": text, "wrap": true}
	}
	var body []any
	if p.title != "" {
		title := block(p.title)
		title["weight"], title["size"] = "Bolder", "Medium"
		body = append(body, title)
	}
	if p.body != "" {
		// Cards take one line break for a blank and two for one.
		body = append(body, block(strings.ReplaceAll(strings.ReplaceAll(p.body, "\r\n", "\n"), "\n", "\n\n")))
	}
	if len(p.facts) > 0 {
		var facts []any
		for _, f := range p.facts {
			facts = append(facts, map[string]any{"title": f.name, "value": f.value})
		}
		body = append(body, map[string]any{"type": "FactSet", "facts": facts})
	}
	card := map[string]any{"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4"}
	if p.link != "" {
		if len(body) == 0 {
			body = append(body, block(p.link))
		}
		card["actions"] = []any{map[string]any{"type": "Action.OpenUrl", "title": "Open", "url": p.link}}
	}
	card["body"] = body
	return map[string]any{
		"type":        "message",
		"attachments": []any{map[string]any{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": card}},
	}
}

// readTeams reads {"error":{…}}.
func readTeams(body []byte) reply {
	var said struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return reply{}
	}
	return reply{code: said.Error.Code, text: said.Error.Message}
}
