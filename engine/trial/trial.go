// Package trial makes a message of a rule for one address that somebody chose, to see it arrive. It goes through the
// rule's own templates and the workspace's own adapters, and is counted nowhere: there is no decision in the ledger, no
// cap, no event, no signed id.
package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nudge/channels"
	"nudge/engine/explain"
	"nudge/engine/ledger"
	"nudge/engine/render"
	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/internal/suggest"
	"nudge/rules"
	"nudge/segments"
)

// Options of Make.
type Options struct {
	Workspace *workspace.Workspace
	Rule      *workspace.Rule
	// Channel of the rule; "" is the first that can take the address.
	Channel string
	// Variant of the rule; "" is the first.
	Variant string
	// Value of the entry, under for_each and on.by.
	Value string
	To    channels.Address
	// As is the person whose data it is, and Known what is known of them; nil makes up samples.
	As    string
	Known *explain.Known
	// With are values that go before those of the person; names below user.traits are traits.
	With map[string]any
	// Locale of the text, a BCP 47 tag; "" is the person's, and where nothing is known of them that of the rule's own texts.
	Locale string
	// Plain leaves the mark out.
	Plain bool
	// At is now, Unix ms.
	At int64
	// ID tells this message from every other.
	ID string
}

// Message is a message that is ready to be sent.
type Message struct {
	Channel, Variant, Value string
	// Locale of the text; "" is the rule's own, beside its locales.
	Locale  string
	Adapter workspace.Adapter
	Message channels.Message
	// Names of the fields in the order of the rule's file.
	Names []string
	// Samples are the names whose values were made up.
	Samples []string
	// Truth is the answer of the rule's condition about the person; "" without one.
	Truth string
}

// UsageError is an error in what was asked for, and not in what came of it.
type UsageError struct{ Text string }

// Error implements error.
func (u *UsageError) Error() string { return u.Text }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Mark stands before the title of a test.
const Mark = "[Test] "

// marked are the fields that may get the mark; the first that the message has does.
var marked = []string{"title", "subject", "body", "text"}

// Make makes the message. An error is a UsageError, or says which field cannot be rendered.
func Make(o Options) (*Message, error) {
	m := &Message{Variant: o.Variant, Value: o.Value}
	if o.To.UserID == "" && o.Known != nil && o.Known.Profile != nil {
		o.To.UserID = o.Known.Profile.UserID
	}
	if err := m.chooseVariant(o); err != nil {
		return nil, err
	}
	if err := m.chooseChannel(o); err != nil {
		return nil, err
	}
	with, profile, err := m.data(o)
	if err != nil {
		return nil, err
	}
	what := render.Message{
		Variant: m.Variant, Channel: m.Channel, Value: m.Value, At: o.At, With: with, Profile: profile,
		Zone: o.Workspace.Zone, Location: o.Workspace.Policy.Location,
	}
	msg, err := render.Of(o.Rule.Rule, what)
	if err != nil {
		return nil, err //nolint:wrapcheck // names the channel
	}
	if m.Locale = msg.Locale; o.Locale != "" && m.Locale == "" && languageOf(o.Locale) != languageOf(o.Workspace.Locale) {
		return nil, noLocale(o, m.Channel, msg.Locales)
	}
	if o.Rule.Digest != "" {
		maps.Copy(with, digestSample(o.At))
	}
	var fields map[string]any
	if o.Known == nil {
		fields, err = m.sampled(o, what, msg.Fields)
	} else {
		fields, err = render.Fields(o.Rule.Rule, what)
	}
	if err != nil {
		return nil, fmt.Errorf("the message cannot be made, and nobody would get it (template_failed): %w; --with NAME=VALUE gives it a value", err)
	}
	if o.Rule.Digest != "" {
		m.Samples = append(m.Samples, rules.DigestItems, rules.DigestCount)
	}
	if !o.Plain {
		mark(fields)
	}
	for _, f := range msg.Fields {
		m.Names = append(m.Names, f.Name)
	}
	d := &ledger.Decision{
		Entry: "test/" + o.ID, Rule: o.Rule.Name, Version: o.Rule.Version, Category: o.Rule.Category, Variant: m.Variant, Value: m.Value,
		UserID: o.To.UserID, At: o.At,
	}
	m.Message = send.Trial(d, m.Channel, o.Workspace.BaseURL, o.To, send.Rendered{Fields: fields, TTL: msg.TTL, Urgent: o.Rule.WakesDevice(), Locale: msg.Locale})
	return m, nil
}

// languageOf is the language of a BCP 47 tag, without script and region.
func languageOf(locale string) string {
	language, _, _ := strings.Cut(locale, "-")
	return language
}

// noLocale says that nobody of a locale gets a text of their own.
func noLocale(o Options, channel string, has []rules.Localized) error {
	if len(has) == 0 {
		return usage("the message of %s for %s has no locales: everybody gets the same", o.Rule.Name, channel)
	}
	var names []string
	for _, l := range has {
		names = append(names, l.Locale)
	}
	return usage("the message of %s for %s has no text for %s, who get the one without a locale%s", o.Rule.Name, channel, o.Locale, near(o.Locale, names))
}

func mark(fields map[string]any) {
	for _, name := range marked {
		if text, ok := fields[name].(string); ok && text != "" {
			fields[name] = Mark + text
			return
		}
	}
}

func (m *Message) chooseVariant(o Options) error {
	var names []string
	for _, v := range o.Rule.Variants {
		names = append(names, v.Name)
	}
	switch {
	case o.Variant == "" && len(names) > 0:
		m.Variant = names[0]
	case o.Variant == "" || slices.Contains(names, o.Variant):
	case len(names) == 0:
		return usage("the rule %s has no variants", o.Rule.Name)
	default:
		return usage("the rule %s has no variant %q%s", o.Rule.Name, o.Variant, near(o.Variant, names))
	}
	return nil
}

// near is a suggestion, or all that there is.
func near(word string, all []string) string {
	if n := suggest.Nearest(word, all); n != "" {
		return fmt.Sprintf("; did you mean %s?", n)
	}
	return "; there are " + strings.Join(all, ", ")
}

// chooseChannel finds the channel and the adapter that take the address.
func (m *Message) chooseChannel(o Options) error {
	var names []string
	for _, name := range o.Rule.Channels() {
		if _, ok := o.Rule.MessageOf(m.Variant, name); ok {
			names = append(names, name)
		}
	}
	if o.Channel != "" {
		if !slices.Contains(names, o.Channel) {
			return usage("the rule %s has no message for %q%s", o.Rule.Name, o.Channel, near(o.Channel, names))
		}
		names = []string{o.Channel}
	}
	var why []string
	for _, name := range names {
		i := slices.IndexFunc(o.Workspace.Channels, func(c workspace.Channel) bool { return c.Name == name })
		if i < 0 {
			continue
		}
		problem := ""
		for _, a := range o.Workspace.Channels[i].Adapters {
			if problem = lacks(a, o.To); problem == "" {
				m.Channel, m.Adapter = name, a
				return nil
			}
		}
		why = append(why, name+" "+problem)
	}
	return usage("no channel of %s can use this address: %s", o.Rule.Name, strings.Join(why, "; "))
}

// lacks says what of an address an adapter misses, "" where it can use it.
func lacks(a workspace.Adapter, to channels.Address) string {
	given := map[string]string{"token": to.Token, "email": to.Email, "phone": to.Phone, "user_id": to.UserID}
	need := a.Spec.Needs
	switch {
	case need == "token" && to.Token == "":
		return "needs a device's token: --to token:…"
	case need == "token" && to.Platform == "" && len(a.Spec.Platforms) > 0:
		return "needs to know the device: --platform " + strings.Join(a.Spec.Platforms, " or ")
	case need == "token" && !send.Serves(a.Spec, a.Apps, segments.Device{Token: to.Token, Platform: to.Platform, App: to.App}):
		if len(a.Apps) > 0 && slices.Contains(a.Spec.Platforms, to.Platform) {
			return "needs one of its apps: --app " + strings.Join(a.Apps, " or ")
		}
		if slices.Contains(a.Spec.Platforms, to.Platform) {
			return "does not take this token: it has not the form of those of " + a.Name
		}
		return "serves " + strings.Join(a.Spec.Platforms, " and ") + ", not " + to.Platform
	case need == "user_id" && to.UserID == "":
		return "needs a user id: --to user:… or --as PERSON"
	case need != "" && given[need] == "":
		return "needs " + map[string]string{"email": "an e-mail address: --to ann@example.com", "phone": "a phone number: --to +49…"}[need]
	default: // a webhook or a file that needs nothing takes along what there is
		return ""
	}
}

// data are the values and the profile: the person's, with those that were given.
func (m *Message) data(o Options) (ledger.Values, *segments.Profile, error) {
	profile := &segments.Profile{}
	var have map[string]any
	if o.Known != nil {
		if o.Known.Profile != nil {
			*profile = *o.Known.Profile
		}
		a, err := answerOf(o)
		if err != nil {
			return nil, nil, err
		}
		if a != nil {
			m.Value, m.Truth, have = a.Value, a.Truth.String(), a.With
			if a.Err != nil {
				return nil, nil, fmt.Errorf("the values of %s: %w", o.Rule.Name, a.Err)
			}
		}
	}
	traits := map[string]json.RawMessage{}
	maps.Copy(traits, profile.Traits)
	values := ledger.Values{}
	// As JSON and back, as the ledger keeps them: a message says the same in both.
	raw, err := json.Marshal(have)
	if err == nil && have != nil {
		err = json.Unmarshal(raw, &values)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the values of %s: %w", o.Rule.Name, err)
	}
	var names []string
	for _, n := range o.Rule.With {
		names = append(names, n.Name)
	}
	for name, value := range o.With {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, nil, fmt.Errorf("the value of %s: %w", name, err)
		}
		if trait, ok := strings.CutPrefix(name, "user.traits."); ok && trait != "" {
			traits[trait] = raw
			continue
		}
		if !slices.Contains(names, name) {
			if len(names) == 0 {
				return nil, nil, usage("the rule %s has no values of its own; --with user.traits.NAME=VALUE sets a trait", o.Rule.Name)
			}
			return nil, nil, usage("the rule %s has no value %q%s", o.Rule.Name, name, near(name, names))
		}
		values[name] = ledger.Value(raw)
	}
	profile.Traits = traits
	if profile.Locale = segments.LocaleOf(traits, profile.Locale); o.Locale != "" {
		profile.Locale = o.Locale
	}
	return values, profile, nil
}

// answerOf is the answer about the person that the message is made of; nil where there is nothing to judge.
func answerOf(o Options) (*segments.Answer, error) {
	var values []string
	for i := range o.Known.Answers {
		a := &o.Known.Answers[i]
		if o.Value == "" || a.Value == o.Value {
			values = append(values, a.Value)
			if o.Value != "" {
				return a, nil
			}
		}
	}
	switch len(values) {
	case 0:
		return nil, nil
	case 1:
		return &o.Known.Answers[0], nil
	}
	slices.Sort(values)
	more := ""
	if len(values) > 10 {
		values, more = values[:10], ", …"
	}
	return nil, usage("%s has a message for each of several values; say which: --value %s%s", o.Rule.Name, strings.Join(values, ", "), more)
}

// Answer is what came of sending it.
type Answer struct {
	ID string
	// Failed is nil where the provider took the message.
	Failed *channels.DeliveryError
}

// timeout of one message.
const timeout = time.Minute

// Send sends it, once. An error means that the adapter could not be set up.
func (m *Message) Send(ctx context.Context, o channels.Options) (a Answer, err error) {
	o.Config = m.Adapter.Config
	c, err := m.Adapter.Spec.New(o)
	if err != nil {
		return Answer{}, fmt.Errorf("channel %s: open %s: %w", m.Channel, m.Adapter.Name, err)
	}
	if closer, ok := c.(channels.Closer); ok {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	a.ID, a.Failed = send.Once(ctx, c, m.Message, timeout)
	return a, nil
}

// Advice says what to do about a refusal.
func Advice(c channels.Class) string {
	switch c {
	case channels.ClassTemporary:
		return "The provider could not be reached or is busy. Look at the address of it in nudge.yaml, and try again later; a real message would be."
	case channels.ClassRateLimit:
		return "The provider wants fewer messages. Try again later, and give the channel a rate_limit."
	case channels.ClassAddress:
		return "The address is dead or of another app or environment. Take one that the app has registered lately; a real one would be retired."
	case channels.ClassMessage:
		return "The provider does not take this message. Change the rule's message; nudge channels ADAPTER lists the fields and their limits."
	case channels.ClassCredential:
		return "Our set-up is wrong: look at the channel's config and its secrets in nudge.yaml."
	case channels.ClassCancelled:
		return "It was interrupted; it may have arrived or not."
	default:
		return ""
	}
}

// traitOf is the trait that a name in a template is of, "" of others.
func traitOf(path string) string {
	trait, ok := strings.CutPrefix(path, "user.traits.")
	if !ok || strings.Contains(trait, ".") {
		return ""
	}
	return trait
}

// templates are all templates of a message.
func templates(v rules.Value) []rules.Value {
	out := []rules.Value{}
	if v.Template != nil {
		out = append(out, v)
	}
	for _, item := range v.List {
		out = append(out, templates(item)...)
	}
	for _, f := range v.Map {
		out = append(out, templates(f.Value)...)
	}
	return out
}
