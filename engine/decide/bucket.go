package decide

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"nudge/events"
	"nudge/rules"
	"nudge/segments"
)

// Values of By of a holdout.
const (
	ruleHoldout      = "rule"
	workspaceHoldout = "workspace"
)

// notRolled says whether the rule's rollout leaves the person out.
func (p *Policy) notRolled(r *rules.Rule, person events.PersonID, profile *segments.Profile) bool {
	if p.Arm != nil {
		return p.Arm(r.Name, profile).NotRolled
	}
	return r.Rollout < 1 && share(p.Salt, "rollout:"+r.Name, person) >= r.Rollout
}

// variant is the person's variant of the rule, "" for a rule without any.
func (p *Policy) variant(r *rules.Rule, person events.PersonID, profile *segments.Profile) string {
	if p.Arm == nil {
		return variantOf(p.Salt, r, person)
	}
	if v := p.Arm(r.Name, profile).Variant; v != "" || len(r.Variants) == 0 {
		return v
	}
	return r.Variants[0].Name
}

// holdout says by whose holdout the person is not messaged, "" when they are. One who has been exposed
// to the rule is not held out by it any more.
func (p *Policy) holdout(r *rules.Rule, person events.PersonID, profile *segments.Profile, exposed bool) string {
	switch {
	case p.Arm != nil:
		return p.Arm(r.Name, profile).Holdout
	case r.Holdout > 0 && !exposed && share(p.Salt, "holdout:"+r.Name, person) < r.Holdout:
		return ruleHoldout
	case p.Holdout > 0 && share(p.Salt, "holdout", person) < p.Holdout:
		return workspaceHoldout
	default:
		return ""
	}
}

// share places a person in [0, 1) for an experiment named by name: the first 53 bits of a SHA-256
// over salt, name and person. It never changes for the same three.
func share(salt, name string, person events.PersonID) float64 {
	h := sha256.New()
	h.Write([]byte(salt))
	h.Write([]byte{0})
	h.Write([]byte(name))
	h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(person)))
	return float64(binary.BigEndian.Uint64(h.Sum(nil))>>11) / (1 << 53)
}

// variantOf picks a variant by weight.
func variantOf(salt string, r *rules.Rule, person events.PersonID) string {
	total := 0
	for _, v := range r.Variants {
		total += v.Weight
	}
	if total == 0 {
		return ""
	}
	at := share(salt, "variant:"+r.Name, person) * float64(total)
	for _, v := range r.Variants {
		if at < float64(v.Weight) {
			return v.Name
		}
		at -= float64(v.Weight)
	}
	return r.Variants[len(r.Variants)-1].Name
}

// EntryID is the stable id of an entry: 128 bits of a SHA-256 over what makes it one, in hex.
func EntryID(rule string, person events.PersonID, value string, entered int64, trigger events.Position) string {
	h := sha256.New()
	var b []byte
	b = binary.BigEndian.AppendUint64(b, uint64(person))
	b = binary.BigEndian.AppendUint64(b, uint64(entered))
	b = binary.BigEndian.AppendUint64(b, uint64(trigger))
	h.Write(b)
	h.Write([]byte(rule))
	h.Write([]byte{0})
	h.Write([]byte(value))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
