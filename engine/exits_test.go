package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/enginetest"
	"nudge/events"
)

// TestAnExitThatComesToBeFiltered has an event that ends queued entries, of which nothing is read, and
// then a reload after which a filter reads it: those that came before count by what they say.
func TestAnExitThatComesToBeFiltered(t *testing.T) {
	for name, test := range map[string]struct {
		exit string
		want []string
	}{
		"read":           {"exit: {event: Paid, where: properties.amount > 5}", []string{"queued ann exited", "queued bob send", "queued cyd send"}},
		"read otherwise": {"exit: {event: Paid, where: properties.amount < 5}", []string{"queued ann send", "queued bob exited", "queued cyd send"}},
		"still not read": {"exit: {event: Paid}\npriority: 60", []string{"queued ann exited", "queued bob exited", "queued cyd send"}},
	} {
		t.Run(name, func(t *testing.T) {
			queued := func(exit string) string {
				return rule("queued", "on: {event: Begun}\nagain: each_time\nexpire: 10h\n"+exit)
			}
			w := enginetest.New(t, map[string]string{
				"nudge.yaml":        config,
				"rules/queued.yaml": queued("exit: {event: Left}"),
				"rules/other.yaml":  rule("other", "on: {event: Something Else}\nagain: each_time\nexit: {event: Paid}"),
			})
			down := true
			w.Sent.Answer = func(channels.Message, int) error {
				if down {
					return &channels.DeliveryError{Class: channels.ClassTemporary, RetryAfter: 30 * time.Minute, Err: errors.New("not now")}
				}
				return nil
			}
			for _, user := range []string{"ann", "bob", "cyd"} {
				w.Track(user, "Begun", nil)
			}
			w.To(minute)
			w.Track("ann", "Paid", map[string]any{"amount": 9})
			w.Track("bob", "Paid", map[string]any{"amount": 1})
			w.To(2 * minute)
			w.Write(map[string]string{"rules/queued.yaml": queued(test.exit)})
			w.Reload()
			down = false
			w.To(4 * hour)
			require.Equal(t, test.want, answers(w))
		})
	}
}

// TestAnExitOfTheSameInstant has an app that sends in one batch what happens at one instant: the exit that came behind
// what it ends counts, in the store, in what is on its way and after a restart. One that came before does not.
func TestAnExitOfTheSameInstant(t *testing.T) {
	w := world(t, map[string]string{
		"cart":   "schedule: \"*/5 * * * *\"\nfor_each: event(\"Added\").by(\"cart\")\nwhen: it.last.ago >= minutes(10)\nagain: never\nexpire: 10h\nexit: {event: Ordered}",
		"queued": "on: {event: Added}\nagain: each_time\nexpire: 10h\nexit: {event: Ordered}",
	})
	w.Sent.Answer = func(channels.Message, int) error {
		return &channels.DeliveryError{Class: channels.ClassTemporary, RetryAfter: 30 * time.Minute, Err: errors.New("not now")}
	}
	cart := map[string]any{"cart": "c"}
	w.Together(func() {
		w.Track("ann", "Added", cart)
		w.Track("ann", "Ordered", nil)
		w.Track("bob", "Ordered", nil)
		w.Track("bob", "Added", cart)
		w.Track("cyd", "Added", cart)
	})
	at := w.Clock.Now().UnixMilli()
	w.To(12 * minute)
	w.Send(events.Event{Kind: events.KindTrack, UserID: "cyd", Name: "Ordered", Time: at, Properties: []byte(`{}`)}) // late, while both are on their way
	w.Restart()
	w.Sent.Answer = nil
	w.To(4 * hour)
	require.Equal(t, []string{"cart annc exited", "cart bobc send", "cart cydc exited", "queued ann exited", "queued bob send", "queued cyd exited"}, answers(w))
	require.Equal(t, []string{"bob: queued", "bob: cart"}, w.Accepted(), "what was on its way to cyd was stopped")
}
