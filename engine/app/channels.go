package app

import (
	"fmt"
	"slices"

	"nudge/channels"
	"nudge/channels/inbox"
	"nudge/engine/send"
	"nudge/engine/workspace"
)

// openChannels makes the adapters of the workspace.
func (a *App) openChannels(ws *workspace.Workspace) (map[string]send.Route, error) {
	routes := map[string]send.Route{}
	for _, c := range ws.Channels {
		r := send.Route{Rate: c.RateLimit, AfterCrash: send.AfterCrash(c.AfterCrash), Tracking: send.Tracking{Links: c.TrackLinks, Opens: c.TrackOpens}}
		for _, ad := range c.Adapters {
			ch, err := ad.Spec.New(channels.Options{Config: ad.Config, Stdout: a.opts.Stdout, Now: a.opts.Now, Dir: ws.Dir, Callback: callback(ws, c.Name, ad.Name)})
			if err != nil {
				return nil, fmt.Errorf("channel %s: open %s: %w", c.Name, ad.Name, err)
			}
			if closer, ok := ch.(channels.Closer); ok {
				a.onStop("channel "+c.Name, closer.Close)
			}
			if reporter, ok := ch.(channels.Reporter); ok {
				a.reporters[send.CallbackPath(c.Name, ad.Name)] = reporter
			}
			if served, ok := ch.(channels.Served); ok && a.web == nil {
				a.web = served.Handler() // of several the first: /web/ has room for one
			}
			r.Providers = append(r.Providers, send.Provider{Name: c.Name + "/" + ad.Name, Spec: ad.Spec, Channel: ch, Apps: ad.Apps})
		}
		routes[c.Name] = r
	}
	return routes, nil
}

// inboxes are the channels whose messages wait in an inbox.
func (a *App) inboxes() []string {
	var out []string
	for _, c := range a.Workspace().Channels {
		if slices.ContainsFunc(c.Adapters, func(ad workspace.Adapter) bool { return ad.Spec.Name == inbox.Name }) {
			out = append(out, c.Name)
		}
	}
	return out
}

// callback is the address at which the provider of an adapter reaches us, "" without a base_url.
func callback(ws *workspace.Workspace, channel, adapter string) string {
	if ws.BaseURL == "" {
		return ""
	}
	return ws.BaseURL + send.CallbackPath(channel, adapter)
}
