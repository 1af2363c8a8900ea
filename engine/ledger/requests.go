package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"nudge/events"
	"nudge/rules"
)

// Request is what somebody asks of a rule. The stream of decisions is the engine's alone, and may be within its
// process; the store is there for everybody, also while no engine runs. So requests stand there, and the engine
// carries out the newest of each rule.
type Request struct {
	Rule   string
	Action Action
	At     int64 // when it was asked, Unix ms; later than any other of the rule
	// About is of a Resume the Pause.At that it is about: a later pause by the store or by pause_when stands.
	About       int64
	Who, Reason string
}

// Action is what a Request wants.
type Action string

// Actions.
const (
	AskPause  Action = "pause"
	AskResume Action = "resume"
)

// Lifts says whether the request ends the pause: of two requests of people the later counts.
func (r Request) Lifts(p Pause) bool {
	switch {
	case r.Action != AskResume:
		return false
	case p.By == PauseByPerson:
		return r.At > p.Asked
	default:
		return p.At <= r.About
	}
}

// Ask writes a request down. Its instant is moved behind the rule's other requests, whatever clocks they were made by.
func (s *Store) Ask(ctx context.Context, r Request) error {
	newest, err := s.Requests(ctx)
	if err != nil {
		return err
	}
	r.At = max(r.At, newest[r.Rule].At+1)
	if err := s.conn.Exec(ctx, "INSERT INTO requests (rule, at, action, about, who, reason) VALUES (@rule, fromUnixTimestamp64Milli(toInt64(@at)), @action, "+
		"fromUnixTimestamp64Milli(toInt64(@about)), @who, @reason)",
		driver.Named("rule", r.Rule), driver.Named("at", r.At), driver.Named("action", string(r.Action)), driver.Named("about", r.About),
		driver.Named("who", r.Who), driver.Named("reason", r.Reason)); err != nil {
		return fmt.Errorf("ask to %s %s: %w", r.Action, r.Rule, err)
	}
	return nil
}

// Requests are the newest requests, by rule.
func (s *Store) Requests(ctx context.Context) (map[string]Request, error) {
	if s.past != nil {
		return s.requests(ctx, s.past.at-1)
	}
	return s.requests(ctx, 0)
}

// requests are the newest requests up to an instant, 0 for all.
func (s *Store) requests(ctx context.Context, upTo int64) (map[string]Request, error) {
	rows, err := s.conn.Query(ctx, "SELECT rule, max(r.at), argMax(r.action, r.at), argMax(r.about, r.at), argMax(r.who, r.at), argMax(r.reason, r.at) FROM requests AS r "+
		"WHERE @upTo = 0 OR r.at <= fromUnixTimestamp64Milli(toInt64(@upTo)) GROUP BY rule", driver.Named("upTo", upTo))
	if err != nil {
		return nil, fmt.Errorf("read what was asked of rules: %w", err)
	}
	defer func() { _ = rows.Close() }()
	out := map[string]Request{}
	for rows.Next() {
		var r Request
		var at, about time.Time
		var action string
		if err := rows.Scan(&r.Rule, &at, &action, &about, &r.Who, &r.Reason); err != nil {
			return nil, fmt.Errorf("read what was asked of rules: %w", err)
		}
		r.At, r.About, r.Action = unix(at), unix(about), Action(action)
		out[r.Rule] = r
	}
	return out, rows.Err()
}

// PausedRule is a rule that is paused.
type PausedRule struct {
	Pause
	// Asked is what somebody has asked for that no engine has carried out yet, "" for nothing: AskPause of a rule
	// that still runs, AskResume of one that is to go on.
	Asked Action
}

// Paused reads which rules were paused at an instant, 0 for now, by name.
func (s *Store) Paused(ctx context.Context, at int64) ([]PausedRule, error) {
	paused, carriedOut := map[string]Pause{}, map[string]int64{}
	then := func(t int64) bool { return at == 0 || t <= at }
	err := s.Notes(ctx, []string{"pause", "looked", "resume"}, func(rec Record) {
		switch {
		case rec.Pause != nil && then(rec.Pause.At):
			p := *rec.Pause
			carriedOut[p.Rule] = max(carriedOut[p.Rule], p.Asked)
			if p.Stands() || !paused[p.Rule].Stands() {
				paused[p.Rule] = p
			}
		case rec.Looked != nil && then(rec.Looked.At):
			if !paused[rec.Looked.Rule].Stands() {
				delete(paused, rec.Looked.Rule)
			}
		case rec.Resume != nil && then(rec.Resume.At):
			delete(paused, rec.Resume.Rule)
			carriedOut[rec.Resume.Rule] = max(carriedOut[rec.Resume.Rule], rec.Resume.Asked)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read which rules are paused: %w", err)
	}
	requests, err := s.requests(ctx, at)
	if err != nil {
		return nil, err
	}
	var out []PausedRule
	for rule, p := range paused {
		one := PausedRule{Pause: p}
		if requests[rule].Lifts(p) {
			one.Asked = AskResume
		}
		out = append(out, one)
	}
	for rule, r := range requests {
		if _, is := paused[rule]; !is && r.Action == AskPause && r.At > carriedOut[rule] {
			out = append(out, PausedRule{
				Pause: Pause{Rule: rule, Reason: r.Reason, At: r.At, By: PauseByPerson, Who: r.Who, Asked: r.At}, Asked: AskPause,
			})
		}
	}
	slices.SortFunc(out, func(a, b PausedRule) int { return cmp.Compare(a.Rule, b.Rule) })
	return out, nil
}

// Notes calls fn with the records of some kinds that the first shard has, in order. Every shard has the same of
// those that are about rules.
func (s *Store) Notes(ctx context.Context, kinds []string, fn func(Record)) error {
	rows, err := s.conn.Query(ctx, "SELECT data FROM shard_log WHERE shard = 0 AND kind IN ('"+strings.Join(kinds, "', '")+"') ORDER BY seq, `index`")
	if err != nil {
		return err //nolint:wrapcheck // the caller says what for
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var data string
		if err := rows.Scan(&data); err != nil {
			return err //nolint:wrapcheck // the caller says what for
		}
		var rec Record
		if err := json.Unmarshal([]byte(data), &rec); err != nil {
			return fmt.Errorf("decode a record of the log: %w", err)
		}
		fn(rec)
	}
	return rows.Err() //nolint:wrapcheck // the caller says what for
}

// Withdrawals calls fn with the consents that were withdrawn of positions in (after, upTo], in order.
func (s *Store) Withdrawals(ctx context.Context, after, upTo events.Position, fn func(person events.PersonID, channel, category string, at int64, pos events.Position)) error {
	rows, err := s.conn.Query(ctx, "SELECT person, channel, category, toUnixTimestamp64Milli(time), pos FROM consents WHERE NOT granted AND pos > @after AND pos <= @upTo ORDER BY pos",
		driver.Named("after", uint64(after)), driver.Named("upTo", uint64(upTo)))
	if err != nil {
		return fmt.Errorf("read which consents were withdrawn: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var person, pos uint64
		var at int64
		var channel, category string
		if err := rows.Scan(&person, &channel, &category, &at, &pos); err != nil {
			return fmt.Errorf("read which consents were withdrawn: %w", err)
		}
		fn(events.PersonID(person), channel, category, at, events.Position(pos))
	}
	return rows.Err() //nolint:wrapcheck // the driver says what it was doing
}

// EndedIn are by rule and hour (HourOf) what became of messages.
type EndedIn map[string]map[int64]rules.Ended

// HourOf is the hour of an instant.
func HourOf(at int64) int64 { return at / hourMS }

const hourMS = int64(time.Hour / time.Millisecond)

// LoadEnded counts what became of the messages of rules, of each rule from an instant on, in delivery messages up to
// and including upTo. A message that went to several devices is taken when the first of them took it.
func (s *Store) LoadEnded(ctx context.Context, from map[string]int64, upTo uint64) (EndedIn, error) {
	out := EndedIn{}
	if len(from) == 0 {
		return out, nil
	}
	var names, froms []string
	oldest := int64(math.MaxInt64)
	for _, name := range slices.Sorted(maps.Keys(from)) {
		names, froms = append(names, "'"+name+"'"), append(froms, strconv.FormatInt(from[name], 10))
		oldest = min(oldest, from[name])
	}
	// The first devices of a message may have come before it counts.
	const margin = 7 * 24 * hourMS
	list := "[" + strings.Join(names, ", ") + "]"
	rows, err := s.conn.Query(ctx, "SELECT rule, intDiv(t, "+strconv.FormatInt(hourMS, 10)+") AS hour, count(), countIf(s = 'failed') FROM ("+
		"SELECT any(d.rule) AS rule, toUnixTimestamp64Milli(min(d.at)) AS t, argMin(d.status, (d.seq, d.`index`)) AS s FROM deliveries AS d "+
		"WHERE d.rule IN "+list+" AND d.at >= fromUnixTimestamp64Milli(toInt64(@oldest)) AND d.seq <= @upTo AND d.status IN ('accepted', 'failed') "+
		"GROUP BY d.entry, d.channel) WHERE t >= transform(rule, "+list+", arrayMap(x -> toInt64(x), ["+strings.Join(froms, ", ")+"]), toInt64(0)) GROUP BY rule, hour",
		driver.Named("oldest", max(0, oldest-margin)), driver.Named("upTo", upTo))
	if err != nil {
		return nil, fmt.Errorf("count what became of messages: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var rule string
		var hour int64
		var all, failed uint64
		if err := rows.Scan(&rule, &hour, &all, &failed); err != nil {
			return nil, fmt.Errorf("count what became of messages: %w", err)
		}
		if out[rule] == nil {
			out[rule] = map[int64]rules.Ended{}
		}
		out[rule][hour] = rules.Ended{Messages: int64(all), Failed: int64(failed)}
	}
	return out, rows.Err()
}
