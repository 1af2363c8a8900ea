package chat

import (
	"net/url"
	"slices"
	"strings"

	"nudge/channels"
)

// maker makes a service of a parsed URL; problem is what is wrong with it, "" for nothing.
type maker func(u *url.URL) (s *service, problem string)

// makers are the services by the scheme of their URLs, which are those of shoutrrr.
func makers() map[string]maker {
	all := map[string]maker{
		"slack": slackURL, "discord": discordURL, "telegram": telegramURL, "teams": retiredTeams, "teams+https": teamsURL, "teams+http": teamsURL,
		"ntfy": ntfyURL, "gotify": gotifyURL, "mattermost": mattermostURL,
	}
	for _, m := range mores() {
		all[m.scheme] = m.byLibrary
	}
	return all
}

// urlForms are the forms of URLs, for people.
func urlForms() string {
	return "a webhook's URL as Slack (https://hooks.slack.com/services/…), Discord (https://discord.com/api/webhooks/…) and the Teams app Workflows give it, or a service URL as in shoutrrr: " +
		"slack://hook:A-B-C@webhook, slack://xoxb:TOKEN@CHANNEL, discord://TOKEN@ID, telegram://TOKEN@telegram?chats=CHAT, teams+https://HOST/…, ntfy://USER:PASSWORD@HOST/TOPIC (with an access token ntfy://:TOKEN@HOST/TOPIC), " +
		"gotify://HOST/TOKEN, mattermost://HOST/TOKEN/CHANNEL; the last three take ?disabletls=yes. Or one of shoutrrr's services: " + moreSchemes() + " (their forms: `nudge channels chat`)"
}

// formOf is the form of the URLs of a scheme; of those that are not shoutrrr's alone it is all forms.
func formOf(scheme string) string {
	for _, m := range mores() {
		if m.scheme == scheme {
			return "write " + strings.ReplaceAll(m.form, "`", "")
		}
	}
	return urlForms()
}

// parse makes a service of the URL of the config. No problem quotes the URL: it is a secret.
func parse(text string) (*service, error) {
	scheme := ""
	bad := func(summary string) error {
		return channels.Problem{Field: "url", Summary: summary, Suggest: formOf(scheme)}
	}
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return nil, bad("is not a URL")
	}
	if own := pastedMore(u); own != nil {
		u = own
	}
	scheme = u.Scheme
	build := makers()[scheme]
	if u.Scheme == "https" {
		build = pasted(u)
	}
	if build == nil {
		return nil, bad("is of no service that this adapter knows")
	}
	s, problem := build(u)
	if problem != "" {
		return nil, bad(problem)
	}
	if p, err := url.Parse(s.post); err != nil || p.Hostname() == "" {
		return nil, bad("names no host")
	}
	s.hide(u.String(), strings.TrimSpace(text))
	for _, of := range []string{s.post, s.probe.url} {
		if p, err := url.Parse(of); err == nil {
			s.hide(of, p.RequestURI(), p.Path)
		}
	}
	slices.SortStableFunc(s.hidden, longestFirst)
	s.hidden = slices.Clip(slices.Compact(s.hidden))
	return s, nil
}

// pasted finds the service of a webhook's own URL by its host.
func pasted(u *url.URL) maker {
	host := u.Hostname()
	under := func(domains ...string) bool {
		return slices.ContainsFunc(domains, func(d string) bool { return host == d || strings.HasSuffix(host, "."+d) })
	}
	switch {
	case under("hooks.slack.com", "hooks.slack-gov.com"):
		return slackHook
	case under("discord.com", "discordapp.com"):
		return discordHook
	case under("webhook.office.com", "outlook.office.com"):
		return retiredTeams
	case under("logic.azure.com", "api.powerplatform.com", "logic.azure.us", "logic.azure.cn"):
		return teamsURL
	case under("ntfy.sh"):
		return ntfyURL
	}
	return nil
}

// pastedMore is the URL for shoutrrr of a webhook's own URL, nil for any other.
func pastedMore(u *url.URL) *url.URL {
	at, segments := *u, parts(u.Path)
	switch {
	case u.Scheme != "https":
	case u.Host == "chat.googleapis.com":
		at.Scheme = "googlechat"
		return &at
	case (u.Host == "open.larksuite.com" || u.Host == "open.feishu.cn") && len(segments) > 1:
		at.Scheme, at.Path = "lark", "/"+segments[len(segments)-1]
		return &at
	case u.Host == "qyapi.weixin.qq.com":
		return &url.URL{Scheme: "wecom", Host: u.Query().Get("key")}
	}
	return nil
}

// moveTo puts another scheme and host before the paths, for a proxy or a local server, and returns the
// host that is posted to.
func (s *service) moveTo(host string) (string, error) {
	to, err := url.Parse(host)
	if host != "" && (err != nil || to.Host == "" || (to.Scheme != "https" && to.Scheme != "http") || strings.Trim(to.Path, "/") != "" || to.RawQuery != "") {
		return "", channels.Problem{Field: "host", Summary: "is not an http or https URL of a host", Suggest: "for example https://127.0.0.1:8443"}
	}
	for _, of := range []*string{&s.post, &s.probe.url} {
		u, err := url.Parse(*of)
		if err != nil {
			return "", channels.Problem{Field: "url", Summary: "is not a URL"}
		}
		if host != "" {
			u.Scheme, u.Host = to.Scheme, to.Host
		}
		*of = u.String()
	}
	if s.by != nil && host != "" {
		s.by.to = to
	}
	u, err := url.Parse(s.post)
	if err != nil {
		return "", channels.Problem{Field: "url", Summary: "is not a URL"}
	}
	return u.Host, nil
}

// hide keeps texts out of errors, as they are and as URLs write them.
func (s *service) hide(texts ...string) {
	for _, text := range texts {
		for _, form := range forms(text) {
			if !slices.Contains(s.hidden, form) {
				s.hidden = append(s.hidden, form)
			}
		}
	}
}

// longestFirst is the order in which texts are masked: else what is left of a URL after its token has been would stay.
func longestFirst(a, b string) int { return len(b) - len(a) }

// forms are a text as it is and as URLs write it, if it is long enough to be a secret.
func forms(text string) []string {
	all := []string{text, url.PathEscape(text), url.QueryEscape(text)}
	return slices.DeleteFunc(slices.Compact(all), func(form string) bool { return len(form) < 4 })
}

// parts are the segments of a path.
func parts(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// onlyQuery says that a URL has parameters beside those, "" if it has none. It does not name them: one may
// be a token that went astray.
func onlyQuery(u *url.URL, names ...string) string {
	for name := range u.Query() {
		switch {
		case slices.Contains(names, name):
		case len(names) == 0:
			return "has parameters, and none is known for this service"
		default:
			return "has other parameters than " + strings.Join(names, ", ")
		}
	}
	return ""
}

// own begins the URL of a server of one's own: https, unless disabletls is yes or scheme is http.
func own(u *url.URL) *url.URL {
	plain := yes(u.Query().Get("disabletls")) || u.Query().Get("scheme") == "http"
	scheme := "https"
	if plain {
		scheme = "http"
	}
	return &url.URL{Scheme: scheme, Host: u.Host}
}
