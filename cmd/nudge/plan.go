package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"nudge/engine/backtest"
	"nudge/engine/workspace"
	"nudge/internal/counted"
)

func planCommand(s streams) *cobra.Command {
	var dir, format, limit string
	var samples int
	var x span
	cmd := &cobra.Command{
		Use:   "plan OLD [NEW]",
		Short: "What a change of the rules changes for people, before it goes live",
		Long: `Plays two versions of the workspace over the same time of the past (see nudge backtest), and says what differs in
people: who would get a rule only now, who no longer, which other rule they lose for it, with some of them by
name and the reason. OLD and NEW are folders, or revisions of the git repository that the workspace is in
(HEAD, main, v1.2); without NEW it is the workspace as it is. The store is that of the workspace.

--format markdown is for a comment on a pull request. With --limit 20% the command fails (exit 1) where a rule,
or all together, would gain or lose more than that share of the people that it had; a rule that is new, or gone,
is held against all who were written to before.`,
		Example: "  nudge plan HEAD --dir examples/shop\n  nudge plan main HEAD --format markdown --limit 20%\n  nudge plan rules-live rules-proposal --dir rules-live --every 1h",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(backtest.DiffFormats(), format) {
				return fmt.Errorf("--format is %s, not %q", strings.Join(backtest.DiffFormats(), ", "), format)
			}
			most, err := share(limit)
			if err != nil {
				return err
			}
			if samples < 0 {
				return fmt.Errorf("--samples is a number of people, not %d", samples)
			}
			if format == "markdown" && !cmd.Flags().Changed("samples") {
				samples = 0 // a comment is for more eyes
			}
			diff, err := planOfChange(cmd.Context(), s.as(format), dir, args, x, samples)
			if err != nil {
				return err
			}
			if err := diff.Write(s.out, format); err != nil {
				return failed(err)
			}
			if rule, people, of := diff.Largest(); limit != "" && float64(people) > most*float64(of) {
				return &exitError{Code: exitFindings, Err: fmt.Errorf("%s would gain or lose %s, of %s; the limit is %s", rule, counted.Of(people, "person"), counted.Grouped(of), limit)}
			}
			return nil
		},
	}
	x.on(cmd)
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "the workspace: whose store is read, and of which revisions are meant")
	f.StringVar(&format, "format", "table", "table, markdown or json")
	f.StringVar(&limit, "limit", "", "fail where more than this share of people changes, 20%")
	f.IntVar(&samples, "samples", 3, "how many people are named of those who gain, and of those who lose, each rule; of markdown 0, if not said")
	return cmd
}

// share reads a percentage; "" is none.
func share(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, ok := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !ok || err != nil || f < 0 {
		return 0, fmt.Errorf("--limit is a percentage like 20%%, not %q", text)
	}
	return f / 100, nil
}

// planOfChange plays both versions.
func planOfChange(ctx context.Context, s streams, dir string, versions []string, x span, samples int) (*backtest.Diff, error) {
	if len(versions) == 1 {
		versions = append(versions, dir)
	}
	data, err := loadWorkspace(s, dir, workspace.Options{WithoutSending: true})
	if err != nil {
		return nil, err
	}
	var audiences [2]*backtest.Audience
	var results [2]*backtest.Result
	var sets [2]*workspace.Workspace
	for i, version := range versions {
		ws, done, err := loadVersion(ctx, s, dir, version)
		if err != nil {
			return nil, err
		}
		sets[i] = ws
		defer done()
	}
	for i, ws := range sets {
		audiences[i] = backtest.NewAudience(audiences[0])
		results[i], err = playRules(ctx, s, ws, data, x, audiences[i].Take)
		if err != nil {
			return nil, err
		}
		if i == 0 { // the other is played over the same time, while more arrives
			const exactly = "2006-01-02T15:04:05.999Z07:00"
			x.from, x.to = results[0].From.Format(exactly), results[0].To.Format(exactly)
		}
	}
	return backtest.Compare(results[0], results[1], audiences[0], audiences[1], samples), nil
}

// loadVersion loads a folder, or a revision of the repository that dir is in. done removes what it has made.
func loadVersion(ctx context.Context, s streams, dir, version string) (ws *workspace.Workspace, done func(), err error) {
	nothing := func() {}
	if info, err := os.Stat(version); err == nil && info.IsDir() {
		ws, err := loadWorkspace(s, version, workspace.Options{WithoutSending: true})
		return ws, nothing, err
	}
	tmp, err := os.MkdirTemp("", "nudge-plan-")
	if err != nil {
		return nil, nil, failed(fmt.Errorf("make a folder for %s: %w", version, err))
	}
	remove := func() { _ = os.RemoveAll(tmp) }
	if err := checkOut(ctx, dir, version, tmp); err != nil {
		remove()
		return nil, nil, failed(err)
	}
	if ws, err = loadWorkspace(s, tmp, workspace.Options{WithoutSending: true}); err != nil {
		remove()
		return nil, nil, err
	}
	return ws, remove, nil
}

// checkOut writes the files that a folder of a git repository has at a revision to another folder.
func checkOut(ctx context.Context, dir, revision, to string) error {
	if strings.HasPrefix(revision, "-") {
		return fmt.Errorf("%q is neither a folder nor a revision", revision)
	}
	var out, problem bytes.Buffer
	git := exec.CommandContext(ctx, "git", "-C", dir, "archive", "--format=tar", revision, ".")
	git.Stdout, git.Stderr = &out, &problem
	if err := git.Run(); err != nil {
		return fmt.Errorf("%s is neither a folder nor a revision of the git repository that %s is in: %w: %s", revision, dir, err, strings.TrimSpace(problem.String()))
	}
	files := tar.NewReader(&out)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", revision, err)
		}
		if !filepath.IsLocal(h.Name) && h.Name != "./" {
			return fmt.Errorf("read %s: %q is not a path in it", revision, h.Name)
		}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeSymlink, tar.TypeLink:
			return fmt.Errorf("read %s: %s is a link, which is not followed: put the file there", revision, h.Name)
		default:
			continue
		}
		if err := writeFile(filepath.Join(to, h.Name), files); err != nil {
			return fmt.Errorf("write %s of %s: %w", h.Name, revision, err)
		}
	}
}

func writeFile(path string, from io.Reader) error {
	const private fs.FileMode = 0o600
	if err := os.MkdirAll(filepath.Dir(path), private|0o100); err != nil {
		return err //nolint:wrapcheck // the caller says what for
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, private)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what for
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
