package decide

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"nudge/events"
	"nudge/rules"
)

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
