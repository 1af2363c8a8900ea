package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// LibEnv names the environment variable that says where libchdb.so is.
const LibEnv = "NUDGE_LIBCHDB"

// MissingLibError says that the engine's library is nowhere.
type MissingLibError struct {
	// Looked lists the paths that were tried.
	Looked []string
}

// Error implements error; it says what to do.
func (e *MissingLibError) Error() string {
	return "the embedded ClickHouse (libchdb.so) is not here: run `make setup` to get it, set " + LibEnv +
		" to its path, or point the store at a ClickHouse server with a DSN (looked for " + strings.Join(e.Looked, ", ") + ")"
}

// FindLib finds libchdb.so: explicit (from the configuration) if not empty, else $NUDGE_LIBCHDB,
// else beside the program, else where `make setup` puts it (.chdb/ in the current folder, in the
// program's, or in one above them). The error is a *MissingLibError if it is nowhere.
func FindLib(explicit string) (string, error) {
	for _, named := range []string{explicit, os.Getenv(LibEnv)} {
		if named == "" {
			continue
		}
		if _, err := os.Stat(named); err != nil {
			return "", fmt.Errorf("the embedded ClickHouse at %s: %w", named, err)
		}
		return filepath.Abs(named)
	}
	var looked []string
	try := func(path string) bool {
		if slices.Contains(looked, path) {
			return false
		}
		looked = append(looked, path)
		_, err := os.Stat(path)
		return err == nil
	}
	var starts []string
	if program, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(program); err == nil {
			program = resolved
		}
		starts = append(starts, filepath.Dir(program))
	}
	if cwd, err := os.Getwd(); err == nil {
		starts = append(starts, cwd)
	}
	for _, start := range starts {
		if path := filepath.Join(start, libName); try(path) {
			return path, nil
		}
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			if path := filepath.Join(dir, ".chdb", "node_modules", "@chdb", npmPackage(), libName); try(path) {
				return path, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", &MissingLibError{Looked: looked}
}

const libName = "libchdb.so" // on macOS too

// npmPackage is the package of this machine, as package-lock.json pins it.
func npmPackage() string {
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	if runtime.GOOS == "linux" {
		return "lib-linux-" + arch + "-gnu"
	}
	return "lib-" + runtime.GOOS + "-" + arch
}
