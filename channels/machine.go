package channels

import (
	"slices"
	"strings"
)

// ByMachine says whether a user agent is that of a program that opens mail and follows links unasked, as far as one can
// tell: an image proxy, a scanner, a preview.
func ByMachine(agent string) bool {
	agent = strings.ToLower(strings.TrimSpace(agent))
	if agent == "mozilla/5.0" { // Apple Mail Privacy Protection says no more than this
		return true
	}
	words := []string{ // "bot" alone is also a maker of phones
		"googleimageproxy", "ggpht.com", "yahoomailproxy", "bot/", "bot;", "+http", "crawler", "spider",
		"preview", "facebookexternalhit", "slack-imgproxy", "whatsapp", "proofpoint", "barracuda",
		"mimecast", "safelinks", "headlesschrome", "scanner",
	}
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(agent, word) })
}
