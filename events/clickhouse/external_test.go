package clickhouse_test

import "github.com/ClickHouse/clickhouse-go/v2/ext"

// newPeople is an external table of person ids, as a planner sends them along with a query.
func newPeople(ids ...uint64) (*ext.Table, error) {
	table, err := ext.NewTable("people_asked", ext.Column("person", "UInt64"))
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := table.Append(id); err != nil {
			return nil, err
		}
	}
	return table, nil
}
