package faulttest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestASecondProcessIsRefused starts a second serve on the same folder: it ends, says where and
// whose the folder is, and the first goes on.
func TestASecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	hook := receive(t, 3)
	in := install(t, "", wanted(hook.URL))
	in.start()
	in.mu.Lock()
	first := in.run
	in.mu.Unlock()
	second := in.begin()
	late := time.NewTimer(startWithin)
	defer late.Stop()
	select {
	case <-second.ended:
	case <-second.up:
		require.FailNow(t, "the second process runs on the first one's data")
	case <-late.C:
		require.FailNow(t, "the second process neither runs nor ends")
	}
	require.Equal(t, 3, second.cmd.ProcessState.ExitCode(), "it could not run")
	in.mu.Lock()
	said := slices.Clone(in.tail) // of both
	in.run = first
	in.mu.Unlock()
	dir, owner := in.workspace().Queue.Dir, fmt.Sprintf("process %d", first.cmd.Process.Pid)
	require.True(t, slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, dir) && strings.Contains(line, owner) }), "%v", said)
	in.addr.Store(&first.addr)
	in.settle()
	in.stop()
}
