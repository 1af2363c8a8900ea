package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/enginetest"
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
