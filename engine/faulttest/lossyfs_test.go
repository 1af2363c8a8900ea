package faulttest_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lossyFS is a file system in memory that keeps, across a cut of its power, what an ext4 with
// data=ordered, delayed allocation and noauto_da_alloc has to keep, and as little more as chance wants:
//
//   - What changes names and lengths (create, mkdir, mknod, link, symlink, unlink, rmdir, rename,
//     truncate, fallocate) goes, in order, into one journal. An fsync of a file or directory commits the
//     journal up to the last change of that file or directory, and all of it where the file has data
//     to be written, since allocating their blocks is such a change. What is not committed at the cut
//     is undone, newest first: all of it, or, because a journal also commits by itself, all after some
//     point of it.
//   - What is written to a file is durable from the file's next fsync on, and nobody else's fsync will
//     do: a file that was renamed over another may be there and be empty. At the cut a file loses all
//     such writes, or keeps them all (few files do, or most, from cut to cut), or (torn) keeps some
//     sectors of them and not others; then it may have grown, with zeros where sectors are missing.
//   - Owners, permissions and times are not journalled.
//
// An ext4 never tears a block that it has just allocated and commits what is older than some seconds:
// this is harsher than it.
//
// After the cut every operation answers EIO. It speaks to the kernel as a FUSE server (fuse.RawFileSystem,
// in lossyfuse_test.go), without the kernel's write-back cache: what was written is known here.
type lossyFS struct {
	unsupported

	// mu is held for reading by what only looks, or only reads or writes one file's data (under the
	// lock of that file), and for writing by all else.
	mu    sync.RWMutex
	off   atomic.Bool
	root  *lossyNode
	nodes map[uint64]*lossyNode // by inode number, those that the kernel may ask for
	last  uint64                // inode number
	syncs int

	countdown atomic.Int64 // changes until the power fails, unless it has been 0 all along
	failed    chan struct{}

	journal   []func() // what undoes the changes that are not committed, oldest first
	committed uint64   // how many were committed before those
}

// lossyNode is a file, directory, symbolic link or socket.
type lossyNode struct {
	ino     uint64
	lookups atomic.Int64 // that the kernel has not forgotten
	changed uint64       // the last change of it: how many there were in the journal's history by then
	links   int

	mode     uint32 // with the type
	uid, gid uint32
	target   string                // of a symbolic link
	entries  map[string]lossyEntry // of a directory
	added    uint64                // entries so far

	mu       sync.RWMutex // of the rest, where the file system's mu is held for reading only
	modified time.Time
	size     int64
	blocks   []*block // nil is zeros; what is beyond size is zeros
	durable  int64    // size that a cut leaves
	// unsynced has the blocks that were written since the last fsync, as they were then. A block that
	// is not in it may be shared with the past, and is copied before it is written to.
	unsynced map[int]*block
}

// lossyEntry is a name in a directory.
type lossyEntry struct {
	node *lossyNode
	seq  uint64 // its place when the directory is listed
}

const (
	blockSize  = 4096
	sectorSize = 512
)

type block [blockSize]byte

func newLossyFS() *lossyFS {
	root := &lossyNode{ino: 1, links: 1, mode: syscall.S_IFDIR | 0o755, entries: map[string]lossyEntry{}, modified: time.Now()}
	return &lossyFS{unsupported: newUnsupported(), root: root, nodes: map[uint64]*lossyNode{1: root}, last: 1}
}

// record adds a change, made under the lock, to the journal.
func (fs *lossyFS) record(undo func(), changed ...*lossyNode) {
	fs.journal = append(fs.journal, undo)
	for _, n := range changed {
		n.changed = fs.committed + uint64(len(fs.journal))
	}
}

// set has a name stand for a node, or, where that is nil, for none.
func (fs *lossyFS) set(dir *lossyNode, name string, n *lossyNode) (undo func()) {
	was, had := dir.entries[name]
	if had {
		was.node.links--
		delete(dir.entries, name)
	}
	if n != nil {
		n.links++
		dir.added++
		dir.entries[name] = lossyEntry{node: n, seq: dir.added}
	}
	dir.modified = time.Now()
	if had {
		fs.drop(was.node)
		return func() { dir.entries[name] = was }
	}
	return func() { delete(dir.entries, name) }
}

// drop frees a node that nobody can reach.
func (fs *lossyFS) drop(n *lossyNode) {
	if n.links == 0 && n.lookups.Load() == 0 {
		delete(fs.nodes, n.ino)
	}
}

// create makes a node and its first name.
func (fs *lossyFS) create(dir *lossyNode, name string, mode uint32) *lossyNode {
	fs.last++
	n := &lossyNode{ino: fs.last, mode: mode, modified: time.Now()}
	switch mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		n.entries = map[string]lossyEntry{}
	case syscall.S_IFREG:
		n.unsynced = map[int]*block{}
	}
	fs.nodes[n.ino] = n
	fs.record(fs.set(dir, name, n), dir, n)
	return n
}

// truncate sets a file's size.
func (fs *lossyFS) truncate(n *lossyNode, size int64) {
	if size != n.size {
		fs.record(n.truncate(size), n)
	}
}

// sync is an fsync.
func (fs *lossyFS) sync(n *lossyNode) {
	upTo := fs.committed + uint64(len(fs.journal))
	if !n.dirty() {
		if upTo = max(n.changed, fs.committed); upTo == fs.committed {
			return // nothing to be done
		}
	}
	fs.syncs++
	fs.journal = slices.Delete(fs.journal, 0, int(upTo-fs.committed))
	fs.committed = upTo
	clear(n.unsynced)
	n.durable = n.size
}

// fail turns the power off in the middle of things: at the nth change or write from now on. What is
// returned is closed then. The cut is still to be made.
func (fs *lossyFS) fail(n int64) (failed <-chan struct{}) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.failed = make(chan struct{})
	fs.countdown.Store(n)
	return fs.failed
}

// count counts a change, and says whether there is power for it.
func (fs *lossyFS) count() bool {
	if fs.countdown.Load() > 0 && fs.countdown.Add(-1) == 0 {
		fs.off.Store(true)
		close(fs.failed)
	}
	return !fs.off.Load()
}

// cut turns the power off. It returns what is found when it is on again, and how much was lost. Without
// chance all is lost that can be.
func (fs *lossyFS) cut(chance *rand.Rand) (after *lossyFS, l lost) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.off.Store(true)
	keep := 0
	if chance != nil && chance.IntN(2) == 0 {
		keep = chance.IntN(len(fs.journal) + 1)
	}
	for _, undo := range slices.Backward(fs.journal[keep:]) {
		undo()
	}
	l.changes = len(fs.journal) - keep
	after = &lossyFS{unsupported: newUnsupported(), root: fs.root, nodes: map[uint64]*lossyNode{}, last: fs.last}
	f := fates{chance: chance}
	if chance != nil {
		f.kept = []float64{0.25, 0.75, 0.95}[chance.IntN(3)]
	}
	after.recover(fs.root, f, &l)
	for ino, n := range fs.nodes {
		if after.nodes[ino] == nil && n.links > 0 { // its making was undone
			l.bytes += n.cut(fates{})
		}
	}
	return after, l
}

// lost is what a cut has cost: changes of names and lengths, and bytes in files.
type lost struct{ changes, bytes int }

// fates says what data files keep in one cut that were not synced.
type fates struct {
	chance *rand.Rand // nil: none
	kept   float64    // the share of files whose data had all been written by then
}

// next says, for one file, whether a sector is kept.
func (f fates) next() (sector func() bool) {
	all := func(is bool) func() bool { return func() bool { return is } }
	switch {
	case f.chance == nil:
		return all(false)
	case f.chance.Float64() < f.kept:
		return all(true)
	case f.chance.IntN(2) == 0:
		return all(false)
	default:
		return func() bool { return f.chance.IntN(2) == 0 }
	}
}

// recover takes over what can be reached from a node that is there after the cut.
func (fs *lossyFS) recover(n *lossyNode, f fates, l *lost) {
	n.links++
	if fs.nodes[n.ino] != nil {
		return // another name of it
	}
	fs.nodes[n.ino] = n
	n.links, n.changed = 1, 0
	n.lookups.Store(0)
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		fs.recover(n.entries[name].node, f, l)
	}
	l.bytes += n.cut(f)
}

// dirty says whether the file has data to be synced.
func (n *lossyNode) dirty() bool { return len(n.unsynced) > 0 || n.size != n.durable }

// cut leaves of what was not synced what fate wants, and returns how many bytes are lost.
func (n *lossyNode) cut(f fates) (lost int) {
	if !n.dirty() {
		return 0
	}
	kept := f.next()
	size := n.durable
	for _, i := range slices.Sorted(maps.Keys(n.unsynced)) {
		var b block
		if was := n.unsynced[i]; was != nil {
			b = *was
		}
		for at := 0; at < blockSize; at += sectorSize {
			off := int64(i)*blockSize + int64(at)
			if off >= n.size {
				break
			}
			if !kept() {
				lost += int(min(sectorSize, n.size-off))
				continue
			}
			copy(b[at:at+sectorSize], n.blocks[i][at:])
			size = max(size, min(off+sectorSize, n.size))
		}
		n.blocks[i] = &b
	}
	clear(n.unsynced)
	n.truncate(size)
	n.durable = size
	return lost
}

// truncate cuts the file off or has it grow by zeros. Undone, the file is as it was before, and what is
// written in between is lost.
func (n *lossyNode) truncate(size int64) (undo func()) {
	oldSize, oldDurable, oldBlocks, oldUnsynced := n.size, n.durable, n.blocks, n.unsynced
	undo = func() { n.size, n.durable, n.blocks, n.unsynced = oldSize, oldDurable, oldBlocks, oldUnsynced }
	n.blocks = slices.Clone(oldBlocks[:min(int64(len(oldBlocks)), (size+blockSize-1)/blockSize)])
	n.unsynced = map[int]*block{}
	last, tail := int(size/blockSize), int(size%blockSize)
	rest := func(i int, b *block) *block { // its own copy, of what is before the end
		if b == nil {
			return nil
		}
		own := *b
		if i == last {
			clear(own[tail:])
		}
		return &own
	}
	for i, was := range oldUnsynced {
		if i < len(n.blocks) {
			n.unsynced[i] = rest(i, was)
			n.blocks[i] = rest(i, n.blocks[i])
		}
	}
	if last < len(n.blocks) {
		n.blocks[last] = rest(last, n.blocks[last])
	}
	n.durable = size
	if size < oldSize {
		n.durable = min(oldDurable, size)
	}
	n.size, n.modified = size, time.Now()
	return undo
}

func (n *lossyNode) write(p []byte, off int64) {
	n.size = max(n.size, off+int64(len(p)))
	n.modified = time.Now()
	for len(p) > 0 {
		i := int(off / blockSize)
		for len(n.blocks) <= i {
			n.blocks = append(n.blocks, nil)
		}
		if _, ok := n.unsynced[i]; !ok {
			n.unsynced[i] = n.blocks[i]
			b := &block{}
			if was := n.blocks[i]; was != nil {
				*b = *was
			}
			n.blocks[i] = b
		}
		k := copy(n.blocks[i][off%blockSize:], p)
		p, off = p[k:], off+int64(k)
	}
}

// read fills p from an offset on, up to the end of the file.
func (n *lossyNode) read(p []byte, off int64) int {
	p = p[:max(0, min(int64(len(p)), n.size-off))]
	for rest := p; len(rest) > 0; {
		at := int(off % blockSize)
		k := min(len(rest), blockSize-at)
		if i := int(off / blockSize); i < len(n.blocks) && n.blocks[i] != nil {
			copy(rest[:k], n.blocks[i][at:])
		} else {
			clear(rest[:k])
		}
		rest, off = rest[k:], off+int64(k)
	}
	return len(p)
}
