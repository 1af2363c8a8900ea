package events

// Type is the type of a declared property or trait.
type Type uint8

// Types of the tracking plan. Untyped is what an undeclared property has: its JSON type stands.
const (
	Untyped Type = iota
	TypeString
	TypeNumber  // float64
	TypeInteger // int64
	TypeDecimal // exact decimal, at most 9 digits after the point; "19.99" converts
	TypeBoolean
	TypeTime // RFC 3339 or Unix seconds; Unix milliseconds inside
	TypeArray
	TypeObject
)

// String is the type's name in events.yaml.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

var typeNames = [...]string{
	"any", "string", "number", "integer", "decimal", "boolean", "time", "array", "object",
}

// OnViolation says what becomes of an event that breaks the plan.
type OnViolation uint8

// Flag stores the event with its violations; Refuse answers 400 and keeps it as a dead letter.
const (
	Flag OnViolation = iota
	Refuse
)

// Property is one declared property; Path is dotted ("price", "address.city").
type Property struct {
	Path        string
	Type        Type
	Items       Type // element type of an array
	Required    bool
	Description string
	Enum        []string // allowed strings, or none
}

// Declared is one declared event.
type Declared struct {
	Name        string
	Description string
	Properties  map[string]Property // by path
	OnViolation OnViolation
}

// Plan is the tracking plan (events.yaml). A nil *Plan declares nothing and allows everything.
// It is immutable once built.
type Plan struct {
	Events map[string]Declared
	Traits map[string]Property
	// UndeclaredEvents and UndeclaredProperties say what becomes of what is not listed;
	// Flag by default.
	UndeclaredEvents     OnViolation
	UndeclaredProperties OnViolation
	// MaxAhead is how far in the future an event may be dated, in milliseconds; 0 is DefaultMaxAhead.
	MaxAhead int64
}
