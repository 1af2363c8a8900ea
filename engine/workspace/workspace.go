// Package workspace loads the files that people write (nudge.yaml, rules, segments, fences, the
// tracking plan) into one immutable, compiled set, or says everything that is wrong with them.
package workspace

import (
	"encoding/json"
	"strings"
	"time"

	"nudge/channels"
	"nudge/engine/decide"
	"nudge/events"
	"nudge/internal/counted"
	"nudge/rules"
	"nudge/segments"
	"nudge/segments/geo"
)

// Workspace is everything that was loaded. It is immutable; a reload is another Load, and the engine
// swaps a pointer.
type Workspace struct {
	Dir string
	// Data is the data folder, absolute.
	Data string
	// Hash is of everything that decides: rules, segments, fences, the plan's types, the policy;
	// 16 hex digits.
	Hash string

	Zone     *time.Location
	Locale   string // BCP 47 tag of messages' texts that stand under no locale, "" where nudge.yaml does not say it
	Policy   *decide.Policy
	Rules    []*Rule // by name
	Segments []Segment
	Plan     *events.Plan // nil without events.yaml
	Fences   *geo.Fences
	Location geo.Options // how fixes are used

	Store     Store
	Queue     Queue
	Listen    string // "127.0.0.1:8080"
	BaseURL   string // of links in messages, without a slash at its end
	Keys      []Key
	Channels  []Channel     // in the order of the file
	Retention time.Duration // of history; 0 keeps everything
	// Categories are those of nudge.yaml, in the order of the file.
	Categories []Category
	// Preferences is how the page is headed at which people choose what they get.
	Preferences Preferences
	// Signing is the secret with which message ids and links are signed, at least 16 bytes; nil when
	// loaded without secrets. It is never printed.
	Signing []byte
	// Silences are those of all files: which findings about a file it wants to be left out.
	Silences []rules.Silence
	// Sources are the files that decide, for the history of sources; passwords in addresses are
	// blotted out.
	Sources []Source
}

// Rule is a rule with its compiled condition.
type Rule struct {
	*rules.Rule
	Who *segments.Who
	// Exits and Goal are those of the rule's file, with their filters compiled.
	Exits []Exit
	Goal  *Goal
}

// Exit ends entries of the rule when its event happens after the entry's since and Where holds; Where
// is nil for every occurrence, and may use entry.* (bind it before use).
type Exit struct {
	Event string
	Where *segments.Pred
}

// Goal is the event that counts as a conversion within a time of the message.
type Goal struct {
	Event  string
	Where  *segments.Pred // nil: every occurrence
	Within time.Duration
	Value  string // property path of the amount, "properties.revenue", or ""
}

// Segment is a named segment.
type Segment struct {
	Name  string
	About string
	When  string
	File  string
	Who   *segments.Who
}

// Store says where history is kept.
type Store struct {
	DSN      string // of a ClickHouse server; "" for the embedded engine
	Dir      string // data folder of the embedded engine, absolute
	Database string
	Library  string // path of libchdb.so, "" to look for it
	Cluster  string // name of the cluster for ON CLUSTER DDL, "" for one node
}

// Queue says where events wait.
type Queue struct {
	URL        string // of a NATS cluster; "" for the embedded server
	Dir        string // its data folder, absolute
	MaxBacklog int64  // bytes of events that are not written to the store yet
	Keep       time.Duration
}

// Category is what messages of a kind are called where people choose among them.
type Category struct {
	Name  string
	Title string // "" where nobody says
	About string
}

// Preferences is how nudge.yaml has the page at which people choose what they get.
type Preferences struct {
	Title string // who sends: the name of the shop, the app
	About string
}

// Key is a write key, which an app ships, or a secret key, which a server keeps.
type Key struct {
	Name   string
	Value  string
	Secret bool
}

// String hides the key.
func (k Key) String() string { return k.Name }

// Channel is one word of a rule's `message`, and the adapters that serve it.
type Channel struct {
	Name     string
	Title    string    // what people call it, "" where nobody says
	Kind     string    // whose message fields it takes: "push", "webhook"
	Adapters []Adapter // one, or for push one a platform; in the order of the file
	// RateLimit is messages a second over all adapters, 0 for none.
	RateLimit float64
	// TrackLinks rewrites links to signed redirects that record the click.
	TrackLinks bool
	// TrackOpens puts a picture of one pixel into HTML that records that it was shown.
	TrackOpens bool
	// AfterCrash says what to do with an attempt whose outcome was lost, on adapters where a repeat
	// doubles: "retry" or "give_up".
	AfterCrash string
}

// Adapter is one configured adapter.
type Adapter struct {
	Name string // of the adapter: "apns"
	Spec channels.Spec
	// Config is for its constructor, secrets resolved; nil when loaded without secrets. It is never
	// printed.
	Config json.RawMessage
	// Apps (bundle ids, package names) that it serves; empty is all.
	Apps []string
}

// String hides the configuration.
func (a Adapter) String() string { return a.Name }

// ListSource is the kind of a list that a condition names.
const ListSource = "list"

// Source is the text of a file that decides.
type Source struct {
	Kind string // rule, segment, list, fence, plan, workspace, template
	Name string // path within the workspace
	Hash string
	Text string
}

// Contents says in a line what the workspace holds.
func (w *Workspace) Contents() string {
	declared := 0
	if w.Plan != nil {
		declared = len(w.Plan.Events)
	}
	broadcasts := 0
	for _, r := range w.Rules {
		if r.Broadcast {
			broadcasts++
		}
	}
	parts := []string{counted.Of(len(w.Rules)-broadcasts, "rule")}
	if broadcasts > 0 {
		parts = append(parts, counted.Of(broadcasts, "broadcast"))
	}
	return strings.Join(append(parts,
		counted.Of(len(w.Segments), "segment"), counted.Of(len(w.Fences.All()), "fence"),
		counted.Of(declared, "declared event"), counted.Of(len(w.Channels), "channel"),
	), ", ")
}
