package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer runs a NATS server that only this process can reach: no port is opened. With sync,
// every message is written with O_SYNC before it is acknowledged.
func startServer(dir string, sync bool, log *slog.Logger) (*server.Server, error) {
	opts := &server.Options{
		ServerName: "nudge",
		DontListen: true,
		NoSigs:     true,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: sync,
		// The limits are ours (Config.MaxBacklog); the server's would refuse to reserve more than
		// three quarters of the disk that happens to be free at start.
		JetStreamMaxStore: 1 << 60,
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start the embedded queue in %s: %w", dir, err)
	}
	srv.SetLoggerV2(natsLogger{log}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(apiTimeout) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		return nil, fmt.Errorf("start the embedded queue in %s: not ready after %s; see the log for the reason", dir, apiTimeout)
	}
	return srv, nil
}

// natsLogger passes the server's log on. Its notices (banner, recovery of each stream) are debug
// to us.
type natsLogger struct{ log *slog.Logger }

//nolint:sloglint // the texts are the server's
func (l natsLogger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

//nolint:sloglint // the texts are the server's
func (l natsLogger) Warnf(format string, v ...any) { l.log.Warn(fmt.Sprintf(format, v...)) }

//nolint:sloglint // the texts are the server's
func (l natsLogger) Fatalf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }

//nolint:sloglint // the texts are the server's
func (l natsLogger) Errorf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }

//nolint:sloglint // the texts are the server's
func (l natsLogger) Debugf(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

//nolint:sloglint // the texts are the server's
func (l natsLogger) Tracef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// folderLock keeps a second process out of a data folder. The kernel drops it when the process
// ends, however it ends, so a lock is never stale.
type folderLock struct{ file *os.File }

func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the queue's folder: %w", err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the queue's lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the queue's folder %s: %w", dir, err)
		}
		return nil, fmt.Errorf("%w: process %s has %s open; stop it, or give this one another data folder", ErrInUse, holder(f), dir)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return &folderLock{f}, nil
}

// holder reads the process id from a held lock file.
func holder(f *os.File) string {
	buf := make([]byte, 32)
	n, _ := f.ReadAt(buf, 0)
	if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
		return pid
	}
	return "(unknown)"
}

func (l *folderLock) release() { _ = l.file.Close() }
