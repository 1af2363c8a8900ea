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

	"nudge/engine/workspace"
)

// watchedFolders hold files that decide, folders below them too; of the workspace's own folder only its
// YAML files count, for the data folder and files that channels write may stand beside them.
var watchedFolders = []string{"rules", workspace.BroadcastsDir, "segments", "lists", "fences", "templates"}

// watch tells of changes to the files of a workspace that decide, or that are in other folders of it, until ctx ends.
// The channel is nil where files cannot be watched.
func watch(ctx context.Context, dir string, log *slog.Logger, others ...string) <-chan struct{} {
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
	folders := slices.Concat(watchedFolders, others)
	for _, sub := range folders {
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
				if !isIn(dir, e.Name, folders) {
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

// isIn says whether a path in the workspace's folder is in one of these folders of it, or one of its own files.
func isIn(dir, path string, folders []string) bool {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return true
	}
	first, _, below := strings.Cut(filepath.ToSlash(rel), "/")
	if slices.Contains(folders, first) {
		return true
	}
	// Kubernetes swaps the link ..data.
	return !below && (filepath.Ext(rel) == ".yaml" || rel == "..data")
}
