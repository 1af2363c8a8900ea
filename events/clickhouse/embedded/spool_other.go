//go:build !linux

package embedded

import (
	"fmt"
	"io"
	"os"
)

// spool copies r to where the engine can read it as a file, and returns that file's path, its size
// and a function that frees it.
func spool(dir string, r io.Reader) (path string, size int64, free func(), err error) {
	file, err := os.CreateTemp(dir, "insert-*")
	if err != nil {
		return "", 0, nil, fmt.Errorf("file for the rows of an INSERT: %w", err)
	}
	free = func() { _ = os.Remove(file.Name()) }
	size, err = io.Copy(file, r)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		free()
		return "", 0, nil, fmt.Errorf("read the rows of an INSERT: %w", err)
	}
	return file.Name(), size, free, nil
}
