package ticktest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nudge/segments/plan/ticktest"
)

// FuzzTicks takes every choice of a case from the fuzzer's bytes.
func FuzzTicks(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("arrivals, crossings and dues: a tick costs what changed, not what is stored"))
	r := ticktest.NewRig(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := ticktest.DrawFrom(b, 4)
		differences, err := r.Run(p)
		require.NoError(t, err, "%s", p)
		require.Empty(t, differences, "%s", p)
	})
}
