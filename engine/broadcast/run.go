package broadcast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/engine/app"
	"nudge/engine/workspace"
)

// every is how often the ledger is asked how far a broadcast has come.
const every = time.Second

// Follow reads a broadcast's progress, again and again, and hands it to seen, which may be nil, until nothing more comes
// of it for now (any state but Due and Sending), or ctx ends: then it returns what it read last,
// nil before the first, and the context's error.
func Follow(
	ctx context.Context, conn driver.Conn, ws *workspace.Workspace, r *workspace.Rule, now func() time.Time, seen func(*Progress),
) (*Progress, error) {
	t := time.NewTicker(every)
	defer t.Stop()
	var last *Progress
	for {
		p, err := Read(ctx, conn, ws, r, now())
		switch {
		case err != nil && ctx.Err() != nil:
			return last, fmt.Errorf("follow %s: %w", r.Name, context.Cause(ctx))
		case err != nil:
			return nil, err
		}
		last = p
		if seen != nil {
			seen(p)
		}
		if p.State != Due && p.State != Sending {
			return p, nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return p, fmt.Errorf("follow %s: %w", r.Name, context.Cause(ctx))
		}
	}
}

// RunOptions are what a broadcast is sent with. All but Seen are required.
type RunOptions struct {
	Workspace *workspace.Workspace // with its secrets
	Rule      *workspace.Rule
	Now       func() time.Time
	Logger    *slog.Logger
	Stdout    io.Writer // of channels that print
	Owner     string    // of the lease on a shared queue
	Seen      func(*Progress)
}

// Run opens the workspace as serve does, but takes nothing in and looks at no other rule, and sends a broadcast until
// nothing more comes of it for now. When ctx ends it stops in order, says how far it has come, and returns the context's
// error; another Run goes on. Where another nudge has the workspace open it fails with queue.ErrInUse or queue.ErrHeld.
func Run(ctx context.Context, o RunOptions) (p *Progress, err error) {
	a, err := app.Open(context.WithoutCancel(ctx), app.Options{
		Workspace: o.Workspace, Now: o.Now, Logger: o.Logger, Stdout: o.Stdout, Owner: o.Owner, Only: o.Rule.Name,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	work, stop := context.WithCancelCause(ctx)
	worked := make(chan error, 1)
	go func() {
		err := a.Work(work)
		if err == nil {
			err = context.Canceled
		}
		stop(err)
		worked <- err
	}()
	_, err = Follow(work, a.Store.Conn(), o.Workspace, o.Rule, o.Now, o.Seen)
	stop(context.Canceled)
	if failed := <-worked; !errors.Is(failed, context.Canceled) {
		return nil, failed
	}
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	// What was under way has ended by now, and stands in the ledger once that is flushed.
	last := context.WithoutCancel(ctx)
	if err := a.Ledger.Flush(last); err != nil {
		return nil, err //nolint:wrapcheck // says what it was doing
	}
	if p, err = Read(last, a.Store.Conn(), o.Workspace, o.Rule, o.Now()); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return p, fmt.Errorf("send %s: %w", o.Rule.Name, context.Cause(ctx))
	}
	return p, nil
}
