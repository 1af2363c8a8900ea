package faulttest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
)

// disk is a folder on a disk whose power can be cut: a lossyFS that this process mounts.
type disk struct {
	t      *testing.T
	mount  string
	fs     *lossyFS
	server *fuse.Server  // nil while it is unplugged
	served chan struct{} // the kernel has let go of the server
	abort  string        // the file by which the kernel lets go of it at once

	syncs int  // before the last cut
	lost  lost // in all cuts
}

// newDisk makes a disk and plugs it in. Where this machine cannot mount one the test is skipped.
func newDisk(t *testing.T) *disk {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("power cuts need FUSE: %v", err)
	}
	d := &disk{t: t, mount: t.TempDir(), fs: newLossyFS()}
	err := d.plug()
	var missing *exec.Error
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENODEV) || errors.As(err, &missing) {
		t.Skipf("power cuts need the right to mount FUSE: root, or fusermount: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(d.unplug)
	return d
}

// plug mounts what the disk has.
func (d *disk) plug() error {
	options := fuse.MountOptions{
		Name: "nudge-disk", FsName: "nudge-disk", DirectMountStrict: os.Geteuid() == 0,
		MaxWrite: 1 << 20, DisableXAttrs: true, DisableReadDirPlus: true, ExplicitDataCacheControl: true,
	}
	// No process that is started meanwhile may keep the connection: it must end with this one, or
	// whoever uses the disk waits for ever. (fusermount is such a process itself.)
	if options.DirectMountStrict {
		syscall.ForkLock.RLock()
	}
	server, err := fuse.NewServer(d.fs, d.mount, &options)
	keepToOurselves("/dev/fuse")
	if options.DirectMountStrict {
		syscall.ForkLock.RUnlock()
	}
	if err != nil {
		return fmt.Errorf("mount FUSE: %w", err)
	}
	d.server, d.served = server, make(chan struct{})
	go func() {
		defer close(d.served)
		server.Serve()
	}()
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("mount FUSE: %w", err)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(d.mount, &stat); err != nil {
		return fmt.Errorf("look at the mounted disk: %w", err)
	}
	d.abort = fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", stat.Dev)
	return nil
}

// keepToOurselves has the descriptors of a file closed in every process that this one starts.
func keepToOurselves(path string) {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, e := range fds {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && to == path {
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				syscall.CloseOnExec(fd)
			}
		}
	}
}

// unplug unmounts the disk, by force where somebody still has files open on it.
func (d *disk) unplug() {
	if d.server == nil {
		return
	}
	if err := d.server.Unmount(); err != nil {
		d.t.Logf("the disk is unmounted by force: %v", err)
		aborted := os.WriteFile(d.abort, []byte("1"), 0o200)
		if syscall.Unmount(d.mount, syscall.MNT_DETACH) != nil {
			_ = exec.Command("fusermount3", "-uz", d.mount).Run()
		}
		if aborted != nil {
			d.server = nil // it is served until the last file on it is closed
			return
		}
	}
	<-d.served
	d.server = nil
}

// fails has the power fail at the nth change or write, and waits for that, but not longer than given:
// then it is still on.
func (d *disk) fails(n int64, within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-d.fs.fail(n):
		return true
	case <-late.C:
		return false
	}
}

// cut turns the power off, where it is not. Of what was not synced, chance keeps some, or, where it is nil,
// nothing. Whoever has files open on the disk then has to end, and the disk to be plugged in anew.
func (d *disk) cut(chance *rand.Rand) {
	after, l := d.fs.cut(chance)
	d.syncs += d.fs.syncs
	d.lost.changes += l.changes
	d.lost.bytes += l.bytes
	d.fs = after
}
