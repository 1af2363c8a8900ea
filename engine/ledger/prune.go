package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"nudge/events/clickhouse"
)

// pruneEvery is how often rows are looked through for those that are not needed any more: each time makes a
// pass over the ledger and rewrites the parts that have some.
const pruneEvery = 24 * time.Hour

// kept says of an entry of (person, rule, value) that the fold needs it: it is open; it is the newest that
// ended in its way, since a later end may leave in force what it was; of those that used up `again` also the
// one before, which stands again where the newest is stopped in the queue; it entered last; or it is what first
// exposed the person to an experiment. The same fold over these alone has the same answers.
const kept = "class = 'open' OR by_class <= if(class IN ('used', 'shadow'), 2, 1) OR by_entered = 1 OR exposed != (0, 0) AND by_exposed = 1"

// superseded selects the entries that were last answered before @before and are not kept, with the place of
// their last rows. An entry has rows of several people after a merge, and goes only as a whole; one that a merge
// has carried to another shard stays, for the record of that says how it stood then. So does one with a send
// that has no outcome: it counts towards caps.
const superseded = "SELECT entry, max(last).1, max(last).2 FROM (SELECT *, " +
	"row_number() OVER (PARTITION BY person, rule, value, class ORDER BY last DESC) AS by_class, " +
	"row_number() OVER (PARTITION BY person, rule, value ORDER BY into DESC) AS by_entered, " +
	"row_number() OVER (PARTITION BY person, rule ORDER BY exposed = (0, 0), exposed) AS by_exposed FROM (" +
	"SELECT person, rule, value, entry, max((seq, `index`)) AS last, max(at) AS newest, max(entered) AS into, " +
	"minIf((seq, `index`), reason IN ('send', 'in_digest', 'holdout') AND NOT open) AS exposed, argMax(reason, (seq, `index`)) AS answer, " +
	"multiIf(answer = 'held' OR argMax(open, (seq, `index`)), 'open', answer IN ('send', 'in_digest', 'holdout', 'frequency_cap', 'outranked', 'no_address', " +
	"'no_consent', 'quiet_hours'), 'used', answer IN ('shadow', 'no_longer_true', 'condition_error'), answer, 'other') AS class " +
	"FROM decisions WHERE person != 0 GROUP BY person, rule, value, entry)) " +
	"WHERE entry NOT IN (SELECT arrayJoin(extractAll(data, '\"entry\":\"([^\"]+)\"')) FROM shard_log WHERE kind = 'move') " +
	"AND entry NOT IN (SELECT entry FROM (SELECT entry, arrayJoin(channels) AS channel FROM decisions WHERE reason = 'send' AND " + old + ") " +
	"WHERE (entry, channel) NOT IN (SELECT entry, channel FROM deliveries WHERE status NOT IN ('intent', 'retrying') AND " + old + ")) " +
	"GROUP BY entry HAVING max(newest) < fromUnixTimestamp64Milli(toInt64(@before)) AND NOT max(" + kept + ")"

const old = "at < fromUnixTimestamp64Milli(toInt64(@before))"

// neededTicks selects the places of the records of ticks that the fold needs: the newest of each kind, of each
// rule and of each zone of a rule on people's own clocks, and the one that has come furthest.
const neededTicks = "SELECT (shard, place.1, place.2) FROM (" +
	"SELECT shard, max((seq, `index`)) AS place FROM shard_log WHERE kind = 'tick' AND (%[1]s) GROUP BY shard, JSONExtractString(data, 'tick', 'kind') UNION ALL " +
	"SELECT shard, argMax((seq, `index`), JSONExtractUInt(data, 'tick', 'p1')) FROM shard_log WHERE kind = 'tick' AND (%[1]s) GROUP BY shard UNION ALL " +
	"SELECT shard, argMax((seq, `index`), t1) FROM (SELECT shard, seq, `index`, JSONExtractInt(data, 'tick', 't1') AS t1, " +
	"JSONExtract(data, 'tick', 'zones', 'Map(String, Array(String))') AS zones, " +
	"arrayJoin(JSONExtract(data, 'tick', 'rules', 'Array(String)')) AS rule, arrayJoin(if(empty(zones[rule]), [''], zones[rule])) AS zone " +
	"FROM shard_log WHERE kind = 'tick' AND (%[1]s) AND JSONExtractString(data, 'tick', 'kind') != 'arrival') GROUP BY shard, rule, zone)"

// Prune deletes rows that nothing is decided by any more: records of ticks that later ones have replaced, and,
// where keep (the retention; 0: for ever) has passed, entries that later ones of the same person, rule and
// value have replaced, their deliveries, what stands of erased people, and notes of attempts. What Load folds
// has the same answers before, behind and in between. It does nothing where it was done within the last day;
// one at a time.
func (s *Store) Prune(ctx context.Context, now time.Time, keep time.Duration) error {
	last, err := s.Checkpoint(ctx, "pruned")
	if err != nil {
		return err
	}
	if now.UnixMilli() < int64(last)+pruneEvery.Milliseconds() {
		return nil
	}
	if keep > 0 {
		if err := s.pruneEntries(ctx, now.Add(-keep).UnixMilli()); err != nil {
			return fmt.Errorf("prune the ledger: %w", err)
		}
	}
	stale := fmt.Sprintf("kind = 'tick' AND at < fromUnixTimestamp64Milli(toInt64(%d)) AND (shard, seq, `index`) NOT IN (", now.Add(-pruneEvery).UnixMilli()) +
		fmt.Sprintf(neededTicks, "1") + ")"
	if err := s.deleteSome(ctx, "shard_log", stale); err != nil {
		return fmt.Errorf("prune the ledger: %w", err)
	}
	return s.SetCheckpoint(ctx, "pruned", uint64(now.UnixMilli()))
}

func (s *Store) pruneEntries(ctx context.Context, before int64) error {
	// What a former run did not finish comes first.
	if err := s.dropPruned(ctx, before); err != nil {
		return err
	}
	bounded := driver.Context(ctx, driver.WithSettings(driver.Settings{
		"max_bytes_before_external_group_by": 1 << 30, "max_bytes_before_external_sort": 1 << 30,
	}))
	if err := s.conn.Exec(bounded, "INSERT INTO pruned (entry, seq, `index`) "+superseded, driver.Named("before", before)); err != nil {
		return fmt.Errorf("choose entries: %w", err)
	}
	return s.dropPruned(ctx, before)
}

// dropPruned deletes what the table pruned names. An entry's last rows go after all others: without its end
// an entry would be open again, or would have used up `again`, for whoever loads meanwhile or after a stop.
func (s *Store) dropPruned(ctx context.Context, before int64) error {
	old := strings.ReplaceAll(old, "@before", strconv.FormatInt(before, 10))
	named := "entry IN (SELECT entry FROM pruned)"
	for _, d := range []struct{ table, where string }{
		{"decisions", named + " AND (entry, seq, `index`) NOT IN (SELECT entry, seq, `index` FROM pruned)"},
		{"decisions", named + " OR person = 0 AND " + old},
		{"deliveries", named + " OR " + old + " AND (person = 0 OR status IN ('intent', 'retrying'))"},
	} {
		if err := s.deleteSome(ctx, d.table, d.where); err != nil {
			return err
		}
	}
	if err := s.conn.Exec(ctx, "TRUNCATE TABLE pruned"); err != nil {
		return fmt.Errorf("forget what was pruned: %w", err)
	}
	return nil
}

// deleteSome is DeleteRows where there is a row to delete: a mutation has its price also where it finds none.
func (s *Store) deleteSome(ctx context.Context, table, where string) error {
	var any bool
	if err := s.conn.QueryRow(ctx, "SELECT count() > 0 FROM (SELECT 1 FROM "+table+" WHERE "+where+" LIMIT 1)").Scan(&any); err != nil {
		return fmt.Errorf("look for rows of %s to delete: %w", table, err)
	}
	if !any {
		return nil
	}
	return clickhouse.DeleteRows(ctx, s.conn, table, where) //nolint:wrapcheck // says what it was doing
}
