package e2etest_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"nudge/channels/channeltest/webpushd"
)

// TestPictures makes the pictures of docs/webpush.md (`make pictures`). It drives the example as
// TestABrowserGetsAPushAndReportsTheClick does, but in a window: Chromium itself asks for the permission and draws
// the notification, and a mouse clicks on them.
func TestPictures(t *testing.T) {
	folder := os.Getenv("NUDGE_PICTURES")
	if folder == "" {
		t.Skip("NUDGE_PICTURES names no folder for them: make pictures does")
	}
	chromium := findChromium(t)
	s := openShop(t, "127.0.0.1:8000") // as the page says, for it is in the picture
	p := s.place
	screen := &screen{t: t, folder: folder}
	b := openBrowser(t, chromium, s.origin, string(webpushd.Subscription(s.service.Addr(), "ann")),
		chromedp.VisibleWindow, chromedp.WindowSize(screenWidth, screenHeight), chromedp.Flag("window-position", "0,0"),
		// Else it hands notifications to the desktop, of which there is none.
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,SystemNotifications,NativeNotifications"),
		chromedp.Flag("enable-automation", false), chromedp.Flag("test-type", true)) // no bars that say what it is run by

	b.run(chromedp.Navigate(s.origin + "/"))
	screen.changed()
	b.run(chromedp.Click(chromedp.CSS("#subscribe")))
	screen.shoot("webpush-site.png")
	p.eventually(func() bool { // for a moment it takes no clicks, so that nobody allows what they have not read
		screen.click(390, 216) // Allow
		granted, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`Notification.permission === "granted"`))
		require.NoError(t, err)
		return granted
	}, "a click allows notifications")
	b.becomes("You will hear from us.", `document.querySelector("output").textContent`)
	b.run(chromedp.Click(chromedp.CSS(`[data-product="Tea"]`)))
	b.becomes("Product Added was sent.", `document.querySelector("output").textContent`)
	p.stored()
	p.clock.jump(time.Minute)
	p.clock.next(time.Minute)
	accepted(p, s.service.Log, 1)
	screen.changed()

	b.push(s.origin, s.service.Waiting("ann")[0].Plain)
	const told = "SELECT count() FROM events WHERE event = 'Message %s' AND user_id = 'ann' AND strs['rule'] = 'cart-left'"
	p.becomes("1", told, "Delivered")
	screen.shoot("webpush-notification.png")

	p.clock.jump(2 * time.Second)                  // sooner no human taps
	screen.click(screenWidth-312, screenHeight-37) // Buy now
	p.becomes("1", told, "Opened")
	p.becomes("1", told, "Clicked")
	screen.shoot("webpush-clicked.png")
	targets, err := chromedp.Targets(b.ctx)
	require.NoError(t, err)
	var pages []string
	for _, target := range targets {
		if target.Type == "page" {
			pages = append(pages, strings.TrimPrefix(target.URL, s.origin))
		}
	}
	require.ElementsMatch(t, []string{"/", "/?buy=1"}, pages)
}

// The size of the screen (Makefile), in pixels.
const (
	screenWidth  = 900
	screenHeight = 560
)

// screen is the X screen that the test runs on.
type screen struct {
	t      *testing.T
	folder string // for pictures
	last   []byte // what was on it
}

// shoot takes a picture of what has changed.
func (s *screen) shoot(name string) {
	s.t.Helper()
	s.changed()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.folder, name), s.last, 0o644))
}

// changed waits until something else is to be seen than when it was last asked, and nothing moves.
func (s *screen) changed() {
	s.t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	poll := time.NewTicker(500 * time.Millisecond)
	defer poll.Stop()
	file := filepath.Join(s.t.TempDir(), "screen.png")
	for before := s.last; ; {
		s.command("scrot", "--overwrite", file)
		now, err := os.ReadFile(file)
		require.NoError(s.t, err)
		if bytes.Equal(now, before) && !bytes.Equal(now, s.last) {
			s.last = now
			return
		}
		before = now
		select {
		case <-poll.C:
		case <-late.C:
			require.FailNow(s.t, "the screen does not change, or does not come to rest")
		}
	}
}

// click clicks somewhere.
func (s *screen) click(x, y int) {
	s.t.Helper()
	s.command("xdotool", "mousemove", strconv.Itoa(x), strconv.Itoa(y), "click", "1")
}

func (s *screen) command(name string, args ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), within)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(s.t, err, "%s: %s", name, out)
}
