package writer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestABusyStoreGetsLargerBatches(t *testing.T) {
	for _, c := range []struct {
		name                  string
		took, others, awaited time.Duration
	}{
		{"quick", 20 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond},
		{"busy", 200 * time.Millisecond, 400 * time.Millisecond, 250 * time.Millisecond},
		{"very busy", 450 * time.Millisecond, 900 * time.Millisecond, 450 * time.Millisecond},
		{"away", time.Minute, time.Second, 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &Writer{opts: Options{FlushEvery: DefaultFlushEvery}}
			w.took.Store(int64(c.took))
			require.Equal(t, c.others, w.flushAfter(false))
			require.Equal(t, c.awaited, w.flushAfter(true))
		})
	}
}
