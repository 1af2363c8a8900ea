// Package decide answers, for one person at one instant, which of the rules that are true for them
// may message them: entering, the stages in their order, and the walk by priority. Everything here
// is pure: time, state and profile are passed in, records come out.
package decide

import (
	"time"

	"nudge/rules"
	"nudge/segments"
)

// Policy is what the workspace says for all rules. It is immutable.
type Policy struct {
	Caps  []Cap
	Quiet []Quiet
	// Holdout is the workspace's own share of people (0–1) that no promotional rule messages.
	Holdout float64
	// Salt makes the arms of this workspace its own.
	Salt string
	// Zone is the workspace's; UnknownZone says what becomes of a person without one where the
	// clock matters: "default" (the workspace's), "hold" or "drop".
	Zone        *time.Location
	UnknownZone string
	// Channels by the name that rules use.
	Channels map[string]Channel
	// Digests are the rules that send what channels collect, by channel.
	Digests map[string]*rules.Rule
	// OptIn says whether (channel, category) needs a recorded consent; without, silence is consent.
	OptIn func(channel, category string) bool
	// Location returns an IANA zone; it is a cache over time.LoadLocation.
	Location func(name string) (*time.Location, error)
	// Arm, where set, places people in the arms of a rule instead of the hashes. Rule tests use it: what
	// they say must not depend on a hash.
	Arm func(rule string, profile *segments.Profile) Arm
}

// Arm is a person's place in everything of a rule that is drawn by lot.
type Arm struct {
	Variant   string // "" is the rule's first
	Holdout   string // "rule" or "workspace" where the person is held out, else ""
	NotRolled bool   // not in the rule's rollout
}

// Channel is what reachability needs to know of a channel.
type Channel struct {
	Needs     string   // "token", "email", "phone", "user_id" or ""
	Platforms []string // of tokens
	// Collects says that what it takes waits for a digest.
	Collects bool
}

// Cap is a frequency cap. The unit is one (entry, channel): devices and retries are one.
type Cap struct {
	Name string
	Max  int
	// Window is rolling, (t−Window, t], unless Calendar is set.
	Window time.Duration
	// Calendar is "hour", "day", "week" (from Monday) or "month" on the clock that Clock names.
	Calendar string
	Clock    string // rules.ZonePerson, rules.ZoneWorkspace or an IANA zone
	// Scope says which messages count together: "all", or those of the same "channel", "category"
	// or "rule".
	Scope string
	// Channels, Categories and Rules restrict whom the cap is about; empty is all.
	Channels, Categories, Rules []string
	// AtCap is what becomes of an entry at the cap where its rule does not say.
	AtCap rules.Action
}

// MaxWindow is the longest time for which a message can count towards the cap.
func (c Cap) MaxWindow() time.Duration {
	switch c.Calendar {
	case "hour":
		return 2 * time.Hour
	case "day":
		return 25 * time.Hour
	case "week":
		return 8 * 24 * time.Hour
	case "month":
		return 32 * 24 * time.Hour
	default:
		return c.Window
	}
}

// Quiet is a window of the day in which nothing is sent. From after To spans midnight.
type Quiet struct {
	From, To rules.TimeOfDay
	// Zone is rules.ZonePerson, rules.ZoneWorkspace or an IANA zone.
	Zone string
	// Days on which the window begins; empty is all.
	Days []time.Weekday
	// Channels and Categories restrict the window; empty is all.
	Channels, Categories []string
}

// zoneOf resolves a clock for a person. ok is false when the person's zone is asked for and unknown
// and the workspace does not want its own used instead.
func (p *Policy) zoneOf(clock string, profile *segments.Profile) (loc *time.Location, ok bool) {
	switch clock {
	case "", rules.ZoneWorkspace:
		return p.Zone, true
	case rules.ZonePerson:
		if profile != nil && profile.Zone != "" {
			if loc, err := p.Location(profile.Zone); err == nil {
				return loc, true
			}
		}
		return p.Zone, p.UnknownZone != "hold" && p.UnknownZone != "drop"
	default:
		if loc, err := p.Location(clock); err == nil {
			return loc, true
		}
		return p.Zone, true
	}
}
