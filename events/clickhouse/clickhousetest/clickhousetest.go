// Package clickhousetest gives tests a real store: one embedded engine for a test binary, and a
// database of its own for each call.
package clickhousetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nudge/events/clickhouse"
	"nudge/events/clickhouse/embedded"
)

// A test binary has no main that could call MaybeRunChild, and a TestMain in every package would be
// the same three lines. In an ordinary run this does nothing.
var _ = runChild()

func runChild() bool {
	embedded.MaybeRunChild()
	return false
}

// shared is the engine of this test binary. It lives until the process ends: the child notices, and
// removes its folder.
var shared struct {
	once   sync.Once
	engine *embedded.Engine
	err    error
	serial atomic.Int64

	mu      sync.Mutex
	used    []string        // databases that have their tables, emptied
	changed map[string]bool // databases whose tables a test has changed
}

// New returns an empty, migrated store. The test is skipped only where libchdb is missing. It does
// real I/O: call it outside a synctest bubble.
func New(t testing.TB) *clickhouse.Store {
	t.Helper()
	store := NewUnmigrated(t)
	if err := store.Migrate(context.Background(), clickhouse.Layout{}); err != nil {
		t.Fatal(err)
	}
	return store
}

// NewUnmigrated is New without the tables.
func NewUnmigrated(t testing.TB) *clickhouse.Store {
	t.Helper()
	engine := Engine(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := clickhouse.On(ctx, engine, fmt.Sprintf("test_%d", shared.serial.Add(1)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := store.Conn().Exec(ctx, "DROP DATABASE IF EXISTS "+store.Database()+""); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("close the test's store: %v", err)
		}
	})
	return store
}

// NewUsed is NewUnmigrated, or the same with the tables of a test before it, emptied: for those who migrate it
// themselves, as a start of nudge does. Making the tables costs more than many tests do.
func NewUsed(t testing.TB) *clickhouse.Store {
	t.Helper()
	engine := Engine(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	shared.mu.Lock()
	name := fmt.Sprintf("used_%d", shared.serial.Add(1))
	if n := len(shared.used); n > 0 {
		name, shared.used = shared.used[n-1], shared.used[:n-1]
	}
	shared.mu.Unlock()
	store, err := clickhouse.On(ctx, engine, name, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := handOn(ctx, store); err != nil {
			t.Errorf("empty the test's database: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("close the test's store: %v", err)
		}
	})
	return store
}

// Changed is called by a test that changes the tables of its store: no other test gets them.
func Changed(store *clickhouse.Store) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.changed == nil {
		shared.changed = map[string]bool{}
	}
	shared.changed[store.Database()] = true
}

// handOn empties the database of a test for the next, or removes it.
func handOn(ctx context.Context, store *clickhouse.Store) error {
	shared.mu.Lock()
	changed := shared.changed[store.Database()]
	shared.mu.Unlock()
	if changed {
		if err := store.Conn().Exec(ctx, "DROP DATABASE "+store.Database()); err != nil {
			return fmt.Errorf("drop it: %w", err)
		}
		return nil
	}
	if err := empty(ctx, store); err != nil {
		return err
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.used = append(shared.used, store.Database())
	return nil
}

// empty takes all rows out of the tables, but for those that say which migrations they have had.
func empty(ctx context.Context, store *clickhouse.Store) error {
	var tables []struct {
		Name string `ch:"name"`
	}
	if err := store.Conn().Select(ctx, &tables, "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 AND name != 'schema_migrations'"); err != nil {
		return fmt.Errorf("list the tables that have rows: %w", err)
	}
	for _, table := range tables {
		if err := store.Conn().Exec(ctx, "TRUNCATE TABLE "+clickhouse.QuoteName(table.Name)); err != nil {
			return fmt.Errorf("empty %s: %w", table.Name, err)
		}
	}
	return nil
}

// Engine is the engine that New uses.
func Engine(t testing.TB) *embedded.Engine {
	t.Helper()
	shared.once.Do(func() {
		var dir string
		if dir, shared.err = os.MkdirTemp("", "nudge-clickhouse-*"); shared.err != nil { //nolint:usetesting // it outlives the first test
			return
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		shared.engine, shared.err = embedded.Start(context.Background(), embedded.Config{Dir: dir, Temporary: true, Logger: log})
	})
	if _, ok := errors.AsType[*embedded.MissingLibError](shared.err); ok {
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.engine
}
