package workspace

import (
	"math"
	"slices"
	"time"

	"nudge/engine/decide"
	"nudge/rules"
	"nudge/rules/yamlfile"
)

// calendars are the windows that follow a calendar; every other `per` is a duration and rolls.
var calendars = []string{"hour", "day", "week", "month"}

func (p *configParser) caps(n *yamlfile.Node) {
	seen := map[string]bool{}
	for _, item := range p.r.Items(n) {
		f := p.r.Fields(item)
		name := f.Must("name", "It stands in the ledger where the cap stopped a message.")
		c := decide.Cap{Name: p.r.Text(name), Clock: rules.ZoneWorkspace}
		if seen[c.Name] && c.Name != "" {
			p.r.Report(name, "duplicate-name", "", "there are two caps %q", c.Name)
		}
		seen[c.Name] = true
		c.Max = int(p.r.Int(f.Must("max", "Say how many messages fit: `max: 2`."), 0, 0, math.MaxInt32))
		p.window(f, &c)
		c.Scope = p.r.OneOf(f.Must("scope", "Say what counts together: all, or the messages of one channel, category or rule."), "all", "channel", "category", "rule")
		c.AtCap = rules.Action(p.r.OneOf(f.Must("at_cap", "Say what becomes of an entry at the cap: retry, hold, drop or next (channel)."),
			string(rules.Retry), string(rules.Hold), string(rules.Drop), string(rules.Next)))
		if counts := f.Get("counts"); counts != nil && p.r.OneOf(counts, "accepted", "delivered") == "delivered" {
			p.r.Report(counts, "rule/not-yet", "Messages count from when the provider accepts them.", "counting deliveries does not exist yet")
		}
		c.Channels = p.names(f.Get("channels"), "channel", p.channelNames())
		c.Categories = p.names(f.Get("categories"), "category", p.categoryNames())
		if rs := f.Get("rules"); rs != nil {
			c.Rules = p.r.Texts(rs)
			p.l.capRules = append(p.l.capRules, rs)
		}
		f.Done()
		p.c.caps = append(p.c.caps, c)
	}
}

// window reads `per`, `window` and `clock`.
func (p *configParser) window(f *yamlfile.Fields, c *decide.Cap) {
	per, window, clock := f.Must("per", "Say in what time: `per: 24h` rolls, `per: day` follows the calendar."), f.Get("window"), f.Get("clock")
	kind := ""
	if window != nil {
		kind = p.r.OneOf(window, "rolling", "calendar")
	}
	switch {
	case per == nil:
	case per.Kind == yamlfile.String && slices.Contains(calendars, per.Text):
		c.Calendar = per.Text
		if kind == "rolling" {
			p.r.Report(window, "conflict", "Write `per: 24h` for a window that rolls.", "%q follows the calendar", per.Text)
		}
		if clock == nil && f.Node() != nil {
			p.r.Report(per, "missing-key", "Add `clock: person`, `clock: workspace` or a zone: the window begins at somebody's midnight.", "\"clock\" is missing")
		}
	default:
		c.Window = p.r.Duration(per, 0)
		if kind == "calendar" {
			p.r.Report(window, "conflict", "Write `per: day`, week or month for one that follows the calendar.", "%q rolls", per.Text)
		}
		if clock != nil {
			p.r.Report(clock.Key, "conflict", "Leave it out: a duration is as long on every clock.", "a window that rolls has no clock")
			return
		}
	}
	if clock != nil {
		c.Clock = rules.ReadZone(p.r, clock)
	}
	if p.c.retention > 0 && per != nil && c.MaxWindow() > p.c.retention {
		p.r.Report(per, "conflict", "Keep history for longer, or shorten the window.", "the window is longer than history is kept")
	}
}

// weekdays by their names in files.
var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

func (p *configParser) quietHours(n *yamlfile.Node) {
	if n == nil {
		return
	}
	items := []*yamlfile.Node{n}
	if n.Kind == yamlfile.List {
		items = n.Items
	}
	for _, item := range items {
		f := p.r.Fields(item)
		q := decide.Quiet{Zone: rules.ZonePerson}
		const why = "Quiet hours are {from: \"21:00\", to: \"08:00\"}."
		from, okFrom := p.r.TimeOfDay(f.Must("from", why))
		toNode := f.Must("to", why)
		to, okTo := p.r.TimeOfDay(toNode)
		if okFrom && okTo && from == to {
			p.r.Report(toNode, "bad-period", "It would be quiet all day.", "quiet hours end when they begin")
		}
		q.From, q.To = rules.TimeOfDay(from), rules.TimeOfDay(to)
		if z := f.Get("zone"); z != nil {
			q.Zone = rules.ReadZone(p.r, z)
		}
		for _, d := range p.names(f.Get("days"), "day", weekdays) {
			if i := slices.Index(weekdays, d); i >= 0 {
				q.Days = append(q.Days, time.Weekday(i))
			}
		}
		q.Channels = p.names(f.Get("channels"), "channel", p.channelNames())
		q.Categories = p.names(f.Get("categories"), "category", p.categoryNames())
		f.Done()
		p.c.quiet = append(p.c.quiet, q)
	}
}

// policy hands what nudge.yaml says over to the decision.
func (l *loader) policy() {
	c, ws := &l.cfg, l.ws
	ws.Zone, ws.Locale, ws.Listen, ws.BaseURL, ws.Retention = c.zone, c.locale, c.listen, c.baseURL, c.retention
	ws.Location.MaxAge, ws.Location.MaxAccuracy = c.maxAge.Milliseconds(), c.accuracy
	ws.Store, ws.Queue, ws.Data = c.store, c.queue, l.within(c.data)
	if ws.Store.Dir == "" {
		ws.Store.Dir = c.data + "/store"
	}
	if ws.Queue.Dir == "" {
		ws.Queue.Dir = c.data + "/queue"
	}
	ws.Store.Dir, ws.Queue.Dir = l.within(ws.Store.Dir), l.within(ws.Queue.Dir)
	if ws.Store.Library != "" {
		ws.Store.Library = l.within(ws.Store.Library)
	}
	consents := map[string]categoryConfig{}
	for _, k := range c.categories {
		consents[k.name] = k
		ws.Categories = append(ws.Categories, Category{Name: k.name, Title: k.title, About: k.about})
	}
	ws.Preferences = c.page
	ws.Policy = &decide.Policy{
		Caps: c.caps, Quiet: c.quiet, Holdout: c.holdout, Salt: c.salt, Zone: c.zone, UnknownZone: c.unknownZone,
		Channels: map[string]decide.Channel{}, Digests: map[string]*rules.Rule{}, Location: zones(),
		OptIn: func(channel, category string) bool {
			k := consents[category]
			if how := k.channel[channel]; how != "" {
				return how == "opt_in"
			}
			return k.consent == "opt_in"
		},
	}
	for _, ch := range c.channels {
		ws.Policy.Channels[ch.name] = ch.reach()
	}
	for _, r := range ws.Rules {
		if r.Digest != "" {
			ws.Policy.Digests[r.Digest] = r.Rule
		}
	}
}
