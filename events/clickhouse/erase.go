package clickhouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events"
)

// anonymised: kept of a decision and of a delivery is what a report counts; the person and what could name
// them or what they did go. An error's text may quote what somebody wrote.
var anonymised = []struct{ table, replace string }{
	{"decisions", "REPLACE (0 AS person, '' AS user_id, '' AS value, '' AS zone, 0 AS trigger, toDateTime64(0, 3, 'UTC') AS since, 0 AS since_pos, " +
		"if(reason IN ('condition_error', 'template_failed'), '', `by`) AS `by`, '' AS features, '' AS `with`, '' AS profile, [] AS devices)"},
	{"deliveries", "REPLACE (0 AS person, '' AS device, '' AS provider_id, '' AS error, '' AS text)"},
}

// EraseFromLedger takes people out of the ledger's tables: rows of decisions and deliveries stay as counts
// without the person, rows of the log that are about the person go. What is folded from the tables does
// not know the people any more, and misses nothing of others. It may be repeated, but not run twice at
// once, and nobody may insert rows about the people meanwhile.
func EraseFromLedger(ctx context.Context, conn driver.Conn, people []events.PersonID) error {
	if len(people) == 0 {
		return nil
	}
	list := People(people)
	for _, a := range anonymised {
		// The rows are chosen in a query of their own: REPLACE's names would hide the columns from WHERE.
		// (shard, seq, index) is a record's place in its stream.
		copied := fmt.Sprintf("INSERT INTO %[1]s SELECT * %[2]s FROM (SELECT * FROM %[1]s WHERE person IN (%[3]s) "+
			"AND (shard, seq, `index`) NOT IN (SELECT shard, seq, `index` FROM %[1]s WHERE person = 0))", a.table, a.replace, list)
		if err := conn.Exec(ctx, copied); err != nil {
			return fmt.Errorf("keep the counts of %s without the person: %w", a.table, err)
		}
		if err := DeleteRows(ctx, conn, a.table, "person IN ("+list+")"); err != nil {
			return err
		}
	}
	// Who is moved was merged into whom the row is about, so they are in the list together.
	return DeleteRows(ctx, conn, "shard_log", "person IN ("+list+")")
}

// DeleteRows removes rows of a table for good and waits until that is done. Parts without such rows are left
// alone. The text of where stays in the table's list of mutations for a while: it must not name anybody.
func DeleteRows(ctx context.Context, conn driver.Conn, table, where string) error {
	if err := conn.Exec(ctx, "ALTER TABLE "+table+" DELETE WHERE "+where+" SETTINGS mutations_sync = 2"); err != nil {
		return fmt.Errorf("delete from %s: %w", table, err)
	}
	return nil
}

// People lists people for SQL's IN.
func People(people []events.PersonID) string {
	list := make([]string, len(people))
	for i, p := range people {
		list[i] = strconv.FormatUint(uint64(p), 10)
	}
	return strings.Join(list, ", ")
}
