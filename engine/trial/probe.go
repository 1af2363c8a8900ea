package trial

import (
	"context"
	"errors"
	"fmt"

	"nudge/channels"
	"nudge/engine/workspace"
)

// ErrNothing says that an adapter has nothing that could be probed without a message.
var ErrNothing = errors.New("it has nothing to check without a message")

// Probe asks the provider of an adapter whether we can reach it and may send, and sends nothing. An error is ErrNothing,
// a *channels.DeliveryError, or says why the adapter could not be set up.
func Probe(ctx context.Context, a workspace.Adapter, o channels.Options) (err error) {
	o.Config = a.Config
	c, err := a.Spec.New(o)
	if err != nil {
		return fmt.Errorf("open %s: %w", a.Name, err)
	}
	if closer, ok := c.(channels.Closer); ok {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	t, ok := c.(channels.Tester)
	if !ok {
		return ErrNothing
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return t.Test(ctx) //nolint:wrapcheck // says what it was asking
}
