package faulttest_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// folder does things on a disk, and wants them to succeed.
type folder struct {
	t    *testing.T
	root string
}

func (f folder) at(name string) string { return filepath.Join(f.root, name) }

// write opens a file, writes and closes it.
func (f folder) write(name, text string, flags int, sync bool) {
	f.t.Helper()
	file, err := os.OpenFile(f.at(name), os.O_WRONLY|os.O_CREATE|flags, 0o600)
	require.NoError(f.t, err)
	_, err = file.WriteString(text)
	require.NoError(f.t, err)
	if sync {
		require.NoError(f.t, file.Sync())
	}
	require.NoError(f.t, file.Close())
}

func (f folder) sync(name string) {
	f.t.Helper()
	file, err := os.Open(f.at(name))
	require.NoError(f.t, err)
	require.NoError(f.t, file.Sync())
	require.NoError(f.t, file.Close())
}

func (f folder) do(err error) {
	f.t.Helper()
	require.NoError(f.t, err)
}

// all is what is there: the text of each file, "/" for a folder, and "-> target" for a symbolic link.
func (f folder) all() map[string]string {
	f.t.Helper()
	out := map[string]string{}
	f.do(filepath.WalkDir(f.root, func(path string, e fs.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(path, f.root), "/")
		switch {
		case err != nil || name == "":
			return err
		case e.IsDir():
			out[name] = "/"
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			out[name] = "-> " + to
			return err
		case e.Type() == fs.ModeSocket:
			out[name] = "socket"
		default:
			text, err := os.ReadFile(path)
			out[name] = string(text)
			return err
		}
		return nil
	}))
	return out
}

// TestWhatACutLeaves is about the disk itself. In each case what was done is seen before the cut, and
// after it only what had to be kept.
func TestWhatACutLeaves(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	long := strings.Repeat("0123456789abcdef", 1000) // almost four blocks
	type files = map[string]string
	for _, c := range []struct {
		name          string
		do            func(f folder)
		before, after files
	}{
		{
			"a synced file is there", func(f folder) { f.write("a", "text", 0, true) },
			files{"a": "text"},
			files{"a": "text"},
		},
		{
			"a file that was not synced is not", func(f folder) { f.write("a", "text", 0, false) },
			files{"a": "text"},
			files{},
		},
		{
			"its name is, empty, where another file is synced", func(f folder) {
				f.write("a", "text", 0, false)
				f.write("b", "text", 0, true)
			},
			files{"a": "text", "b": "text"},
			files{"a": "", "b": "text"},
		},
		{
			"a file that is synced by each write is there", func(f folder) {
				f.write("a", "text", os.O_SYNC, false)
				f.write("b", "text", syscall.O_DSYNC, false)
			},
			files{"a": "text", "b": "text"},
			files{"a": "text", "b": "text"},
		},
		{
			"what is appended after the sync is lost", func(f folder) {
				f.write("a", "text", 0, true)
				f.write("a", " and more", os.O_APPEND, false)
			},
			files{"a": "text and more"},
			files{"a": "text"},
		},
		{
			"what is overwritten after the sync is as it was", func(f folder) {
				f.write("a", long, 0, true)
				f.write("a", "XXX", 0, false)
				f.write("b", "", 0, false)
			},
			files{"a": "XXX" + long[3:], "b": ""},
			files{"a": long},
		},
		{
			"the newest of several syncs counts", func(f folder) {
				f.write("a", "one", 0, true)
				f.write("a", "two", os.O_APPEND, true)
				f.write("a", "three", os.O_APPEND, false)
			},
			files{"a": "onetwothree"},
			files{"a": "onetwo"},
		},
		{
			"a rename is undone", func(f folder) {
				f.write("a", "old", 0, true)
				f.write("b", "new", 0, true)
				f.do(os.Rename(f.at("b"), f.at("a")))
			},
			files{"a": "new"},
			files{"a": "old", "b": "new"},
		},
		{
			"a sync of the folder commits a rename", func(f folder) {
				f.write("a", "old", 0, true)
				f.write("b", "new", 0, true)
				f.do(os.Rename(f.at("b"), f.at("a")))
				f.sync("")
			},
			files{"a": "new"},
			files{"a": "new"},
		},
		{
			"and so does the sync of another file that was written", func(f folder) {
				f.write("a", "old", 0, true)
				f.write("b", "new", 0, true)
				f.write("c", "1", 0, true)
				f.do(os.Rename(f.at("b"), f.at("a")))
				f.write("c", "2", 0, true)
			},
			files{"a": "new", "c": "2"},
			files{"a": "new", "c": "2"},
		},
		{
			"but not of one that was not", func(f folder) {
				f.write("c", "1", 0, true)
				f.write("b", "new", 0, true)
				f.do(os.Rename(f.at("b"), f.at("a")))
				f.sync("c")
			},
			files{"a": "new", "c": "1"},
			files{"b": "new", "c": "1"},
		},
		{
			"a file renamed over another and not synced is empty", func(f folder) {
				f.write("a", "old", 0, true)
				f.write("b", "new", 0, false)
				f.do(os.Rename(f.at("b"), f.at("a")))
				f.sync("")
			},
			files{"a": "new"},
			files{"a": ""},
		},
		{
			"two names are exchanged back", func(f folder) {
				f.do(os.Mkdir(f.at("d"), 0o700))
				f.write("d/x", "dx", 0, true)
				f.write("a", "aa", 0, true)
				f.do(unix.Renameat2(unix.AT_FDCWD, f.at("d"), unix.AT_FDCWD, f.at("a"), unix.RENAME_EXCHANGE))
			},
			files{"a": "/", "a/x": "dx", "d": "aa"},
			files{"d": "/", "d/x": "dx", "a": "aa"},
		},
		{
			"a removed file is back, with what was synced", func(f folder) {
				f.write("a", "text", 0, true)
				f.write("a", " and more", os.O_APPEND, false)
				f.do(os.Remove(f.at("a")))
			},
			files{},
			files{"a": "text"},
		},
		{
			"one that was removed and committed is not", func(f folder) {
				f.write("a", "text", 0, true)
				f.do(os.Remove(f.at("a")))
				f.sync("")
			},
			files{},
			files{},
		},
		{
			"a folder is lost with all that is in it and was not synced", func(f folder) {
				f.do(os.MkdirAll(f.at("d/e"), 0o700))
				f.write("d/e/a", "text", 0, false)
				f.do(os.Symlink("d/e", f.at("l")))
			},
			files{"d": "/", "d/e": "/", "d/e/a": "text", "l": "-> d/e"},
			files{},
		},
		{
			"a synced file has its folders", func(f folder) {
				f.do(os.MkdirAll(f.at("d/e"), 0o700))
				f.do(os.Symlink("d/e", f.at("l")))
				f.write("d/e/a", "text", 0, true)
			},
			files{"d": "/", "d/e": "/", "d/e/a": "text", "l": "-> d/e"},
			files{"d": "/", "d/e": "/", "d/e/a": "text", "l": "-> d/e"},
		},
		{
			"a removed folder is back", func(f folder) {
				f.do(os.Mkdir(f.at("d"), 0o700))
				f.write("d/a", "text", 0, true)
				f.do(os.RemoveAll(f.at("d")))
			},
			files{},
			files{"d": "/", "d/a": "text"},
		},
		{
			"a moved folder is back, and what was synced in it", func(f folder) {
				f.do(os.MkdirAll(f.at("d/e"), 0o700))
				f.write("d/e/a", "text", 0, true)
				f.do(os.Rename(f.at("d/e"), f.at("e")))
				f.write("e/a", " and more", os.O_APPEND, false)
			},
			files{"d": "/", "e": "/", "e/a": "text and more"},
			files{"d": "/", "d/e": "/", "d/e/a": "text"},
		},
		{
			"another name of a file is lost", func(f folder) {
				f.write("a", "text", 0, true)
				f.do(os.Link(f.at("a"), f.at("b")))
				f.do(os.Remove(f.at("a")))
			},
			files{"b": "text"},
			files{"a": "text"},
		},
		{
			"a file is synced under any name", func(f folder) {
				f.write("a", "text", 0, false)
				f.do(os.Link(f.at("a"), f.at("b")))
				f.sync("b")
			},
			files{"a": "text", "b": "text"},
			files{"a": "text", "b": "text"},
		},
		{
			"a truncation is undone", func(f folder) {
				f.write("a", long, 0, true)
				f.do(os.Truncate(f.at("a"), 5000))
				f.write("a", "XXX", os.O_APPEND, false)
			},
			files{"a": long[:5000] + "XXX"},
			files{"a": long},
		},
		{
			"or committed", func(f folder) {
				f.write("a", long, 0, true)
				f.do(os.Truncate(f.at("a"), 5000))
				f.write("a", "XXX", os.O_APPEND, false)
				f.write("b", "b", 0, true)
			},
			files{"a": long[:5000] + "XXX", "b": "b"},
			files{"a": long[:5000], "b": "b"},
		},
		{
			"what was overwritten before a truncation that is undone is as it was", func(f folder) {
				f.write("a", long, 0, true)
				f.write("a", "XXX", 0, false)
				f.do(os.Truncate(f.at("a"), 5000))
				f.write("a", "YYYY", 0, false)
			},
			files{"a": "YYYY" + long[4:5000]},
			files{"a": long},
		},
		{
			"a file written anew and not synced is empty where that is committed", func(f folder) {
				f.write("a", "old", 0, true)
				f.write("a", "new", os.O_TRUNC, false)
				f.write("b", "b", 0, true)
			},
			files{"a": "new", "b": "b"},
			files{"a": "", "b": "b"},
		},
		{
			"a file made longer has zeros", func(f folder) {
				f.write("a", "text", 0, true)
				f.do(os.Truncate(f.at("a"), 8))
				f.sync("a")
				f.do(os.Truncate(f.at("a"), 2))
				f.do(os.Truncate(f.at("a"), 4))
				f.sync("a")
			},
			files{"a": "te\x00\x00"},
			files{"a": "te\x00\x00"},
		},
		{
			"a socket is lost", func(f folder) {
				f.do(syscall.Mknod(f.at("s"), syscall.S_IFSOCK|0o600, 0))
			},
			files{"s": "socket"},
			files{},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := folder{t, filepath.Join(d.mount, strings.ReplaceAll(c.name, " ", "-"))}
			require.NoError(t, os.Mkdir(f.root, 0o700))
			folder{t, d.mount}.sync("")
			f.sync("")
			c.do(f)
			require.Equal(t, c.before, f.all())
			again(t, d, nil)
			require.Equal(t, c.after, f.all())
			again(t, d, nil)
			require.Equal(t, c.after, f.all(), "what is left is durable")
		})
	}
}

// TestACutTearsWhatWasNotSynced has chance keep what it likes: each sector is then as it was or as it
// was written, and no synced byte is lost.
func TestACutTearsWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	f := folder{t, d.mount}
	const synced, size = 5*blockSize + 100, 9*blockSize + 700
	chance := rand.New(rand.NewPCG(1, 1))
	old, grown, torn, kept := 0, 0, 0, 0
	for range 50 {
		f.write("a", strings.Repeat("a", synced), os.O_TRUNC, true)
		file, err := os.OpenFile(f.at("a"), os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = file.WriteAt(bytes.Repeat([]byte("b"), size-blockSize), blockSize)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		again(t, d, chance)
		got, err := os.ReadFile(f.at("a"))
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(got), synced)
		require.LessOrEqual(t, len(got), size)
		require.Equal(t, strings.Repeat("a", blockSize), string(got[:blockSize]))
		was := append(bytes.Repeat([]byte("a"), synced), make([]byte, size-synced)...)
		for at := blockSize; at < len(got); at += sectorSize {
			sector := got[at:min(at+sectorSize, len(got))]
			if !bytes.Equal(sector, bytes.Repeat([]byte("b"), len(sector))) {
				require.Equal(t, was[at:at+len(sector)], sector)
			}
		}
		written := bytes.Count(got, []byte("b"))
		switch written {
		case 0:
			old++
		case size - blockSize:
			kept++
		default:
			torn++
		}
		if len(got) > synced && len(got) < size {
			grown++
		}
	}
	t.Logf("%d times nothing was kept, %d times all, %d times some, with %d times another length", old, kept, torn, grown)
	require.True(t, old > 0 && kept > 0 && torn > 0 && grown > 0)
}

// TestACutCommitsAPartOfTheJournal has chance keep the changes up to some point.
func TestACutCommitsAPartOfTheJournal(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	chance := rand.New(rand.NewPCG(1, 1))
	seen := map[int]bool{}
	names := []string{"0", "1", "2", "3"}
	for range 50 {
		f := folder{t, d.mount}
		f.do(os.Mkdir(f.at("d"), 0o700))
		f.sync("")
		f.root = f.at("d")
		for _, name := range names {
			f.do(os.Mkdir(f.at(name), 0o700))
		}
		again(t, d, chance)
		have := len(f.all())
		for _, name := range names[:have] {
			require.DirExists(t, f.at(name), "the journal is in order")
		}
		seen[have] = true
		f.do(os.RemoveAll(f.root))
		folder{t, d.mount}.sync("")
	}
	require.Len(t, seen, len(names)+1, "each point is one where the journal may end")
}

// TestThePowerFailsInTheMiddle has it fail at a change.
func TestThePowerFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	f := folder{t, d.mount}
	failed := d.fs.fail(3)
	f.do(os.Mkdir(f.at("1"), 0o700))
	f.sync("")
	select {
	case <-failed:
		require.Fail(t, "there is one left")
	default:
	}
	require.ErrorIs(t, os.Mkdir(f.at("2"), 0o700), syscall.EIO)
	<-failed
	again(t, d, nil)
	require.Equal(t, map[string]string{"1": "/"}, f.all())
}

// TestADiskWithoutPower answers nothing until it is plugged in again.
func TestADiskWithoutPower(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	f := folder{t, d.mount}
	f.write("a", "text", 0, true)
	file, err := os.OpenFile(f.at("a"), os.O_RDWR, 0)
	require.NoError(t, err)
	d.cut(nil)
	_, err = file.WriteString("more")
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, file.Sync(), syscall.EIO)
	require.ErrorIs(t, os.Mkdir(f.at("d"), 0o700), syscall.EIO)
	_, err = os.Stat(f.at("b"))
	require.ErrorIs(t, err, syscall.EIO)
	d.unplug() // by force, since there is an open file
	_, err = file.ReadAt(make([]byte, 1), 0)
	require.Error(t, err)
	_ = file.Close() // whatever it says
	require.NoError(t, d.plug())
	require.Equal(t, map[string]string{"a": "text"}, f.all())
}

func again(t *testing.T, d *disk, chance *rand.Rand) {
	t.Helper()
	d.cut(chance)
	d.unplug()
	require.NoError(t, d.plug())
}
