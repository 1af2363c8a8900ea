package app_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/channels"
	"nudge/engine/enginetest"
	"nudge/engine/ledger"
)

// TestAMessageThatTheSenderCouldNotRenderComesBackOnlyWhenItChanges loses the version of a queued message:
// the sender answers template_failed, and the loop must know of which message.
func TestAMessageThatTheSenderCouldNotRenderComesBackOnlyWhenItChanges(t *testing.T) {
	const rule = "rule: cart\nschedule: \"*/5 * * * *\"\nwhen: event(\"Added\").count > 0\nagain: {after: 10m}\npriority: 40\nmessage: {mail: {subject: one}}\n"
	for name, tc := range map[string]struct {
		old, new string
		want     []string
	}{
		"the same message":  {"priority: 40", "priority: 41", []string{}},
		"a changed message": {"subject: one", "subject: two", []string{"two"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := enginetest.New(t, map[string]string{"nudge.yaml": mailYAML, "rules/cart.yaml": rule})
			var works atomic.Bool
			w.Sent.Answer = func(channels.Message, int) error {
				if works.Load() {
					return nil
				}
				return &channels.DeliveryError{Class: channels.ClassTemporary, Err: errors.New("down")}
			}
			w.To(6 * enginetest.Minute) // the first look is over
			w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
			w.Track("ann", "Added", nil)
			w.To(11 * enginetest.Minute)
			require.NotEmpty(t, w.Sent.Attempts())
			require.NoError(t, w.Store.Conn().Exec(t.Context(), "TRUNCATE TABLE sources"))
			w.Write(map[string]string{"rules/cart.yaml": strings.Replace(rule, tc.old, tc.new, 1)})
			w.Restart()
			works.Store(true)
			w.Track("bob", "Looked", nil)
			w.To(22 * enginetest.Minute)
			require.Equal(t, ledger.TemplateFailed, w.Answers()[0].Reason)
			got := []string{}
			for _, m := range w.Sent.Accepted() {
				got = append(got, m.Text("subject"))
			}
			require.Equal(t, tc.want, got)
		})
	}
}
