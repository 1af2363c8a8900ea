package app

import (
	"context"
	"errors"
	"fmt"

	"nudge/events"
)

// Importer takes history in where no serve runs: queue, store and identity writer, without the
// engine and the sender, so that nothing can be decided or sent meanwhile. Close it when done.
type Importer struct{ app *App }

// OpenImporter opens the parts. While another process has the workspace's queue it fails: with
// queue.ErrInUse on the embedded one, with queue.ErrHeld on a shared one.
func OpenImporter(ctx context.Context, o Options) (*Importer, error) {
	a, err := prepare(o)
	if err != nil {
		return nil, err
	}
	close(a.ready) // there is no engine to wait for
	hold := func(ctx context.Context) error {
		lease, err := a.lease(ctx)
		if err != nil || lease == nil {
			return err
		}
		renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := renew(renewing, lease); err != nil {
				a.failed <- fmt.Errorf("the lease: %w", err)
			}
		}()
		a.onStop("lease", func() error {
			stop()
			<-ended
			return lease.Release(context.WithoutCancel(ctx))
		})
		return nil
	}
	if err := a.open(ctx, a.openQueue, hold, a.openStore, a.startWriter); err != nil {
		return nil, err
	}
	return &Importer{a}, nil
}

// Append makes events durable. It fails once the writer has: what it would append, nobody would write.
func (i *Importer) Append(ctx context.Context, evs []events.Event) (uint64, error) {
	select {
	case err := <-i.app.failed:
		i.app.failed <- err // for the next, too
		return 0, err
	default:
		return i.app.Append(ctx, evs)
	}
}

// Wait returns when the store has everything that was appended.
func (i *Importer) Wait(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	waited := make(chan error, 1)
	go func() { waited <- i.app.Writer.WaitFor(ctx, i.app.acked.position()) }()
	select {
	case err := <-waited:
		return err //nolint:wrapcheck // says what it was doing
	case err := <-i.app.failed:
		stop(err)
		return errors.Join(err, <-waited)
	}
}

// Close ends the parts. What was appended and not yet written, the next to open the workspace writes.
func (i *Importer) Close() error { return i.app.Close() }
