package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"nudge/channels"
	"nudge/engine/send"
	"nudge/engine/workspace"
)

// openChannels makes the adapters of the workspace.
func (a *App) openChannels(ws *workspace.Workspace) (map[string]send.Route, error) {
	routes := map[string]send.Route{}
	for _, c := range ws.Channels {
		r := send.Route{Rate: c.RateLimit, AfterCrash: send.AfterCrash(c.AfterCrash), TrackLinks: c.TrackLinks && ws.BaseURL != ""}
		for _, ad := range c.Adapters {
			ch, err := ad.Spec.New(channels.Options{Config: ad.Config, Stdout: a.opts.Stdout, Now: a.opts.Now, Dir: ws.Dir})
			if err != nil {
				return nil, fmt.Errorf("channel %s: open %s: %w", c.Name, ad.Name, err)
			}
			if closer, ok := ch.(channels.Closer); ok {
				a.onStop("channel "+c.Name, closer.Close)
			}
			r.Providers = append(r.Providers, send.Provider{Name: c.Name + "/" + ad.Name, Spec: ad.Spec, Channel: ch, Apps: ad.Apps})
		}
		routes[c.Name] = r
	}
	return routes, nil
}

// recordSources keeps the text of every file that decides, once for each content: an answer of last
// Tuesday is explained with the rule of last Tuesday.
func recordSources(ctx context.Context, conn driver.Conn, ws *workspace.Workspace, at time.Time) error {
	rows, err := conn.Query(ctx, "SELECT DISTINCT kind, name, hash FROM sources")
	if err != nil {
		return fmt.Errorf("read the history of sources: %w", err)
	}
	have := map[[3]string]bool{}
	for rows.Next() {
		var key [3]string
		if err := rows.Scan(&key[0], &key[1], &key[2]); err != nil {
			return errors.Join(fmt.Errorf("read the history of sources: %w", err), rows.Close())
		}
		have[key] = true
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("read the history of sources: %w", err)
	}
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO sources (kind, name, hash, text, at)")
	if err != nil {
		return fmt.Errorf("keep the sources: %w", err)
	}
	n := 0
	for _, s := range ws.Sources {
		if have[[3]string{s.Kind, s.Name, s.Hash}] {
			continue
		}
		if err := batch.Append(s.Kind, s.Name, s.Hash, s.Text, at.UTC()); err != nil {
			return fmt.Errorf("keep the source of %s: %w", s.Name, err)
		}
		n++
	}
	if n == 0 {
		return batch.Abort() //nolint:wrapcheck // nothing was to be written
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("keep the sources: %w", err)
	}
	return nil
}
