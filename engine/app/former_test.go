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

const mailYAML = `
zone: UTC
salt: test
channels:
  mail: {adapter: file, needs: email, config: {path: out.ndjson}}
`

const paidRule = `
rule: paid
category: transactional
on: {event: Paid}
again: each_time
with: {amount: trigger.properties.amount}
message:
  mail: {subject: "SUBJECT {{ amount }}", html: templates/paid.html, text: {file: templates/paid.txt}}
`

// queued is a world in which a message waits for a provider that is down; up lets it go.
func queued(t *testing.T) (w *enginetest.World, up func()) {
	t.Helper()
	w = enginetest.New(t, map[string]string{
		"nudge.yaml": mailYAML, "rules/paid.yaml": strings.Replace(paidRule, "SUBJECT", "first", 1),
		"templates/paid.html": "<p>html 1: {{ amount }}</p>", "templates/paid.txt": "text 1",
	})
	var works atomic.Bool
	w.Sent.Answer = func(channels.Message, int) error {
		if works.Load() {
			return nil
		}
		return &channels.DeliveryError{Class: channels.ClassTemporary, Err: errors.New("down")}
	}
	w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
	w.Track("ann", "Paid", map[string]any{"amount": 7})
	w.To(enginetest.Minute)
	require.NotEmpty(t, w.Sent.Attempts())
	return w, func() { works.Store(true) }
}

// TestAQueuedMessageKeepsItsTextOverARestartWithAChangedRule has three versions of the templates and of
// the rule: what waits is of the first.
func TestAQueuedMessageKeepsItsTextOverARestartWithAChangedRule(t *testing.T) {
	w, up := queued(t)
	w.Write(map[string]string{"templates/paid.html": "<p>html 2: {{ amount }}</p>"})
	w.Reload()
	w.Write(map[string]string{"templates/paid.txt": "text 2"})
	w.Restart()
	w.Write(map[string]string{"rules/paid.yaml": strings.Replace(paidRule, "SUBJECT", "second", 1)})
	w.Restart()
	up()
	w.To(enginetest.Hour)
	w.Track("ann", "Paid", map[string]any{"amount": 8})
	w.To(2 * enginetest.Hour)
	var got []string
	for _, m := range w.Sent.Accepted() {
		got = append(got, m.Text("subject")+" / "+m.Text("html")+" / "+m.Text("text"))
	}
	require.Equal(t, []string{
		"first 7 / <p>html 1: 7</p> / text 1",
		"second 8 / <p>html 2: 8</p> / text 2",
	}, got)
}

// TestAQueuedMessageWhoseVersionIsLostIsNotSent has a store that was made anew.
func TestAQueuedMessageWhoseVersionIsLostIsNotSent(t *testing.T) {
	w, up := queued(t)
	require.NoError(t, w.Store.Conn().Exec(t.Context(), "TRUNCATE TABLE sources"))
	w.Write(map[string]string{"rules/paid.yaml": strings.Replace(paidRule, "SUBJECT", "second", 1)})
	w.Restart()
	up()
	w.To(enginetest.Hour)
	w.Track("bob", "Looked", nil) // a simulation moves when something happens
	require.Empty(t, w.Sent.Accepted())
	require.Equal(t, []enginetest.Answer{{Rule: "paid", User: "ann", Reason: ledger.TemplateFailed}}, w.Answers())
	var why string
	require.NoError(t, w.Store.Conn().QueryRow(t.Context(), "SELECT error FROM deliveries WHERE status = 'template_failed'").Scan(&why))
	require.Contains(t, why, "the history of sources does not have it")
}
