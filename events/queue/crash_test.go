package queue_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nudge/events/queue"
)

// childDir makes the test binary a process that appends until it is killed.
const childDir = "NUDGE_QUEUE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		appendForEver(dir)
	}
	os.Exit(m.Run())
}

// appendForEver prints "sequence name" once a message is acknowledged.
func appendForEver(dir string) {
	ctx := context.Background()
	q, err := queue.Open(ctx, queue.Config{Dir: dir, Now: time.Now})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	log, err := q.Log(ctx, "decisions")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	for w := range 8 {
		go func() {
			var last uint64
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				seq, err := q.Append(ctx, batch(1+i%5, name))
				if err == nil {
					fmt.Printf("event %d %s\n", seq, name)
				}
				if last == 0 {
					last, _ = log.Last(ctx, w)
				}
				if seq, err := log.Publish(ctx, w, []byte(name), last); err == nil {
					last = seq
					fmt.Printf("record %d %s\n", seq, name)
				}
			}
		}()
	}
	select {}
}

// killed runs the child until it has printed n lines, then kills it with SIGKILL and returns all
// that it acknowledged.
func killed(t *testing.T, dir string, n int) (events, records map[uint64]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	events, records = map[uint64]string{}, map[uint64]string{}
	lines := bufio.NewScanner(out)
	for got := 0; lines.Scan(); got++ {
		if got == n {
			require.NoError(t, cmd.Process.Kill())
		}
		parts := strings.Fields(lines.Text())
		if len(parts) != 3 {
			continue // the last line, cut
		}
		seq, err := strconv.ParseUint(parts[1], 10, 64)
		require.NoError(t, err)
		if parts[0] == "event" {
			events[seq] = parts[2]
		} else {
			records[seq] = parts[2]
		}
	}
	_ = cmd.Wait() // "signal: killed"
	require.GreaterOrEqual(t, len(events)+len(records), n, "the child ended too early")
	return events, records
}

// holds checks that everything acknowledged is in the folder under its sequence, and that appending
// goes on.
func holds(t *testing.T, dir string, events, records map[uint64]string) {
	t.Helper()
	q := open(t, queue.Config{Dir: dir})
	defer q.Close()
	last, err := q.LastSeq(t.Context())
	require.NoError(t, err)
	found := map[uint64]string{}
	for _, m := range collect(t, q, 0, int(last)) {
		found[m.Seq] = m.Events[0].Name
	}
	for seq, name := range events {
		require.Equal(t, name, found[seq], "acknowledged message %d", seq)
	}
	l := openLog(t, q)
	clear(found)
	require.NoError(t, l.Replay(t.Context(), queue.AllShards, 0, func(r queue.Record) error {
		found[r.Seq] = string(r.Data)
		return nil
	}))
	for seq, name := range records {
		require.Equal(t, name, found[seq], "acknowledged record %d", seq)
	}
	require.Equal(t, last+1, appendN(t, q, 1))
}

func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	events, records := map[uint64]string{}, map[uint64]string{}
	rounds := 4 // or NUDGE_KILLS for a long run by hand
	if s := os.Getenv("NUDGE_KILLS"); s != "" {
		var err error
		rounds, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for round := range rounds {
		e, r := killed(t, dir, 150+100*(round%4))
		for seq, name := range e {
			require.NotContains(t, events, seq, "a sequence was given twice")
			events[seq] = name
		}
		for seq, name := range r {
			require.NotContains(t, records, seq, "a sequence was given twice")
			records[seq] = name
		}
		holds(t, dir, events, records)
	}
}

// A power cut leaves less than a kill does: what the server writes without syncing (its index
// files) may be old or missing, and a write under way may be torn. All of that is done to a copy.
func TestWhatWasAcknowledgedSurvivesAPowerCut(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"index lost": func(t *testing.T, path string) {
			if filepath.Base(path) == "index.db" {
				require.NoError(t, os.Remove(path))
			}
		},
		"index lost and last write torn": func(t *testing.T, path string) {
			switch {
			case filepath.Base(path) == "index.db":
				require.NoError(t, os.Remove(path))
			case strings.HasSuffix(path, ".blk"):
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(path, append(data, data[:min(len(data), 57)]...), 0o644))
			}
		},
		"index torn": func(t *testing.T, path string) {
			if filepath.Base(path) == "index.db" {
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.NoError(t, os.Truncate(path, info.Size()/2))
			}
		},
	}
	dir := t.TempDir()
	events, records := killed(t, dir, 300)
	open(t, queue.Config{Dir: dir}).Close() // a clean stop writes the index files
	more, moreRecords := killed(t, dir, 100)
	maps.Copy(events, more)
	maps.Copy(records, moreRecords)
	for name, cut := range damage {
		t.Run(name, func(t *testing.T) {
			snapshot := t.TempDir()
			require.NoError(t, os.CopyFS(snapshot, os.DirFS(dir)))
			blocks := 0
			require.NoError(t, filepath.WalkDir(snapshot, func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					cut(t, path)
					if strings.HasSuffix(path, ".blk") {
						blocks++
					}
				}
				return err
			}))
			require.NotZero(t, blocks, "the layout of the data folder has changed: this test damages nothing")
			holds(t, snapshot, events, records)
		})
	}
}
