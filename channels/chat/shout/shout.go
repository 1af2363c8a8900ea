// Package shout is the library shoutrrr in a process of its own, as something that writes requests and sends none.
//
// The library posts by itself, through http.DefaultTransport, without a context, a bound on answers, or a word about
// statuses and Retry-After. So it runs in a child of this program in which http.DefaultTransport is a recorder: what
// the library would send comes back to the parent, which sends it by its own client, under its own rules. A post of
// several requests is played again from the beginning with the answers so far, until the next request comes. So the
// child never reaches the network, has nothing to cancel, and knows nothing between two steps; and no global of the
// parent is changed.
package shout

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/googlechat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/lark"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/matrix"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/rocketchat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/signal"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/wecom"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/zulip"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/opsgenie"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/pagerduty"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/bark"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/ifttt"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/join"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/pushover"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/notifiarr"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// Post is a message to one service.
type Post struct {
	URL    string            `json:"url"` // the library's form, with its secrets
	Text   string            `json:"text"`
	Params map[string]string `json:"params,omitempty"` // the library's, by service: "title", "priority"
}

// Request is one that the library wants sent.
type Request struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

// Answer is what came back to a request.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

// service makes the library's service of a scheme; nil is one that is not used from here.
func service(scheme string) types.Service {
	switch scheme {
	case "bark":
		return &bark.Service{}
	case "googlechat":
		return &googlechat.Service{}
	case "ifttt":
		return &ifttt.Service{}
	case "join":
		return &join.Service{}
	case "lark":
		return &lark.Service{}
	case "matrix":
		return &matrix.Service{}
	case "notifiarr":
		return &notifiarr.Service{}
	case "opsgenie":
		return &opsgenie.Service{}
	case "pagerduty":
		return &pagerduty.Service{}
	case "pushover":
		return &pushover.Service{}
	case "rocketchat":
		return &rocketchat.Service{}
	case "signal":
		return &signal.Service{}
	case "wecom":
		return &wecom.Service{}
	case "zulip":
		return &zulip.Service{}
	}
	return nil
}

// ErrPassword refuses a URL with which the library would sign in as soon as it reads it.
var ErrPassword = errors.New("it signs in by a password")

// Parse lets the library read a URL, without a process and without a request. Its error may quote the URL.
func Parse(text string) error {
	_, err := open(text)
	return err
}

// open makes the library's service of a URL. A service is used for one post: several of them write what belongs to one
// message into what they keep of the URL.
func open(text string) (s types.Service, err error) {
	defer func() {
		if recover() != nil { // the library takes apart what it has not looked at
			s, err = nil, errors.New("the library cannot read it")
		}
	}()
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	if s = service(strings.ToLower(u.Scheme)); s == nil {
		return nil, errors.New("it is of no service")
	}
	if _, ok := s.(*matrix.Service); ok && u.User.Username() != "" {
		return nil, ErrPassword
	}
	if err := s.Initialize(u, nil); err != nil {
		return nil, fmt.Errorf("reading the URL: %w", err)
	}
	return s, nil
}
