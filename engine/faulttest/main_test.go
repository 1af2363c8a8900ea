package faulttest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/clickhouse/embedded"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild() // the counting afterwards opens the store from this process
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built is the binary under test, built once, or NUDGE_BIN.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// binary is the path of a nudge built from this checkout.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.path = os.Getenv("NUDGE_BIN"); built.path != "" {
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "nudge-fault"); built.err != nil { //nolint:usetesting // it outlives the first test
			return
		}
		built.path = filepath.Join(built.dir, "nudge")
		if out, err := exec.Command("go", "build", "-o", built.path, "nudge/cmd/nudge").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build nudge: %w: %s", err, out)
		}
	})
	require.NoError(t, built.err)
	return built.path
}

// needLibrary skips where the embedded ClickHouse has not been set up.
func needLibrary(t *testing.T) {
	t.Helper()
	var missing *embedded.MissingLibError
	if _, err := embedded.FindLib(""); errors.As(err, &missing) {
		t.Skip(err)
	}
}

// number is an environment variable's, or else what CI uses.
func number(t *testing.T, name string, ci int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return ci
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, name)
	return n
}

// kills is how often each kind of fault happens.
func kills(t *testing.T) int {
	ci := 10
	if testing.Short() {
		ci = 3
	}
	return number(t, "NUDGE_KILLS", ci)
}

// between is how much progress, in batches, passes at most between two faults. More of it finds the same faults in
// longer streams.
func between(t *testing.T) int64 { return int64(number(t, "NUDGE_BETWEEN", 100)) }

// seeded is the test's source of chance; what it did is repeated with NUDGE_SEED.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := number(t, "NUDGE_SEED", 1)
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(uint64(seed), 0))
}

// eventually polls until ok, at most for the given time; what says what was awaited, as it stands.
func eventually(t *testing.T, within time.Duration, ok func() bool, what func() string) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline.C:
			if !ok() {
				require.FailNow(t, "it did not come about", "%s: %s", within, what())
			}
			return
		}
	}
}
