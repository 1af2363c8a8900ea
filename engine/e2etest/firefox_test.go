package e2etest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"
)

// TestFirefoxSubscribesAndDecryptsAPush drives the example in a real Firefox, in which nothing is made up: it subscribes at the
// push service on this machine, gets what nudge has encrypted, decrypts it, and its service worker shows it and says so.
func TestFirefoxSubscribesAndDecryptsAPush(t *testing.T) {
	path := ""
	for _, name := range []string{"firefox", "firefox-esr"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("firefox is not installed: subscribing and decrypting are not tried in a browser")
	}
	t.Parallel()
	s := openShop(t, "127.0.0.1:0")
	p := s.place
	service := httptest.NewServer(s.service.Browsers())
	t.Cleanup(service.Close)
	f := openFirefox(t, path, strings.Replace(service.URL, "http", "ws", 1))
	f.open(s.origin)

	require.Equal(t, "You will hear from us.", f.click("#subscribe"))
	p.becomes("1", "SELECT count() FROM devices WHERE platform = 'web' AND NOT removed")
	require.Equal(t, "Product Added was sent.", f.click(`[data-product="Tea"]`))
	p.stored()
	p.clock.jump(time.Minute)
	p.clock.next(time.Minute)

	accepted(p, s.service.Log, 1)
	const told = "SELECT count() FROM events WHERE event = 'Message Delivered' AND user_id = 'ann' AND strs['rule'] = 'cart-left'"
	p.becomes("1", told)
	require.JSONEq(t, `[{"title": "Still thinking about Tea?", "body": "It is waiting in your cart.", "tag": "cart"}]`,
		f.eval(`navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((shown) => JSON.stringify(shown.map(
			({title, body, tag}) => ({title, body, tag}))))`))

	require.Equal(t, "You will hear no more.", f.click("#unsubscribe"))
	p.becomes("1", "SELECT count() FROM devices WHERE removed AND reason = 'app'")
}

// firefox is a browser with one page, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).
type firefox struct {
	t    *testing.T
	ws   *websocket.Conn
	last int
	page string // id of the browsing context
}

// openFirefox starts one whose push service is at an address, and in which sites may show notifications.
func openFirefox(t *testing.T, path, service string) *firefox {
	t.Helper()
	profile, err := os.MkdirTemp("", "firefox") //nolint:usetesting // its processes write on for a moment after the test's end
	require.NoError(t, err)
	var prefs strings.Builder
	for name, value := range map[string]any{
		"dom.push.serverURL":                       service,
		"dom.push.testing.allowInsecureServerURL":  true,
		"dom.push.connection.enabled":              true,
		"permissions.default.desktop-notification": 1,
		"alerts.useSystemBackend":                  false,
	} {
		raw, err := json.Marshal(value)
		require.NoError(t, err)
		fmt.Fprintf(&prefs, "user_pref(%q, %s);\n", name, raw)
	}
	require.NoError(t, os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs.String()), 0o600))
	command := exec.CommandContext(t.Context(), path, "--headless", "--no-remote", "--profile", profile,
		"--remote-debugging-port", "0", "--remote-allow-origins", "http://127.0.0.1/")
	command.Env = append(os.Environ(), "HOME="+profile)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	said, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Wait()
		_ = os.RemoveAll(profile)
	})
	listening := regexp.MustCompile(`WebDriver BiDi listening on (ws://\S+)`)
	lines := bufio.NewScanner(said)
	address := ""
	for address == "" && lines.Scan() {
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			address = found[1]
		}
	}
	require.NotEmpty(t, address, "Firefox does not say where it listens")
	go func() {
		_, _ = io.Copy(io.Discard, said) // or it would block
	}()
	ws, err := websocket.Dial(address+"/session", "", "http://127.0.0.1/")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	f := &firefox{t: t, ws: ws}
	f.do("session.new", map[string]any{"capabilities": map[string]any{}}, nil)
	return f
}

// do has the browser execute a command.
func (f *firefox) do(method string, params map[string]any, result any) {
	f.t.Helper()
	f.last++
	require.NoError(f.t, f.ws.SetDeadline(time.Now().Add(within)))
	require.NoError(f.t, websocket.JSON.Send(f.ws, map[string]any{"id": f.last, "method": method, "params": params}))
	for {
		var answer struct {
			ID      int             `json:"id"`
			Result  json.RawMessage `json:"result"`
			Error   string          `json:"error"`
			Message string          `json:"message"`
		}
		require.NoError(f.t, websocket.JSON.Receive(f.ws, &answer))
		if answer.ID != f.last {
			continue // something that happened
		}
		require.Empty(f.t, answer.Error, "%s: %s", method, answer.Message)
		if result != nil {
			require.NoError(f.t, json.Unmarshal(answer.Result, result))
		}
		return
	}
}

// open leads to a page.
func (f *firefox) open(url string) {
	f.t.Helper()
	var tree struct {
		Contexts []struct {
			Context string `json:"context"`
		} `json:"contexts"`
	}
	f.do("browsingContext.getTree", map[string]any{}, &tree)
	require.NotEmpty(f.t, tree.Contexts)
	f.page = tree.Contexts[0].Context
	f.do("browsingContext.navigate", map[string]any{"context": f.page, "url": url, "wait": "complete"}, nil)
}

// eval is the text that an expression of the page becomes, as if a person had done it.
func (f *firefox) eval(expression string) string {
	f.t.Helper()
	var got struct {
		Type   string `json:"type"`
		Result struct {
			Value string `json:"value"`
		} `json:"result"`
		Exception struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	f.do("script.evaluate", map[string]any{
		"expression": expression, "target": map[string]any{"context": f.page}, "awaitPromise": true, "userActivation": true,
	}, &got)
	require.Equal(f.t, "success", got.Type, got.Exception.Text)
	return got.Result.Value
}

// click is what the page says after a click on one of its buttons.
func (f *firefox) click(selector string) string {
	f.t.Helper()
	return f.eval(fmt.Sprintf(`new Promise((said) => {
		const output = document.querySelector("output");
		output.textContent = "";
		new MutationObserver(() => said(output.textContent)).observe(output, {childList: true});
		document.querySelector(%s).click();
	})`, quoted(selector)))
}

// quoted is a text as JavaScript has it.
func quoted(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}
