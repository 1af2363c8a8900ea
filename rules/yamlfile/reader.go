package yamlfile

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nudge/internal/suggest"
	"nudge/rules/finding"
)

// Reader reads typed values out of nodes and collects what is wrong with them, so that one pass
// finds every mistake. Every method takes nil for "not there" and answers the zero value for what
// is not there or wrong. A Reader is for one goroutine.
type Reader struct {
	area     string
	rule     string
	findings []finding.Finding
}

// NewReader makes a reader whose ids begin with area: "rule" makes "rule/unknown-key".
func NewReader(area string) *Reader { return &Reader{area: area} }

// SetRule names the rule (or segment) that findings from now on are about.
func (r *Reader) SetRule(name string) { r.rule = name }

// Findings are what was found, in the order found.
func (r *Reader) Findings() []finding.Finding { return r.findings }

// Add takes a finding as it is; the rule's name is filled in where there is none.
func (r *Reader) Add(f finding.Finding) {
	if f.Rule == "" {
		f.Rule = r.rule
	}
	r.findings = append(r.findings, f)
}

// Report adds an error at a node. The id is completed with the reader's area unless it has a "/".
func (r *Reader) Report(n *Node, id, detail, format string, args ...any) {
	f := n.Finding(r.id(id), fmt.Sprintf(format, args...))
	f.Detail = detail
	r.Add(f)
}

// Warn adds a warning at a node.
func (r *Reader) Warn(n *Node, id, detail, format string, args ...any) {
	f := n.Finding(r.id(id), fmt.Sprintf(format, args...))
	f.Severity, f.Detail = finding.Warning, detail
	r.Add(f)
}

func (r *Reader) id(id string) string {
	if strings.Contains(id, "/") {
		return id
	}
	return r.area + "/" + id
}

// Fields reads a map with a fixed set of keys.
type Fields struct {
	r     *Reader
	node  *Node
	known []string
}

// Fields reads a node as a map with a fixed set of keys; call Done after the last Get. Where the node
// is absent or no map, every Get answers nil.
func (r *Reader) Fields(n *Node) *Fields {
	if n != nil && n.Kind != Map {
		r.wrongType(n, "a set of keys")
		n = nil
	}
	return &Fields{r: r, node: n}
}

// Get is the value of a key, or nil where it is absent or empty.
func (f *Fields) Get(key string) *Node {
	f.known = append(f.known, key)
	v := f.node.Get(key)
	if v != nil && v.Kind == Null {
		f.r.Report(v.Key, "empty", "Give it a value (what belongs to it stands below it, further in) or leave the key out.", "%q has no value", key)
		return nil
	}
	return v
}

// Must is Get, and a finding where the key is absent.
func (f *Fields) Must(key, why string) *Node {
	v := f.Get(key)
	if v == nil && f.node != nil && f.node.Get(key) == nil {
		at := f.node
		if at.Key != nil {
			at = at.Key
		}
		f.r.Report(at, "missing-key", why, "%q is missing", key)
	}
	return v
}

// Has says whether the key is there.
func (f *Fields) Has(key string) bool { return f.node.Get(key) != nil }

// Node is the map itself; nil where it is absent or of another kind.
func (f *Fields) Node() *Node { return f.node }

// Done reports keys that no Get asked for.
func (f *Fields) Done() {
	if f.node == nil {
		return
	}
	for _, p := range f.node.Pairs {
		if slices.Contains(f.known, p.Key.Text) {
			continue
		}
		x := p.Key.Finding(f.r.id("unknown-key"), fmt.Sprintf("unknown key %q", p.Key.Text))
		free := slices.DeleteFunc(slices.Clone(f.known), f.Has)
		x.Suggest = suggest.Nearest(p.Key.Text, free)
		if x.Suggest == "" {
			x.Detail = "Known here: " + strings.Join(f.known, ", ") + "."
		}
		f.r.Add(x)
	}
}

// Entries are the pairs of a map whose keys are names that the author chooses.
func (r *Reader) Entries(n *Node) []Pair {
	if n == nil {
		return nil
	}
	if n.Kind != Map {
		r.wrongType(n, "a set of keys")
		return nil
	}
	return n.Pairs
}

// Items are the items of a list.
func (r *Reader) Items(n *Node) []*Node {
	if n == nil {
		return nil
	}
	if n.Kind != List {
		r.wrongType(n, "a list")
		return nil
	}
	return n.Items
}

func (r *Reader) wrongType(n *Node, want string) {
	at := n
	if n.Kind == Null && n.Key != nil {
		at = n.Key
	}
	detail := ""
	if want == "text" && (n.Kind == Int || n.Kind == Float || n.Kind == Bool) {
		detail = fmt.Sprintf("Put it in quotes: %q.", n.Text)
	}
	r.Report(at, "wrong-type", detail, "expected %s, found %s", want, n.Kind)
}

// Text reads text that is not empty.
func (r *Reader) Text(n *Node) string {
	if n == nil {
		return ""
	}
	if n.Kind != String {
		r.wrongType(n, "text")
		return ""
	}
	if strings.TrimSpace(n.Text) == "" {
		r.Report(n, "empty", "Give it a value or leave the key out.", "the text is empty")
	}
	return n.Text
}

// Texts reads a list of texts; one text alone is a list of one.
func (r *Reader) Texts(n *Node) []string {
	if n == nil {
		return nil
	}
	if n.Kind == String {
		return []string{r.Text(n)}
	}
	var out []string
	for _, item := range r.Items(n) {
		out = append(out, r.Text(item))
	}
	return out
}

// OneOf reads a text that is one of the allowed ones.
func (r *Reader) OneOf(n *Node, allowed ...string) string {
	if n == nil {
		return ""
	}
	if n.Kind != String {
		r.wrongType(n, "one of "+strings.Join(allowed, ", "))
		return ""
	}
	if !slices.Contains(allowed, n.Text) {
		f := n.Finding(r.id("bad-value"), fmt.Sprintf("%q is not one of %s", n.Text, strings.Join(allowed, ", ")))
		f.Suggest = suggest.Nearest(n.Text, allowed)
		r.Add(f)
		return ""
	}
	return n.Text
}

// Bool reads true or false; fallback where it is absent.
func (r *Reader) Bool(n *Node, fallback bool) bool {
	if n == nil {
		return fallback
	}
	if n.Kind != Bool {
		r.wrongType(n, "true or false")
		return fallback
	}
	return n.Text == "true" || n.Text == "True" || n.Text == "TRUE"
}

// Int reads a whole number between low and high; fallback where it is absent.
func (r *Reader) Int(n *Node, fallback, low, high int64) int64 {
	if n == nil {
		return fallback
	}
	v, err := strconv.ParseInt(n.Text, 10, 64)
	if n.Kind != Int || err != nil {
		r.wrongType(n, "a whole number")
		return fallback
	}
	if v < low || v > high {
		limits := fmt.Sprintf("between %d and %d", low, high)
		if high == math.MaxInt64 {
			limits = fmt.Sprintf("at least %d", low)
		}
		r.Report(n, "out-of-range", "", "%d is out of range: the number is %s", v, limits)
		return fallback
	}
	return v
}

// Number reads a number of at least low; fallback where it is absent.
func (r *Reader) Number(n *Node, fallback, low float64) float64 {
	if n == nil {
		return fallback
	}
	v, err := strconv.ParseFloat(n.Text, 64)
	if n.Kind != Int && n.Kind != Float || err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		r.wrongType(n, "a number")
		return fallback
	}
	if v < low {
		r.Report(n, "out-of-range", "", "%s is out of range: the number is at least %v", n.Text, low)
		return fallback
	}
	return v
}

// Percent reads "10%" as 0.1; fallback where it is absent.
func (r *Reader) Percent(n *Node, fallback float64) float64 {
	if n == nil {
		return fallback
	}
	number, found := strings.CutSuffix(n.Text, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch {
	case n.Kind != String || !found || err != nil:
		r.Report(n, "bad-percent", `Write it with the sign: "10%".`, "%q is not a share in percent", n.Text)
		return fallback
	case v < 0 || v > 100 || math.IsNaN(v):
		r.Report(n, "out-of-range", "", "%s is out of range: a share is between 0%% and 100%%", n.Text)
		return fallback
	}
	return v / 100
}

// Duration reads "90s", "90m", "3h", "7d", "2w" or a sum of them ("1h30m"), more than nothing;
// fallback where it is absent.
func (r *Reader) Duration(n *Node, fallback time.Duration) time.Duration {
	if n == nil {
		return fallback
	}
	if n.Kind != String {
		r.Report(n, "bad-duration", durationHelp, "%q is not a duration: the unit is missing", n.Text)
		return fallback
	}
	d, err := ParseDuration(n.Text)
	if err != nil {
		f := n.Finding(r.id("bad-duration"), fmt.Sprintf("%q is not a duration: %s", n.Text, err))
		if f.Suggest = spelled(n.Text); f.Suggest == "" {
			f.Detail = durationHelp
		}
		r.Add(f)
		return fallback
	}
	if d == 0 {
		r.Report(n, "bad-duration", "", "%q is no time at all", n.Text)
		return fallback
	}
	return d
}

const durationHelp = "Write a number and a unit: 90s, 30m, 3h, 7d, 2w, or several: 1h30m. " +
	"There is no unit for months or years, they differ in length."

var inWords = regexp.MustCompile(`^(\d+) *(sec(?:ond)?|min(?:ute)?|h(?:ou)?r|day|week)s?$`)

// spelled is the duration that somebody spelled out, "3d" of "3 days"; "" where it is none.
func spelled(text string) string {
	m := inWords.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	if m == nil {
		return ""
	}
	return m[1] + m[2][:1]
}

// units of durations; a day is 24 hours.
var units = []struct {
	name string
	d    time.Duration
}{
	{"ms", time.Millisecond},
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
}

// FormatDuration writes a duration as rule files have it: 7d, 24h, 5m.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	default:
		return d.String()
	}
}

// ParseDuration reads whole numbers with units, each unit at most once and larger ones first.
func ParseDuration(s string) (time.Duration, error) {
	rest, total, last := s, time.Duration(0), len(units)
	if s == "" {
		return 0, fmt.Errorf("it is empty") //nolint:perfsprint // one style of errors here
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 {
			return 0, fmt.Errorf("expected a whole number at %q", rest)
		}
		v, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is too large", rest[:digits])
		}
		rest = rest[digits:]
		word := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))]
		rest = rest[len(word):]
		unit := slices.IndexFunc(units, func(u struct {
			name string
			d    time.Duration
		},
		) bool {
			return u.name == word
		})
		switch {
		case word == "":
			return 0, fmt.Errorf("the unit of %d is missing", v)
		case unit < 0:
			return 0, fmt.Errorf("unknown unit %q", word)
		case unit >= last:
			return 0, fmt.Errorf("%q stands twice or after a smaller unit", word)
		case v > int64(math.MaxInt64-total)/int64(units[unit].d):
			return 0, fmt.Errorf("it is longer than 292 years") //nolint:perfsprint // one style of errors here
		}
		last = unit
		total += time.Duration(v) * units[unit].d
	}
	return total, nil
}

// Bytes reads a size, "512MB" or "10GB" (powers of 1,024); fallback where it is absent.
func (r *Reader) Bytes(n *Node, fallback int64) int64 {
	if n == nil {
		return fallback
	}
	text := strings.TrimSpace(n.Text)
	for i, unit := range []string{"KB", "MB", "GB", "TB"} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok || n.Kind != String {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		shift := 10 * (i + 1)
		if err != nil || v <= 0 || v > math.MaxInt64>>shift {
			break
		}
		return v << shift
	}
	r.Report(n, "bad-size", `Write a whole number and KB, MB, GB or TB: "512MB".`, "%q is not a size", n.Text)
	return fallback
}

// TimeOfDay reads "09:00" as minutes after midnight; ok is false where it is absent or wrong.
func (r *Reader) TimeOfDay(n *Node) (minutes int, ok bool) {
	if n == nil {
		return 0, false
	}
	t, err := time.Parse("15:04", n.Text)
	if err != nil || n.Kind != String || len(n.Text) != 5 {
		r.Report(n, "bad-time", `Write hours and minutes of the 24-hour clock in quotes: "09:00".`, "%q is not a time of day", n.Text)
		return 0, false
	}
	return t.Hour()*60 + t.Minute(), true
}
