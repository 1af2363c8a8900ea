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
