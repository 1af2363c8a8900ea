package clickhouse

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files of this package's tests")

// The cluster form is not run here; that it is well-formed SQL is checked by TestLayoutParses.
func TestLayoutGolden(t *testing.T) {
	for name, layout := range map[string]Layout{
		"single.sql":  {},
		"cluster.sql": {Cluster: "nudge", Retention: 400 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			got := script(t, layout)
			path := filepath.Join("testdata", name)
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got, "the tables changed: if that is meant, run go test ./events/clickhouse -run TestLayoutGolden -update")
		})
	}
}

func script(t *testing.T, l Layout) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, l.WriteSQL(&b))
	return b.String()
}

// Every statement of the cluster form is for the whole cluster, and every history table has its
// local and its distributed half.
func TestClusterLayout(t *testing.T) {
	migrations, err := Layout{Cluster: "c"}.render()
	require.NoError(t, err)
	distributed := 0
	for _, m := range migrations {
		for _, statement := range m.statements {
			head, _, _ := strings.Cut(statement, "\n")
			require.Contains(t, head, "ON CLUSTER `c`")
			if strings.Contains(statement, "ENGINE = Distributed('c', currentDatabase(), '") {
				distributed++
			}
			require.NotContains(t, statement, "= MergeTree")
		}
	}
	require.Equal(t, 9, distributed)
}
