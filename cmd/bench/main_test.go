package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
)

// TestMain makes the test binary the program when it is started as one of its children.
func TestMain(m *testing.M) {
	embedded.MaybeRunChild()
	if os.Getenv(childEnv) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"unknown command":      {[]string{"digest"}, `unknown command "digest"`},
		"unknown flag":         {[]string{"ingest", "--fast"}, "unknown flag: --fast"},
		"format":               {[]string{"judge", "--format", "xml"}, `"xml" is not text or json`},
		"no duration":          {[]string{"ingest", "--duration", "0s"}, "longer than nothing"},
		"no connections":       {[]string{"ingest", "--connections", "0"}, "--connections is 1 to 1000"},
		"too many people":      {[]string{"ingest", "--people", "100000000"}, "--people is 1 to 99,999,999"},
		"no window":            {[]string{"ingest", "--window", "0"}, "--window must be at least 1"},
		"negative warm-up":     {[]string{"ingest", "--warm", "-1"}, "cannot be negative"},
		"too few events":       {[]string{"judge", "--events", "10"}, "--events is at least 100"},
		"no repeats":           {[]string{"judge", "--repeats", "0"}, "--repeats is at least 1"},
		"no messages":          {[]string{"send", "--messages", "0"}, "--messages is at least 1"},
		"no such provider":     {[]string{"chaos", "--only", "fmc"}, `--only knows [apns fcm webpush email webhook], not "fmc"`},
		"no such gorush":       {[]string{"send", "--gorush", "/nowhere/gorush"}, "go install github.com/appleboy/gorush@latest"},
		"answers before":       {[]string{"send", "--delay", "-1s"}, "--delay and --waiting cannot be negative"},
		"no rate":              {[]string{"send", "--rate", "0"}, "--rate and --paced must be more than nothing"},
		"too little history":   {[]string{"ticks", "--events", "900"}, "--events is at least 10,000"},
		"broken message":       {[]string{"ticks", "--arrivals", "250"}, "--arrivals is at least 100, in hundreds"},
		"no ticks":             {[]string{"ticks", "--ticks", "0"}, "--ticks is at least 1; with --store"},
		"a hasty period":       {[]string{"ticks", "--period", "5s"}, "--period is from 1m to 24h"},
		"an argument too many": {[]string{"all", "now"}, `unknown command "now" for "bench all"`},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			require.Equal(t, exitUsage, run(c.args, nil, &out, &errOut))
			require.Contains(t, errOut.String(), c.says)
			require.Contains(t, errOut.String(), "bench --help")
			require.Empty(t, out.String())
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	var out, errOut bytes.Buffer
	require.Equal(t, exitFine, run([]string{"--help"}, nil, &out, &errOut))
	for _, word := range []string{"bench ingest", "bench judge", "bench send", "bench ticks", "bench all", "Exit codes", "--profile", "load average"} {
		require.Contains(t, out.String(), word)
	}
	require.NotContains(t, out.String(), "services ", "children are nobody's business")
}

func TestNoFolder(t *testing.T) {
	var out, errOut bytes.Buffer
	require.Equal(t, exitFailed, run([]string{"send", "--dir", filepath.Join(t.TempDir(), "none")}, nil, &out, &errOut))
	require.Contains(t, errOut.String(), "make a temporary folder")
}

// smoke runs a command with tiny sizes and returns its tables. It leaves no folder and no process
// behind.
func smoke(t *testing.T, args ...string) map[string][]map[string]any {
	t.Helper()
	var missing *embedded.MissingLibError
	if _, err := embedded.FindLib(""); errors.As(err, &missing) {
		t.Skip(err)
	}
	dir := t.TempDir()
	var out, errOut bytes.Buffer
	require.Equal(t, exitFine, run(append(args, "--dir", dir, "--format", "json"), strings.NewReader(""), &out, &errOut), errOut.String())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the temporary folder is removed")
	kids, err := children(os.Getpid())
	require.NoError(t, err)
	require.Empty(t, kids, "no process is left")
	var r struct {
		Machine map[string]any
		Tables  []struct {
			Key  string
			Rows []map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &r), out.String())
	require.NotZero(t, r.Machine["cores"])
	tables := map[string][]map[string]any{}
	for _, tab := range r.Tables {
		tables[tab.Key] = tab.Rows
	}
	return tables
}

func TestSmokeIngest(t *testing.T) {
	tables := smoke(t, "ingest", "--duration", "1s", "--burst", "500ms", "--warm", "500", "--people", "50", "--connections", "2", "--window", "2000", "--bare", "300")
	require.Len(t, tables["ingest"], 4)
	for _, row := range tables["ingest"] {
		require.Positive(t, row["acked_per_s"], row)
		require.Positive(t, row["us_nudge"], row)
		require.Positive(t, row["us_clickhouse"], row)
	}
	require.Len(t, tables["work"], len(counters))
	require.Len(t, tables["bare"], 2)
	for _, row := range tables["bare"] {
		require.Positive(t, row["ratio"], row)
	}
}

func TestSmokeJudge(t *testing.T) {
	tables := smoke(t, "judge", "--events", "3000", "--repeats", "1")
	require.Len(t, tables["judge"], 9)
	found := 0.0
	for _, row := range tables["judge"] {
		require.Positive(t, row["people_per_s"], row)
		yes, _ := row["true"].(float64)
		found += yes
	}
	require.Positive(t, found, "some rule is true for somebody")
}

func TestSmokeSend(t *testing.T) {
	others := slices.DeleteFunc(serviceNames(), func(name string) bool { return name == "apns" }) // TestSendLate has that one
	tables := smoke(t, "send", "--only", strings.Join(others, ","), "--messages", "700", "--rate", "500", "--paced", "1s", "--waiting", "0")
	require.Len(t, tables["send"], 4*len(others))
	require.NotContains(t, tables, "slow")
	for _, row := range tables["send"] {
		require.Positive(t, row["sends_per_s"], row)
		require.Positive(t, row["peak_mb"], row)
	}
}

// TestSendLate has the servers answer late, and one so late that decisions wait: what a library sends then, and how much the
// sender holds.
func TestSendLate(t *testing.T) {
	tables := smoke(t, "send", "--only", "apns", "--messages", "600", "--rate", "200", "--paced", "1s", "--delay", "50ms", "--waiting", "1500", "--slow", "1s")
	require.Len(t, tables["send"], 4)
	for _, row := range tables["send"] {
		if row["run"] != "APNs, sender" {
			require.Greater(t, row["p50_ms"], 49.0, row)
		}
	}
	require.Len(t, tables["slow"], 1)
	for _, row := range tables["slow"] {
		require.Positive(t, row["held"], row)
		require.Less(t, row["held"], 1501.0, row)
		require.GreaterOrEqual(t, row["peak_mb"], row["before_mb"], row)
	}
}

func TestSmokeChaos(t *testing.T) {
	tables := smoke(t, "chaos", "--rate", "40", "--each", "1s", "--only", "fcm")
	require.Len(t, tables["chaos"], 1+4)
	for _, row := range tables["chaos"] {
		require.EqualValues(t, 40, row["sent"], row)
		require.Zero(t, row["lost"], row)
		require.Zero(t, row["twice"], "no fault of these takes a message and keeps silent about it")
	}
}
