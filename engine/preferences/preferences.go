// Package preferences is the page at which whoever got a message says what they want to get: by category and channel,
// without signing in and without JavaScript. The link to it is signed and stands in the message; it also takes the
// one-click POST of RFC 8058.
package preferences

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"nudge/engine/send"
	"nudge/engine/workspace"
	"nudge/events"
	"nudge/events/queue"
	"nudge/rules"
	"nudge/segments"
)

// Options of New; all are required.
type Options struct {
	Signer *send.Signer
	Events send.EventLog
	// Profile reads what is known of a person; nil where that is nothing.
	Profile   func(context.Context, events.PersonID) (*segments.Profile, error)
	Workspace func() *workspace.Workspace
	Now       func() time.Time
	Logger    *slog.Logger
}

// largestForm bounds what is posted, in bytes.
const largestForm = 64 << 10

// sourceName is the source of the consents that people give here.
const sourceName = "preferences"

//go:embed page.html
var files embed.FS

// page serves GET and POST /u/{signed}. It is safe for concurrent use.
type page struct {
	o     Options
	html  *template.Template
	words []words
}

// New makes the handler of /u/.
func New(o Options) http.Handler {
	p := &page{o: o, words: languages()}
	p.html = template.Must(template.New("page.html").Funcs(template.FuncMap{"say": fmt.Sprintf}).ParseFS(files, "page.html"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /u/{signed}", p.show)
	mux.HandleFunc("POST /u/{signed}", p.choose)
	return mux
}

// view is what the page shows.
type view struct {
	Say          words
	Title, About string
	Message      string // what has just happened
	Problem      string
	Nobody       bool   // nothing is known of them (any more)
	Category     string // of the message: "Offers"
	Channel      string // "e-mail"
	Stoppable    bool   // that category on that channel is on
	AllOff       bool
	Groups       []group
	Collect      *collecting // nil where nothing is collected
}

// collecting is the choice to get what can wait in one message.
type collecting struct {
	Channel string // that collects
	Title   string // of it
	On      bool
}

// group is a category with its channels.
type group struct {
	Title, About string
	Boxes        []box
}

type box struct {
	Value string // channel/category
	Title string // of the channel
	On    bool
}

// show answers GET. It changes nothing: programs follow links in mail, too.
func (p *page) show(w http.ResponseWriter, r *http.Request) {
	m, test, ok := p.who(w, r)
	if !ok {
		return
	}
	profile, err := p.profile(r.Context(), m, test)
	if err != nil {
		p.failed(w, r, err)
		return
	}
	p.write(w, http.StatusOK, p.view(m, profile, p.wordsFor(r, profile)))
}

// choose answers POST: the one click of a mail program, or one of the page's buttons.
func (p *page) choose(w http.ResponseWriter, r *http.Request) {
	m, test, ok := p.who(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, largestForm)
	if err := r.ParseMultipartForm(largestForm); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		http.Error(w, "The form could not be read.", http.StatusBadRequest)
		return
	}
	oneClick := r.PostFormValue("List-Unsubscribe") == "One-Click"
	profile, err := p.profile(r.Context(), m, test)
	if err != nil && !oneClick { // who wants no more is heard, also while the store is away
		p.failed(w, r, err)
		return
	}
	say := p.wordsFor(r, profile)
	stop := events.ConsentChange{Channel: m.Channel, Category: m.Category}
	var changes []events.ConsentChange
	var message string
	var prefers *string // a channel, "" for none before others
	switch what := r.PostFormValue("do"); {
	case oneClick:
		changes = []events.ConsentChange{stop}
	case what == "stop":
		changes = []events.ConsentChange{stop}
		message = fmt.Sprintf(say.stopped, p.category(m.Category).Title, p.channel(m.Channel, say))
	case what == "all":
		changes = []events.ConsentChange{{}}
		message = say.allStopped
	case what == "save":
		for _, value := range r.PostForm["shown"] {
			channel, category, ok := strings.Cut(value, "/")
			on, was := slices.Contains(r.PostForm["on"], value), slices.Contains(r.PostForm["was"], value)
			if ok && on != was && p.offered(m, channel, category) {
				changes = append(changes, events.ConsentChange{Channel: channel, Category: category, Granted: on})
			}
		}
		if c := p.collecting(profile, say); c != nil && r.PostFormValue("collects") == c.Channel {
			on, was := r.PostFormValue("collect") == c.Channel, r.PostFormValue("collected") == c.Channel
			switch {
			case on && !was:
				prefers = &c.Channel
			case was && !on:
				prefers = new(string)
			}
		}
		message = say.saved
	default:
		http.Error(w, "The form says nothing that can be done.", http.StatusBadRequest)
		return
	}
	if test {
		message = say.tested
	} else if profile != nil || err != nil {
		if err := p.record(r.Context(), m, changes, prefers); err != nil { // of somebody who was erased nothing is kept
			p.failed(w, r, err)
			return
		}
	}
	if oneClick {
		w.WriteHeader(http.StatusOK)
		return
	}
	if profile != nil {
		after := *profile
		for _, c := range changes {
			after.Consents = append(slices.Clip(after.Consents), segments.Consent{Channel: c.Channel, Category: c.Category, Granted: c.Granted, Time: p.o.Now().UnixMilli()})
		}
		if prefers != nil {
			after.Traits = maps.Clone(after.Traits)
			if after.Traits == nil {
				after.Traits = map[string]json.RawMessage{}
			}
			after.Traits[rules.PreferredChannel] = trait(*prefers)
		}
		if !test {
			profile = &after
		}
	}
	v := p.view(m, profile, say)
	v.Message = message
	p.write(w, http.StatusOK, v)
}

// who reads the link. The second result is of the link of a test message, which is nobody's.
func (p *page) who(w http.ResponseWriter, r *http.Request) (m send.MessageRef, test, ok bool) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("X-Robots-Tag", "noindex")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	signed := r.PathValue("signed")
	if signed == send.TestMessage {
		return send.MessageRef{}, true, true
	}
	m, err := p.o.Signer.VerifyPreferences(signed)
	if err != nil {
		say := p.wordsFor(r, nil)
		p.write(w, http.StatusNotFound, view{Say: say, Title: p.o.Workspace().Preferences.Title, Problem: say.badLink})
		return m, false, false
	}
	return m, false, true
}

// profile reads what is known of whom the link is for, nil for nothing; a made-up person for a test.
func (p *page) profile(ctx context.Context, m send.MessageRef, test bool) (*segments.Profile, error) {
	if test {
		return &segments.Profile{UserID: "test"}, nil
	}
	return p.o.Profile(ctx, m.Person)
}

// record appends the consents, and what the person prefers where that is another.
func (p *page) record(ctx context.Context, m send.MessageRef, changes []events.ConsentChange, prefers *string) error {
	if len(changes) == 0 && prefers == nil {
		return nil
	}
	now := p.o.Now().UnixMilli()
	evs := make([]events.Event, len(changes))
	for i, c := range changes {
		raw, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("write a consent: %w", err)
		}
		evs[i] = events.Event{
			Kind: events.KindConsent, MessageID: sourceName + "-" + rand.Text(), Source: sourceName, Time: now, ReceivedAt: now,
			UserID: m.UserID, AnonymousID: m.AnonymousID, Properties: raw,
		}
	}
	if prefers != nil {
		evs = append(evs, events.Event{
			Kind: events.KindIdentify, MessageID: sourceName + "-" + rand.Text(), Source: sourceName, Time: now, ReceivedAt: now,
			UserID: m.UserID, AnonymousID: m.AnonymousID, Traits: json.RawMessage(`{"` + rules.PreferredChannel + `":` + string(trait(*prefers)) + `}`),
		})
	}
	if _, err := p.o.Events.Append(ctx, evs); err != nil {
		return fmt.Errorf("record a choice: %w", err)
	}
	return nil
}

// trait is the value of a trait that names a channel; "" takes the trait away.
func trait(channel string) json.RawMessage {
	if channel == "" {
		return json.RawMessage("null")
	}
	return json.RawMessage(strconv.Quote(channel)) // small letters, digits, - and _
}

// collecting is the choice of a channel that collects, nil where no rule leaves that to people, or its digest could not
// reach them.
func (p *page) collecting(profile *segments.Profile, say words) *collecting {
	ws := p.o.Workspace()
	for _, c := range ws.Channels {
		if profile == nil || !ws.Policy.Channels[c.Name].Collects || !ws.Policy.Reachable(c.Name, profile) && profile.UserID != "test" {
			continue
		}
		if slices.ContainsFunc(ws.Rules, func(r *workspace.Rule) bool {
			return r.Deliver == rules.DeliverPreferred && slices.Contains(r.Channels(), c.Name)
		}) {
			return &collecting{Channel: c.Name, Title: p.channel(c.Name, say), On: string(profile.Traits[rules.PreferredChannel]) == string(trait(c.Name))}
		}
	}
	return nil
}

func (p *page) failed(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, queue.ErrBacklog) {
		p.o.Logger.Error("a choice of what to get could not be shown or recorded", "error", err)
	}
	w.Header().Set("Retry-After", "5")
	say := p.wordsFor(r, nil)
	p.write(w, http.StatusServiceUnavailable, view{Say: say, Title: p.o.Workspace().Preferences.Title, Problem: say.later})
}

// offers are the categories with the channels on which rules send them, what the message is of among them.
func (p *page) offers(m send.MessageRef) map[string][]string {
	out := map[string][]string{}
	add := func(category, channel string) {
		if category != "" && category != rules.Transactional && channel != "" && !slices.Contains(out[category], channel) {
			out[category] = append(out[category], channel)
		}
	}
	add(m.Category, m.Channel)
	for _, r := range p.o.Workspace().Rules {
		for _, channel := range r.Channels() {
			add(r.Category, channel)
		}
	}
	return out
}

func (p *page) offered(m send.MessageRef, channel, category string) bool {
	return slices.Contains(p.offers(m)[category], channel)
}

// view is the page as things stand.
func (p *page) view(m send.MessageRef, profile *segments.Profile, say words) view {
	ws := p.o.Workspace()
	v := view{Say: say, Title: ws.Preferences.Title, About: ws.Preferences.About, Nobody: profile == nil}
	if profile == nil {
		return v
	}
	offers := p.offers(m)
	order := func(category string) int {
		if i := slices.IndexFunc(ws.Categories, func(c workspace.Category) bool { return c.Name == category }); i >= 0 {
			return i
		}
		return len(ws.Categories)
	}
	var names []string
	for category := range offers {
		names = append(names, category)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(order(a)-order(b), strings.Compare(a, b)) })
	v.AllOff, v.Collect = true, p.collecting(profile, say)
	for _, category := range names {
		c := p.category(category)
		g := group{Title: c.Title, About: c.About}
		slices.SortFunc(offers[category], func(a, b string) int { return p.place(a) - p.place(b) })
		for _, channel := range offers[category] {
			on := ws.Policy.Consented(channel, category, profile)
			if on {
				v.AllOff = false
			}
			// What cannot reach them anyway is no choice, unless they could be surprised later.
			if reach, known := ws.Policy.Channels[channel]; known && channel != m.Channel && profile.UserID != "test" && reach.Needs != "" && !ws.Policy.Reachable(channel, profile) {
				continue
			}
			g.Boxes = append(g.Boxes, box{Value: channel + "/" + category, Title: p.channel(channel, say), On: on})
		}
		if len(g.Boxes) > 0 {
			v.Groups = append(v.Groups, g)
		}
	}
	if m.Category != "" && m.Category != rules.Transactional {
		v.Category, v.Channel = p.category(m.Category).Title, p.channel(m.Channel, say)
		v.Stoppable = ws.Policy.Consented(m.Channel, m.Category, profile)
	}
	return v
}

// place is where a channel stands in nudge.yaml.
func (p *page) place(channel string) int {
	return slices.IndexFunc(p.o.Workspace().Channels, func(c workspace.Channel) bool { return c.Name == channel })
}

// category is one with a title to show.
func (p *page) category(name string) workspace.Category {
	c := workspace.Category{Name: name}
	for _, known := range p.o.Workspace().Categories {
		if known.Name == name {
			c = known
		}
	}
	c.Title = cmp.Or(c.Title, titled(name))
	return c
}

// channel is the title of one.
func (p *page) channel(name string, say words) string {
	for _, c := range p.o.Workspace().Channels {
		if c.Name == name && c.Title != "" {
			return c.Title
		}
	}
	return cmp.Or(say.channels[name], strings.NewReplacer("_", " ", "-", " ").Replace(name))
}

// titled is a name as a title: "price_alerts" is "Price alerts".
func titled(name string) string {
	text := strings.NewReplacer("_", " ", "-", " ").Replace(name)
	first, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[n:]
}

func (p *page) write(w http.ResponseWriter, status int, v view) {
	var b bytes.Buffer
	if err := p.html.Execute(&b, v); err != nil {
		p.o.Logger.Error("the page of preferences cannot be made", "error", err)
		http.Error(w, "This page cannot be shown at the moment.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
