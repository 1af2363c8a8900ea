package channeltest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"nudge/channels"
	"nudge/channels/channeltest/provider"
)

// Refusals are the cases of the refusals in a table of answers whose lines have a status.
func Refusals(table []channels.Answer) []Case {
	var cases []Case
	for _, a := range table {
		if a.Class != "" {
			cases = append(cases, Case{Name: fmt.Sprintf("%d %s", a.Status, a.Code), Fault: provider.Fault{Status: a.Status, Code: a.Code}, Class: a.Class, Code: a.Code})
		}
	}
	return cases
}

// Pages are the cases of answers that are web pages and not the provider's own, by their statuses.
func Pages(classes map[int]channels.Class) []Case {
	var cases []Case
	for status, class := range classes {
		cases = append(cases, Case{
			Name: fmt.Sprintf("%d page", status), Fault: provider.Fault{Status: status, Body: []byte("<html>no</html>")}, Class: class, Code: strconv.Itoa(status),
		})
	}
	return cases
}

// Later is the case of an answer with a status, and the provider's code if it is not "", that says when to try again.
func Later(status int, code string) Case {
	return Case{
		Name: fmt.Sprintf("%d %s with Retry-After", status, code), Class: channels.ClassOfStatus(status), Code: code, After: 7 * time.Second,
		Fault: provider.Fault{Status: status, Code: code, Header: http.Header{"Retry-After": {"7"}}},
	}
}
