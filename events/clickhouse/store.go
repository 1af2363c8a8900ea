// Package clickhouse is the store: ClickHouse, reached through clickhouse-go whether it is a
// server, a cluster, or the embedded engine (package embedded). It owns the tables and their
// migrations; what the rows mean is the business of those who write and read them.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/events/clickhouse/embedded"
)

// DefaultDatabase is where the tables are unless the configuration says otherwise.
const DefaultDatabase = "nudge"

// Config of the store.
type Config struct {
	// DSN of a ClickHouse server or cluster (clickhouse://… or http://…), or "" for the embedded
	// engine. A database named in it wins over Database.
	DSN string
	// Dir is the embedded engine's data folder.
	Dir string
	// Lib is the path of libchdb.so; "" searches (embedded.FindLib).
	Lib string
	// Memory is the share of the machine's memory that the embedded engine may use; 0 is half.
	Memory float64
	// Database holds the tables; "" is DefaultDatabase. Open creates it where it is missing.
	Database string
	Logger   *slog.Logger
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	conn     driver.Conn
	opts     *clickhouse.Options
	engine   *embedded.Engine // nil with a DSN, or when someone else's
	own      bool             // Close ends engine
	database string
	log      *slog.Logger
}

// Open connects to the store; without a DSN it joins the embedded engine of Dir or starts one.
// The tables are made by Migrate.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.DSN != "" {
		opts, err := clickhouse.ParseDSN(cfg.DSN)
		if err != nil {
			return nil, fmt.Errorf("store: the DSN is not a ClickHouse one (clickhouse://user:password@host:9000/database): %w", err)
		}
		if opts.Auth.Database == "" {
			opts.Auth.Database = database(cfg.Database)
		}
		return connect(ctx, opts, cfg.Logger)
	}
	if cfg.Dir == "" {
		return nil, errors.New("store: neither a DSN nor a data folder is set")
	}
	engine, err := embedded.Start(ctx, embedded.Config{Dir: filepath.Join(cfg.Dir, "clickhouse"), Lib: cfg.Lib, Memory: cfg.Memory, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	store, err := On(ctx, engine, cfg.Database, cfg.Logger)
	for range joinTries { // it ended just then: Dial waits for the next
		if err == nil || !Unavailable(err) || ctx.Err() != nil {
			break
		}
		store, err = On(ctx, engine, cfg.Database, cfg.Logger)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	store.own = true
	return store, nil
}

// joinTries is how often Open asks an engine again that ended while it was asked. Another process may
// own it, and be starting it again.
const joinTries = 3

// On is a store in one database of an engine that runs already. Closing it leaves the engine be.
func On(ctx context.Context, engine *embedded.Engine, name string, log *slog.Logger) (*Store, error) {
	opts := &clickhouse.Options{
		Protocol:    clickhouse.HTTP,
		Addr:        []string{"embedded"},
		Auth:        clickhouse.Auth{Database: database(name)},
		DialContext: engine.Dial,
	}
	// Beforehand: being told that it is missing costs the engine half a second of stack traces.
	if err := createDatabase(ctx, *opts); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	store, err := connect(ctx, opts, log)
	if err != nil {
		return nil, err
	}
	store.engine = engine
	return store, nil
}

func database(name string) string {
	if name == "" {
		return DefaultDatabase
	}
	return name
}

func connect(ctx context.Context, opts *clickhouse.Options, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if opts.Settings == nil {
		opts.Settings = clickhouse.Settings{}
	}
	for name, value := range settings {
		if _, set := opts.Settings[name]; !set {
			opts.Settings[name] = value
		}
	}
	opts.MaxOpenConns = max(opts.MaxOpenConns, 16)
	opts.MaxIdleConns = max(opts.MaxIdleConns, 8)
	opts.ReadTimeout = max(opts.ReadTimeout, time.Hour) // a context says when a query has had its time
	s := &Store{opts: opts, database: opts.Auth.Database, log: log.With("component", "store")}
	var err error
	if s.conn, err = clickhouse.Open(opts); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	err = s.conn.Ping(ctx)
	if Code(err) == codeUnknownDatabase {
		if err = createDatabase(ctx, *opts); err == nil {
			err = s.conn.Ping(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: connect to ClickHouse: %w", err), s.conn.Close())
	}
	return s, nil
}

// settings are sent with every query.
var settings = clickhouse.Settings{
	// An INSERT is answered when its rows are on disk, not when they are in a server's buffer.
	"async_insert": 0,
	// A query names the people that it is about, thousands of them, several times.
	"max_query_size": 8 << 20,
}

func createDatabase(ctx context.Context, opts clickhouse.Options) error {
	name := opts.Auth.Database
	opts.Auth.Database = "default"
	conn, err := clickhouse.Open(&opts)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+QuoteName(name)); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// Conn is the driver's connection pool; names of tables need no database.
func (s *Store) Conn() driver.Conn { return s.conn }

// Database is the name of the database that holds the tables.
func (s *Store) Database() string { return s.database }

// Engine is the embedded engine, or nil with a DSN.
func (s *Store) Engine() *embedded.Engine { return s.engine }

// Close closes the connections, and ends the embedded engine where Open started it.
func (s *Store) Close() error {
	err := s.conn.Close()
	if s.own {
		err = errors.Join(err, s.engine.Close())
	}
	return err
}

const codeUnknownDatabase = 81

// Code is ClickHouse's number for the exception in err, or 0 if there is none.
func Code(err error) int {
	if exception, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return int(exception.Code)
	}
	return 0
}

// Unavailable says whether err came about because the store could not be reached, ended while it
// was asked, or is short of memory, disk or parts: the same call may succeed later. Of an INSERT it
// is then unknown whether it was done.
func Unavailable(err error) bool {
	if code := Code(err); code != 0 {
		return slices.Contains(passing, code)
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, clickhouse.ErrAcquireConnTimeout)
}

// passing are the exceptions that say nothing about the query.
var passing = []int{
	159, // TIMEOUT_EXCEEDED
	202, // TOO_MANY_SIMULTANEOUS_QUERIES
	209, // SOCKET_TIMEOUT
	210, // NETWORK_ERROR
	236, // ABORTED
	241, // MEMORY_LIMIT_EXCEEDED
	242, // TABLE_IS_READ_ONLY
	243, // NOT_ENOUGH_SPACE
	252, // TOO_MANY_PARTS
	279, // ALL_CONNECTION_TRIES_FAILED
	285, // TOO_FEW_LIVE_REPLICAS
	319, // UNKNOWN_STATUS_OF_INSERT
	394, // QUERY_WAS_CANCELLED
	999, // KEEPER_EXCEPTION
}
