package webpush

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"nudge/channels"
)

// browserServices are the push services of the browsers there are: Chrome and its kin, Firefox,
// Safari, Edge.
func browserServices() []string {
	return []string{
		"fcm.googleapis.com", "updates.push.services.mozilla.com", "*.push.services.mozilla.com",
		"web.push.apple.com", "*.push.apple.com", "*.notify.windows.com",
	}
}

// errPrivate is the error of a connection that would have led into a private network.
var errPrivate = errors.New("the push service's address is not a public one")

// services says which hosts may be asked. Endpoints come from browsers, that is from anybody:
// without it whoever may register a device could have us post to any host that we can reach.
type services struct {
	exact []string // host:port; named by the workspace, so they may also be private
	tails []string // ".notify.windows.com": port 443, public addresses
	any   bool     // port 443, public addresses

	proxy   func(*http.Request) (*url.URL, error)
	proxies sync.Map // host:port of the proxies in use
	guarded net.Dialer
	plain   net.Dialer
}

// newServices reads the config.
func newServices(list []string, proxy func(*http.Request) (*url.URL, error)) (*services, error) {
	s := &services{proxy: proxy, plain: net.Dialer{Timeout: 10 * time.Second}}
	s.guarded = s.plain
	s.guarded.Control = refusePrivate
	for i, entry := range list {
		entry = strings.ToLower(strings.TrimSpace(entry))
		tail, wild := strings.CutPrefix(entry, "*.")
		switch {
		case entry == "*":
			s.any = true
		case wild && tail != "" && !strings.ContainsAny(tail, "*/:@"):
			s.tails = append(s.tails, "."+tail)
		case entry != "" && !strings.ContainsAny(entry, "*/@"):
			s.exact = append(s.exact, withPort(entry))
		default:
			return nil, channels.Problem{Field: fmt.Sprintf("services[%d]", i), Summary: "is not a host", Suggest: "for example push.example.com, *.push.example.com, 127.0.0.1:8443, or * for every public host"}
		}
	}
	return s, nil
}

// withPort adds https's port where there is none.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "443")
}

// allows says whether an endpoint's host may be asked.
func (s *services) allows(u *url.URL) bool {
	at := withPort(u.Host)
	if slices.Contains(s.exact, at) {
		return true
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil || port != "443" {
		return false
	}
	if literal, err := netip.ParseAddr(host); err == nil && !public(literal) {
		return false // said here too, because through a proxy it is the proxy that connects
	}
	return s.any || slices.ContainsFunc(s.tails, func(tail string) bool { return strings.HasSuffix(host, tail) })
}

// through finds the proxy for a request and remembers it: what leads to it is no endpoint.
func (s *services) through(r *http.Request) (*url.URL, error) {
	u, err := s.proxy(r)
	if u != nil {
		at := u.Host
		if u.Port() == "" {
			port := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
			at = net.JoinHostPort(u.Hostname(), port)
		}
		s.proxies.Store(at, true)
	}
	return u, err
}

// dial connects. A host that the workspace does not name itself must have a public address, and is
// connected to by the address that was looked at: a name that answers otherwise the second time
// leads nowhere else.
func (s *services) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if _, proxy := s.proxies.Load(addr); proxy || slices.Contains(s.exact, addr) {
		return s.plain.DialContext(ctx, network, addr)
	}
	return s.guarded.DialContext(ctx, network, addr)
}

// refusePrivate is a net.Dialer's Control.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !public(at.Addr()) {
		return errPrivate
	}
	return nil
}

// notPublic are the special ranges that package netip does not know: this network, shared address
// space, protocol assignments, benchmarks, reserved, and IPv6 forms that carry an IPv4 address.
func notPublic() []string {
	return []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	}
}

// public says whether an address is one of the open Internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	return !slices.ContainsFunc(notPublic(), func(block string) bool { return netip.MustParsePrefix(block).Contains(a) })
}
