package explain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/engine/enginetest"
	"nudge/engine/explain"
)

// What is told of somebody for whom things are collected: of the rule that does, and of the one that sends them.
func TestDigestsInWords(t *testing.T) {
	w := enginetest.New(t, map[string]string{
		"nudge.yaml":        "zone: UTC\nkeys: [{name: web, write_key: wk}]\nchannels: {email: {adapter: stdout}, digest: {adapter: digest}}\n",
		"rules/letter.yaml": "rule: letter\ndigest: digest\nschedule: \"0 12 * * *\"\nmessage: {email: {subject: \"{{ count }}\", text: t}}\n",
		"rules/news.yaml":   "rule: news\non: News\nagain: each_time\nmessage: {digest: {title: t}}\n",
		"rules/seen.yaml":   "rule: seen\nschedule: \"0 * * * *\"\nwhen: event(\"Seen\").count > 0\nagain: never\nmessage: {digest: {title: t}}\n",
	})
	tell := func(rule string) string {
		t.Helper()
		require.NoError(t, w.Flush(t.Context()))
		ws := w.Load()
		o := explain.Options{Conn: w.Store.Conn(), Database: w.Store.Database(), Workspace: ws, Person: "ann", At: w.Clock.Now().UnixMilli()}
		for _, r := range ws.Rules {
			if r.Name == rule {
				o.Rules = append(o.Rules, r)
			}
		}
		e, err := explain.Explain(t.Context(), o)
		require.NoError(t, err)
		return e.Rules[0].Headline
	}
	w.To(enginetest.Hour + enginetest.Minute) // behind the first look
	w.Identify("ann", "", map[string]any{"plan": "pro"})
	w.Track("ann", "Seen", nil)
	require.Equal(t, "ann matches seen; the look is at 11:00; no address: digest needs what its digest is sent by.", tell("seen"))
	w.Identify("ann", "", map[string]any{"email": "ann@shop.example"})
	require.Equal(t, "ann matches seen; the look is at 11:00; the message would wait until 12:00 UTC (collected for letter).", tell("seen"))
	require.Equal(t, "Nothing is collected for ann, so no letter goes to them.", tell("letter"))
	w.Track("ann", "News", nil)
	require.Equal(t, "news of 10:01 is collected for ann; it goes out with letter at 12:00.", tell("news"))
	require.Equal(t, "One thing is collected for ann and may go out with letter at 12:00.", tell("letter"))
	w.To(4 * enginetest.Hour)
	require.Equal(t, "ann got news with letter at 12:00.", tell("news"))
	require.Contains(t, tell("letter"), "Nothing is collected for ann, so no letter goes to them. Before: ann got letter at 12:00 (email).")
}
