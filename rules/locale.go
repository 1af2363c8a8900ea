package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"nudge/events"
	"nudge/rules/yamlfile"
)

// Localized is a channel's message in one language. It is complete: what the file leaves out under the locale has been
// taken from the message.
type Localized struct {
	Locale string // BCP 47 tag in its canonical form: "de", "pt-BR"
	Fields []Field
	TTL    time.Duration

	key *yamlfile.Node // while the file is read; nil where a variant has it of the rule's message
}

// ReadLocale reads a BCP 47 tag of language, script and region; "" after a finding.
func ReadLocale(r *yamlfile.Reader, n *yamlfile.Node) string {
	tag, ok := events.Locale(n.Text)
	if ok && tag == n.Text {
		return tag
	}
	f := n.Finding("rule/unknown-locale", fmt.Sprintf("%q is not a locale", n.Text))
	f.Detail = "Write a language, and a script or a region where it matters: de, pt-BR, zh-Hant."
	f.Suggest = tag
	r.Add(f)
	return ""
}

// locales reads what a message says in other languages: of each only its own fields.
func (p *ruleParser) locales(spec *ChannelSpec, n *yamlfile.Node) []Localized {
	var out []Localized
	for _, pair := range p.r.Entries(n) {
		locale := ReadLocale(p.r, pair.Key)
		switch {
		case pair.Value.Kind == yamlfile.Null, pair.Value.Kind == yamlfile.Map && len(pair.Value.Pairs) == 0:
			p.r.Report(pair.Key, "empty", "Give it the texts of that language, or leave it out.", "%q says nothing", pair.Key.Text)
			continue
		case pair.Value.Kind != yamlfile.Map:
			p.r.Entries(pair.Value) // says that it must be one
			continue
		case locale != "" && locale == p.o.Locale:
			p.r.Warn(pair.Key, "no-effect", "Leave one of the two out.", "nudge.yaml says that the texts without a locale are in %s already", locale)
		}
		var m ChannelMessage
		p.fields(spec, &m, p.r.Entries(pair.Value), false)
		if locale != "" {
			out = append(out, Localized{locale, m.Fields, m.TTL, pair.Key})
		}
	}
	return out
}

// over is the message with what another says laid over it: its fields, and for people of a locale those of the locale.
// The fields of m.Locales are what the file says; those of the result are complete.
func (m ChannelMessage) over(base ChannelMessage, own string) ChannelMessage {
	out := ChannelMessage{Channel: m.Channel, Fields: lay(base.Fields, m.Fields), TTL: laid(base.TTL, m.TTL)}
	for _, l := range slices.Concat(base.Locales, m.Locales) {
		if slices.ContainsFunc(out.Locales, func(x Localized) bool { return x.Locale == l.Locale }) {
			continue
		}
		fields, ttl := base.Fields, base.TTL
		if had := base.localized(l.Locale); had != nil {
			fields, ttl = had.Fields, had.TTL
		}
		fields, ttl = lay(fields, m.Fields), laid(ttl, m.TTL)
		at := (*yamlfile.Node)(nil)
		if said := m.localized(l.Locale); said != nil {
			fields, ttl, at = lay(fields, said.Fields), laid(ttl, said.TTL), said.key
		}
		out.Locales = append(out.Locales, Localized{l.Locale, fields, ttl, at})
	}
	out.matcher = matcherOf(own, out.Locales)
	return out
}

func (m *ChannelMessage) localized(locale string) *Localized {
	i := slices.IndexFunc(m.Locales, func(l Localized) bool { return l.Locale == locale })
	if i < 0 {
		return nil
	}
	return &m.Locales[i]
}

// lay lays fields over others of the same names.
func lay(base, over []Field) []Field {
	out := slices.Clone(base)
	for _, f := range over {
		if i := slices.IndexFunc(out, func(b Field) bool { return b.Name == f.Name }); i >= 0 {
			out[i] = f
		} else {
			out = append(out, f)
		}
	}
	return out
}

func laid(base, over time.Duration) time.Duration {
	if over != 0 {
		return over
	}
	return base
}

// matcher finds the locale for somebody. It is immutable.
type matcher struct {
	language.Matcher
	locales []string // in its order; "" is of the texts without one
}

// matcherOf is nil without locales. own is the locale of the texts without one, "" where nudge.yaml does not say it.
func matcherOf(own string, locales []Localized) *matcher {
	if len(locales) == 0 {
		return nil
	}
	m := &matcher{}
	var tags []language.Tag
	if own != "" {
		m.locales, tags = []string{""}, []language.Tag{language.Make(own)}
	}
	for _, l := range locales {
		m.locales, tags = append(m.locales, l.Locale), append(tags, language.Make(l.Locale))
	}
	m.Matcher = language.NewMatcher(tags)
	return m
}

// closeLanguages are such that who reads one of them mostly reads the others of the line. The matcher knows many more, of
// people who mostly know the other language too (Russian of Belarusians, Spanish of Basques); a message that was not asked
// for is better in its own language than in that.
var closeLanguages = [][]string{{"da", "nb", "nn", "no"}, {"de", "gsw", "lb"}, {"bs", "hr", "sr"}, {"id", "ms"}, {"fil", "tl"}}

// find is the locale for somebody of the given one, "" for the texts without one.
func (m *matcher) find(locale string) string {
	if m == nil || locale == "" {
		return ""
	}
	tag, err := language.Parse(locale)
	if err != nil {
		return ""
	}
	_, i, sure := m.Match(tag)
	if sure < language.High || m.locales[i] == "" {
		return ""
	}
	theirs, _ := tag.Base()
	ours, _ := language.Make(m.locales[i]).Base()
	near := func(line []string) bool {
		return slices.Contains(line, theirs.String()) && slices.Contains(line, ours.String())
	}
	if theirs != ours && !slices.ContainsFunc(closeLanguages, near) {
		return ""
	}
	return m.locales[i]
}

// For is the message for somebody of a locale (a BCP 47 tag, "" for unknown): that of the locale, else of a parent of it
// or of a close language, else m itself, which has no Locale then.
func (m ChannelMessage) For(locale string) ChannelMessage {
	if l := m.localized(m.matcher.find(locale)); l != nil {
		m.Locale, m.Fields, m.TTL = l.Locale, l.Fields, l.TTL
	}
	return m
}

// All are the message as it stands and in each of its locales.
func (m ChannelMessage) All() []ChannelMessage {
	out := []ChannelMessage{m}
	for _, l := range m.Locales {
		one := m
		one.Locale, one.Fields, one.TTL = l.Locale, l.Fields, l.TTL
		out = append(out, one)
	}
	return out
}

// translated reports texts that a locale lacks: people would get a message in two languages. said is what the file says,
// base what it is laid over, and whole what it comes to.
func (p *ruleParser) translated(base, said, whole []ChannelMessage) {
	for _, m := range said {
		all := whole[slices.IndexFunc(whole, func(w ChannelMessage) bool { return w.Channel == m.Channel })]
		var below ChannelMessage
		if i := slices.IndexFunc(base, func(b ChannelMessage) bool { return b.Channel == m.Channel }); i >= 0 {
			below = base[i]
		}
		for _, l := range all.Locales {
			texts, own, at := all.Fields, []Field(nil), p.keys[m.Channel]
			if below.localized(l.Locale) != nil {
				texts = m.Fields // of the others it has been asked below
			}
			if x := m.localized(l.Locale); x != nil {
				own, at = x.Fields, x.key
			}
			var lacks []string
			for _, f := range texts {
				read := slices.ContainsFunc(p.spec(m.Channel).Fields, func(s FieldSpec) bool { return s.Name == f.Name && s.Text })
				has := slices.ContainsFunc(own, func(o Field) bool { return o.Name == f.Name })
				if read && !has && f.Value.literalSize() > 0 {
					lacks = append(lacks, f.Name)
				}
			}
			if len(lacks) > 0 {
				p.r.Warn(at, "message/half-translated", fmt.Sprintf("Write it under `locales: {%s: …}` too, or they get a message in two languages.", l.Locale),
					"people who read %s get the %s of %s as it is for all", l.Locale, strings.Join(lacks, " and "), m.Channel)
			}
		}
	}
}
