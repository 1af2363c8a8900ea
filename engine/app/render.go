package app

import (
	"context"
	"fmt"
	"slices"

	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/send"
	"nudge/engine/workspace"
)

// render makes the message of a decision from its values, by the version of the rule that decided, so
// that every attempt says the same, also after a restart with other files. A decision of a rule that is
// gone, or whose version is not to be had any more, cannot be rendered, and is not sent: nobody gets the
// text of another version.
func (a *App) render(d *ledger.Decision, channel string) (send.Rendered, error) {
	ws := a.Workspace()
	i := slices.IndexFunc(ws.Rules, func(r *workspace.Rule) bool { return r.Name == d.Rule })
	if i < 0 {
		return send.Rendered{}, fmt.Errorf("the rule %s is gone", d.Rule)
	}
	r := ws.Rules[i].Rule
	if r.Version != d.Version {
		var err error
		if r, err = a.former.of(context.Background(), a, d.Rule, d.Version, d.Category); err != nil {
			return send.Rendered{}, fmt.Errorf("the rule %s as of version %s: %w", d.Rule, d.Version, err)
		}
	}
	profile, err := render.Profile(d.Profile)
	if err != nil {
		return send.Rendered{}, err //nolint:wrapcheck // says what it was doing
	}
	what := render.Message{
		Variant: d.Variant, Channel: channel, Value: d.Value, At: d.At, With: d.With, Profile: profile, Zone: ws.Zone, Location: ws.Policy.Location,
	}
	fields, err := render.Fields(r, what)
	if err != nil {
		return send.Rendered{}, err //nolint:wrapcheck // names the field
	}
	msg, err := render.Of(r, what)
	if err != nil {
		return send.Rendered{}, err //nolint:wrapcheck // says what it was doing
	}
	return send.Rendered{Fields: fields, TTL: msg.TTL, Urgent: r.WakesDevice(), Locale: msg.Locale}, nil
}
