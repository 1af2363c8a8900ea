package faulttest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
)

// disk is a disk whose power can be cut: what was written and not flushed is in its cache, and a cut
// loses all of that, or keeps some sectors of it and not others. On it is a real ext4, through a loop
// device over a file that this process serves by FUSE, so that what an fsync or a rename is worth is
// the kernel's to say.
type disk struct {
	t     *testing.T
	image *os.File // what survives
	size  int64
	fuse  string // where the FUSE file system with the one file is
	mount string // where the ext4 is
	serve *fuse.Server

	mu      sync.Mutex
	off     bool
	cache   map[int64][]byte // by block: written, not flushed
	flushes int
	lost    int // bytes that were in the cache or on their way to it
}

const (
	blockSize  = 4096
	sectorSize = 512
)

// newDisk makes a disk and plugs it in. Where this machine cannot do it the test is skipped. It is done
// by hand only: a loop device over a FUSE file that its own process serves can lock up the kernel's
// writing, and with it every later mount.
func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Getenv("NUDGE_POWER_CUTS") == "" {
		t.Skip("power cuts are for a machine of their own: set NUDGE_POWER_CUTS=1")
	}
	for _, need := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("power cuts need FUSE and loop devices: %v", err)
		}
	}
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil || os.Getuid() != 0 {
		t.Skipf("power cuts need root and mkfs.ext4: user %d, %v", os.Getuid(), err)
	}
	dir := t.TempDir()
	d := &disk{t: t, size: 2 << 30, fuse: filepath.Join(dir, "fuse"), mount: filepath.Join(dir, "mnt"), cache: map[int64][]byte{}}
	require.NoError(t, os.Mkdir(d.fuse, 0o755))
	require.NoError(t, os.Mkdir(d.mount, 0o755))
	d.image, err = os.Create(filepath.Join(dir, "image"))
	require.NoError(t, err)
	require.NoError(t, d.image.Truncate(d.size))
	out, err := exec.CommandContext(t.Context(), mkfs, "-q", "-F", d.image.Name()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		d.unplug()
		_ = d.image.Close()
	})
	if err := d.plug(); err != nil {
		t.Skipf("power cuts need the right to mount FUSE and loop devices: %v", err)
	}
	return d
}

// plug turns the power on and mounts; the file system repairs itself.
func (d *disk) plug() error {
	d.mu.Lock()
	d.off = false
	clear(d.cache)
	d.mu.Unlock()
	var err error
	// No process that is started meanwhile may keep the connection: it must end with this one, or
	// whoever reads the disk waits for ever.
	syscall.ForkLock.RLock()
	d.serve, err = fs.Mount(d.fuse, &diskFolder{disk: d}, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, Name: "nudge-disk", FsName: "nudge-disk", MaxWrite: 1 << 20,
	}})
	keepToOurselves("/dev/fuse")
	syscall.ForkLock.RUnlock()
	if err != nil {
		return fmt.Errorf("mount FUSE: %w", err)
	}
	out, err := exec.Command("mount", "-o", "loop", filepath.Join(d.fuse, "disk"), d.mount).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("mount the loop device: %w: %s", err, out), d.serve.Unmount())
	}
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

// unplug unmounts everything. Whoever had files open on it has ended.
func (d *disk) unplug() {
	if d.serve == nil {
		return
	}
	for _, args := range [][]string{{d.mount}, {"-l", d.mount}} {
		if exec.Command("umount", args...).Run() == nil {
			break
		}
	}
	if err := d.serve.Unmount(); err != nil {
		_ = exec.Command("umount", "-l", d.fuse).Run()
	}
	d.serve = nil
}

// writeBack has the kernel write some files' data to the disk, as it does now and then, and does not
// flush: what is on the disk is then no longer in the order of the writes.
func (d *disk) writeBack(chance *rand.Rand) {
	_ = filepath.WalkDir(d.mount, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || chance.IntN(3) != 0 {
			return nil //nolint:nilerr // files come and go
		}
		f, err := os.Open(path)
		if err != nil {
			return nil //nolint:nilerr // files come and go
		}
		defer f.Close() //nolint:errcheck // nothing was written to it
		const startAndWait = 2 | 4
		_ = syscall.SyncFileRange(int(f.Fd()), 0, 0, startAndWait)
		return nil
	})
}

// cut turns the power off at once. Of what was not flushed, chance keeps a sector here and there, or,
// where it is nil, nothing.
func (d *disk) cut(chance *rand.Rand) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	for block, data := range d.cache {
		for at := 0; at < blockSize; at += sectorSize {
			if chance == nil || chance.IntN(2) == 0 {
				d.lost += sectorSize
				continue
			}
			_, err := d.image.WriteAt(data[at:at+sectorSize], block*blockSize+int64(at))
			require.NoError(d.t, err)
		}
	}
	clear(d.cache)
}

func (d *disk) read(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return syscall.EIO
	}
	if _, err := d.image.ReadAt(p, off); err != nil {
		return err //nolint:wrapcheck // becomes EIO
	}
	for block := off / blockSize; block*blockSize < off+int64(len(p)); block++ {
		data, ok := d.cache[block]
		if !ok {
			continue
		}
		if from := block*blockSize - off; from >= 0 {
			copy(p[from:], data)
		} else {
			copy(p, data[-from:])
		}
	}
	return nil
}

func (d *disk) write(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		d.lost += len(p)
		return syscall.EIO
	}
	for len(p) > 0 {
		block, at := off/blockSize, int(off%blockSize)
		data, ok := d.cache[block]
		if !ok {
			data = make([]byte, blockSize)
			if _, err := d.image.ReadAt(data, block*blockSize); err != nil {
				return err //nolint:wrapcheck // becomes EIO
			}
			d.cache[block] = data
		}
		n := copy(data[at:], p)
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (d *disk) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return syscall.EIO
	}
	for block, data := range d.cache {
		if _, err := d.image.WriteAt(data, block*blockSize); err != nil {
			return err //nolint:wrapcheck // becomes EIO
		}
	}
	clear(d.cache)
	d.flushes++
	return nil
}

// diskFolder is the root of the FUSE file system, with one file in it.
type diskFolder struct {
	fs.Inode
	disk *disk
}

var _ fs.NodeOnAdder = (*diskFolder)(nil)

// OnAdd implements fs.NodeOnAdder.
func (f *diskFolder) OnAdd(ctx context.Context) {
	f.AddChild("disk", f.NewPersistentInode(ctx, &diskFile{disk: f.disk}, fs.StableAttr{Mode: fuse.S_IFREG}), false)
}

// diskFile is the disk as a file.
type diskFile struct {
	fs.Inode
	disk *disk
}

var (
	_ fs.NodeGetattrer = (*diskFile)(nil)
	_ fs.NodeSetattrer = (*diskFile)(nil)
	_ fs.NodeOpener    = (*diskFile)(nil)
	_ fs.NodeReader    = (*diskFile)(nil)
	_ fs.NodeWriter    = (*diskFile)(nil)
	_ fs.NodeFsyncer   = (*diskFile)(nil)
)

// Getattr implements fs.NodeGetattrer.
func (f *diskFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blksize, out.Blocks = 0o600, uint64(f.disk.size), blockSize, uint64(f.disk.size/sectorSize)
	return 0
}

// Setattr implements fs.NodeSetattrer: times are nobody's business.
func (f *diskFile) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return f.Getattr(ctx, h, out)
}

// Open implements fs.NodeOpener.
func (f *diskFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

// Read implements fs.NodeReader.
func (f *diskFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	dest = dest[:max(0, min(int64(len(dest)), f.disk.size-off))]
	return fuse.ReadResultData(dest), errno(f.disk.read(dest, off))
}

// Write implements fs.NodeWriter.
func (f *diskFile) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	return uint32(len(data)), errno(f.disk.write(data, off))
}

// Fsync implements fs.NodeFsyncer: the disk's flush.
func (f *diskFile) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return errno(f.disk.flush())
}

func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	return syscall.EIO
}
