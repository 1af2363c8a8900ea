package embedded

import (
	"runtime"
	"syscall"
	"unsafe"
)

// keepSignals runs fn, a call into the engine, and puts back what it took from the Go runtime: the
// handlers of signals, which the engine resets when it is told to have none of its own and again
// when it opens a folder, and the signal stack of the calling thread, which it replaces by memory
// of its own.
func keepSignals(fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const signals = 32 // the classic ones; the engine's own timers use real-time signals
	type action [8]uint64
	var before [signals]action
	for sig := 1; sig < signals; sig++ {
		sigaction(sig, nil, unsafe.Pointer(&before[sig]))
	}
	var stack [3]uint64
	sigaltstack(nil, unsafe.Pointer(&stack))
	fn()
	sigaltstack(unsafe.Pointer(&stack), nil)
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

func sigaltstack(set, old unsafe.Pointer) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_SIGALTSTACK, uintptr(set), uintptr(old), 0)
}
