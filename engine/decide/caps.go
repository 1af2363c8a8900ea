package decide

import (
	"slices"
	"time"

	"nudge/engine/ledger"
	"nudge/rules"
	"nudge/segments"
)

// unresolvedRetry is how soon an entry is tried again when what fills the cap is still on its way and
// may yet be given back.
const unresolvedRetry = int64(time.Minute / time.Millisecond)

// usage is one message that counts, with the rule that reserved it in this walk ("" when it was
// decided before).
type usage struct {
	ledger.Use
	walk string
}

// capped is the answer of a cap that is full.
type capped struct {
	cap *Cap
	// outrankedBy is the rule whose reservation in this walk made the difference, or "".
	outrankedBy string
	frees       int64 // Unix ms
}

// checkCaps says which cap, if any, forbids one more message of the rule on the channel at t. Every
// use that is unresolved counts, whatever its time; so does one dated after t (an arrival decided
// while a tick was under way).
func (p *Policy) checkCaps(uses []usage, r *rules.Rule, entry, channel string, profile *segments.Profile, t int64) *capped {
	var worst *capped
	for i := range p.Caps {
		c := &p.Caps[i]
		if !c.Applies(r, channel) {
			continue
		}
		counted, next := p.counted(c, uses, r, entry, channel, profile, t)
		if len(counted) < c.Max {
			continue
		}
		full := &capped{cap: c, frees: frees(c, counted, next, t)}
		before := 0
		for _, u := range counted {
			if u.walk == "" {
				before++
			} else {
				full.outrankedBy = u.walk
			}
		}
		if before >= c.Max {
			full.outrankedBy = ""
		}
		if worst == nil || full.frees > worst.frees {
			worst = full
		}
	}
	return worst
}

// counted are the uses that count towards the cap for one more message, but those of the entry itself.
// next is when a calendar window ends, 0 for a rolling one.
func (p *Policy) counted(c *Cap, uses []usage, r *rules.Rule, entry, channel string, profile *segments.Profile, t int64) (out []usage, next int64) {
	begin, next := p.window(c, profile, t)
	for _, u := range uses {
		if u.Entry == entry && u.Channel == channel {
			continue
		}
		if counts(c, u, r, channel) && (!u.Resolved || u.At > begin) {
			out = append(out, u)
		}
	}
	return out, next
}

// Room is how full a cap is for one more message of a rule.
type Room struct {
	Cap  *Cap
	Used int
	// Counted are the messages that count, in the order of the uses.
	Counted []ledger.Use
	// Frees is when there is room again (Unix ms), where there is none now; else 0.
	Frees int64
}

// Rooms are the caps that a message of the rule on the channel meets at t (Unix ms), in the workspace's order;
// none for a transactional rule.
func (p *Policy) Rooms(uses []ledger.Use, r *rules.Rule, channel string, profile *segments.Profile, t int64) []Room {
	if r.Transactional() {
		return nil
	}
	all := make([]usage, len(uses))
	for i, u := range uses {
		all[i] = usage{Use: u}
	}
	var out []Room
	for i := range p.Caps {
		c := &p.Caps[i]
		if !c.Applies(r, channel) {
			continue
		}
		counted, next := p.counted(c, all, r, "", channel, profile, t)
		room := Room{Cap: c, Used: len(counted)}
		for _, u := range counted {
			room.Counted = append(room.Counted, u.Use)
		}
		if room.Used >= c.Max {
			room.Frees = frees(c, counted, next, t)
		}
		out = append(out, room)
	}
	return out
}

// Applies says whether the cap is about messages of the rule on the channel.
func (c *Cap) Applies(r *rules.Rule, channel string) bool {
	return among(c.Channels, channel) && among(c.Categories, r.Category) && among(c.Rules, r.Name)
}

func among(list []string, x string) bool { return len(list) == 0 || slices.Contains(list, x) }

// counts says whether an earlier message counts towards the cap for a message of r on channel.
func counts(c *Cap, u usage, r *rules.Rule, channel string) bool {
	if u.Category == rules.Transactional && !slices.Contains(c.Categories, rules.Transactional) {
		return false
	}
	if !among(c.Channels, u.Channel) || !among(c.Categories, u.Category) || !among(c.Rules, u.Rule) {
		return false
	}
	switch c.Scope {
	case "channel":
		return u.Channel == channel
	case "category":
		return u.Category == r.Category
	case "rule":
		return u.Rule == r.Name
	default:
		return true
	}
}

// window is the cap's window at t: uses at times > begin count. next is when a calendar window ends,
// 0 for a rolling one.
func (p *Policy) window(c *Cap, profile *segments.Profile, t int64) (begin, next int64) {
	if c.Calendar == "" {
		return t - c.Window.Milliseconds(), 0
	}
	loc, _ := p.zoneOf(c.Clock, profile)
	at := time.UnixMilli(t).In(loc)
	y, m, d := at.Date()
	var from, to time.Time
	switch c.Calendar {
	case "hour":
		// Not Truncate, which knows no zones: some are half an hour off.
		from = at.Add(-time.Duration(at.Minute())*time.Minute - time.Duration(at.Second())*time.Second - time.Duration(at.Nanosecond()))
		to = from.Add(time.Hour)
	case "week":
		monday := d - (int(at.Weekday())+6)%7
		from = time.Date(y, m, monday, 0, 0, 0, 0, loc)
		to = time.Date(y, m, monday+7, 0, 0, 0, 0, loc)
	case "month":
		from = time.Date(y, m, 1, 0, 0, 0, 0, loc)
		to = time.Date(y, m+1, 1, 0, 0, 0, 0, loc)
	default:
		from = time.Date(y, m, d, 0, 0, 0, 0, loc)
		to = time.Date(y, m, d+1, 0, 0, 0, 0, loc)
	}
	return from.UnixMilli() - 1, to.UnixMilli()
}

// frees is the earliest instant at which the cap has room, if nothing else is sent.
func frees(c *Cap, counted []usage, next, t int64) int64 {
	if next != 0 {
		return next
	}
	var at []int64
	for _, u := range counted {
		if u.Resolved {
			at = append(at, u.At)
		} else if u.walk != "" {
			at = append(at, t)
		}
	}
	slices.Sort(at)
	need := len(counted) - c.Max + 1
	if need > len(at) {
		return t + unresolvedRetry
	}
	return at[need-1] + c.Window.Milliseconds()
}
