package report

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/ledger"
)

// Story is what became of one entry, and why.
type Story struct {
	Rule, User, Value string
	Reason            ledger.Reason
	By                string
	At                int64 // Unix ms
	Channels          []string
	Features          ledger.Values
	With              ledger.Values
	// Text of the message that was sent, its fields by channel; nil where none was.
	Sent map[string]any
}

// kinds of story that Stories looks for, in this order.
func kinds() [][]ledger.Reason {
	return [][]ledger.Reason{
		{ledger.Send},
		{ledger.FrequencyCap, ledger.Outranked, ledger.QuietHours},
		{ledger.Exited, ledger.NoLongerTrue, ledger.Holdout, ledger.NoAddress, ledger.NoConsent},
	}
}

// Stories picks one entry that was sent, one that had to wait or lost to another rule or cap, and one
// that got nothing for another reason: of each the first, preferring rules not yet told of.
func Stories(ctx context.Context, conn driver.Conn, from, to int64) ([]Story, error) {
	rows, err := conn.Query(ctx, "SELECT entry, any(d.rule), argMax(d.user_id, (attempt, seq, index)), any(d.value), argMax(d.reason, (attempt, seq, index)) AS r, "+
		"argMax(d.`by`, (attempt, seq, index)), maxIf(d.at, d.reason != 'send' OR notEmpty(d.channels)) AS t, "+sentBy+", argMax(d.features, (attempt, seq, index)), "+
		"argMax(d.`with`, (attempt, seq, index)) FROM decisions AS d WHERE entered >= fromUnixTimestamp64Milli(toInt64(@from)) AND "+
		"entered < fromUnixTimestamp64Milli(toInt64(@to)) GROUP BY entry ORDER BY t, entry", named("from", from), named("to", to))
	if err != nil {
		return nil, fmt.Errorf("look for stories: %w", err)
	}
	defer func() { _ = rows.Close() }()
	first := map[ledger.Reason][]Story{}
	entries := map[string]string{}
	for rows.Next() {
		var s Story
		var entry, reason, features, with string
		var at time.Time
		if err := rows.Scan(&entry, &s.Rule, &s.User, &s.Value, &reason, &s.By, &at, &s.Channels, &features, &with); err != nil {
			return nil, fmt.Errorf("look for stories: %w", err)
		}
		s.Reason, s.At = ledger.Reason(reason), at.UnixMilli()
		if slices.ContainsFunc(first[s.Reason], func(o Story) bool { return o.Rule == s.Rule }) {
			continue
		}
		_ = json.Unmarshal([]byte(features), &s.Features)
		_ = json.Unmarshal([]byte(with), &s.With)
		first[s.Reason] = append(first[s.Reason], s)
		entries[s.Rule+s.User+s.Value] = entry
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for stories: %w", err)
	}
	var out []Story
	told := map[string]bool{}
	for _, kind := range kinds() {
		if s, ok := pick(first, kind, told); ok {
			told[s.Rule] = true
			if err := s.readText(ctx, conn, entries[s.Rule+s.User+s.Value]); err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func pick(first map[ledger.Reason][]Story, kind []ledger.Reason, told map[string]bool) (Story, bool) {
	for _, fresh := range []bool{true, false} {
		for _, reason := range kind {
			for _, s := range first[reason] {
				if !fresh || !told[s.Rule] {
					return s, true
				}
			}
		}
	}
	return Story{}, false
}

func (s *Story) readText(ctx context.Context, conn driver.Conn, entry string) error {
	if s.Reason != ledger.Send {
		return nil
	}
	rows, err := conn.Query(ctx, "SELECT text FROM deliveries WHERE entry = @entry AND status = 'accepted' LIMIT 1", named("entry", entry))
	if err != nil {
		return fmt.Errorf("read what was sent: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return fmt.Errorf("read what was sent: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &s.Sent); err != nil {
			return fmt.Errorf("read what was sent: %w", err)
		}
	}
	return rows.Err() //nolint:wrapcheck // the driver says what
}

// Text tells the story in a few lines.
func (s Story) Text(zone *time.Location) string {
	at := time.UnixMilli(s.At).In(zone).Format("15:04")
	var b strings.Builder
	switch s.Reason {
	case ledger.Send:
		fmt.Fprintf(&b, "%s got %s by %s at %s", s.User, s.Rule, strings.Join(s.Channels, " and "), at)
		for _, field := range []string{"title", "subject"} {
			if title, ok := s.Sent[field].(string); ok {
				fmt.Fprintf(&b, ": %q", title)
			}
		}
	default:
		fmt.Fprintf(&b, "%s did not get %s at %s: %s", s.User, s.Rule, at, s.Reason)
		if s.By != "" {
			fmt.Fprintf(&b, " (%s)", s.By)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.Features)) {
		fmt.Fprintf(&b, "\n    %s = %v", k, s.Features[k])
	}
	return b.String()
}
