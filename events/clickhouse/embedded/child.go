package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ChildArg is the first argument of a process that is to be the engine; the second is a JSON form
// of Options. `nudge engine-child` is never typed by hand.
const ChildArg = "engine-child"

// childMark is set in the environment of a child, so that a program that does not call
// MaybeRunChild cannot start itself over and over.
const childMark = "NUDGE_ENGINE_CHILD"

// What the child says on its standard output, one word a line.
const (
	saidReady  = "ready"
	saidLocked = "locked" // another process has the data folder
)

// Options of the engine's process.
type Options struct {
	Lib string `json:"lib"` // path of libchdb.so
	Dir string `json:"dir"` // data folder; created where missing
	// Memory is the share of the machine's memory that the engine may use; 0 is DefaultMemory.
	Memory float64 `json:"memory,omitempty"`
	// Temporary removes Dir at the end.
	Temporary bool `json:"temporary,omitempty"`

	// Parent ends the engine when it is closed at its other end; nil for none.
	Parent io.Reader `json:"-"`
	// Said receives the words for the parent; nil for none.
	Said   io.Writer    `json:"-"`
	Logger *slog.Logger `json:"-"`
}

// DefaultMemory leaves room for the queue, the engine of nudge and the page cache.
const DefaultMemory = 0.5

// parallel is the number of queries that run at once; more wait.
const parallel = 12

// MaybeRunChild runs the engine and ends the process if the process was started to be the engine's
// child; otherwise it returns at once. Programs that use Start call it first thing in main.
func MaybeRunChild() {
	if len(os.Args) < 3 || os.Args[1] != ChildArg || os.Getenv(childMark) == "" {
		return
	}
	// Ctrl-C in a terminal reaches the whole process group; the engine must outlive its parent's
	// last writes, and ends when the pipe does.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	beNice()
	opts := Options{Parent: os.Stdin, Said: os.Stdout, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	err := json.Unmarshal([]byte(os.Args[2]), &opts)
	if err == nil {
		err = Serve(context.Background(), opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is the child's main
	}
	os.Exit(0) //nolint:forbidigo // this is the child's main
}

// ErrLocked says that another process is the engine of the data folder.
var ErrLocked = errors.New("another process has the data folder open")

// Serve is the engine: it loads libchdb, opens the data folder and answers ClickHouse's HTTP
// interface on the folder's socket until ctx ends or Parent does. It can be called once in a
// process.
func Serve(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("create the store's folder: %w", err)
	}
	lock, err := lockFolder(o.Dir)
	if err != nil {
		if errors.Is(err, ErrLocked) && o.Said != nil {
			_, _ = fmt.Fprintln(o.Said, saidLocked)
		}
		return err
	}
	defer func() { _ = lock.Close() }()
	if o.Temporary {
		defer func() { _ = os.RemoveAll(o.Dir) }()
	}
	if o.Parent != nil {
		go func() {
			_, _ = io.Copy(io.Discard, o.Parent)
			cancel()
		}()
	}
	lib, err := loadLibrary(o.Lib)
	if err != nil {
		return err
	}
	p, err := newPool(lib, engineArgs(o), baseSettings(o), parallel)
	if err != nil {
		return fmt.Errorf("open the store in %s: %w", o.Dir, err)
	}
	defer p.close()

	socket, done, err := socketAddress(o.Dir)
	if err != nil {
		return err
	}
	defer done()
	_ = os.Remove(socket) // of an engine that was killed; the lock is ours
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("listen on the store's socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return fmt.Errorf("close the store's socket to others: %w", err)
	}
	srv := &http.Server{Handler: &server{pool: p, dir: o.Dir, log: o.Logger}, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	if o.Said != nil {
		_, _ = fmt.Fprintln(o.Said, saidReady)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve the store's socket: %w", err)
	case <-ctx.Done():
	}
	// Queries that run get a moment; what they have not synced, nobody was told to be safe.
	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancelStop()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	return nil
}

// engineArgs is the engine's command line. Its tables and logs of itself (system.query_log and the
// like) are off by default in the library; on a small machine they would grow without bound.
func engineArgs(o Options) []string {
	memory := o.Memory
	if memory <= 0 {
		memory = DefaultMemory
	}
	return []string{
		"--path=" + filepath.Join(o.Dir, "data"),
		"--max_server_memory_usage_to_ram_ratio=" + strconv.FormatFloat(memory, 'f', 3, 64),
		"--mark_cache_size=268435456",
		"--background_schedule_pool_size=2",
	}
}

// baseSettings hold for every query unless the request says otherwise.
func baseSettings(o Options) map[string]string {
	settings := map[string]string{
		"session_timezone": "UTC",
		// An INSERT is answered when its parts are on disk, not when they are in a buffer.
		"async_insert": "0",
		// The path of a spooled INSERT (a file descriptor) comes again with other columns.
		"schema_inference_use_cache_for_file": "0",
		// The profilers' timers interrupt every thread, those of the Go runtime too.
		"query_profiler_real_time_period_ns": "0",
		"query_profiler_cpu_time_period_ns":  "0",
	}
	if o.Temporary {
		settings["fsync_metadata"] = "0" // what is thrown away need not survive a power cut
	}
	return settings
}

// lockFolder takes the folder for this process; the kernel gives it back when the process ends.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "engine.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store's folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock the store's folder %s: %w", dir, err)
	}
	return file, nil
}
