package embedded

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// pool hands out the engine's sessions: each runs one query at a time, several run in parallel.
// It is safe for concurrent use.
type pool struct {
	lib  *library
	args []string
	base map[string]string // settings of every session
	free chan struct{}     // one token for each session that may still be taken

	// anchor is never used: the engine closes the folder with its last session and opens it again
	// with the next, which takes long and stops merges.
	anchor *session

	mu     sync.Mutex
	idle   []*worker
	serial int
}

// worker is a session and what has been set on it, so that a request changes only what differs.
type worker struct {
	*session
	name     string // the session's log_comment: how KILL QUERY finds what it runs
	database string
	settings map[string]string
	tainted  bool // holds state of one request: closed instead of used again
}

// newPool opens the data folder that args name. At most size queries run at once.
func newPool(lib *library, args []string, base map[string]string, size int) (*pool, error) {
	anchor, err := lib.open(args...)
	if err != nil {
		return nil, err
	}
	return &pool{lib: lib, args: args, base: base, free: make(chan struct{}, size), anchor: anchor}, nil
}

// take waits for a session and readies it for a request. Every worker is given back with put.
func (p *pool) take(ctx context.Context, database string, settings map[string]string) (*worker, error) {
	select {
	case p.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w, err := p.pick(database)
	if err != nil {
		<-p.free
		return nil, err
	}
	if err := w.ready(p.base, database, settings); err != nil {
		w.tainted = true
		p.put(w)
		return nil, err
	}
	return w, nil
}

func (p *pool) put(w *worker) {
	if w.tainted {
		w.close()
	} else {
		p.mu.Lock()
		p.idle = append(p.idle, w)
		p.mu.Unlock()
	}
	<-p.free
}

// pick prefers an idle session that already stands in the database.
func (p *pool) pick(database string) (*worker, error) {
	p.mu.Lock()
	for i, v := range slices.Backward(p.idle) {
		if w := v; w.database == database {
			p.idle = slices.Delete(p.idle, i, i+1)
			p.mu.Unlock()
			return w, nil
		}
	}
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return w, nil
	}
	p.serial++
	serial := p.serial
	p.mu.Unlock()
	return p.open("session-" + strconv.Itoa(serial))
}

func (p *pool) open(name string) (*worker, error) {
	s, err := p.lib.open(p.args...)
	if err != nil {
		return nil, err
	}
	w := &worker{session: s, name: name, settings: maps.Clone(p.base), database: defaultDatabase}
	set := []string{"log_comment = " + quote(name)}
	for _, k := range slices.Sorted(maps.Keys(p.base)) {
		set = append(set, k+" = "+quote(p.base[k]))
	}
	if err := w.run("SET "+strings.Join(set, ", "), "Null", nil, nil); err != nil {
		w.close()
		return nil, fmt.Errorf("set up a session: %w", err)
	}
	return w, nil
}

const defaultDatabase = "default"

var settingName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// ready changes database and settings to the request's. `readonly` comes last and taints the
// session, because nothing can be set on it afterwards.
func (w *worker) ready(base map[string]string, database string, settings map[string]string) error {
	if database != w.database {
		if err := w.run("USE "+quoteName(database), "Null", nil, nil); err != nil {
			return err
		}
		w.database = database
	}
	var set []string
	for k := range w.settings {
		if _, asked := settings[k]; asked {
			continue
		}
		if v, ok := base[k]; !ok {
			set = append(set, k+" = DEFAULT")
			delete(w.settings, k)
		} else if w.settings[k] != v {
			set = append(set, k+" = "+quote(v))
			w.settings[k] = v
		}
	}
	for k, v := range settings {
		if !settingName.MatchString(k) {
			return fmt.Errorf("Code: 115. DB::Exception: Unknown setting %s. (UNKNOWN_SETTING)", k) //nolint:staticcheck // the engine's form
		}
		if old, ok := w.settings[k]; k == readonly || ok && old == v {
			continue
		}
		set = append(set, k+" = "+quote(v))
		w.settings[k] = v
	}
	if len(set) > 0 {
		slices.Sort(set)
		if err := w.run("SET "+strings.Join(set, ", "), "Null", nil, nil); err != nil {
			return err
		}
	}
	if v := settings[readonly]; v != "" && v != "0" {
		w.tainted = true
		return w.run("SET readonly = "+quote(v), "Null", nil, nil)
	}
	return nil
}

const readonly = "readonly"

// kill stops what w is running, from a session of its own. It may find nothing: the query may not
// have begun or be over.
func (p *pool) kill(w *worker) error {
	killer, err := p.open("killer of " + w.name)
	if err != nil {
		return err
	}
	defer killer.close()
	if err := killer.run("KILL QUERY WHERE Settings['log_comment'] = "+quote(w.name)+" ASYNC", "Null", nil, nil); err != nil {
		return fmt.Errorf("kill the query of %s: %w", w.name, err)
	}
	return nil
}

// close closes the folder; it is called when no request is left.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.idle {
		w.close()
	}
	p.idle = nil
	p.anchor.close()
}

func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
