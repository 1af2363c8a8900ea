package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The closest open-source design keeps, for each leaf of a condition, a state by person that each period adds
// the new events to, resolves each leaf to true or false by person, and puts the leaves of a condition together for
// those whose leaf was resolved anew. A leaf about how often something was done within a time is resolved by two
// statements over the whole set: who is true no more, and who of everybody is true by now.
//
// These are its tables and statements in our words, with what it also pays left out: JSON is taken
// apart when an event is stored, there is one workspace, message ids are not grouped, nothing expires,
// nothing is synced, and what was assigned is not handed on.

// peerTables are its tables, each with the order that it has there, which serves its statements best.
var peerTables = []string{
	`CREATE TABLE peer_events (event_type LowCardinality(String), event LowCardinality(String), event_time DateTime64(3, 'UTC'), message_id String, user String,
	properties String, processing_time DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY (processing_time, user, event_time, message_id)`,
	`CREATE TABLE peer_state (segment LowCardinality(String), state LowCardinality(String), user String, event_time DateTime64(3, 'UTC'),
	last_value AggregateFunction(argMax, String, DateTime64(3, 'UTC')), unique_count AggregateFunction(uniq, String), computed_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')))
	ENGINE = AggregatingMergeTree PARTITION BY toYear(event_time) ORDER BY (segment, state, user, event_time)`,
	`CREATE TABLE peer_updated (segment LowCardinality(String), state LowCardinality(String), user String, computed_at DateTime64(3, 'UTC'))
	ENGINE = MergeTree PARTITION BY toYYYYMMDD(computed_at) ORDER BY computed_at`,
	`CREATE MATERIALIZED VIEW peer_updated_mv TO peer_updated AS SELECT segment, state, user, computed_at FROM peer_state GROUP BY segment, state, user, computed_at`,
	`CREATE TABLE peer_resolved (segment LowCardinality(String), state LowCardinality(String), user String, value Bool, max_event_time DateTime64(3, 'UTC'), computed_at DateTime64(3, 'UTC'),
	INDEX value_idx value TYPE minmax GRANULARITY 4, INDEX computed_at_idx computed_at TYPE minmax GRANULARITY 4) ENGINE = ReplacingMergeTree(computed_at) ORDER BY (segment, state, user)`,
	`CREATE TABLE peer_assignments (segment LowCardinality(String), user String, value Bool, max_event_time DateTime64(3, 'UTC'), assigned_at DateTime64(3, 'UTC'))
	ENGINE = ReplacingMergeTree(assigned_at) ORDER BY (segment, user)`,
}

// leaf is one of the three kinds of leaves that are compared.
type leaf struct {
	event    string
	property string        // "category = Shoes" of performed; of lastly, what the last one has; of trait, what it is
	within   time.Duration // of performed
	times    int           // of performed: at least so often; 0: never
	lastly   bool
	trait    bool
}

// performed is whether the leaf counts events within a time.
func (l *leaf) performed() bool { return !l.lastly && !l.trait }

// peerLeaves are the conditions of sameRules as leaves that all must be true.
var peerLeaves = map[string][]leaf{
	"cart-left":        {{event: "Product Added", within: 48 * time.Hour, times: 1}, {event: "Order Completed", within: 48 * time.Hour}},
	"checkout-started": {{event: "Checkout Started", within: 24 * time.Hour, times: 1}, {event: "Order Completed", within: 24 * time.Hour}},
	"busy-week":        {{event: "Product Viewed", within: 7 * 24 * time.Hour, times: 5}},
	"shoes-week":       {{event: "Product Viewed", property: "category=Shoes", within: 7 * 24 * time.Hour, times: 3}},
	"tired-month":      {{event: "Message Sent", within: 30 * 24 * time.Hour, times: 3}, {event: "Message Opened", within: 30 * 24 * time.Hour}},
	"coffee-last":      {{event: "Order Completed", property: "category=Coffee", lastly: true}},
	"gold":             {{property: "tier=gold", trait: true}},
	"gold-buyers":      {{property: "tier=gold", trait: true}, {event: "Order Completed", within: 30 * 24 * time.Hour, times: 1}},
}

// peer is the other design, running.
type peer struct {
	t          *ticking
	before     int64 // the period before ended here, Unix ms
	mu         sync.Mutex
	statements int64
}

func (p *peer) exec(ctx context.Context, sql string) error {
	p.mu.Lock()
	p.statements++
	p.mu.Unlock()
	if err := p.t.store.Conn().Exec(ctx, sql); err != nil {
		return fmt.Errorf("the other design: %w: %s", err, sql)
	}
	return nil
}

// load makes its events of those that arrived by position in (after, upTo].
func (p *peer) load(ctx context.Context, after, upTo uint64) error {
	// Who they are comes from our identities, and what traits say as the identify calls that said it.
	return p.exec(ctx, fmt.Sprintf(`INSERT INTO peer_events SELECT 'track', event, time, message_id, toString(person), properties, received_at FROM events
		WHERE event != '' AND pos > %[1]d AND pos <= %[2]d
	UNION ALL SELECT 'identify', '', time, concat(toString(pos), key), toString(person), concat('{"', key, '":', value, '}'), time FROM traits WHERE pos > %[1]d AND pos <= %[2]d AND key = 'tier'
	SETTINGS max_insert_threads = 1, optimize_use_projections = 0`, after, upTo))
}

const peerID = "id" // the state that lists everybody

// propertyIs takes "category=Shoes" apart, into what reads it and what it must be.
func propertyIs(property string) (path, value string) {
	path, value, _ = strings.Cut(property, "=")
	return fmt.Sprintf("JSONExtractString(properties, '%s')", path), "'" + value + "'"
}

// where narrows events to those of a leaf.
func (l *leaf) where() string {
	if l.trait {
		return "event_type = 'identify'"
	}
	out := "event_type = 'track' AND event = '" + l.event + "'"
	if l.performed() && l.property != "" {
		path, value := propertyIs(l.property)
		out += " AND " + path + " = " + value
	}
	return out
}

// period ticks: everything since the period before.
func (p *peer) period(ctx context.Context, at int64) error {
	now, last := ms64(at), ms64(p.before)
	if p.before == 0 {
		last = ms64(0)
	}
	fresh := "processing_time > " + last + " AND processing_time <= " + now
	skip, err := p.prune(ctx, fresh)
	if err != nil {
		return err
	}
	state := func(segment, name, value, bucket, where string) string {
		return fmt.Sprintf(`INSERT INTO peer_state SELECT '%s', '%s', user, %s AS bucket, argMaxState(%s, event_time), uniqState(message_id), %s
			FROM peer_events WHERE %s AND (%s) GROUP BY user, bucket`, segment, name, bucket, value, now, fresh, where)
	}
	statements := []string{state(peerID, peerID, "user", "toStartOfDay(event_time)", "1")}
	for _, r := range sameRules {
		for i, l := range peerLeaves[r.name] {
			name := r.name + strconv.Itoa(i)
			if skip[name] {
				continue
			}
			value, bucket := "''", "event_time"
			if l.performed() {
				bucket = fmt.Sprintf("toStartOfInterval(event_time, INTERVAL %d SECOND)", int64(min(max(l.within.Seconds()/10, 1), 86400)))
			} else {
				value, _ = propertyIs(l.property)
			}
			statements = append(statements, state(r.name, name, value, bucket, l.where()))
		}
	}
	if err := p.atOnce(ctx, statements); err != nil {
		return err
	}
	if err := p.exec(ctx, fmt.Sprintf(`INSERT INTO peer_assignments SELECT segment, user, true, max(event_time), %[1]s FROM peer_state
		WHERE (segment, state, user) IN (SELECT segment, state, user FROM peer_updated WHERE computed_at >= %[1]s AND segment = '%[2]s') GROUP BY segment, user`, now, peerID)); err != nil {
		return err
	}
	statements = statements[:0]
	for _, r := range sameRules {
		for i, l := range peerLeaves[r.name] {
			name := r.name + strconv.Itoa(i)
			if l.performed() {
				statements = append(statements, p.resolvePerformed(&l, r.name, name, at)...)
			} else if !skip[name] {
				_, value := propertyIs(l.property)
				statements = append(statements, fmt.Sprintf(`INSERT INTO peer_resolved SELECT segment, state, user, argMaxMerge(last_value) = %[1]s, max(event_time), %[2]s FROM peer_state
					WHERE segment = '%[3]s' AND state = '%[4]s' AND user IN (SELECT user FROM peer_updated WHERE computed_at >= %[2]s AND segment = '%[3]s' AND state = '%[4]s') GROUP BY segment, state, user`,
					value, now, r.name, name))
			}
		}
	}
	if err := p.atOnce(ctx, statements); err != nil {
		return err
	}
	statements = statements[:0]
	for _, r := range sameRules {
		var all []string
		for i := range peerLeaves[r.name] {
			all = append(all, fmt.Sprintf("leaves['%s%d']", r.name, i))
		}
		statements = append(statements, fmt.Sprintf(`INSERT INTO peer_assignments SELECT '%[1]s', user, %[2]s, latest, %[3]s FROM (
			SELECT user, CAST((groupArray(state), groupArray(value)), 'Map(String, Bool)') AS leaves, max(at) AS latest FROM (
				SELECT state, user, argMax(value, computed_at) AS value, max(max_event_time) AS at FROM peer_resolved
				WHERE segment = '%[1]s' AND user IN (SELECT user FROM peer_resolved WHERE segment = '%[1]s' AND computed_at >= %[3]s) GROUP BY state, user) GROUP BY user)`,
			r.name, strings.Join(all, " AND "), now))
	}
	if err := p.atOnce(ctx, statements); err != nil {
		return err
	}
	p.before = at
	return nil
}

// resolvePerformed are the two statements over everybody.
func (p *peer) resolvePerformed(l *leaf, segment, name string, at int64) []string {
	in, atLeast := "IN", l.times
	if l.times == 0 {
		in, atLeast = "NOT IN", 1 // never is everybody but those who did
	}
	out := "NOT IN"
	if l.times == 0 {
		out = "IN"
	}
	did := fmt.Sprintf("(SELECT user FROM peer_state WHERE segment = '%s' AND state = '%s' AND event_time >= %s GROUP BY user HAVING uniqMerge(unique_count) >= %d)",
		segment, name, ms64(at-l.within.Milliseconds()), atLeast)
	isTrue := fmt.Sprintf("(SELECT user FROM peer_resolved WHERE segment = '%s' AND state = '%s' GROUP BY user HAVING argMax(value, computed_at))", segment, name)
	return []string{
		fmt.Sprintf("INSERT INTO peer_resolved SELECT '%s', '%s', user, false, %[3]s, %[3]s FROM %[4]s WHERE user %[5]s %[6]s", segment, name, ms64(at), isTrue, out, did),
		fmt.Sprintf("INSERT INTO peer_resolved SELECT '%s', '%s', user, true, %[3]s, %[3]s FROM peer_assignments WHERE segment = '%[4]s' AND user %[5]s %[6]s AND user NOT IN %[7]s",
			segment, name, ms64(at), peerID, in, did, isTrue),
	}
}

// prune says of which leaves nothing has arrived. It cannot be said of those that time alone changes.
func (p *peer) prune(ctx context.Context, fresh string) (map[string]bool, error) {
	var names, columns []string
	for _, r := range sameRules {
		for i, l := range peerLeaves[r.name] {
			if !l.performed() {
				names = append(names, r.name+strconv.Itoa(i))
				columns = append(columns, "max("+l.where()+")")
			}
		}
	}
	got := make([]uint8, len(names))
	dest := make([]any, len(names))
	for i := range got {
		dest[i] = &got[i]
	}
	p.mu.Lock()
	p.statements++
	p.mu.Unlock()
	if err := p.t.store.Conn().QueryRow(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM peer_events WHERE "+fresh).Scan(dest...); err != nil {
		return nil, fmt.Errorf("the other design: %w", err)
	}
	skip := map[string]bool{}
	for i, name := range names {
		skip[name] = got[i] == 0
	}
	return skip, nil
}

// atOnce runs statements beside each other, as it does.
func (p *peer) atOnce(ctx context.Context, statements []string) error {
	errs := make(chan error, len(statements))
	room := make(chan struct{}, 8)
	for _, sql := range statements {
		go func() {
			room <- struct{}{}
			errs <- p.exec(ctx, sql)
			<-room
		}()
	}
	var failed error
	for range statements {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return failed
}

// ms64 writes Unix milliseconds for a statement.
func ms64(at int64) string { return fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", at) }

// measured is one period as a cost.
func (p *peer) measured(ctx context.Context, at int64) (c cost, err error) {
	m, err := p.t.startCost(ctx)
	if err != nil {
		return c, err
	}
	before := p.statements
	if err := p.period(ctx, at); err != nil {
		return c, err
	}
	c, err = m.stop(ctx)
	c.queries = p.statements - before
	return c, err
}

// comparePeer ticks the same conditions in both ways.
func (t *ticking) comparePeer(ctx context.Context) ([]*table, error) {
	dir := filepath.Join(t.s.dir, "same")
	if err := writeWorkspace(dir, tickWorkspace(sameRules)); err != nil {
		return nil, err
	}
	ws, err := loadWorkspace(dir)
	if err != nil {
		return nil, err
	}
	set := newRuleSet(sameRules, ruleSet(ws, sameRules))
	out := costTable(fmt.Sprintf("The same %d conditions in both ways, %s events", len(sameRules), grouped(float64(t.shop.Events), 0)))
	out.Key = "peer"
	t.s.say("first look at everybody for %d conditions …", len(sameRules))
	first, err := t.look(ctx, set, true)
	if err != nil {
		return nil, err
	}
	out.add("nudge, first look", []cost{first})
	p := &peer{t: t}
	if err := p.exec(ctx, "DROP TABLE IF EXISTS peer_updated_mv"); err != nil { // of a store that was kept
		return nil, err
	}
	for _, sql := range peerTables {
		_, name, _ := strings.Cut(sql, "peer_")
		name = "peer_" + strings.Fields(name)[0]
		if err := p.exec(ctx, "DROP TABLE IF EXISTS "+name+" SYNC"); err != nil {
			return nil, err
		}
		if err := p.exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	t.s.say("loading the other design's tables …")
	start := time.Now()
	if err := p.load(ctx, 0, uint64(set.at.UpTo)); err != nil {
		return nil, err
	}
	if err := settle(ctx, t.store, quietAfter(time.Since(start))); err != nil {
		return nil, err
	}
	t.s.say("the other design's first period …")
	start = time.Now()
	if first, err = p.measured(ctx, set.at.At); err != nil {
		return out.list(), err
	}
	out.add("state tables, first period", []cost{first})
	if err := settle(ctx, t.store, quietAfter(time.Since(start))); err != nil {
		return out.list(), err
	}
	var ours, theirs []cost
	for range t.o.ticks {
		before := set.at.UpTo
		if err := t.arrive(ctx); err != nil {
			return out.list(), err
		}
		if err := p.load(ctx, uint64(before), uint64(t.now().UpTo)); err != nil {
			return out.list(), err
		}
		c, err := t.look(ctx, set, false)
		if err != nil {
			return out.list(), err
		}
		ours = append(ours, c)
		if c, err = p.measured(ctx, set.at.At); err != nil {
			return out.list(), err
		}
		theirs = append(theirs, c)
		t.s.say("both: %.0f ms, and %.0f ms", ms(ours[len(ours)-1].took), ms(c.took))
	}
	out.add("nudge, tick", ours)
	out.add("state tables, period", theirs)
	out.note("A tick of nudge takes 1/%.1f of the time, reads 1/%.0f of the rows and 1/%.1f of the CPU of the engine.",
		median(theirs).took.Seconds()/median(ours).took.Seconds(), median(theirs).rows/max(1, median(ours).rows), float64(median(theirs).cpu)/math.Max(1, float64(median(ours).cpu)))
	again := newRuleSet(set.rules, set.whos)
	if _, err := t.look(ctx, again, true); err != nil {
		return out.list(), err
	}
	if err := set.same(again); err != nil {
		return out.list(), err
	}
	counts, err := p.counts(ctx, set)
	return append(out.list(), counts), err
}

// counts is who is in each condition, in both ways.
func (p *peer) counts(ctx context.Context, set *ruleState) (*table, error) {
	out := &table{
		Key: "same", Title: "Who is in it, in both ways",
		Columns: []column{{"condition", "condition", 0}, {"leaves", "leaves", 0}, {"ours", "nudge", 0}, {"theirs", "state tables", 0}},
	}
	for who, r := range set.rules {
		n, err := number(ctx, p.t.store, fmt.Sprintf("SELECT count() FROM (SELECT user FROM peer_assignments WHERE segment = '%s' GROUP BY user HAVING argMax(value, assigned_at))", r.name))
		if err != nil {
			return nil, err
		}
		out.row(r.name, float64(len(peerLeaves[r.name])), float64(len(set.in[who])), float64(n))
	}
	out.note("State tables know windows to a tenth of their length, and people as they were called when an event came: merges do not unite histories.")
	return out, nil
}
