package backtest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/engine/backtest"
	"nudge/engine/ledger"
)

func TestCompare(t *testing.T) {
	from := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	result := func(versions map[string]string) *backtest.Result {
		r := &backtest.Result{From: from, To: from.AddDate(0, 0, 14)}
		for name, version := range versions {
			r.Rules = append(r.Rules, backtest.Rule{Rule: name, Version: version})
		}
		return r
	}
	type got struct {
		rule   string
		person uint64
		reason string
	}
	audience := func(before *backtest.Audience, rows ...got) *backtest.Audience {
		a := backtest.NewAudience(before)
		for i, g := range rows {
			by := ""
			if g.reason == "frequency_cap" {
				by = "two-a-day"
			}
			row := &backtest.Row{Rule: g.rule, Person: g.person, Reason: ledger.Reason(g.reason), By: by, At: from.Add(time.Duration(i) * time.Hour)}
			if row.Reason == ledger.Send {
				row.Channels = []string{"push"}
			}
			require.NoError(t, a.Take(row))
		}
		return a
	}
	was := audience(nil, got{"cart", 1, "send"}, got{"cart", 2, "send"}, got{"price", 1, "send"}, got{"price", 3, "send"}, got{"old", 9, "send"}, got{"same", 5, "send"})
	is := audience(was, got{"cart", 1, "send"}, got{"cart", 3, "send"}, got{"cart", 4, "send"}, got{"cart", 4, "send"}, got{"price", 1, "send"},
		got{"price", 3, "frequency_cap"}, got{"new", 2, "send"}, got{"same", 5, "send"})
	d := backtest.Compare(
		result(map[string]string{"cart": "a", "price": "p", "old": "o", "same": "s"}),
		result(map[string]string{"cart": "b", "price": "p", "new": "n", "same": "s"}), was, is, 1)

	byName := map[string]backtest.RuleDiff{}
	for _, r := range d.Rules {
		byName[r.Rule] = r
	}
	require.Equal(t, []string{"same"}, d.Same)
	require.Equal(t, backtest.Change{Before: 5, After: 5, Gained: 1, Lost: 1, Messages: backtest.Messages{6, 7}}, d.All, "4 comes, 9 goes")

	cart := byName["cart"]
	require.Equal(t, "changed", cart.Status)
	require.Equal(t, backtest.Change{Before: 2, After: 3, Gained: 2, Lost: 1, Messages: backtest.Messages{2, 4}}, cart.Change)
	require.Equal(t, []backtest.Displaced{{Rule: "price", People: 1, Share: 0.5}}, cart.Displaced, "of the two who gain it 3 loses price")
	require.Equal(t, []backtest.Sample{{Person: 3, At: from.Add(time.Hour)}}, cart.GainedSamples, "the first, and one of them")
	require.Equal(t, []backtest.Sample{{Person: 2, At: from.Add(time.Hour)}}, cart.LostSamples)

	require.Equal(t, "unchanged", byName["price"].Status)
	require.Equal(t, []backtest.Sample{{Person: 3, At: from.Add(3 * time.Hour), Why: "frequency_cap (two-a-day)"}}, byName["price"].LostSamples)
	require.Equal(t, "removed", byName["old"].Status)
	require.Equal(t, "the rule is gone", byName["old"].LostSamples[0].Why)
	require.Equal(t, "added", byName["new"].Status)

	rule, people, of := d.Largest()
	require.Equal(t, []any{"cart", int64(2), int64(2)}, []any{rule, people, of})

	var text, markdown strings.Builder
	require.NoError(t, d.Write(&text, "table"))
	require.Contains(t, text.String(), "5 people would have been written to (5 before the change): 1 newly, 1 no longer; +1 message a week.")
	require.Contains(t, text.String(), "cart (changed): +1 person a week, −1 person a week, +1 message a week; 50 % of those who gain it lose price", "of two weeks")
	require.NoError(t, d.Write(&markdown, "markdown"))
	require.Contains(t, markdown.String(), "| `old` | removed | 1 | 0 | 0 | 1 |")

	nothing := backtest.Compare(result(map[string]string{"same": "s"}), result(map[string]string{"same": "s"}), audience(nil), audience(nil), 3)
	require.Empty(t, nothing.Rules)
	_, people, _ = nothing.Largest()
	require.Zero(t, people)

	// What apps call their users is nothing to a page.
	evil := backtest.NewAudience(nil)
	require.NoError(t, evil.Take(&backtest.Row{Rule: "cart", Person: 1, UserID: "`@org/everyone`\n</details>\x1b[2J", Reason: "send", Channels: []string{"push"}, At: from}))
	day := result(map[string]string{"cart": "a"})
	day.To = from.AddDate(0, 0, 1)
	d = backtest.Compare(day, day, audience(nil), evil, 1)
	markdown.Reset()
	require.NoError(t, d.Write(&markdown, "markdown"))
	require.Contains(t, markdown.String(), "- `cart` + `�@org/everyone��</details>�[2J`, 2026-03-02 00:00\n")
	require.Contains(t, markdown.String(), "| +1 person |", "less than a week is no week")
}
