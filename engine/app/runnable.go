package app

import (
	"math"
	"runtime/metrics"
)

// RunnableGoroutines returns a function that counts the goroutines of this process that are ready to
// run and wait for a processor. It must not be called concurrently.
func RunnableGoroutines() func() int {
	s := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	return func() int {
		metrics.Read(s)
		if s[0].Value.Kind() != metrics.KindUint64 {
			return 0 // a runtime that does not know the name
		}
		return int(min(s[0].Value.Uint64(), math.MaxInt32))
	}
}
