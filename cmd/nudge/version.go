package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what a binary knows about itself.
type build struct {
	Version  string `json:"version"`            // of the module, "(devel)" when built in a checkout without tags
	Commit   string `json:"commit,omitempty"`   // of the checkout
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // there were changes beside the commit
	Go       string `json:"go"`                 // the Go version it was built with
	Platform string `json:"platform"`           // what it was built for: linux/amd64
}

func versionCommand(s streams) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Prints which nudge this is",
		Long:    "Prints the version, the commit it was built from, and the Go version and platform it was built for.",
		Example: "  nudge version\n  nudge version --format json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			switch format {
			case "json":
				return failed(writeJSON(s.out, b))
			case "text":
				fmt.Fprintf(s.out, "nudge %s", b.Version)
				if b.Commit != "" {
					changed := map[bool]string{true: ", changed"}[b.Modified]
					fmt.Fprintf(s.out, " (%.12s of %s%s)", b.Commit, b.Time, changed)
				}
				fmt.Fprintf(s.out, ", %s, %s\n", b.Go, b.Platform)
				return nil
			}
			return fmt.Errorf("--format is text or json, not %q", format)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(info.Main.Version, b.Version)
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.time":
			b.Time = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

// writeJSON prints a value for machines.
func writeJSON(out interface{ Write([]byte) (int, error) }, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	return nil
}
