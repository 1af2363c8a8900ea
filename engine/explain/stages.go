package explain

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/engine/workspace"
	"nudge/segments"
)

// readUses reads the messages that count towards caps: those that a provider took, and those that are on
// their way.
func (x *explainer) readUses(ctx context.Context) error {
	sql := "SELECT d.entry, d.r, d.c, d.k, if(o.accepted = 0, d.t, o.accepted), o.accepted > 0 FROM (" +
		"SELECT entry, any(rule) AS r, arrayJoin(arrayDistinct(arrayFlatten(groupArrayIf(channels, reason = 'send')))) AS c, any(category) AS k, toUnixTimestamp64Milli(max(at)) AS t " +
		"FROM decisions WHERE person IN (" + x.people() + ") AND at <= fromUnixTimestamp64Milli(toInt64(@at), 'UTC') GROUP BY entry HAVING argMax(reason, (attempt, seq, index)) = 'send') AS d " +
		"LEFT JOIN (SELECT entry, channel, toUnixTimestamp64Milli(maxIf(at, status = 'accepted')) AS accepted, argMax(status, (at, seq, index)) AS newest " +
		"FROM deliveries WHERE person IN (" + x.people() + ") AND at <= fromUnixTimestamp64Milli(toInt64(@at), 'UTC') GROUP BY entry, channel) AS o " +
		"ON o.entry = d.entry AND o.channel = d.c WHERE o.accepted > 0 OR o.newest IN ('', 'intent', 'retrying') ORDER BY d.t, d.entry"
	err := x.rows(ctx, sql, "", func(scan func(...any) error) error {
		var u ledger.Use
		var resolved uint8
		if err := scan(&u.Entry, &u.Rule, &u.Channel, &u.Category, &u.At, &resolved); err != nil {
			return err
		}
		u.Resolved = resolved == 1
		x.uses = append(x.uses, u)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what counts towards caps: %w", err)
	}
	return nil
}

// stages are what a message of the rule would meet on each of its channels.
func (x *explainer) stages(r *workspace.Rule, profile *segments.Profile) []Stage {
	out := []Stage{}
	if profile == nil {
		return out
	}
	policy := x.Workspace.Policy
	instant := func(ms int64) *time.Time {
		if ms == 0 {
			return nil
		}
		t := time.UnixMilli(ms)
		return &t
	}
	for _, channel := range policy.Order(r.Rule, profile) {
		s := Stage{Channel: channel, Reachable: policy.Reachable(channel, profile), Consent: policy.Consented(channel, r.Category, profile), Caps: []Cap{}}
		if x.collects(channel) { // which interrupts nobody
			out = append(out, s)
			continue
		}
		if !r.Transactional() {
			until, _ := policy.QuietUntil(channel, r.Category, profile, x.At)
			s.QuietUntil = instant(until)
		}
		for _, room := range policy.Rooms(x.uses, r.Rule, channel, profile, x.At) {
			s.Caps = append(s.Caps, Cap{Cap: room.Cap.Name, Used: room.Used, Max: room.Cap.Max, Frees: instant(room.Frees), Messages: messages(room.Counted)})
		}
		out = append(out, s)
	}
	return out
}

// messages are those that fill a cap, oldest first.
func messages(of []ledger.Use) []CapUse {
	out := []CapUse{}
	for _, u := range of {
		out = append(out, CapUse{At: time.UnixMilli(u.At).UTC(), Rule: u.Rule, Channel: u.Channel, OnItsWay: !u.Resolved})
	}
	slices.SortStableFunc(out, func(a, b CapUse) int { return a.At.Compare(b.At) })
	return out
}
