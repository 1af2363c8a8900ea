package trial

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"nudge/channels"
	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/segments"
)

// Assumed is a value of a message of Longest that is long because nobody says how long it can be.
type Assumed struct {
	Name string // "product", "user.traits.first_name"
	// Size is how long it was taken to be: "100 characters", "10 items".
	Size string
}

// Longest makes the rule's message on a channel, in a locale of it ("": none), with values as long as can be expected (segments.LongestOf), and with
// the signed id and the tracked links that it would be sent with. An error is one of rendering: no values that were
// tried make this message.
func Longest(ws *workspace.Workspace, r *workspace.Rule, variant, channel, locale string) (channels.Message, []Assumed, error) {
	msg, ok := r.MessageOf(variant, channel)
	if !ok {
		return channels.Message{}, nil, fmt.Errorf("the rule %s has no message for %s", r.Name, channel)
	}
	msg = msg.For(locale)
	// An id as long as UUIDs, which most apps use; and now is any time.
	const id, at = "00000000-0000-4000-8000-000000000000", 1_800_000_000_000
	profile := &segments.Profile{Person: 1 << 63, UserID: id, Anonymous: id, CreatedAt: at, Zone: "America/Argentina/ComodRivadavia", Locale: locale, Traits: map[string]json.RawMessage{}}
	what := render.Message{
		Variant: variant, Channel: channel, At: at, With: ledger.Values{}, Profile: profile,
		Zone: ws.Zone, Location: ws.Policy.Location,
	}
	if r.ForEach != "" || r.On != nil && r.On.By != "" {
		what.Value = id
	}
	maps.Copy(what.With, r.Who.Longest(ws.Plan))
	set, first := map[string]func(any){}, map[string]any{}
	for name, v := range what.With {
		set[name], first[name] = func(v any) { what.With[name] = v }, v
	}
	printed := map[string]bool{}
	for _, f := range msg.Fields {
		for _, v := range templates(f.Value) {
			for _, used := range v.Template.Names() {
				root, _, _ := strings.Cut(used.Path, ".")
				printed[root] = true
				name, ok := strings.CutPrefix(used.Path, "user.traits.")
				if !ok || set[used.Path] != nil {
					continue
				}
				printed[used.Path] = true
				set[used.Path] = func(v any) { profile.Traits = withTrait(profile.Traits, name, v) }
				first[used.Path] = segments.LongestOf(declaredTrait(ws.Plan, name))
				set[used.Path](first[used.Path])
			}
		}
	}
	used := map[string]any{}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(set)), func(name string) bool { return !printed[name] })
	for _, name := range names {
		to := set[name]
		used[name] = first[name]
		set[name] = func(v any) { used[name] = v; to(v) }
	}
	fields, err := settle(names, set, func(name string) []any { return append([]any{first[name]}, long(name)...) }, func() (map[string]any, error) {
		return render.Fields(r.Rule, what) //nolint:wrapcheck // names the field
	})
	if err != nil {
		return channels.Message{}, nil, err
	}
	d := &ledger.Decision{
		Entry: strings.Repeat("0", 32), Rule: r.Name, Version: r.Version, Category: r.Category, Variant: variant, Value: what.Value,
		Person: profile.Person, UserID: id, At: at,
	}
	var track send.Tracking
	if i := slices.IndexFunc(ws.Channels, func(c workspace.Channel) bool { return c.Name == channel }); i >= 0 {
		track = send.Tracking{Links: ws.Channels[i].TrackLinks, Opens: ws.Channels[i].TrackOpens}
	}
	m, err := send.Model(d, channel, ws.BaseURL, track, send.Rendered{Fields: fields, TTL: msg.TTL, Urgent: r.WakesDevice(), Locale: msg.Locale})
	var assumed []Assumed
	for _, name := range names {
		if size := sizeOf(used[name]); size != "" {
			assumed = append(assumed, Assumed{name, size})
		}
	}
	return m, assumed, err //nolint:wrapcheck // says what it was doing
}

// sizeOf says how long a value is, "" of short ones.
func sizeOf(v any) string {
	const short = 20
	switch v := v.(type) {
	case string:
		if n := utf8.RuneCountInString(v); n > short {
			return fmt.Sprintf("%d characters", n)
		}
	case []any:
		if len(v) > 0 {
			return strings.TrimSuffix(fmt.Sprintf("%d items of %s", len(v), sizeOf(v[0])), " of ")
		}
	}
	return ""
}

// long are long values of each kind that a template can want, where what is known of a name does not suit it.
func long(name string) []any {
	text := strings.Repeat("x", segments.LongestText)
	texts := make([]any, segments.LongestList)
	groups := make([]any, segments.LongestList)
	for i := range texts {
		texts[i], groups[i] = text, map[string]any{"name": text}
	}
	return append([]any{text, 99999.99, int64(99999), texts, groups}, kinds(name, 1_800_000_000_000)...)
}

// declaredTrait is what the plan says of a trait.
func declaredTrait(plan *events.Plan, name string) events.Property {
	if plan == nil {
		return events.Property{}
	}
	return plan.Traits[name]
}

// withTrait is the traits with another one; of "address.city" the object address has it, which is how traits come.
func withTrait(traits map[string]json.RawMessage, name string, v any) map[string]json.RawMessage {
	out := maps.Clone(traits)
	root, inner, nested := strings.Cut(name, ".")
	if nested {
		group := map[string]any{}
		_ = json.Unmarshal(out[root], &group) // nothing, or what was put there
		at := group
		keys := strings.Split(inner, ".")
		for _, key := range keys[:len(keys)-1] {
			next, ok := at[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		at[keys[len(keys)-1]] = v
		name, v = root, group
	}
	if raw, err := json.Marshal(v); err == nil {
		out[name] = raw
	}
	return out
}
