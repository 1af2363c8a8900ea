package faulttest_test

import (
	"cmp"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// unsupported answers ENOSYS to what lossyFS does not implement. The kernel then does without: it opens
// and closes files without asking (keeping their pages, which nobody else changes), and locks them itself.
type unsupported struct{ fuse.RawFileSystem }

func newUnsupported() unsupported { return unsupported{fuse.NewDefaultRawFileSystem()} }

var _ fuse.RawFileSystem = (*lossyFS)(nil)

// forever is how long the kernel may rely on names and attributes: only it changes them.
const forever = time.Hour

// look runs what only looks at a node.
func (fs *lossyFS) look(ino uint64, do func(n *lossyNode) syscall.Errno) fuse.Status {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return fs.do(ino, do)
}

// change runs what changes a node.
func (fs *lossyFS) change(ino uint64, do func(n *lossyNode) syscall.Errno) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.count()
	return fs.do(ino, do)
}

func (fs *lossyFS) do(ino uint64, do func(n *lossyNode) syscall.Errno) fuse.Status {
	n := fs.nodes[ino]
	switch {
	case fs.off.Load():
		return fuse.EIO
	case n == nil:
		return fuse.Status(syscall.ESTALE)
	default:
		return fuse.Status(do(n))
	}
}

// entry tells the kernel of a node that it asked for by name.
func (n *lossyNode) entry(out *fuse.EntryOut) {
	n.lookups.Add(1)
	out.NodeId = n.ino
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	n.attr(&out.Attr)
}

func (n *lossyNode) attr(out *fuse.Attr) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	out.Ino, out.Mode, out.Nlink, out.Uid, out.Gid = n.ino, n.mode, uint32(n.links), n.uid, n.gid
	out.Size, out.Blocks, out.Blksize = uint64(n.size), uint64(n.size+sectorSize-1)/sectorSize, blockSize
	if n.target != "" {
		out.Size = uint64(len(n.target))
	}
	out.SetTimes(&n.modified, &n.modified, &n.modified)
}

// Lookup implements fuse.RawFileSystem.
func (fs *lossyFS) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return fs.look(in.NodeId, func(dir *lossyNode) syscall.Errno {
		if e, ok := dir.entries[name]; ok {
			e.node.entry(out)
		} else {
			out.SetEntryTimeout(forever) // that there is none
		}
		return 0
	})
}

// Forget implements fuse.RawFileSystem.
func (fs *lossyFS) Forget(ino, lookups uint64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.do(ino, func(n *lossyNode) syscall.Errno {
		n.lookups.Add(-int64(lookups))
		fs.drop(n)
		return 0
	})
}

// GetAttr implements fuse.RawFileSystem.
func (fs *lossyFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return fs.look(in.NodeId, func(n *lossyNode) syscall.Errno {
		out.SetTimeout(forever)
		n.attr(&out.Attr)
		return 0
	})
}

// SetAttr implements fuse.RawFileSystem.
func (fs *lossyFS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return fs.change(in.NodeId, func(n *lossyNode) syscall.Errno {
		if size, ok := in.GetSize(); ok {
			fs.truncate(n, int64(size))
		}
		if mode, ok := in.GetMode(); ok {
			n.mode = n.mode&syscall.S_IFMT | mode
		}
		if uid, ok := in.GetUID(); ok {
			n.uid = uid
		}
		if gid, ok := in.GetGID(); ok {
			n.gid = gid
		}
		if at, ok := in.GetMTime(); ok {
			n.modified = at
		}
		out.SetTimeout(forever)
		n.attr(&out.Attr)
		return 0
	})
}

// add makes a node.
func (fs *lossyFS) add(in *fuse.InHeader, name string, mode uint32, target string, out *fuse.EntryOut) fuse.Status {
	return fs.change(in.NodeId, func(dir *lossyNode) syscall.Errno {
		if _, ok := dir.entries[name]; ok {
			return syscall.EEXIST
		}
		n := fs.create(dir, name, mode)
		n.uid, n.gid, n.target = in.Uid, in.Gid, target
		n.entry(out)
		return 0
	})
}

// Mknod implements fuse.RawFileSystem: sockets are made so.
func (fs *lossyFS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.add(&in.InHeader, name, in.Mode, "", out)
}

// Mkdir implements fuse.RawFileSystem.
func (fs *lossyFS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.add(&in.InHeader, name, in.Mode&^syscall.S_IFMT|syscall.S_IFDIR, "", out)
}

// Create implements fuse.RawFileSystem.
func (fs *lossyFS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fs.add(&in.InHeader, name, in.Mode&^syscall.S_IFMT|syscall.S_IFREG, "", &out.EntryOut)
}

// Symlink implements fuse.RawFileSystem.
func (fs *lossyFS) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return fs.add(in, name, syscall.S_IFLNK|0o777, target, out)
}

// Readlink implements fuse.RawFileSystem.
func (fs *lossyFS) Readlink(_ <-chan struct{}, in *fuse.InHeader) (target []byte, status fuse.Status) {
	status = fs.look(in.NodeId, func(n *lossyNode) syscall.Errno {
		target = []byte(n.target)
		return 0
	})
	return target, status
}

// Link implements fuse.RawFileSystem.
func (fs *lossyFS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.change(in.NodeId, func(dir *lossyNode) syscall.Errno {
		n := fs.nodes[in.Oldnodeid]
		if _, ok := dir.entries[name]; ok || n == nil {
			return syscall.EEXIST
		}
		fs.record(fs.set(dir, name, n), dir, n)
		n.entry(out)
		return 0
	})
}

// remove takes a name away.
func (fs *lossyFS) remove(in *fuse.InHeader, name string) fuse.Status {
	return fs.change(in.NodeId, func(dir *lossyNode) syscall.Errno {
		e, ok := dir.entries[name]
		switch {
		case !ok:
			return syscall.ENOENT
		case len(e.node.entries) > 0:
			return syscall.ENOTEMPTY
		}
		fs.record(fs.set(dir, name, nil), dir, e.node)
		return 0
	})
}

// Unlink implements fuse.RawFileSystem.
func (fs *lossyFS) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return fs.remove(in, name)
}

// Rmdir implements fuse.RawFileSystem.
func (fs *lossyFS) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return fs.remove(in, name)
}

// Rename implements fuse.RawFileSystem.
func (fs *lossyFS) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	const rename2, noReplace, exchange = 45, 1, 2
	var flags uint32
	if in.Opcode == rename2 {
		flags = in.Flags // a plain rename has none
	}
	return fs.change(in.NodeId, func(dir *lossyNode) syscall.Errno {
		to := fs.nodes[in.Newdir]
		if to == nil {
			return syscall.ESTALE
		}
		e, ok := dir.entries[name]
		was, had := to.entries[newName]
		switch {
		case flags&^(noReplace|exchange) != 0:
			return syscall.EINVAL
		case !ok || flags == exchange && !had:
			return syscall.ENOENT
		case had && flags == noReplace:
			return syscall.EEXIST
		case had && was.node == e.node:
			return 0
		case had && flags == 0 && len(was.node.entries) > 0:
			return syscall.ENOTEMPTY
		}
		changed := []*lossyNode{dir, to, e.node}
		var other *lossyNode
		if had {
			changed = append(changed, was.node)
			if flags == exchange {
				other = was.node
			}
		}
		undoNew := fs.set(to, newName, e.node)
		undoOld := fs.set(dir, name, other)
		if other != nil {
			fs.nodes[other.ino] = other // it had no name for a moment
		}
		fs.record(func() { undoOld(); undoNew() }, changed...)
		return 0
	})
}

// Open implements fuse.RawFileSystem.
func (fs *lossyFS) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.ENOSYS // not needed, see unsupported
}

// Read implements fuse.RawFileSystem.
func (fs *lossyFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (res fuse.ReadResult, status fuse.Status) {
	status = fs.look(in.NodeId, func(n *lossyNode) syscall.Errno {
		n.mu.RLock()
		defer n.mu.RUnlock()
		res = fuse.ReadResultData(buf[:n.read(buf, int64(in.Offset))])
		return 0
	})
	return res, status
}

// Write implements fuse.RawFileSystem.
func (fs *lossyFS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if in.Flags&syscall.O_DSYNC != 0 { // a part of O_SYNC; newer kernels ask for the fsync, too
		return uint32(len(data)), fs.change(in.NodeId, func(n *lossyNode) syscall.Errno {
			n.write(data, int64(in.Offset))
			fs.sync(n)
			return 0
		})
	}
	return uint32(len(data)), fs.look(in.NodeId, func(n *lossyNode) syscall.Errno {
		n.mu.Lock()
		defer n.mu.Unlock()
		if !fs.count() {
			return syscall.EIO
		}
		n.write(data, int64(in.Offset))
		return 0
	})
}

// Fallocate implements fuse.RawFileSystem.
func (fs *lossyFS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	const keepSize = 1
	return fs.change(in.NodeId, func(n *lossyNode) syscall.Errno {
		switch in.Mode {
		case 0:
			fs.truncate(n, max(n.size, int64(in.Offset+in.Length)))
			return 0
		case keepSize:
			return 0
		default:
			return syscall.EOPNOTSUPP
		}
	})
}

// Fsync implements fuse.RawFileSystem.
func (fs *lossyFS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.change(in.NodeId, func(n *lossyNode) syscall.Errno {
		fs.sync(n)
		return 0
	})
}

// FsyncDir implements fuse.RawFileSystem.
func (fs *lossyFS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.Fsync(cancel, in)
}

// ReadDir implements fuse.RawFileSystem. A listing that goes on after names have come and gone has all
// others once.
func (fs *lossyFS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.look(in.NodeId, func(dir *lossyNode) syscall.Errno {
		names := slices.SortedFunc(maps.Keys(dir.entries), func(a, b string) int {
			return cmp.Compare(dir.entries[a].seq, dir.entries[b].seq)
		})
		for _, name := range names {
			e := dir.entries[name]
			if e.seq > in.Offset && !out.AddDirEntry(fuse.DirEntry{Name: name, Mode: e.node.mode, Ino: e.node.ino, Off: e.seq}) {
				break
			}
		}
		return 0
	})
}

// StatFs implements fuse.RawFileSystem: there is plenty of space.
func (fs *lossyFS) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const plenty = 1 << 28
	out.Blocks, out.Bfree, out.Bavail, out.Files, out.Ffree = plenty, plenty, plenty, plenty, plenty
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, 255
	return fs.look(in.NodeId, func(*lossyNode) syscall.Errno { return 0 })
}
