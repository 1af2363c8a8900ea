package embedded

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// spool copies r to where the engine can read it as a file, and returns that file's path, its size
// and a function that frees it. It is memory, not disk.
func spool(_ string, r io.Reader) (path string, size int64, free func(), err error) {
	fd, err := unix.MemfdCreate("insert", unix.MFD_CLOEXEC)
	if err != nil {
		return "", 0, nil, fmt.Errorf("memory for the rows of an INSERT: %w", err)
	}
	file := os.NewFile(uintptr(fd), "insert")
	size, err = io.CopyBuffer(onlyWriter{file}, r, make([]byte, 256<<10))
	if err != nil {
		_ = file.Close()
		return "", 0, nil, fmt.Errorf("read the rows of an INSERT: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), size, func() { _ = file.Close() }, nil
}

// onlyWriter hides ReadFrom, which would try splice and copy in small pieces.
type onlyWriter struct{ io.Writer }
