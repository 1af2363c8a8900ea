package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// maxSocketPath is what a socket's address holds, with room for the terminating zero.
const maxSocketPath = 100

// socketAddress is the address of the engine's socket in dir. Where the path is too long for a
// socket, it goes through an open descriptor of the folder; done closes it, and must not be called
// before the address was used for the last time.
func socketAddress(dir string) (address string, done func(), err error) {
	address = filepath.Join(dir, "engine.sock")
	if len(address) <= maxSocketPath {
		return address, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the data folder's path is too long for a socket (%d of %d bytes): choose a shorter one: %s", len(address), maxSocketPath, dir)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("open the store's folder: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/engine.sock", folder.Fd()), func() { _ = folder.Close() }, nil
}
