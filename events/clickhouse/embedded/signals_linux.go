package embedded

import (
	"syscall"
	"unsafe"
)

// keepSignalHandlers runs fn and puts back the signal handlers that it took away.
func keepSignalHandlers(fn func()) {
	const signals = 32 // the classic ones; the engine's own timers use real-time signals
	type action [8]uint64
	var before [signals]action
	for sig := 1; sig < signals; sig++ {
		sigaction(sig, nil, unsafe.Pointer(&before[sig]))
	}
	fn()
	for sig := 1; sig < signals; sig++ {
		var after action
		sigaction(sig, nil, unsafe.Pointer(&after))
		if after != before[sig] {
			sigaction(sig, unsafe.Pointer(&before[sig]), nil)
		}
	}
}

// sigaction is the bare system call. It fails only for the two signals that nobody can catch.
func sigaction(sig int, set, old unsafe.Pointer) {
	const sigsetSize = 8
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(set), uintptr(old), sigsetSize, 0, 0)
}
