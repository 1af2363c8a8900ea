package clickhouse_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/clickhousetest"
)

// ClickHouse's own parser reads every statement of both layouts.
func TestLayoutParses(t *testing.T) {
	s := clickhousetest.NewUnmigrated(t)
	for _, name := range []string{"single.sql", "cluster.sql"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		n := 0
		for statement := range strings.SplitSeq(string(text), ";\n\n") {
			if statement = strings.TrimSpace(statement); statement == "" {
				continue
			}
			n++
			var formatted string
			err := s.Conn().QueryRow(context.Background(), "SELECT formatQuery({q:String})", clickhouse.Named("q", statement)).Scan(&formatted)
			require.NoError(t, err, statement)
			require.Regexp(t, `^(CREATE|ALTER TABLE) `, formatted)
		}
		require.Greater(t, n, 20)
	}
}
