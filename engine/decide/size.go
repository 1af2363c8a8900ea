package decide

import (
	"encoding/json"
	"fmt"
	"strings"

	"nudge/engine/ledger"
)

// maxDecision is how many bytes of JSON a decision may have: a chunk's, but for what stands around it.
const maxDecision = ledger.MaxChunk - 1<<10

// maxDetail is how many bytes of an error stand in a decision.
const maxDetail = 2000

// Weight is about how many bytes a decision has, its strings unescaped.
func Weight(d *ledger.Decision) int {
	size := 1024 + len(d.Value) + len(d.UserID) + len(d.By) + weigh(map[string]any(d.Features)) + weigh(map[string]any(d.With)) + len(d.Profile)
	for _, dev := range d.Devices {
		size += len(dev)
	}
	for _, item := range d.Items {
		size += Weight(item)
	}
	return size
}

func weigh(v any) int {
	const small = 32
	switch v := v.(type) {
	case nil, bool, int, int64, float64:
		return small
	case string:
		return small + len(v)
	case json.RawMessage:
		return small + len(v)
	case []any:
		size := small
		for _, x := range v {
			size += weigh(x)
		}
		return size
	case map[string]any:
		size := small
		for k, x := range v {
			size += len(k) + weigh(x)
		}
		return size
	default:
		return bytesOf(v)
	}
}

func bytesOf(v any) int {
	data, err := json.Marshal(v)
	if err != nil {
		return 0 // which fails where it is written
	}
	return len(data)
}

// tooLarge says what of a decision is too large to be written, "" when it fits.
func tooLarge(d *ledger.Decision) string {
	const escaped = 6 // bytes of JSON for one of a string, at most
	if escaped*Weight(d) <= maxDecision || bytesOf(d) <= maxDecision {
		return ""
	}
	what, most := "the profile", len(d.Profile)
	for _, dev := range d.Devices {
		most += len(dev)
	}
	if len(d.Devices) > 0 {
		what = fmt.Sprintf("the profile (with %d devices)", len(d.Devices))
	}
	for _, part := range []struct {
		about  string
		values ledger.Values
	}{{"what the condition reads", d.Features}, {"what `with` names", d.With}} {
		size, largest, name := 0, 0, ""
		for k, v := range part.values {
			n := bytesOf(v)
			size += len(k) + n
			if n > largest || (n == largest && k < name) {
				largest, name = n, k
			}
		}
		if size > most {
			what, most = fmt.Sprintf("%s (most of it %s)", part.about, clip(name, maxDetail/2)), size
		}
	}
	return fmt.Sprintf("too large to decide: %s has %d bytes, and a decision may have %d in all", what, most, maxDecision)
}

// clip cuts a text that stands in a decision.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
