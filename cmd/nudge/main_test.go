package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"nudge/channels/chat/shout"
	"nudge/engine/schema"
	"nudge/events/clickhouse/embedded"
)

func TestMain(m *testing.M) {
	embedded.MaybeRunChild() // a test binary that stands in for nudge is its children, too
	shout.MaybeRunChild()
	quickExit()
	testscript.Main(m, map[string]func(){"nudge": checkedMain})
}

// exitUndocumented is how a nudge of the scripts ends that has printed JSON of which its schema says nothing.
const exitUndocumented = 98

// checkedMain is main, and holds what is printed as JSON to the schemas.
func checkedMain() {
	embedded.MaybeRunChild()
	shout.MaybeRunChild()
	var out bytes.Buffer
	code := run(os.Args[1:], os.Stdin, io.MultiWriter(os.Stdout, &out), os.Stderr)
	if err := printsAsSaid(os.Args[1:], out.Bytes()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = exitUndocumented
	}
	os.Exit(code)
}

// raceOptions are those of the race detector.
const raceOptions = "GORACE"

// quickExit has the commands that tests run end at once: the race detector lets each of them, and its engine, sleep a
// second at its end. What it has found by then is still said, and is still its exit code.
func quickExit() {
	if os.Getenv(raceOptions) == "" {
		_ = os.Setenv(raceOptions, "atexit_sleep_ms=0")
	}
}

// updateScripts, in the environment, writes what the commands print into the scripts.
const updateScripts = "UPDATE_SCRIPTS"

// TestScripts runs testdata/script/*.txtar: the real command, its whole output, its exit code.
func TestScripts(t *testing.T) {
	lib, libErr := embedded.FindLib("")
	seen := t.TempDir()
	t.Cleanup(func() { sawAll(t, seen, libErr == nil) })
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv(updateScripts) != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(embedded.LibEnv, lib)
			env.Setenv(seenOutputs, seen)
			env.Values[servedKey{}] = &served{}
			env.Setenv("TZ", "UTC") // that of the machine is in what explain prints
			env.Setenv(raceOptions, os.Getenv(raceOptions))
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "libchdb" { // make setup
				return libErr == nil, nil
			}
			return false, errors.New("there is no condition " + name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "validates": validates, "steady": steady, "serves": serves, "request": request, "stops": stops, "bearer": bearer, "awaits": awaits, "appears": appears},
	})
}

// sawAll fails when there is an output that no script has shown, where all scripts have run.
func sawAll(t *testing.T, dir string, all bool) {
	t.Helper()
	if !all || t.Failed() || flag.Lookup("test.run").Value.String() != "" && strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return
	}
	for _, o := range schema.Outputs() {
		_, err := os.Stat(filepath.Join(dir, o.Name))
		require.NoError(t, err, "no script prints %s; of a file a script says: validates %s FILE", o.Name, o.Name)
	}
}

// validates is `validates NAME FILE`: what is in a file, or in stdout, is what the schema of that output says.
func validates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: validates NAME FILE")
	}
	i := slices.IndexFunc(schema.Outputs(), func(o schema.Output) bool { return o.Name == args[0] })
	if i < 0 {
		ts.Fatalf("there is no output %s", args[0])
	}
	ts.Check(validOutput(schema.Outputs()[i], []byte(ts.ReadFile(args[1]))))
	ts.Check(sawOutput(ts.Getenv(seenOutputs), args[0]))
}

// served is a nudge serve that runs beside a script.
type served struct {
	cmd  *exec.Cmd
	addr string
	log  bytes.Buffer
	done chan struct{} // closed when everything is in log
	auth string        // of requests
}

type servedKey struct{}

// serves is `serves ARGS…`: nudge serve in the current folder, on a port of its own; it is up when the command is done.
func serves(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serves ARGS…")
	}
	s := ts.Value(servedKey{}).(*served)
	s.auth = "wk"
	s.cmd = exec.Command("nudge", append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	s.cmd.Dir = ts.MkAbs(".")
	s.cmd.Env = append(os.Environ(), embedded.LibEnv+"="+ts.Getenv(embedded.LibEnv), "SERVER_KEY="+ts.Getenv("SERVER_KEY"))
	logs, err := s.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ts.Defer(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() }) // where the script fails
	s.done = make(chan struct{})
	up := make(chan string)
	go func() {
		defer close(s.done)
		defer close(up)
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			s.log.WriteString(lines.Text() + "\n")
			if m := regexp.MustCompile(`msg="nudge is up" listen=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
				up <- m[1]
			}
		}
	}()
	if s.addr = <-up; s.addr == "" {
		<-s.done
		ts.Fatalf("nudge serve did not start:\n%s", s.log.String())
	}
}

// bearer is `bearer KEY` or `bearer FILE FIELD`: what requests are made with from now on instead of the write key wk, or
// the field of the answer in a file.
func bearer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: bearer KEY, bearer FILE FIELD")
	}
	s := ts.Value(servedKey{}).(*served)
	if s.auth = args[0]; len(args) == 2 {
		var answer map[string]any
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &answer))
		s.auth, _ = answer[args[1]].(string)
	}
}

// awaits is `awaits FILE PATH TEXT`: what GET PATH answers, once that holds a text, is written to a file. Of a stream it
// is the data of the first event.
func awaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: awaits FILE PATH TEXT")
	}
	s := ts.Value(servedKey{}).(*served)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+args[1], nil)
		ts.Check(err)
		req.Header.Set("Authorization", "Bearer "+s.auth)
		req.Header.Set("Last-Event-ID", "0-0")
		res, err := http.DefaultClient.Do(req)
		ts.Check(err)
		text := ""
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if text = lines.Text(); ok {
				text = data
				break
			}
		}
		ts.Check(res.Body.Close())
		if strings.Contains(text, args[2]) {
			ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text+"\n"), 0o600))
			return
		}
	}
}

// request is `request FILE STATUS METHOD PATH [BODY]`: a request to the nudge that serves, with the write key wk; its
// answer is written to a file.
func request(ts *testscript.TestScript, neg bool, args []string) {
	const path, body = 3, 4
	if neg || len(args) <= path {
		ts.Fatalf("usage: request FILE STATUS METHOD PATH [BODY]")
	}
	s := ts.Value(servedKey{}).(*served)
	req, err := http.NewRequest(args[2], "http://"+s.addr+args[path], strings.NewReader(strings.Join(args[body:], "")))
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+s.auth)
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	text, err := io.ReadAll(res.Body)
	ts.Check(errors.Join(err, res.Body.Close(), os.WriteFile(ts.MkAbs(args[0]), append(text, '\n'), 0o600)))
	if got := strconv.Itoa(res.StatusCode); got != args[1] {
		ts.Fatalf("it answers %s: %s", got, text)
	}
}

// stops is `stops FILE`: ends the nudge that serves as Ctrl-C does. What it has logged is written to a file, without
// what differs from run to run.
func stops(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stops FILE")
	}
	s := ts.Value(servedKey{}).(*served)
	ts.Check(s.cmd.Process.Signal(os.Interrupt))
	<-s.done
	ts.Check(s.cmd.Wait())
	text := strings.ReplaceAll(s.log.String(), s.addr, "ADDRESS")
	text = strings.ReplaceAll(text, ts.Getenv("WORK"), "WORK")
	text = regexp.MustCompile(`(?m)^time=\S+ | took=\S+`).ReplaceAllString(text, "")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// appears is `appears FILE`: waits until a file has something in it, which a command in the background writes.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appears FILE")
	}
	w, err := fsnotify.NewWatcher()
	ts.Check(err)
	defer w.Close() //nolint:errcheck // nothing was written
	path := ts.MkAbs(args[0])
	ts.Check(w.Add(filepath.Dir(path)))
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
		select {
		case <-w.Events:
		case err := <-w.Errors:
			ts.Check(err)
		case <-patience.C:
			ts.Fatalf("there is nothing in %s", args[0])
		}
	}
}

// steady is `steady FROM TO FIELD=VALUE…`: what is in a file, or in stdout, written to another, with other values of
// fields that differ from run to run, or from machine to machine.
func steady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: steady FROM TO FIELD=VALUE…")
	}
	text := ts.ReadFile(args[0])
	for _, arg := range args[2:] {
		field, value, _ := strings.Cut(arg, "=")
		at := regexp.MustCompile(`("` + regexp.QuoteMeta(field) + `": ?)("[^"\n]*"|[0-9.e+-]+)`)
		if !at.MatchString(text) {
			ts.Fatalf("there is no field %s", field)
		}
		text = at.ReplaceAllString(text, "${1}"+value)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// exits is `exits CODE COMMAND…`: like exec, of a command that ends with just this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("it exited with %d, not %d", got, want)
	}
}
