// Package examples holds the workspaces of this folder that the program itself needs.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed first
var files embed.FS

// First is the smallest workspace, with one rule and one test of it.
func First() (fs.FS, error) { return fs.Sub(files, "first") }
