package e2etest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest/webpushd"
	"nudge/channels/webpush"
	"nudge/events/clickhouse/clickhousetest"
)

// webShop is the folder of the example that the test drives.
const webShop = "../../examples/web"

// TestABrowserGetsAPushAndReportsTheClick drives the example of web push in a real Chromium: its page
// subscribes and puts something into the cart, nudge pushes to a push service on this machine, Chromium
// is given what was decrypted there, its service worker shows it, and the click is reported.
//
// One thing is made up: Chromium cannot subscribe at a push service of ours, so PushManager.subscribe is
// replaced by one that returns a subscription there.
func TestABrowserGetsAPushAndReportsTheClick(t *testing.T) {
	chromium := findChromium(t)
	t.Parallel()
	s := openShop(t, "127.0.0.1:0")
	p, origin := s.place, s.origin

	b := openBrowser(t, chromium, origin, string(webpushd.Subscription(s.service.Addr(), "ann")))
	b.allow(origin)
	b.run(chromedp.Navigate(origin+"/"), chromedp.Click(chromedp.CSS("#subscribe")))
	b.becomes("You will hear from us.", `document.querySelector("output").textContent`)
	p.becomes(s.service.Token("ann"), "SELECT token FROM devices WHERE platform = 'web'")
	b.run(chromedp.Click(chromedp.CSS(`[data-product="Tea"]`)))
	b.becomes("Product Added was sent.", `document.querySelector("output").textContent`)
	p.stored()
	p.clock.jump(time.Minute)
	p.clock.next(time.Minute)

	accepted(p, s.service.Log, 1)
	pushed := s.service.Waiting("ann")
	require.Len(t, pushed, 1)
	require.Equal(t, "low", pushed[0].Urgency)
	require.Equal(t, 4*time.Hour, pushed[0].TTL)
	var message struct{ ID, Title string }
	require.NoError(t, json.Unmarshal(pushed[0].Plain, &message))

	// The browser shows it, once however often it comes, and reports that.
	for range 2 {
		b.push(origin, pushed[0].Plain)
		b.becomes(`[{"title":"Still thinking about Tea?","body":"It is waiting in your cart.","tag":"cart","actions":["buy","later"]}]`,
			`navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((shown) => JSON.stringify(shown.map(
				(n) => ({title: n.title, body: n.body, tag: n.tag, actions: n.actions.map((a) => a.action)}))))`)
	}
	const told = "SELECT count() FROM events WHERE event = 'Message %s' AND user_id = 'ann' AND strs['rule'] = 'cart-left'"
	p.becomes("1", told, "Delivered")

	// A tap on one of its buttons.
	p.clock.jump(2 * time.Second) // sooner no human taps
	b.inWorker(`self.registration.getNotifications().then(([notification]) =>
		self.dispatchEvent(new NotificationEvent("notificationclick", {notification, action: "buy"})))`)
	p.becomes("1", told, "Opened")
	p.becomes("1", told, "Clicked")
	p.becomes("0", "SELECT count() FROM events WHERE event = 'Message Clicked' AND NOT endsWith(message_id, '/clicked')")
	b.becomes("0", `navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((shown) => String(shown.length))`)

	// The person has had enough: the page says so, and the device is gone.
	b.run(chromedp.Click(chromedp.CSS("#unsubscribe")))
	b.becomes("You will hear no more.", `document.querySelector("output").textContent`)
	p.becomes("app", "SELECT reason FROM devices WHERE token = '%s' AND removed", s.service.Token("ann"))
}

// shop is the example as it runs: nudge, the site, and the push service of the people's browsers.
type shop struct {
	place   *place
	service *webpushd.Server
	origin  string // of the site
}

// openShop starts it, the site at an address.
func openShop(t *testing.T, addr string) *shop {
	t.Helper()
	keys, err := webpush.NewKeys()
	require.NoError(t, err)
	c := &clock{}
	service, err := webpushd.Start(webpushd.Config{Key: keys.Public, Now: c.Now})
	require.NoError(t, err)
	t.Cleanup(service.Close)
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	origin := "http://" + l.Addr().String()

	// The files of the site name nudge's address, and the rule names the site's.
	p := settle(t, map[string]string{
		"secrets/vapid": keys.Private, "secrets/ca.pem": string(service.CA.PEM),
		"events.yaml":     example(t, "events.yaml"),
		"rules/cart.yaml": strings.ReplaceAll(example(t, "rules/cart.yaml"), "http://127.0.0.1:8000", origin),
		"nudge.yaml": fmt.Sprintf(`
zone: UTC
channels:
  push:
    adapter: webpush
    track_links: false
    config: {private_key: {file: secrets/vapid}, subject: "mailto:push@shop.example", services: ["%s"], ca: secrets/ca.pem}
`, service.Addr()),
	})
	p.clock = c
	p.store = clickhousetest.NewUnmigrated(t)
	p.run()
	ours := strings.NewReplacer("http://127.0.0.1:8080", "http://"+p.addr, "wk_web", publicKey)
	site := &http.Server{ReadHeaderTimeout: within, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		if name == "" {
			name = "index.html"
		}
		raw, err := os.ReadFile(filepath.Join(webShop, "site", name))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		_, _ = ours.WriteString(w, string(raw))
	})}
	go func() { _ = site.Serve(l) }()
	t.Cleanup(func() { _ = site.Close() })
	p.clock.next(time.Minute)
	p.becomes("1", "SELECT count() > 0 FROM shard_log WHERE kind = 'looked'") // what comes from now on is new
	return &shop{place: p, service: service, origin: origin}
}

// findChromium is the path of one; without it the test is skipped.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("neither chromium nor google-chrome is installed: the service worker is not tried in a browser")
	return ""
}

// example is a file of the example.
func example(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(webShop, name))
	require.NoError(t, err)
	return string(raw)
}

// chrome is a browser with one page.
type chrome struct {
	t            *testing.T
	ctx          context.Context //nolint:containedctx // chromedp keeps the page in it
	registration chan serviceworker.RegistrationID
}

// openBrowser starts a browser in which the site gets a subscription that is given as JSON.
func openBrowser(t *testing.T, path, origin, subscription string, more ...chromedp.ExecAllocatorOption) *chrome {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("headless", "new"),
		// A headless one says so, and nudge takes it for a machine.
		chromedp.UserAgent("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36"))
	allocated, stop := chromedp.NewExecAllocator(t.Context(), append(options, more...)...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	b := &chrome{t: t, ctx: ctx, registration: make(chan serviceworker.RegistrationID, 1)}
	updates := chromedp.Events(ctx, serviceworker.WorkerRegistrationUpdated)
	go func() {
		for update, err := range updates {
			if err != nil {
				return
			}
			for _, r := range update.Registrations {
				if !strings.HasPrefix(r.ScopeURL, origin) || r.IsDeleted {
					continue
				}
				select {
				case b.registration <- r.RegistrationID:
				default:
				}
			}
		}
	}()
	stub := fmt.Sprintf(`{
		const sub = %s;
		let made = null;
		PushManager.prototype.getSubscription = async () => made;
		PushManager.prototype.subscribe = async (options) => {
			if (!options.userVisibleOnly || options.applicationServerKey.length !== 65) throw new Error("not what browsers take");
			return made = {toJSON: () => sub, unsubscribe: async () => { made = null; return true; }};
		};
	}`, subscription)
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := chromedp.Call(limited, serviceworker.Enable, cdp.Empty{})
	require.NoError(t, err)
	_, err = chromedp.Call(limited, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: stub})
	require.NoError(t, err)
	return b
}

// allow answers the question whether the site may show notifications, before it is asked.
func (b *chrome) allow(origin string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	_, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "notifications"}, Setting: browser.PermissionSettingGranted, Origin: origin,
	})
	require.NoError(b.t, err)
}

// run does something on the page.
func (b *chrome) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, actions...))
}

// becomes waits until an expression of the page has a value.
func (b *chrome) becomes(want, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	got := ""
	for got != want {
		now, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
		require.NoError(b.t, err, "last: %s, want: %s", got, want)
		got = now
		<-poll.C
	}
}

// push gives the service worker a push message, as the browser does once it has decrypted one.
func (b *chrome) push(origin string, plain []byte) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	var id serviceworker.RegistrationID
	select {
	case id = <-b.registration:
		b.registration <- id
	case <-ctx.Done():
		require.FailNow(b.t, "the service worker was not registered")
	}
	_, err := chromedp.Call(ctx, serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{
		Origin: origin, RegistrationID: id, Data: string(plain),
	})
	require.NoError(b.t, err)
}

// inWorker evaluates something in the service worker.
func (b *chrome) inWorker(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	targets, err := chromedp.Targets(ctx)
	require.NoError(b.t, err)
	for _, info := range targets {
		if info.Type != "service_worker" {
			continue
		}
		worker, end := chromedp.NewContext(b.ctx, chromedp.WithTargetID(info.TargetID))
		b.t.Cleanup(end)
		_, err := chromedp.Run(worker, chromedp.Evaluate[chromedp.Void](expression, chromedp.EvalAwaitPromise))
		require.NoError(b.t, err)
		return
	}
	require.FailNow(b.t, "there is no service worker")
}
