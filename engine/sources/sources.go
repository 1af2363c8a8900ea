// Package sources keeps the files that decide in the store: every text once, and which of them were in use since
// when, so that an answer of last Tuesday is explained with the rules of last Tuesday.
package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/workspace"
)

// kindSet is the kind of the rows that say which files are in use from then on: their text is the JSON of a list of
// names. It is written when the set changes.
const kindSet = "set"

type name struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Hash string `json:"hash"`
}

// Record writes down that the files of a workspace are in use from an instant on.
func Record(ctx context.Context, conn driver.Conn, ws *workspace.Workspace, at time.Time) error {
	have := map[name]bool{}
	err := query(ctx, conn, "SELECT DISTINCT toString(kind), name, hash FROM sources", func(scan func(...any) error) error {
		var n name
		err := scan(&n.Kind, &n.Name, &n.Hash)
		have[n] = true
		return err
	})
	if err != nil {
		return fmt.Errorf("read the history of sources: %w", err)
	}
	before, err := newest(ctx, conn, at)
	if err != nil {
		return err
	}
	var rows []workspace.Source
	var names []name
	for _, s := range ws.Sources {
		n := name{s.Kind, s.Name, s.Hash}
		if names = append(names, n); !have[n] {
			rows = append(rows, s)
		}
	}
	text, err := json.Marshal(names)
	if err != nil {
		return fmt.Errorf("keep the sources: %w", err)
	}
	if sum := sha256.Sum256(text); before == nil || before.hash != hex.EncodeToString(sum[:8]) {
		rows = append(rows, workspace.Source{Kind: kindSet, Hash: hex.EncodeToString(sum[:8]), Text: string(text)})
	}
	if len(rows) == 0 {
		return nil
	}
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO sources (kind, name, hash, text, at)")
	if err != nil {
		return fmt.Errorf("keep the sources: %w", err)
	}
	defer func() { _ = batch.Abort() }() // after a Send it does nothing
	for _, s := range rows {
		if err := batch.Append(s.Kind, s.Name, s.Hash, s.Text, at.UTC()); err != nil {
			return fmt.Errorf("keep the source of %s: %w", s.Name, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("keep the sources: %w", err)
	}
	return nil
}

// Set is the files that were in use at an instant.
type Set struct {
	Since time.Time // when they came into use
	hash  string
	names []name
	files []workspace.Source
}

// At reads the files that were in use at an instant; nil where that is not known.
func At(ctx context.Context, conn driver.Conn, at time.Time) (*Set, error) {
	s, err := newest(ctx, conn, at)
	if err != nil || s == nil {
		return nil, err
	}
	err = query(ctx, conn, "SELECT DISTINCT toString(kind), name, hash, text FROM sources WHERE kind != '"+kindSet+"'", func(scan func(...any) error) error {
		var f workspace.Source
		if err := scan(&f.Kind, &f.Name, &f.Hash, &f.Text); err != nil {
			return err
		}
		if slices.Contains(s.names, name{f.Kind, f.Name, f.Hash}) {
			s.files = append(s.files, f)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the files of then: %w", err)
	}
	if len(s.files) != len(s.names) {
		return nil, fmt.Errorf("read the files of then: of %d files the store has the text of %d", len(s.names), len(s.files))
	}
	return s, nil
}

// Is says whether the set is the workspace's own.
func (s *Set) Is(ws *workspace.Workspace) bool {
	return len(s.names) == len(ws.Sources) && !slices.ContainsFunc(ws.Sources, func(f workspace.Source) bool {
		return !slices.Contains(s.names, name{f.Kind, f.Name, f.Hash})
	})
}

// Write writes the files into a folder, where workspace.Load finds them.
func (s *Set) Write(dir string) error {
	const private, enter = 0o600, 0o700
	for _, f := range s.files {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("write the files of then: %q is not a path in a workspace", f.Name)
		}
		path := filepath.Join(dir, f.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), enter), os.WriteFile(path, []byte(f.Text), private)); err != nil {
			return fmt.Errorf("write the files of then: %w", err)
		}
	}
	return nil
}

// newest is the newest set that came into use by an instant, without its files; nil when there is none.
func newest(ctx context.Context, conn driver.Conn, at time.Time) (*Set, error) {
	var out *Set
	err := query(ctx, conn, fmt.Sprintf("SELECT hash, text, at FROM sources WHERE kind = '%s' AND at <= fromUnixTimestamp64Milli(toInt64(%d), 'UTC') ORDER BY at DESC LIMIT 1", kindSet, at.UnixMilli()),
		func(scan func(...any) error) error {
			out = &Set{}
			var text string
			if err := scan(&out.hash, &text, &out.Since); err != nil {
				return err
			}
			return json.Unmarshal([]byte(text), &out.names)
		})
	if err != nil {
		return nil, fmt.Errorf("read which files were in use: %w", err)
	}
	return out, nil
}

func query(ctx context.Context, conn driver.Conn, sql string, row func(scan func(...any) error) error) error {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what for
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err() //nolint:wrapcheck // the caller says what for
}
