package embedded

import (
	"os"
	"strconv"
	"syscall"
)

// niceness of the engine: where the processor is short, taking events in goes first. What waits for
// the engine waits in the queue.
const niceness = 5

// beNice lowers the priority of every thread of this process; those that are started later inherit
// it. To Linux it is a property of a thread. It is no more than a preference: errors are ignored.
func beNice() {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, niceness)
		}
	}
}
