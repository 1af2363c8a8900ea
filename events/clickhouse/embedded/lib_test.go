package embedded

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// With the engine loaded and at work, a nil dereference in Go is still a panic that can be
// recovered from, on every thread. The engine can be loaded once in a process, so this runs in one
// of its own.
func TestGoKeepsItsSignals(t *testing.T) {
	if os.Getenv("TEST_LOADS_ENGINE") != "" {
		path, err := FindLib("")
		require.NoError(t, err)
		lib, err := loadLibrary(path)
		require.NoError(t, err)
		args := engineArgs(Options{Dir: t.TempDir()})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
				s, err := lib.open(args...)
				require.NoError(t, err)
				require.NoError(t, s.run("SELECT sum(number) FROM numbers(1000000)", "Null", nil, nil))
				require.NoError(t, s.runStream("SELECT number FROM numbers(100000)", "Native", nil, func([]byte) error { return nil }))
				require.Panics(t, func() { (*session)(nil).close() })
				s.close()
				require.Panics(t, func() { (*session)(nil).close() })
			})
		}
		all.Wait()
		return
	}
	if _, err := FindLib(""); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=TestGoKeepsItsSignals")
	cmd.Env = append(os.Environ(), "TEST_LOADS_ENGINE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.True(t, strings.HasPrefix(string(out), "PASS"), "%s", out)
}
