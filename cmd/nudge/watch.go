package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// watchedFolders hold files that decide, folders below them too; of the workspace's own folder only its
// YAML files count, for the data folder and files that channels write may stand beside them.
var watchedFolders = []string{"rules", "segments", "fences", "templates"}

// watch tells of changes to the files of a workspace until ctx ends. The channel is nil where files
// cannot be watched.
func watch(ctx context.Context, dir string, log *slog.Logger) <-chan struct{} {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("files are not watched; send SIGHUP after a change", "error", err)
		return nil
	}
	add := func(folder string) {
		if err := w.Add(folder); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Warn("a folder is not watched; send SIGHUP after a change", "folder", folder, "error", err)
		}
	}
	addAll := func(folder string) {
		_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				add(path)
			}
			return nil // what has gone again needs no watch
		})
	}
	add(dir)
	for _, sub := range watchedFolders {
		addAll(filepath.Join(dir, sub))
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer w.Close() //nolint:errcheck // nothing was written
		for {
			select {
			case <-ctx.Done():
				return
			case err := <-w.Errors:
				log.Warn("a change of a file may have gone unseen; send SIGHUP after a change", "error", err)
				continue
			case e := <-w.Events:
				if !decides(dir, e.Name) {
					continue
				}
				if e.Has(fsnotify.Create) {
					addAll(e.Name)
				}
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes
}

// decides says whether a path in the workspace's folder may hold something that decides.
func decides(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return true
	}
	first, _, below := strings.Cut(filepath.ToSlash(rel), "/")
	if slices.Contains(watchedFolders, first) {
		return true
	}
	// Kubernetes swaps the link ..data.
	return !below && (filepath.Ext(rel) == ".yaml" || rel == "..data")
}
