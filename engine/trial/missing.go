package trial

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/workspace"
	"nudge/rules/template"
	"nudge/segments"
)

// Missing are the traits without which a rule's message on a channel, in a locale of it ("": none), cannot be made: whoever
// lacks one gets nothing. It is made with samples, so what is printed of other people alone is not seen.
func Missing(ws *workspace.Workspace, r *workspace.Rule, variant, channel, locale string) []string {
	msg, ok := r.MessageOf(variant, channel)
	if !ok {
		return nil
	}
	const at = 1_800_000_000_000
	profile := &segments.Profile{Zone: "UTC", Locale: locale, Traits: map[string]json.RawMessage{}}
	what := render.Message{
		Variant: variant, Channel: channel, At: at, With: ledger.Values{}, Profile: profile, Zone: ws.Zone, Location: ws.Policy.Location,
	}
	if r.Digest != "" {
		maps.Copy(what.With, digestSample(at))
	}
	m := &Message{}
	if _, err := m.sampled(Options{Workspace: ws, Rule: r, At: at}, what, msg.For(locale).Fields); err != nil {
		return nil // what it is made of is not known well enough
	}
	what.Value = m.Value
	var out []string
	for _, name := range m.Samples {
		trait, is := strings.CutPrefix(name, "user.traits.")
		if !is {
			continue
		}
		had := profile.Traits[trait]
		delete(profile.Traits, trait)
		if _, err := render.Fields(r.Rule, what); errors.Is(err, template.ErrMissing) {
			out = append(out, trait)
		}
		profile.Traits[trait] = had
	}
	slices.Sort(out)
	return out
}
